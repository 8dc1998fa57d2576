"""Many trials in few lanes: each runs exactly once, also when a lane is killed and the run submitted again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from automl_images.experiment import MOST_LANES
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State

TRIALS, LANES = 200, 4

# a lane as it is, but for its children: a trial is done at once, in the lane's own process
LANE = """
import os, sys, time
from pathlib import Path
from automl_images.steps import train
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.score import Score
from automl_images.sweep.trial import State

class Popen:
    def __init__(self, command, **options):
        assert command[1:3] == ["-m", "automl_images.steps.trial"], command
        self.command, self.stdout, self.returncode, self.pid = command[3:], [], 0, 2**30
    def __enter__(self):
        url, run, index, attempt = self.command
        ledger, trial = Ledger(url), int(index)
        settings, sampled, _ = proposed(ledger, trial)
        content = ledger.start_trial(trial, settings, sampled, attempt=int(attempt), run=run)
        with Path(url, "begun").open("a") as begun:
            begun.write(f"{trial} {content.attempt} {sys.argv[2]}\\n")
        time.sleep(float(os.environ["PAUSE"]))
        ledger.end_trial(content, State.COMPLETED, Score(1, 1, 0.5, 0.5, 0.5),
                         best={"metric": "m", "value": 0.5, "epoch": 1}, model=ledger.artifacts(trial).model(1))
        return self
    def __exit__(self, *_):
        pass

train.subprocess.Popen = Popen
print(train.train_lane(sys.argv[1]))
"""


@pytest.fixture
def sweep(tmp_path):
    """Return two functions: one plans the sweep, the other starts lanes, each a process of its own."""
    (tmp_path / "lane.py").write_text(LANE)
    (tmp_path / "records.jsonl").write_text("")
    started = []

    def plan(**changes):
        experiment = {
            "name": "wide",
            "task": "image-object-detection",
            "storage": str(tmp_path),
            "sweep": {
                "iterations": TRIALS,
                "max_concurrent_iterations": LANES,
                "space": {"model_name": "fasterrcnn_resnet18_fpn", "learning_rate": {"loguniform": [-9, -3]}},
                **changes,
            },
        }
        records = str(tmp_path / "records.jsonl")
        return plan_sweep(experiment, records, records)

    def start(lanes, pause=0.0):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PAUSE": str(pause)}
        for lane in lanes:
            command = [sys.executable, str(tmp_path / "lane.py"), lane, str(json.loads(lane)["lane"])]
            started.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            )
        return started[-len(lanes) :]

    yield plan, start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def said(processes):
    """Wait for lanes and return {trial: state} of each."""
    return [json.loads(p.communicate(timeout=120)[0])["trials"] for p in processes]


def begun(ledger):
    """Return the (trial, attempt, lane) of all beginnings."""
    file = Path(ledger.url, "begun")
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


def ledger_of(lanes):
    return Ledger(json.loads(lanes[0])["ledger"])


def test_200_iterations_at_concurrency_4_are_4_lanes_that_run_each_trial_once(sweep):
    plan, start = sweep
    lanes = plan()
    assert [json.loads(lane)["lane"] for lane in lanes] == [0, 1, 2, 3]
    ledger, parts = ledger_of(lanes), said(start(lanes))
    assert sorted(int(t) for part in parts for t in part) == list(range(TRIALS)), "no trial is two lanes'"
    assert Counter(t for t, _, _ in begun(ledger)) == Counter(range(TRIALS))
    assert {t.state for t in ledger.written()} == {State.COMPLETED}
    assert said(start(plan())) == [{}] * LANES, "submitted again there is nothing to do"


def test_a_lane_that_is_killed_and_a_run_that_is_submitted_again(sweep):
    plan, start = sweep
    lanes = plan()
    ledger, processes = ledger_of(lanes), start(lanes, pause=0.01)
    deadline = time.monotonic() + 60
    while not (mine := [t for t, _, lane in begun(ledger) if lane == 2]) or len(mine) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    processes[2].send_signal(signal.SIGKILL)
    processes[2].wait()
    others = said(processes[:2] + processes[3:])
    finished = {t.index for t in ledger.written() if t.state == State.COMPLETED}
    assert TRIALS - 2 <= len(finished) < TRIALS, "the others take what it had not begun"
    orphans = set(range(TRIALS)) - finished

    again = plan()
    assert ledger_of(again).url == ledger.url
    retried = said(start(again))
    assert {int(t) for part in retried for t in part} == orphans, "what is finished is kept"
    assert {t.state for t in ledger.written()} == {State.COMPLETED}
    assert sorted(t.index for t in ledger.written()) == list(range(TRIALS))
    times = Counter(t for t, _, _ in begun(ledger))
    assert {t for t, n in times.items() if n > 1} <= orphans
    assert all(int(t) not in orphans for part in others for t in part)


def test_a_lane_that_comes_back_resumes_what_it_had(sweep):
    plan, start = sweep
    lanes = plan()
    ledger, (alone,) = ledger_of(lanes), start(lanes[:1], pause=0.01)
    deadline = time.monotonic() + 60
    while len(begun(ledger)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    alone.kill()
    alone.wait()
    before = {t.index for t in ledger.written() if t.state == State.COMPLETED}
    parts = said(start(lanes))  # as train's retries bring it back: the same run, the same lane
    assert sorted(int(t) for part in parts for t in part) == sorted(set(range(TRIALS)) - before)
    assert {t.state for t in ledger.written()} == {State.COMPLETED}
    attempts = Counter(t for t, _, _ in begun(ledger))
    assert sum(n - 1 for n in attempts.values()) <= 1, "only the trial that it was at runs twice"


def test_a_pod_a_trial(sweep):
    plan, start = sweep
    lanes = plan(lanes="per_trial", iterations=6)
    assert [(json.loads(x)["lane"], json.loads(x)["lanes"]) for x in lanes] == [(i, 6) for i in range(6)]
    first = said(start([lanes[4]]))
    assert first == [{"4": State.COMPLETED}], "a lane has its own trial and no other"
    assert sorted(t for part in said(start(lanes)) for t in part) == ["0", "1", "2", "3", "5"]
    assert {t for t, _, _ in begun(ledger_of(lanes))} == set(range(6))
    assert all(t == lane for t, _, lane in begun(ledger_of(lanes)))


@pytest.mark.parametrize(
    ("concurrent", "iterations", "expected"), [(None, 200, MOST_LANES), (None, 5, 5), (4, 3, 3), (100, 1000, 100)]
)
def test_how_many_lanes(sweep, concurrent, iterations, expected):
    plan, _ = sweep
    assert len(plan(max_concurrent_iterations=concurrent, iterations=iterations)) == expected
