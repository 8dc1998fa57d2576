"""Each task's model folder answers in an environment that its own requirements make, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from automl_images.hyperparameters import resolve
from automl_images.tasks import TASKS
from tests.helpers import azure
from tests.helpers.families import trained_in

YOLO = {"model_name": "yolov5", "img_size": 64, "number_of_epochs": 1, "training_batch_size": 2, "early_stopping": 0}
DETECTION = "image-object-detection"  # last: alone it asks for more packages
SCORE = """
import importlib.util, json, pathlib, sys
import automl_images, score
places = {module.__name__: module.__file__ for module in (automl_images, score)}
absent = [name for name in ("lightning", "kfp", "pytest") if not importlib.util.find_spec(name)]
score.init()
print(json.dumps([places, absent, [score.run(pathlib.Path(path).read_bytes()) for path in sys.argv[1:]]]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return a function that makes an environment for a model folder, and the tool Python's path; one at a time."""
    path, made = tmp_path_factory.mktemp("environment") / "venv", []

    def of(folder):
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:  # of which the dates alone differ
            contents = sorted((file.filename, file.CRC) for file in packed.infolist())
        wanted = [(folder / "requirements.txt").read_text(), contents]
        if made != wanted:
            shutil.rmtree(path, ignore_errors=True)
            made[:] = wanted
            run(sys.executable, "-m", "venv", path)
            usage = (folder / "README.md").read_text().partition("## Use\n")[2]
            for line in usage.splitlines():  # as a person reads it; the last one scores an image
                if line.strip().startswith("pip "):
                    run("/bin/sh", "-ec", f". {path}/bin/activate; {line.strip()}", cwd=folder)
        return path / "bin" / "python"

    yield of
    shutil.rmtree(path, ignore_errors=True)  # gigabytes


def run(*command, **more):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.full
@pytest.mark.timeout(3600)  # PyTorch with CUDA's libraries is installed, and once more for another list of packages
@pytest.mark.parametrize("task", [*(name for name in TASKS if name != DETECTION), DETECTION])
def test_a_score_file_answers_where_its_own_requirements_alone_are(task, environment, tmp_path, squares):
    settings = resolve(task, YOLO) | {"model_size": "nano"} if task == DETECTION else None
    data, journal, _ = trained_in(tmp_path, TASKS[task], squares, settings)
    folder = journal.folder / "model"
    assert ("ultralytics" in (folder / "requirements.txt").read_text()) == (task == DETECTION)
    azure.change(folder, **azure.FINDING.get(task, {}))
    images = [Path(json.loads(line)["image_url"]) for line in Path(data).read_text().splitlines()[:2]]
    files = [image.read_bytes() for image in images]
    requests = [tmp_path / f"request-{number}" for number in range(3)]
    for path, body in zip(requests, (files[0], azure.request(*files), azure.request(*files, rows=True)), strict=True):
        path.write_bytes(body)
    python = environment(folder)
    places, absent, (one, listed, rows) = json.loads(run(python, "-c", SCORE, *requests, cwd=folder).splitlines()[-1])
    assert places["score"] == str(folder / "score.py")
    assert places["automl_images"].startswith(str(python.parents[1]))
    assert absent == ["lightning", "kfp", "pytest"]
    assert listed[0] == one and rows == listed
    labels = json.loads((folder / "labels.json").read_text())
    for image, answer in zip(images, listed, strict=True):
        jsonschema.validate(answer, azure.schema(task, labels, list(Image.open(image).size[::-1])))
