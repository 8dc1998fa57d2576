"""The ledger on a local folder and in memory: attempts, claims, evaluations, checkpoints."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from automl_images import storage
from automl_images.errors import UserError
from automl_images.sweep.fingerprint import fingerprint
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State

SETTINGS = {"model_name": "yolov5", "number_of_epochs": 3}


@pytest.fixture(params=["local", "memory"])
def ledger(request, tmp_path):
    url = str(tmp_path / "ledger") if request.param == "local" else f"memory://{tmp_path.name}"
    made = Ledger(url)
    made.open({"task": "t", "seed": 0})
    return made


def test_a_ledger_of_another_experiment_is_refused(ledger):
    ledger.open({"seed": 0, "task": "t"})
    with pytest.raises(UserError, match="is the ledger of another experiment"):
        ledger.open({"task": "t", "seed": 1})


def test_the_fingerprint_ignores_order_and_sees_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_a_trial_goes_from_running_to_completed_with_its_curve(ledger):
    content = ledger.start_trial(3, SETTINGS, ["learning_rate"])
    assert ledger.trial(3).state == State.RUNNING
    for epoch, value in enumerate((0.1, 0.4, 0.3), 1):
        ledger.evaluate(Evaluation(3, 1, Score(epoch, epoch, value, max(0.1, value), value)))
    ledger.end_trial(content, State.COMPLETED, best={"value": 0.4, "epoch": 2})
    trial = ledger.trials()[0]
    assert (trial.state, trial.epoch, trial.epochs) == (State.COMPLETED, 3, 3)
    assert trial.evaluations == ((1, 0.1), (2, 0.4), (3, 0.3))
    assert any(name.startswith("0003.1~3~3~0.3") for name in storage.names(f"{ledger.url}/ended"))


def test_of_two_attempts_the_later_counts_and_the_earlier_sees_it(ledger):
    ledger.start_trial(0, SETTINGS, [])
    first = Evaluation(0, 1, Score(1, 1, 0.5, 0.5, 0.5))
    assert ledger.evaluate(first) == ({}, False)
    assert ledger.start_trial(0, SETTINGS, []).attempt == 2
    second = Evaluation(0, 2, Score(1, 1, 0.6, 0.6, 0.6))
    assert ledger.evaluate(second) == ({}, False)
    assert ledger.evaluate(first) == ({}, True)
    assert ledger.trials()[0].evaluations == ((1, 0.6),)


def test_what_a_superseded_attempt_writes_late_is_no_evaluation(ledger):
    def evaluate(trial, attempt, number):
        return ledger.evaluate(Evaluation(trial, attempt, Score(number, number, attempt / 10, attempt / 10, 0.1)))[0]

    ledger.start_trial(0, SETTINGS, [])
    for number in (1, 2, 3):
        evaluate(0, 1, number)
    ledger.start_trial(0, SETTINGS, [], resumed=2)
    ledger.report(Evaluation(0, 1, Score(4, 4, 0.9, 0.9, 0.9)))  # it had looked before, and wakes between the two
    assert [list(evaluate(1, 1, number)) for number in (1, 2, 3, 4)] == [[0], [0], [], []]
    assert ledger.trials()[0].evaluations == ((1, 0.1), (2, 0.1))
    evaluate(0, 2, 3)
    assert {trial: s.value for trial, s in evaluate(1, 1, 3).items()} == {0: 0.2}
    assert ledger.trials()[0].evaluations == ((1, 0.1), (2, 0.1), (3, 0.2))

    ledger.start_trial(0, SETTINGS, [])  # starts over
    assert [list(evaluate(1, 1, number)) for number in (1, 2, 3)] == [[], [], []]
    assert ledger.trials()[0].evaluations == ()


def test_what_an_attempt_said_last_counts_up_to_where_the_next_goes_on(ledger):
    content = ledger.start_trial(0, SETTINGS, [])
    ledger.evaluate(Evaluation(0, 1, Score(1, 2, 0.9, 0.9, 0.9)))
    ledger.end_trial(content, State.FAILED, resumes=True, error="killed by SIGKILL")
    other = Evaluation(1, 1, Score(2, 4, 0.1, 0.1, 0.1))
    assert list(ledger.evaluate(other)[0]) == [0]
    ledger.start_trial(0, SETTINGS, [])
    assert list(ledger.evaluate(other)[0]) == []


@pytest.fixture
def hasty_threads():
    """Threads that take turns so often that a step between looking and writing is seen."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty_threads")
def test_each_trial_is_claimed_by_one_lane(ledger):
    assert ledger.can_claim("r")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda lane: [t for t in range(20) if ledger.claim("r", t, lane)], range(8)))
    assert sorted(t for lane in taken for t in lane) == list(range(20))
    lane = next(i for i, trials in enumerate(taken) if trials)
    assert ledger.claim("r", taken[lane][0], lane), "a lane that comes back has its trials still"
    assert not ledger.claim("r", taken[lane][0], lane + 1)
    assert ledger.claim("another", taken[lane][0], lane + 1)


def test_a_new_checkpoint_takes_the_place_of_the_old(ledger, tmp_path):
    local = tmp_path / "c"
    local.mkdir()
    (local / "trainer.ckpt").write_bytes(b"1")
    assert ledger.artifacts(0).checkpoint() is None
    ledger.artifacts(0).write_checkpoint(1, 1, local)
    (local / "trainer.ckpt").write_bytes(b"2")
    ledger.artifacts(0).write_checkpoint(1, 2, local)
    folder = ledger.artifacts(0).url
    assert ledger.artifacts(0).checkpoint() == "checkpoint-1-2"
    assert storage.read_bytes(f"{folder}/checkpoint-1-2/trainer.ckpt") == b"2"
    assert not storage.exists(f"{folder}/checkpoint-1-1")
    ledger.artifacts(0).clear(1)
    assert ledger.artifacts(0).checkpoint() is None


def test_trials_are_read_by_programs_as_they_stand(ledger):
    ledger.start_trial(1, SETTINGS, [])
    assert json.loads(storage.read_text(f"{ledger.url}/trials/0001.json"))["settings"] == SETTINGS


def test_a_folder_that_is_no_ledger_is_said(tmp_path):
    with pytest.raises(UserError, match="not found; is this a ledger"):
        Ledger(str(tmp_path)).experiment()


def test_peers_are_those_at_the_same_evaluation_and_those_that_ended_before(ledger):
    def trial(index, *values):
        content = ledger.start_trial(index, SETTINGS, [])
        for n, value in enumerate(values, 1):
            ledger.evaluate(Evaluation(index, 1, Score(n, 2 * n, value, max(values[:n]), sum(values[:n]) / n)))
        return content

    ledger.end_trial(trial(0, 0.9), State.COMPLETED)  # ended before the second evaluation: counts by its last
    trial(1, 0.1, 0.2, 0.3)  # is further: counts by what it had at the second
    trial(2, 0.5)  # has not come so far
    ledger.end_trial(trial(3), State.COMPLETED)  # never evaluated
    trial(4, 0.4)
    peers, _ = ledger.evaluate(Evaluation(4, 1, Score(2, 4, 0.6, 0.6, 0.5)))
    assert {trial: (p.number, p.value, p.epoch) for trial, p in peers.items()} == {0: (1, 0.9, 2), 1: (2, 0.2, 4)}
