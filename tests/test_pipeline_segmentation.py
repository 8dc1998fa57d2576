"""The whole pipeline on SageMaker's channels of masks: from label maps to a served model's answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
import yaml
from PIL import Image

from automl_images.models import folder as model_folder
from automl_images.pipelines import submit
from automl_images.pipelines.experiment import Experiment
from automl_images.pipelines.mounts import mounts
from automl_images.serving.requests import answer
from tests.helpers.masks import lay, plain
from tests.helpers.segments import drawn

TASK = "image-semantic-segmentation"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Return a folder with SageMaker's channels, whose masks' values a label map names, and an experiment."""
    folder = tmp_path_factory.mktemp("run")
    records = drawn(folder / "drawn", 10)
    for channel, some in (("train", records[:6]), ("validation", records[6:])):
        for record in some:
            for part, url in ((channel, record.image_url), (f"{channel}_annotation", record.label.mask_url)):
                copy = folder / "data" / part / Path(record.image_url).name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(url, copy)
        (folder / "data/label_map").mkdir(exist_ok=True)
        (folder / f"data/label_map/{channel}_label_map.json").write_text('{"scale": "10"}')
    (folder / "data/label_map/classes.txt").write_text("sky\nred\nblue\n")
    experiment = {
        "name": "masks",
        "task": TASK,
        "data": {"training": {"source": "data"}},
        "settings": {
            "number_of_epochs": 2,
            "training_batch_size": 2,
            "base_size": 64,
            "crop_size": 48,
            "early_stopping": 0,
        },
        "weights": {"pretrained": False},
        "sweep": {"sampling": "grid", "iterations": 1, "space": {"model_name": {"choice": ["fcn_resnet50"]}}},
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    return folder


@pytest.mark.full
def test_masks_become_a_registered_model_that_answers(workplace):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pipelines", "run", "experiment.yaml", "--json"]
    command += ["--predict", "data/validation/07.png"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=workplace, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [trial["state"] for trial in found["trials"]] == ["completed"]
    assert "holds sets: training is train, validation is validation" in done.stderr + _log(found, "convert")
    evaluated = found["evaluation"]
    assert list(evaluated["per_label_metrics"]) == ["sky", "red", "blue"] and evaluated["images"] == 4
    assert sum(map(sum, evaluated["confusion_matrix"])) == 4 * 39 * 56
    assert evaluated["mean_iou"] == pytest.approx(found["best"]["value"], abs=1e-6)
    assert found["registered"]["version"] == 1
    for part in ("report", "leaderboard", "data"):
        assert "<html" in Path(found[part]).read_text()
    assert Image.open(workplace / "prediction.png").size[0] > 448
    _, task, settings, classes = model_folder.load(Path(found["model"]), {})
    assert (task, classes) == (TASK, ["sky", "red", "blue"]) and settings["base_size"] == 64
    request = json.loads(next(workplace.glob("runs/**/request.json")).read_text())
    from automl_images.prediction import load_model

    (predicted,) = answer(load_model(found["model"], device="cpu"), request)["predictions"]
    assert predicted["classes"] == classes and predicted["regions"][0]["rle"]["size"]


def test_the_folders_of_masks_beside_images_are_mounted_with_their_label_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masks = {"train_annotation/a.png": plain(1), "classes.txt": "a\nb\n"}
    lay(tmp_path / "x", "train/a.png", **masks)
    experiment = Experiment.model_validate({"name": "m", "task": TASK, "data": {"training": {"source": "x/train"}}})
    assert mounts(experiment, "runs") == [f"{tmp_path}/runs:{tmp_path}/runs", f"{tmp_path}/x:{tmp_path}/x:ro"]


def test_kubeflow_takes_no_records_of_masks_from_an_earlier_run(monkeypatch):
    """They may lie beside the source, where its listing does not see them change."""
    given = []
    kubeflow = SimpleNamespace(
        upload=lambda package, name: given.append("convert" in package.read_text()),
        start=lambda uploaded, name, run, params, account: given.append(params["digest"]),
    )
    monkeypatch.setattr(submit, "_running", lambda *_: [])
    fsspec.filesystem("memory").pipe_file("/cells/train/a.png", b"1")
    data = {"training": {"source": "memory://cells/train"}}
    submit.submit(Experiment.model_validate({"name": "m", "task": TASK, "data": data}), kubeflow, local_images=True)
    assert given == [True, ""]


def _log(found, step):
    return Path(found["logs"], f"{step}.log").read_text()
