"""What is seen while trials train: their pace in the beats, the table at two widths of a terminal, the time left."""

import os
import pty
import re
import threading
import time

import pytest
from rich.console import Console

from automl_images.reports.trials import time_left
from automl_images.steps.watch import watch_trials
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.pace import Pace
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.submission import Submission
from automl_images.sweep.termination import Unstopped
from automl_images.sweep.trial import State, Trial

SETTINGS = {"number_of_epochs": 4, "learning_rate": 0.125, "model_name": "resnet18", "weight_decay": 0.0005}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(f"{tmp_path}/ledger")
    made.open({"primary_metric": "accuracy"})
    made.write_run(Submission("r", 2, time.time() + 3600, started=time.time()))
    return made


def test_a_beat_tells_the_pace_and_old_beats_tell_none(ledger):
    trial = ledger.start_trial(0, SETTINGS, ["learning_rate"])
    ledger.beat(trial, 1)
    assert ledger.paces([trial]) == {} and Pace.parse(None) is None and Pace.parse(b'{"beat": 3}') is None
    journal = LedgerJournal(ledger, trial, 60, Unstopped())
    with journal.beating():
        journal.progressed(Pace(2, 0.5, 31.5, 90.0))
        until = time.monotonic() + 20
        while not ledger.paces([trial]) and time.monotonic() < until:
            time.sleep(0.05)
    pace = ledger.paces([trial])[0]
    assert pace[:3] == (2, 0.5, 31.5) and 70 < pace.left <= 90, "what has passed since is taken off"
    assert ledger.paces([ledger.end_trial(trial, State.COMPLETED)]) == {}


def test_who_sees_an_evaluation_finds_its_pace(ledger):
    trial = ledger.start_trial(0, SETTINGS, ["learning_rate"])
    journal = LedgerJournal(ledger, trial, 60, Unstopped())
    for epoch in (1, 2):
        journal.progressed(Pace(epoch, 0.5, 31.5, 90.0))
        journal.evaluated(Score(epoch, epoch, 0.1, 0.1, 0.1))
        assert ledger.paces([trial])[0].epoch == epoch


def train(ledger, seen):
    """Train two trials, of which nothing is real but what they write; an epoch ends when the last has been seen."""
    for index in range(2):
        trial = ledger.start_trial(index, SETTINGS, ["learning_rate", "weight_decay"])
        for epoch in range(1, 5):
            ledger.evaluate(Evaluation(index, 1, Score(epoch, epoch, 0.1 * epoch, 0.1 * epoch, 0.1)))
            rate, until = 100.5 + 10 * index + epoch, time.monotonic() + 20
            ledger.beat(trial, epoch, Pace(epoch, 1.25 / epoch, rate, 60.0 * (4 - epoch)))
            while str(rate).encode() not in b"".join(seen) and time.monotonic() < until:
                time.sleep(0.02)
        ledger.end_trial(trial, State.COMPLETED)


def watched(ledger, columns):
    """Return what a pseudo-terminal of so many columns was written while trials trained."""
    ours, theirs = pty.openpty()
    seen = []

    def read():
        while True:
            try:
                seen.append(os.read(ours, 65536))
            except OSError:
                return
            if not seen[-1]:
                return

    reader, trainer = threading.Thread(target=read), threading.Thread(target=train, args=(ledger, seen))
    with os.fdopen(theirs, "w") as screen:
        console = Console(file=screen, width=columns, height=30, color_system=None)
        assert console.is_terminal
        reader.start()
        trainer.start()
        watch_trials(ledger.url, 0.05, console)
        trainer.join()
    reader.join(5)
    os.close(ours)
    return b"".join(seen).decode()


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_loss_pace_epoch_and_time_left_while_trials_train(ledger, columns):
    text = watched(ledger, columns)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))  # a frame begins with a return
    assert max(len(line) for line in lines) <= columns
    heads = [line for line in lines if "img/s" in line]
    assert heads and all(name in heads[0] for name in ("loss", "last", "best", "time", "left"))
    rows = [line for line in lines if " running " in line and "102.5" in line]
    assert any("2m 00s" in row and "2/4" in row and "0.625" in row for row in rows)
    assert ("━" in "".join(rows)) is (columns == 140), "there is room for bars"
    assert "about " in text and "accuracy 0.4000" in text and "2 completed; best: trial 0 (*)" in text


def trial(index, state, began, ended=None):
    return Trial(index, State(state), 1, epochs=4, started=began, ended=ended)


def test_the_time_left_counts_what_is_to_come_by_lanes():
    now = time.time()
    ended, running = trial(0, "completed", now - 300, now - 200), trial(1, "running", now - 60)
    pace = {1: Pace(2, 0.1, 9.0, 60.0)}  # 120 seconds in all
    assert time_left([ended, running], pace, 4) == pytest.approx(60 + 2 * 110, abs=1)
    assert time_left([ended, running], pace, 4, lanes=2) == pytest.approx(140, abs=1)
    assert time_left([ended, running], pace, 2, lanes=2) == pytest.approx(60, abs=1)
    assert time_left([ended, running], {}, 2) == pytest.approx(40, abs=1), "as long as the others"
    assert time_left([ended, running], pace, 4, deadline=now + 30) == pytest.approx(30, abs=1)
    assert time_left([running], {}, 4) is None and time_left([ended], {}, 1) == 0
