"""A ledger with damaged objects, machines whose clocks are off, other submissions, and a store that is away."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from automl_images import storage, store
from automl_images.environment import STOP
from automl_images.errors import StoreError
from automl_images.steps import train
from automl_images.steps.select import select_trial
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger, TakenError
from automl_images.sweep.liveness import STALE, Others, identity, runs_here
from automl_images.sweep.score import Score
from automl_images.sweep.submission import Lane, Submission
from automl_images.sweep.termination import RULE
from automl_images.sweep.trial import State

SETTINGS = {"model_name": "yolov5", "number_of_epochs": 3}
STOPS = RULE.validate_python({"policy": "bandit", "slack_amount": 0})


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(str(tmp_path / "ledger"))
    made.open({"primary_metric": "m", "task": "image-object-detection"})
    return made


def submitted(ledger, run="r", iterations=1, hours=1.0):
    now = time.time()
    ledger.write_run(Submission(run, iterations, now + 3600 * hours, started=now, claims=True))
    return Lane(ledger.url, run, 0, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"trial": "x"}', b"\xff\xfe", b'{"state": "running"}'])
def test_a_damaged_record_is_named_and_left_out(ledger, capsys, content):
    for index in range(2):
        best = {"metric": "m", "value": 0.1 * index, "epoch": 1}
        ledger.end_trial(ledger.start_trial(index, SETTINGS, []), State.COMPLETED, best=best, model="m")
    Path(ledger.url, "trials/0001.json").write_bytes(content)
    assert [t.index for t in ledger.trials()] == [0] and select_trial(ledger.url)["trial"] == 0
    printed = capsys.readouterr().err
    assert printed.count("trials/0001.json: is damaged and left out") == 1, "said once"
    assert ledger.latest(1) == (None, 2), "its lane tries it again, beside the damaged one"
    assert ledger.start_trial(1, SETTINGS, []).attempt == 2
    assert [t.index for t in ledger.trials()] == [0, 1]


def test_an_attempt_is_begun_by_one_process(ledger):
    begun = []

    def begin():
        try:
            begun.append(ledger.start_trial(0, SETTINGS, [], attempt=1))
        except TakenError:
            begun.append(None)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(b is not None for b in begun) == 1


@pytest.mark.parametrize("days", [8, -8, 0])
def test_a_clock_that_is_days_off_neither_skips_nor_prolongs(ledger, monkeypatch, days):
    lane, true = submitted(ledger), time.time
    monkeypatch.setattr(time, "time", lambda: true() + days * 86400)
    assert ledger.time_left(lane.run)[0] == pytest.approx(3600, abs=5)


def test_what_is_out_of_time_is_skipped_with_both_times(ledger, monkeypatch):
    lane = submitted(ledger, hours=0)
    monkeypatch.setattr(train, "_run", lambda *_: pytest.fail("nothing may begin"))
    assert json.loads(train.train_lane(lane.to_json()))["trials"] == {"0": "skipped"}
    reason = ledger.trial(0).reason
    assert (
        reason.startswith("out of time: submitted at 20") and "it is 20" in reason and "by the store's clock" in reason
    )


def test_what_another_submission_trains_is_left_to_it_and_waited_for(ledger, monkeypatch, capsys):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    begun = ledger.start_trial(0, SETTINGS, [], run="first", process=identity(other.pid))
    trained = []

    def run(shared, run, trial, attempt, *_):
        trained.append((trial, attempt))
        shared.end_trial(shared.start_trial(trial, SETTINGS, [], attempt=attempt), State.COMPLETED)
        return "completed"

    monkeypatch.setattr(train, "_run", run)
    monkeypatch.setattr(train, "POLL", 0.1)
    lane = submitted(ledger, "second", 2)
    thread = threading.Thread(target=train.train_lane, args=[lane.to_json()])
    thread.start()
    time.sleep(1)
    assert trained == [(1, 1)] and thread.is_alive(), "it takes what is unclaimed, and waits"
    assert "another run of this experiment trains trial 0; waiting for it" in capsys.readouterr().err
    other.kill()
    other.wait()
    thread.join(20)
    assert trained == [(1, 1), (0, 2)] and begun.attempt == 1, "what its process leaves is taken over"


def test_what_ends_a_sweep_ends_that_of_another_run_too_after_what_it_trains(ledger, monkeypatch, capsys):
    first, trained = submitted(ledger, "first", 3), []

    def run(shared, run, trial, attempt, *_):
        trained.append(trial)
        begun = shared.start_trial(trial, SETTINGS, [], attempt=attempt, run=run, process=identity())
        if trial == 1:
            monkeypatch.setenv(STOP, "1")
            assert json.loads(train.train_lane(submitted(ledger, "second", 3).to_json()))["trials"] == {"2": "skipped"}
            monkeypatch.delenv(STOP)
        shared.end_trial(begun, State.COMPLETED)
        return "completed"

    monkeypatch.setattr(train, "_run", run)
    done = json.loads(train.train_lane(first.to_json()))["trials"]
    assert done == {"0": "completed", "1": "completed", "2": "skipped"} and trained == [0, 1]
    said = capsys.readouterr().err
    assert "trains trial 1; which is its last, and not waited for (--stop-after-current)" in said
    assert "lane 0: run second ends the sweep (--stop-after-current), so no further trial starts" in said
    assert ledger.trial(2).reason.startswith("--stop-after-current: the sweep was ended")
    assert ledger.stopped_by("second") is None

    json.loads(train.train_lane(submitted(ledger, "third", 3).to_json()))
    assert trained == [0, 1, 2], "a further run goes on"


def test_a_process_of_another_machine_is_dead_when_its_beats_end(ledger, monkeypatch):
    trial = ledger.start_trial(0, SETTINGS, [], run="first", process="elsewhere pid:[1] 7 1")
    others, now = Others(ledger, "second"), time.monotonic()
    ledger.beat(trial, 1)
    assert others.train(trial)
    monkeypatch.setattr(time, "monotonic", lambda: now + STALE + 1)
    ledger.beat(trial, 2)
    assert others.train(trial)
    monkeypatch.setattr(time, "monotonic", lambda: now + 3 * STALE)
    assert not others.train(trial)
    assert not Others(ledger, "first").train(trial), "a lane that is started again takes its own"
    assert runs_here(identity()) and runs_here(trial.process) is None


def test_a_trial_that_trained_to_its_last_epoch_is_stopped_by_no_rule(ledger):
    ledger.end_trial(ledger.start_trial(1, SETTINGS, []), State.COMPLETED, Score(1, 1, 0.9, 0.9, 0.9))
    one = LedgerJournal(ledger, ledger.start_trial(0, SETTINGS, []), -1, STOPS)
    assert one.evaluated(Score(2, 2, 0.1, 0.1, 0.1)) == "timeout_hours: the time of the sweep is over"
    assert one.evaluated(Score(3, 3, 0.1, 0.1, 0.1)) is None
    other = LedgerJournal(ledger, ledger.start_trial(2, SETTINGS, []), 60, STOPS)
    assert other.evaluated(Score(2, 2, 0.1, 0.1, 0.1)).startswith("bandit")
    assert other.evaluated(Score(3, 3, 0.1, 0.1, 0.1)) is None


@pytest.fixture
def away(monkeypatch):
    """Return an event: while it is set, every write to the store fails as one to a store that is away does."""
    event, write, put = threading.Event(), storage.write, storage.put_folder

    def failing(call):
        def called(*arguments, **options):
            if event.is_set():
                raise StoreError("the store gives no answer")
            return call(*arguments, **options)

        return called

    monkeypatch.setattr(storage, "write", failing(write))
    monkeypatch.setattr(storage, "put_folder", failing(put))
    return event


def model(folder, text):
    folder.mkdir()
    (folder / "metrics.json").write_text(text)
    return folder


def test_training_goes_on_while_a_store_is_away_and_all_arrives_afterwards(ledger, tmp_path, away, capsys):
    one = LedgerJournal(ledger, ledger.start_trial(0, SETTINGS, []), 60, STOPS)
    away.set()
    start = time.monotonic()
    for number in (1, 2):
        assert one.evaluated(Score(number, number, 0.1, 0.1, 0.1)) is None
        one.save_model(model(tmp_path / f"{number}", str(number)))
        one.save_checkpoint(model(tmp_path / f"c{number}", str(number)), number)
    assert time.monotonic() - start < 2 and not (tmp_path / "1").exists(), "nothing waits"
    away.clear()
    one.close()
    assert storage.read_text(f"{ledger.artifacts(0).model(1)}/metrics.json") == "2"
    assert ledger.artifacts(0).checkpoint() == "checkpoint-1-2" and len(ledger.evaluations()) == 2
    assert "the store gives no answer; going on" in capsys.readouterr().err


def test_what_a_store_never_took_ends_the_trial_so_that_it_resumes(ledger, tmp_path, away, monkeypatch):
    monkeypatch.setattr(store, "LONG", 0.5)
    one = LedgerJournal(ledger, ledger.start_trial(0, SETTINGS, []), 60, STOPS)
    away.set()
    one.save_model(model(tmp_path / "m", "1"))
    with pytest.raises(StoreError, match=r"model: could not be written \(the store gives no answer\); submit again"):
        one.close()
