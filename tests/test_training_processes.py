"""A trial on several processes, as on several GPUs: they share each batch, agree, resume, and fail together."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from automl_images.hyperparameters import resolve
from automl_images.steps.plan import plan_sweep
from automl_images.steps.train import train_lane
from automl_images.sweep.ledger import Ledger
from automl_images.training.fit import fit
from automl_images.training.job import Job
from automl_images.training.machine import Machine
from tests import conftest
from tests.effects.probe import SINGLE, SMALL, STEADY, draw_classes, write_labels
from tests.helpers.training_probe import Journal

SCRIPT = Path(__file__).parent / "helpers/faulty_trial.py"
SIZES = {f"{n}_size": 32 for n in ("train_crop", "valid_crop", "valid_resize")}
VIT = {**SMALL, **STEADY, **SIZES, "model_name": "vits16r224", "learning_rate": 0.01, "number_of_epochs": 3}
FROZEN = {**SMALL, "number_of_epochs": 4, "layers_to_freeze": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return (training, validation): 8 and 3 records, so that the second process evaluates one image fewer."""
    records = draw_classes(tmp_path_factory.mktemp("classes"), ["blue", "green", "red"] * 3 + ["blue", "red"])
    return records[:8], records[8:]


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """Return what one process comes to with whole batches."""
    journal = Journal(tmp_path_factory.mktemp("alone"))
    fitted = fit(Job(SINGLE, resolve(SINGLE, VIT), *images, {}, seed=0), journal)
    return SimpleNamespace(evaluations=journal.evaluations, model=journal.model(), best=fitted.best)


@pytest.fixture
def lane(tmp_path, monkeypatch):
    """Return a function that runs a lane with a fault on two processes, or on as many as are said."""
    monkeypatch.setenv("AUTOML_TEST_NOTES", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda c, **o: popen([sys.executable, str(SCRIPT), *c[3:]], **o))

    def run(images, settings, fault="", processes=2, task=SINGLE):
        monkeypatch.setenv("AUTOML_TEST_FAULT", fault)
        monkeypatch.setenv("AUTOML_IMAGES_PROCESSES", str(processes))
        if isinstance(images[0], str):
            data = images
        else:
            data = [write_labels(tmp_path / f"{n}.jsonl", r) for n, r in zip("tv", images, strict=True)]
        weights = {"pretrained": False}
        experiment = {"task": task, "settings": settings, "weights": weights, "storage": str(tmp_path / str(processes))}
        (planned,) = plan_sweep(experiment, *data)
        start = time.monotonic()
        train_lane(planned)
        ledger = Ledger(json.loads(planned)["ledger"])
        return ledger, ledger.trial(0), time.monotonic() - start

    return run


def furthest(model, other):
    return max((model[n].double() - t.double()).abs().max().item() for n, t in other.items())


def rows(ledger):
    return sorted(e.score[1:] for e in ledger.evaluations())


def model_of(ledger):
    return torch.load(Path(ledger.trial(0).model) / "model.pt", weights_only=True)


def test_two_processes_do_what_one_does_with_half_of_each_batch(lane, images, alone, tmp_path):
    ledger, trial, _ = lane(images, VIT)
    assert trial.state == "completed", trial.error
    for rank in "01":
        assert (tmp_path / f"batches-{rank}").read_text().split() == ["2"] * 6
    np.testing.assert_allclose(rows(ledger), alone.evaluations, rtol=1e-6)
    for name in ("accuracy", "log_loss"):
        assert trial.best["metrics"][name] == pytest.approx(alone.best["metrics"][name], rel=1e-4)
    assert furthest(model_of(ledger), alone.model) < 1e-4
    log = (Path(ledger.artifacts(0).url) / "log").read_text()
    assert "on 2 cpu processes" in log
    assert log.count("epoch 1/3") == 1, "one process reports"


