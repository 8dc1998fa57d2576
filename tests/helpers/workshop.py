"""The folder in which the commands of a page are run: all that the pages take for there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from automl_images.pipelines.experiment import SHIPPED
from automl_images.sample_data import make_sample
from tests.conftest import save_images
from tests.helpers.pages import ROOT

TIME, FINGERPRINT = "20261121-091726", "0123456789ab"  # what the pages call a run and its ledger
_COMMAND = """#!/bin/sh
exec {python} -m tests.helpers.small "$@"
"""


def furnish(folder: Path) -> None:
    """Put there images, a run, its ledger, its model, registered, its records, an experiment, and the command."""
    make_sample(folder / "sample", images=24)
    for name in ("path/to/images", "photos", "test"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / "sample", folder / name)
    shutil.copy(folder / "sample/JPEGImages/000000.jpg", folder / "a.jpg")
    save_images(folder / "path/to/a-folder-per-class", [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(6)])
    shutil.copy(SHIPPED / "smoke.yaml", folder / "my.yaml")
    (folder / "bin").mkdir()
    (folder / "bin/automl-images").write_text(_COMMAND.format(python=sys.executable))
    (folder / "bin/automl-images").chmod(0o755)
    summary = json.loads(run_block(folder, "automl-images run smoke --set name=blood-cells --json"))
    run, ledger = Path(summary["folder"]), Path(summary["ledger"])
    (folder / f"runs/blood-cells/{TIME}").symlink_to(run.name)
    (folder / f"runs/ledgers/blood-cells-{FINGERPRINT}").symlink_to(ledger.name)
    shutil.copytree(folder / "runs/registry/blood-cells/1/model", folder / "model")
    for name in ("training", "validation"):
        shutil.copy(folder / ledger / f"records/{name}.jsonl", folder / f"{name}.jsonl")
    (folder / "evaluation").mkdir()
    (folder / "evaluation/metrics.json").write_text(json.dumps(summary["evaluation"]))


def run_block(folder: Path, text: str, language: str = "bash") -> str:
    """Return what a block prints; a command that fails fails the test, with what it printed."""
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    words = ("bash", "-euo", "pipefail", "-c") if language == "bash" else (sys.executable, "-c")
    done = subprocess.run([*words, text], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
