"""A trial that is stopped, taken over by another run and woken changes nothing; a damaged checkpoint starts over."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from automl_images import storage
from automl_images.steps.plan import plan_sweep
from automl_images.steps.select import select_trial
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="stops processes by signals")
EPOCHS = 14


@pytest.fixture
def sweep(tmp_path):
    """Return a function that plans the same sweep of one tiny training, and one that runs its lane, a process group."""
    lines = []
    for i in range(8):
        Image.new("RGB", (32, 32), (200 * (i % 2), 20 * i, 90)).save(tmp_path / f"{i}.png")
        details = {"format": "png", "width": 32, "height": 32}
        item = {"image_url": str(tmp_path / f"{i}.png"), "image_details": details, "label": "ab"[i % 2]}
        lines.append(json.dumps(item) + "\n")
    (tmp_path / "r.jsonl").write_text("".join(lines))
    settings = {"model_name": "resnet20", "number_of_epochs": EPOCHS, "training_batch_size": 4, "early_stopping": 0}
    sizes = {"train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 32}
    experiment = {"task": "image-classification", "settings": {**settings, **sizes}, "weights": {"pretrained": False}}

    def plan():
        records = str(tmp_path / "r.jsonl")
        (lane,) = plan_sweep(experiment, records, records, ledger=str(tmp_path / "ledger"))
        return lane

    def start(lane):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "automl_images.cli", "train", "--lane", lane]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=environment, start_new_session=True, **output)

    return plan, start, Ledger(str(tmp_path / "ledger"))


def wait(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


def interrupted(sweep, number):
    """Start the lane, and return it when its trial has been evaluated so often and has a checkpoint."""
    plan, start, ledger = sweep
    process = start(plan())
    wait(lambda: len(ledger.evaluations()) >= number and ledger.artifacts(0).checkpoint(), process)
    return process


@pytest.mark.full
@pytest.mark.parametrize("evaluations", [2, 6])
def test_a_stopped_trial_that_is_taken_over_and_woken_changes_nothing(sweep, evaluations):
    plan, start, ledger = sweep
    first = interrupted(sweep, evaluations)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = start(plan())
        printed, _ = second.communicate(timeout=300)
        assert second.returncode == 0, printed
        taken = ledger.trial(0)
        assert (taken.state, taken.attempt) == (State.COMPLETED, 2)
        before = {name: storage.read_bytes(f"{taken.model}/{name}") for name in ("model.pt", "metrics.json")}
        selected = select_trial(ledger.url)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == 0 and "taken trial 0 over" in printed
    assert ledger.trial(0) == taken
    assert {name: storage.read_bytes(f"{taken.model}/{name}") for name in before} == before
    assert select_trial(ledger.url) == selected and selected["model"] == ledger.artifacts(0).model(2)
    metrics = json.loads(before["metrics.json"])
    assert (metrics["epoch"], metrics["accuracy"]) == (selected["epoch"], pytest.approx(selected["value"], abs=1e-6))
    assert [epoch for epoch, _ in ledger.trials()[0].evaluations] == list(range(1, EPOCHS + 1))


def damage(how, checkpoint):
    file = checkpoint / "trainer.ckpt"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-2000])
    elif how == "one byte":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    elif how == "one optimiser group":
        import torch

        content = torch.load(file, weights_only=True)
        groups = content["optimizer_states"][0]["param_groups"]
        assert len(groups) > 1
        content["optimizer_states"][0]["param_groups"] = [
            {**groups[0], "params": [p for group in groups for p in group["params"]]}
        ]
        torch.save(content, file)
    elif how == "gone":
        file.unlink()
    elif how == "a pickle":
        file.write_bytes(b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    else:
        (checkpoint.parent / "checkpoint.1").write_text("")


@pytest.mark.parametrize(
    "how",
    [
        "a pickle",
        *(
            pytest.param(h, marks=pytest.mark.full)
            for h in ("truncated", "one byte", "gone", "an empty pointer", "one optimiser group")
        ),
    ],
)
def test_a_damaged_checkpoint_is_one_line_and_the_trial_starts_over(sweep, how):
    plan, start, ledger = sweep
    first = interrupted(sweep, 2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    damage(how, Path(ledger.artifacts(0).url, ledger.artifacts(0).checkpoint()))
    second = start(plan())
    printed, _ = second.communicate(timeout=300)
    assert second.returncode == 0 and "Traceback" not in printed, printed
    if how == "one optimiser group":
        line = "of another version does not fit (its optimiser has groups of ["
        assert printed.count(line) == 1 and printed.count("so the trial starts over") == 1
    else:
        assert how == "an empty pointer" or printed.count("checkpoint is damaged") == 1
        assert "resuming from its beginning (attempt 2)" in printed
    trial = ledger.trial(0)
    assert (trial.state, trial.attempt, trial.resumed) == (State.COMPLETED, 2, None)
    assert [epoch for epoch, _ in ledger.trials()[0].evaluations] == list(range(1, EPOCHS + 1))


@pytest.mark.full
def test_a_checkpoint_without_its_model_starts_over_at_once(sweep):
    plan, start, ledger = sweep
    first = interrupted(sweep, 2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    storage.remove(ledger.artifacts(0).model(1))
    second = start(plan())
    printed, _ = second.communicate(timeout=300)
    assert second.returncode == 0 and "its model has changed or is lost, so the trial starts over" in printed, printed
    trial = ledger.trial(0)
    assert (trial.state, trial.attempt, trial.resumed) == (State.COMPLETED, 2, None)
    assert {"model.pt", "metrics.json"} <= set(storage.names(trial.model))