@pytest.mark.full
def test_a_trial_of_two_processes_that_was_killed_resumes(lane, images, alone, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _, killed, _ = lane(images, VIT, "0 killed")
    assert (killed.state, killed.resumes) == ("failed", True)
    assert not list(temporary.iterdir()), "it leaves no files behind"
    (tmp_path / "batches-0").unlink()
    ledger, trial, _ = lane(images, VIT)
    assert trial.state == "completed", trial.error
    assert (tmp_path / "batches-0").read_text().split() == ["2"] * 2, "the third epoch alone was left"
    np.testing.assert_allclose(rows(ledger), alone.evaluations, rtol=1e-6)
    assert furthest(model_of(ledger), alone.model) < 1e-4


def test_a_trial_whose_second_process_is_killed_counts_as_killed(lane, images):
    _, trial, seconds = lane(images, FROZEN, "1 killed")
    assert (trial.state, trial.resumes) == ("failed", True), trial.error
    assert seconds < 90


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk")
def test_a_trial_that_finds_the_disk_full_says_so_and_may_resume(lane, images):
    ledger, trial, _ = lane(images, FROZEN, "0 disk full", processes=1)
    assert (trial.state, trial.resumes) == ("failed", True)
    assert trial.error.startswith("no space left on the disk; free some")
    log = (Path(ledger.artifacts(0).url) / "log").read_text()
    assert "Traceback" not in log
    assert log.count("error: no space left") == 1


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        pytest.param("1 user error", "the moon is full; wait for another", marks=pytest.mark.full),
        pytest.param("1 not a number", "training diverged in epoch 3", marks=pytest.mark.full),
        pytest.param("0 user error", "the moon is full; wait for another", marks=pytest.mark.full),
        pytest.param("1 fault of ours", "RuntimeError: five", marks=pytest.mark.full),
    ],
)
def test_what_one_process_fails_by_ends_both_with_one_line(lane, images, fault, line):
    ledger, trial, seconds = lane(images, FROZEN, fault)
    assert trial.state == "failed"
    assert not trial.resumes, "what is a person's to mend is not tried again"
    assert line in trial.error
    log = (Path(ledger.artifacts(0).url) / "log").read_text().splitlines()
    assert len([text for text in log if text.startswith("error: ")]) == 1
    assert ("Traceback (most recent call last):" in log) is ("ours" in fault)
    assert seconds < 90, "no process waits for another's"


def test_every_process_evaluates_something():
    parts = [list(Machine(False, 3, rank).part(2)) for rank in range(3)]
    assert parts == [[0], [1], [0]]
    parts = [list(Machine(False, 3, rank).part(7)) for rank in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    assert [Machine(False, n, 0).share(7) for n in (1, 2, 4)] == [7, 4, 2]


@pytest.mark.full
def test_a_network_with_norms_learns_on_two_processes_as_on_one(lane, tmp_path):
    records = draw_classes(tmp_path / "images", ["blue", "green", "red"] * 24)
    given = {**SMALL, "number_of_epochs": 12, "learning_rate": 0.02, "training_batch_size": 8}
    values = []
    for processes in (1, 2):
        _, trial, _ = lane((records[:60], records[60:]), given, processes=processes)
        assert trial.state == "completed", trial.error
        values.append(trial.best["value"])
    assert min(values) > 0.9


@pytest.mark.full
def test_faster_rcnn_trains_on_two_processes(lane, tmp_path, squares):
    data = []
    for name, records in zip("tv", (squares[0][:4], squares[1][:3]), strict=True):
        (tmp_path / name).mkdir()
        data.append(str(conftest.write_jsonl(tmp_path / name, records)))
    given = {"model_name": "fasterrcnn_resnet18_fpn", "min_size": 64, "max_size": 64, "number_of_epochs": 1}
    ledger, trial, _ = lane(data, given, task="image-object-detection")
    assert trial.state == "completed", trial.error
    assert [row[0] for row in rows(ledger)] == [1]
    assert model_of(ledger)
