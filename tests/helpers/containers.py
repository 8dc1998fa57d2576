"""Components in containers, each alone, as a pod runs them: any user, nothing but what is mounted, no network."""

import json
import shutil
import subprocess
import zipfile

import yaml

from automl_images import steps
from automl_images.components.package import write_package
from automl_images.steps import STEPS

USER = 23456
LOCKED = (
    *("--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp", "--network", "none", "--user", f"{USER}:{USER}"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "1g", "--cpus", "1"),
)


def built():
    """Return whether an engine has the images of this version."""
    if not shutil.which("docker"):
        return False
    there = [subprocess.run(["docker", "image", "inspect", i], capture_output=True) for i in (steps.LIGHT, steps.GPU)]
    return all(done.returncode == 0 for done in there)


class Components:
    """The package's components; each writes to a folder of its name in ``folder`` and reads what it is given there."""

    def __init__(self, folder):
        self.folder = folder
        write_package(folder / "components.zip")
        with zipfile.ZipFile(folder / "components.zip") as package:
            texts = {step: package.read(f"{step}/component.yaml") for step in STEPS}
        specs = {step: next(yaml.safe_load_all(text)) for step, text in texts.items()}
        self.declared = {step: spec["components"][f"comp-{step}"] for step, spec in specs.items()}
        executors = {step: spec["deploymentSpec"]["executors"] for step, spec in specs.items()}
        self.containers = {step: made[f"exec-{step}"]["container"] for step, made in executors.items()}

    def run(self, step, parameters, artifacts=None, mounts=()):
        """Run a component; return how it ended, what it returned, and its artifacts as the next one takes them.

        ``artifacts`` are those of other components, whose folders are mounted to be read, as ``mounts`` are.
        """
        out = self.folder / step
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shutil.chown(out, USER, USER)
        inputs, outputs = (self.declared[step][f"{way}Definitions"] for way in ("input", "output"))
        defaults = {n: p["defaultValue"] for n, p in inputs.get("parameters", {}).items() if "defaultValue" in p}
        made = {n: {"name": n, "uri": f"{out}/{n}", "type": a["artifactType"]} for n, a in outputs["artifacts"].items()}
        given = json.dumps(
            {
                "inputs": {
                    "parameterValues": {**defaults, **parameters},
                    "artifacts": {n: {"artifacts": [a]} for n, a in (artifacts or {}).items()},
                },
                "outputs": {
                    "parameters": {n: {"outputFile": f"{out}/{n}"} for n in outputs["parameters"]},
                    "artifacts": {n: {"artifacts": [a]} for n, a in made.items()},
                    "outputFile": f"{out}/output.json",
                },
            }
        )
        read = {a["uri"].rpartition("/")[0] for a in (artifacts or {}).values()}
        read = {m if ":" in str(m) else f"{m}:{m}:ro" for m in (*read, *mounts)}
        image, command = self.containers[step]["image"], [*self.containers[step]["command"]]
        words = [w for mount in (f"{out}:{out}", *sorted(read)) for w in ("-v", mount)]
        words += ["--entrypoint", command[0], image, *command[1:]]
        words += [given if word == "{{$}}" else word for word in self.containers[step]["args"]]
        done = subprocess.run(["docker", "run", "--rm", *LOCKED, *words], capture_output=True, text=True)
        if done.returncode:
            return done, None, {}
        content = json.loads((out / "output.json").read_text())
        kept = {n: a["artifacts"][0] for n, a in content["artifacts"].items()}
        return done, content["parameterValues"]["Output"], {n: {**a, **kept[n]} for n, a in made.items()}
