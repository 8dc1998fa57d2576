"""One step of a finished run, again: the same command with the same inputs, its outputs in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.environment import IMAGE, MOUNTS
from automl_images.errors import StepFailed, UserError, nearest
from automl_images.experiment import Resources
from automl_images.pipelines.kubeflow import Kubeflow
from automl_images.pipelines.run import explain, new_folder, runner_class, watched
from automl_images.steps import STEPS
from automl_images.steps.repeat import docker_line, folders
from automl_images.steps.train import gpus, repeated


def rerun(
    run: str,
    step: str,
    *,
    lane: int | None = None,
    runner: str = "docker",
    root: str = "runs",
    kubeflow: Kubeflow | None = None,
) -> dict[str, Any]:
    """Repeat a task of a run.

    A lane of ``train`` trains its trials once more, in a copy of the ledger that lacks them. Nothing that the run wrote
    is changed; a registry has the same model once, however often it is registered.

    Args:
        run: the folder of a run on this machine, or the id of a run on ``kubeflow``.
        step: the component's name, such as ``evaluate``.
        lane: which lane, of ``train`` alone; None: the first.
        runner: ``docker`` or ``subprocess``.
        root: below it goes what a step of a run on Kubeflow writes, to ``reruns/<id>``.

    Returns:
        ``folder``, where outputs are; ``log``; ``outputs``, the step's output parameters.

    Raises:
        UserError: there is no such run, the step has not run in it, it has no lanes, or it says what the user can mend.
        StepFailed: the step failed otherwise.
    """
    if step not in STEPS:
        raise UserError(f"'{step}' is no step; {nearest(step, STEPS)}")
    if lane is not None and step != "train":
        raise UserError(f"--lane {lane}: {step} has no lanes; leave it out")
    lane = lane or 0
    name = f"{step}-{lane}" if step == "train" else step
    kept = kubeflow.task(run, step, lane) if kubeflow else _kept(Path(run), name)
    folder = (Path(root, "reruns", run) if kubeflow else Path(run, "reruns")).absolute()
    folder = new_folder(folder, f"{name}-")
    at = kept["command"].index("--executor_input") + 1
    inputs = _redirected(json.loads(kept["command"][at]), folder)
    if step == "train":
        parameters = inputs["inputs"]["parameterValues"]
        parameters["lane"] = repeated(parameters["lane"], str(folder / "ledger"))
    kept["command"][at] = json.dumps(inputs)
    variables = kept["variables"]
    mounts = variables.pop(MOUNTS, "").splitlines()
    kind = runner_class(runner, variables[IMAGE])
    place = kind(folder, 1, Resources(**kept["resources"]), gpus(), mounts)
    place.logs.mkdir()
    print(f"{name}: {place.logs / name}.log", file=sys.stderr)
    fault = watched(place, lambda: place.execute(kept["command"], variables), lambda _: None)
    if fault or place.failed():
        explain(place, fault or StepFailed(f"{step} failed"))
    return {"folder": str(folder), "log": str(place.tasks[0].log), "outputs": place.tasks[0].outputs}


def _kept(run: Path, name: str) -> dict[str, Any]:
    """Return what a run on this machine kept of a task."""
    file = run / "tasks" / f"{name}.json"
    if not file.is_file():
        there = sorted(p.stem for p in run.glob("tasks/*.json"))
        known = f"it has {', '.join(there)}" if there else "give the folder that its summary names"
        raise UserError(f"{run}: is no run with {name}; {known}")
    return json.loads(file.read_text())


def _redirected(inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an executor's input with its outputs below a folder, and its input artifacts on this machine."""
    for name, listed in (inputs.get("inputs", {}).get("artifacts") or {}).items():
        for i, artifact in enumerate(listed["artifacts"]):
            if not storage.is_local(artifact["uri"]):
                local = folder / "inputs" / name / str(i)
                if storage.is_dir(artifact["uri"]):
                    storage.copy_folder(artifact["uri"], str(local))
                else:
                    storage.write(str(local), storage.read_bytes(artifact["uri"]))
                artifact["uri"] = str(local)
    outputs = inputs["outputs"]
    for name, listed in (outputs.get("artifacts") or {}).items():
        for artifact in listed["artifacts"]:
            artifact["uri"] = str(folder / "outputs" / name)
    for name, parameter in (outputs.get("parameters") or {}).items():
        parameter["outputFile"] = str(folder / "outputs" / f"{name}.parameter")
    outputs["outputFile"] = str(folder / "executor_output.json")
    return inputs


def in_container(name: str, arguments: list[str]) -> int:
    """Run a command of ``automl-images`` in its image, the local folders that its arguments name mounted.

    Returns:
        The container's exit code.
    """
    here = str(Path.cwd())
    mounted = [here, *(f for f in folders(arguments) if not Path(f).is_relative_to(here))]
    os.environ[MOUNTS] = "\n".join(f"{f}:{f}" for f in mounted)
    line = docker_line(name, arguments)
    print(line, file=sys.stderr, flush=True)
    return subprocess.run(["sh", "-c", line], check=False).returncode
