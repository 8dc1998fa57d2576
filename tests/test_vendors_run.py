"""Vendors' files run as they are, on sample data with tiny settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automl_images.sample_data import make_sample
from automl_images.sweep.ledger import Ledger
from tests.helpers.vendors import FILES

ROOT = Path(__file__).parents[1]
NO_SERVICE = ["register=null", "serve=null", "storage=runs", "resources.count=0"]
DATA = ["data={training: {source: sample}, split_ratio: 0.25}"]
SMALL = ["settings.image_shape=3,32,32", "settings.resize=40", "weights.pretrained=false"]
COUNTED = ["settings.num_classes=null", "settings.num_training_samples=null"]
BATCH = ["settings.training_batch_size=4"]
# file: what is overridden, how many trials
RUNS = {
    "azure-detection.yml": (
        [
            "sweep.space=[{model_name: yolov5, learning_rate: {uniform: [0.001, 0.01]}, img_size: 64}]",
            "settings.model_size=small",
            *BATCH,
            *("settings.number_of_epochs=1", "sweep.iterations=2"),
        ],
        2,
    ),
    "azure-classification.yml": (
        [
            "sweep.space=[{model_name: resnet18, layers_to_freeze: {choice: [null, 2]}}]",
            *("settings.train_crop_size=32", "settings.valid_crop_size=32", "settings.valid_resize_size=36"),
            *("settings.number_of_epochs=1", "sweep.iterations=2", "weights.pretrained=false"),
        ],
        2,
    ),
    "sagemaker-classification.json": (
        [*SMALL, *COUNTED, *BATCH, "settings.number_of_epochs=1"],
        1,
    ),
    "sagemaker-segmentation.json": (
        [
            *COUNTED,
            *BATCH,
            *("settings.crop_size=32", "settings.base_size=64", "settings.number_of_epochs=1"),
            *("weights.pretrained=false", "settings.validation_batch_size=4"),
        ],
        1,
    ),
    "sagemaker-tuning.json": (
        [*SMALL, *COUNTED, "settings.number_of_epochs=1", "sweep.iterations=3", "sweep.max_concurrent_iterations=1"],
        3,
    ),
    "train.sh": (
        [
            *("settings.img_size=64", "settings.training_batch_size=4", "settings.number_of_epochs=1"),
            *("settings.evaluation_frequency=1", "sweep.iterations=2"),
        ],
        2,
    ),
}


def overrides(file, given):
    classes = "classification" in file or "tuning" in file
    data = ["data={training: {source: classes}, split_ratio: 0.25}"] if classes else DATA
    return [part for each in [*NO_SERVICE, *data, *given] for part in ("--set", each)]


def draw(folder):
    make_sample(folder / "sample", images=16, size=64)
    for i, image in enumerate(sorted((folder / "sample/JPEGImages").iterdir())):
        (folder / "classes" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "classes" / "ab"[i % 2] / image.name).write_bytes(image.read_bytes())


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", RUNS)
def test_a_vendors_file_runs_as_it_is(file, tmp_path):
    given, count = RUNS[file]
    draw(tmp_path)
    source, more = FILES / file, overrides(file, given)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if file == "train.sh":  # two files: imported, then run
        command = ["import", str(source), str(FILES / "hyp.scratch-low.yaml"), *more, "-o", "evolve.yaml"]
        subprocess.run([sys.executable, "-m", "automl_images.cli", *command], cwd=tmp_path, env=environment, check=True)
        source, more = "evolve.yaml", []
    command = [sys.executable, "-m", "automl_images.cli", "run", str(source), "--json", *more]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (ledger,) = (tmp_path / "runs/ledgers").iterdir()
    trials = [t for t in Ledger(str(ledger)).trials() if t.succeeded]
    assert len(trials) == count
    assert json.loads(done.stdout)["best"]
    if file == "sagemaker-tuning.json":
        names = {"training_batch_size", "learning_rate", "momentum", "weight_decay", "optimizer"}
        assert all(set(t.sampled) == names for t in trials)
    if file == "train.sh":
        first, second = sorted(trials, key=lambda t: t.index)
        assert first.settings["learning_rate"] == 0.01 and first.settings["anchors"] == 3
        assert first.settings != second.settings
