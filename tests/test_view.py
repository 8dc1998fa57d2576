"""What a run shows of its trials: what is kept from an earlier one, and what happens between two evaluations."""

import io
import time

import pytest
from rich.console import Console

from automl_images.pipelines.local import Task
from automl_images.pipelines.view import View
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.submission import Lane, Submission
from automl_images.sweep.trial import State
from automl_images.training.progress import Progress

SETTINGS = {"model_name": "resnet20", "number_of_epochs": 9, "learning_rate": 0.1}


class Running:
    """A runner of which one lane trains."""

    def __init__(self, ledger, log):
        self.tasks = [Task("train", log, 0)]
        self.lane = Lane(ledger.url, "r", 0, 1).to_json()

    def output(self, step):
        return [self.lane] if step == "plan" else None


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(str(tmp_path / "ledger"))
    made.open({"task": "image-classification", "primary_metric": "accuracy"})
    return made


@pytest.fixture
def shown(ledger, tmp_path):
    """Return a view, and a function that looks at the ledger once and gives the new lines."""
    text = io.StringIO()
    view = View(Running(ledger, tmp_path / "train-0.log"), "accuracy", Console(file=text, width=200))

    def look():
        begun = text.tell()
        view._show_trials(None)
        return [line.strip() for line in text.getvalue()[begun:].splitlines()]

    return view, look


def ended(ledger, index, state=State.COMPLETED, **more):
    trial = ledger.start_trial(index, SETTINGS, ["learning_rate"])
    ledger.end_trial(trial, state, best={"metric": "accuracy", "value": 0.5, "epoch": 9, "metrics": {}}, **more)


def test_a_resumed_run_says_how_many_are_kept_and_not_that_they_start(ledger, shown):
    for index in range(3):
        ended(ledger, index)
    ledger.start_trial(3, SETTINGS, ["learning_rate"])  # was killed
    ended(ledger, 4, State.FAILED, resumes=True, error="killed by SIGINT")
    time.sleep(0.01)
    ledger.write_run(Submission("r", 7, time.time() + 999, started=time.time()))
    view, look = shown
    assert look() == ["3 trials kept from an earlier run"]
    assert view.kept() == "3 of 7 trials are done and kept, 2 go on from their last checkpoint"
    ledger.start_trial(3, SETTINGS, ["learning_rate"])
    ledger.start_trial(5, SETTINGS, ["learning_rate"])
    assert look() == ["trial 3 starts again (attempt 2): learning_rate=0.1", "trial 5 starts: learning_rate=0.1"]
    ended(ledger, 6)
    assert [line.split()[:3] for line in look()] == [["trial", "6", "starts:"], ["trial", "6", "completed"]]


def test_a_first_run_keeps_nothing(ledger, shown):
    view, look = shown
    assert view.kept() == "nothing was trained yet" and not view.trained
    ledger.write_run(Submission("r", 2, time.time() + 999, started=time.time()))
    assert look() == []
    ledger.start_trial(0, SETTINGS, ["learning_rate"])
    assert look() == ["trial 0 starts: learning_rate=0.1"] and view.trained


def test_what_an_epoch_came_to_is_shown_once_its_line_is_whole(ledger, shown, tmp_path):
    ledger.write_run(Submission("r", 1, time.time() + 999, started=time.time()))
    ledger.start_trial(0, SETTINGS, ["learning_rate"])
    _, look = shown
    first = "trial 0: epoch 1/9: loss 0.412, 210.5 images/s, about 4 min left"
    second = "trial 0: epoch 2/9: accuracy 0.5000 (best 0.5000); loss 0.400; 210.5 images/s, about 4 min left"
    with (tmp_path / "train-0.log").open("w") as log:
        log.write(f"trial 0: resnet20 on cpu\n{first}\n{second}\ntrial 0: epoch 3/9: loss 0.3")
    ledger.evaluate(Evaluation(0, 1, Score(1, 2, 0.5, 0.5, 0.5)))
    assert look() == ["trial 0 starts: learning_rate=0.1", first, second]
    with (tmp_path / "train-0.log").open("a") as log:
        log.write("99, 210.5 images/s, about 3 min left\n")
    assert look() == ["trial 0: epoch 3/9: loss 0.399, 210.5 images/s, about 3 min left"]
    assert look() == []


def test_where_there_is_a_live_table_no_line_repeats_its_epochs(ledger, shown, tmp_path):
    ledger.write_run(Submission("r", 1, time.time() + 999, started=time.time()))
    ledger.start_trial(0, SETTINGS, ["learning_rate"])
    view, look = shown
    view.live = True
    (tmp_path / "train-0.log").write_text("trial 0: epoch 1/9: loss 0.4, 210.5 images/s, about 4 min left\n")
    assert look() == ["trial 0 starts: learning_rate=0.1"]


def test_the_baseline_and_what_a_lane_says_are_shown_and_the_baseline_once(ledger, shown, tmp_path):
    ledger.write_run(Submission("r", 2, time.time() + 999, started=time.time()))
    _, look = shown
    baseline = "baseline: accuracy 0.3333, which a model reaches that looks at no image"
    lane = "lane 0: another run of this experiment trains trial 1; waiting for it"
    (tmp_path / "train-0.log").write_text(f"trial 0: {baseline}\n{lane}\ntrial 1: {baseline}\n")
    assert look() == [baseline, lane]
    with (tmp_path / "train-0.log").open("a") as log:
        log.write(f"trial 2: {baseline}\n")
    assert look() == []


class Trainer:
    is_global_zero = True


def test_each_epoch_says_its_loss_its_pace_and_what_is_left(monkeypatch, capsys):
    from automl_images.training import progress
    from automl_images.training.module import Module

    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    module = Module.__new__(Module)
    monkeypatch.setattr(Module, "losses", lambda _: {"box": 0.25, "class": 0.5})
    paces, trainer = [], Trainer()
    trainer.max_epochs = 4
    progressing = Progress(images=120, frequency=2, tell=paces.append)
    for epoch, seconds in enumerate((30.0, 6.0, 6.0, 6.0)):  # the first warms up
        trainer.current_epoch = epoch
        progressing.on_train_epoch_start(trainer, module)
        clock[0] += seconds
        if epoch == 1:  # an evaluation, whose line has the words; training alone is the pace
            progressing.on_validation_start(trainer, module)
            clock[0] += 14.0
            assert progressing.measured(trainer, module) == "20.0 images/s, about 40 s left"
        progressing.on_train_epoch_end(trainer, module)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/4: loss 0.750, 4.0 images/s, about 90 s left".replace("90 s", "2 min"),
        "epoch 3/4: loss 0.750, 20.0 images/s, about 13 s left",
        "epoch 4/4: loss 0.750, 20.0 images/s, about 0 s left",
    ]
    assert [(p.epoch, p.loss, p.rate) for p in paces] == [(1, 0.75, 4), (2, 0.75, 20), (3, 0.75, 20), (4, 0.75, 20)]
