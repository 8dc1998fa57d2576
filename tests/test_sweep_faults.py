"""A sweep whose trials and lanes are killed, planned and run again; and two submissions at once on one ledger."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl_images.steps import train
from automl_images.steps.plan import plan_sweep
from automl_images.steps.train import SUPERSEDED
from automl_images.steps.trial import EXIT_SUPERSEDED
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.trial import State

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")

TRIALS, LANES, KILLED = 10, 2, 2
EVALUATIONS, PAUSE = 4, 0.12

STAND_IN = Path(__file__).parent / "helpers/stand_in_trial.py"


@pytest.fixture
def lanes(tmp_path):
    """Return a function that plans the sweep and starts its lanes, each a process in a group of its own."""
    (tmp_path / "records.jsonl").write_text("")
    experiment = {
        "name": "killed",
        "task": "image-object-detection",
        "settings": {"number_of_epochs": EVALUATIONS},
        "storage": str(tmp_path),
        "sweep": {
            "iterations": TRIALS,
            "max_concurrent_iterations": LANES,
            "seed": 5,
            "space": {"model_name": "fasterrcnn_resnet18_fpn", "learning_rate": {"loguniform": [-9, -3]}},
        },
    }
    started = []

    def start():
        records = str(tmp_path / "records.jsonl")
        planned = plan_sweep(experiment, records, records)
        ledger = Ledger(json.loads(planned[0])["ledger"])
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "STAND_IN_PAUSE": str(PAUSE)}
        environment["STAND_IN_PIDS"] = f"{ledger.url}/pids"
        running = [
            subprocess.Popen(
                [sys.executable, str(STAND_IN), lane], env=environment, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, start_new_session=True,
            )
            for lane in planned
        ]  # fmt: skip
        started.extend(running)
        return ledger, running

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def begun(ledger):
    """Return the (trial, attempt, pid) of each trial's process, in the order of their beginning."""
    file = Path(ledger.url, "pids")
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


def ended(processes):
    """Wait for lanes and return what they say of their trials, together."""
    said = [json.loads(process.communicate(timeout=60)[0])["trials"] for process in processes]
    assert not set(said[0]) & set(said[1]), "no trial is run by two lanes"
    return {int(trial): state for lane in said for trial, state in lane.items()}


def settings(ledger):
    return {t.index: t.settings for t in ledger.trials()}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_killed_trials_and_lanes_are_made_up_for(lanes, seed):
    draw = random.Random(seed)
    ledger, running = lanes()
    victims = set(draw.sample(range(1, TRIALS - 3), KILLED))
    killed = {}
    deadline = time.monotonic() + 60
    while len(killed) < KILLED:
        assert time.monotonic() < deadline
        for trial, _, pid in begun(ledger):
            if trial in victims and trial not in killed:
                time.sleep(draw.uniform(0, EVALUATIONS * PAUSE * 0.7))
                os.kill(pid, signal.SIGKILL)
                killed[trial] = pid
        time.sleep(0.01)
    while ledger.trial(max(killed)).state == State.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lost = running[draw.randrange(LANES)]
    os.killpg(lost.pid, signal.SIGKILL)  # with the trial that it runs, as when a machine goes
    lost.wait()
    others = [process for process in running if process is not lost]
    said = json.loads(others[0].communicate(timeout=60)[0])["trials"]
    assert len(said) >= 1

    before = {t.index: t for t in ledger.trials()}
    assert {t for t, content in before.items() if content.state == State.FAILED} == victims
    assert all("killed by SIGKILL" in before[t].error for t in victims)
    orphans = {t for t, content in before.items() if content.state == State.RUNNING}
    assert len(orphans) <= 1

    again, running = lanes()
    assert again.url == ledger.url
    retried = ended(running)
    trials = {t.index: t for t in ledger.trials()}
    assert sorted(trials) == list(range(TRIALS))
    assert {t.state for t in trials.values()} == {State.COMPLETED}
    assert {t for t, content in trials.items() if content.attempt == 2} == victims | orphans
    assert {t for t, content in trials.items() if content.attempt == 1} == set(range(TRIALS)) - victims - orphans
    done = {t for t, content in before.items() if content.state == State.COMPLETED}
    assert set(retried) == set(range(TRIALS)) - done, "what is done is not done again"
    for trial in done:
        assert (trials[trial].started, trials[trial].ended) == (before[trial].started, before[trial].ended)
    for trial, content in trials.items():
        assert content.settings == proposed(ledger, trial)[0]
        assert [epoch for epoch, _ in content.evaluations] == list(range(1, EVALUATIONS + 1))
        assert content.error is None
        if trial in before:
            assert content.settings == before[trial].settings
    assert len({content.settings["learning_rate"] for content in trials.values()}) == TRIALS

    idle = ended(lanes()[1])
    assert idle == {}, "a third submission finds nothing to do"


def test_a_lane_whose_trials_are_superseded_says_so_and_goes_on(tmp_path, monkeypatch, capfd):
    class Popen(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([sys.executable, "-c", f"raise SystemExit({EXIT_SUPERSEDED})"], **options)

    monkeypatch.setattr(train.subprocess, "Popen", Popen)
    records = tmp_path / "records.jsonl"
    records.write_text("")
    experiment = {"task": "image-classification", "weights": {"pretrained": False}, "sweep": {"iterations": 3}}
    experiment["sweep"] |= {"max_concurrent_iterations": 1, "space": {"learning_rate": {"uniform": [0.1, 0.2]}}}
    (lane,) = plan_sweep(experiment, str(records), str(records), ledger=str(tmp_path / "ledger"))
    assert json.loads(train.train_lane(lane))["trials"] == dict.fromkeys("012", SUPERSEDED)
    assert "lane 0: another run of this experiment has taken trial 1 over; it goes on there" in capfd.readouterr().err
    assert Ledger(str(tmp_path / "ledger")).trials() == []


def test_two_submissions_at_once_do_no_harm(lanes):
    (ledger, first), (same, second) = lanes(), lanes()
    assert same.url == ledger.url
    for processes in (first, second):
        assert set(ended(processes).values()) <= {State.COMPLETED, SUPERSEDED}
    trials = {t.index: t for t in ledger.trials()}
    assert sorted(trials) == list(range(TRIALS))
    assert {t.state for t in trials.values()} == {State.COMPLETED}
    for trial, content in trials.items():
        assert content.settings == proposed(ledger, trial)[0]
        assert [epoch for epoch, _ in content.evaluations] == list(range(1, EVALUATIONS + 1))
    attempts = {}
    for trial, attempt, _ in begun(ledger):
        attempts[trial] = max(attempt, attempts.get(trial, 0))
    assert attempts == {t: content.attempt for t, content in trials.items()}, "the last attempt is the one kept"
