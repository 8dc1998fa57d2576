"""A trial's journal: what it writes, whom it is judged by, when it ends itself."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from automl_images import storage
from automl_images.errors import UserError
from automl_images.steps.plan import plan_sweep
from automl_images.steps.select import select_trial
from automl_images.steps.train import train_lane
from automl_images.steps.trial import run_trial
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.termination import RULE
from automl_images.sweep.trial import State

SETTINGS = {"model_name": "yolov5", "number_of_epochs": 9, "evaluation_frequency": 2}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "ledger"))


def journal(ledger, trial, rule=None, deadline=None):
    content = ledger.start_trial(trial, SETTINGS, [])
    return LedgerJournal(ledger, content, 60 if deadline is None else deadline, RULE.validate_python(rule))


def test_the_rule_judges_by_the_ledger(ledger):
    rule = {"policy": "bandit", "slack_amount": 0.1}
    first, second = journal(ledger, 0, rule), journal(ledger, 1, rule)
    assert first.evaluated(Score(1, 2, 0.5, 0.5, 0.5)) is None
    assert second.evaluated(Score(1, 2, 0.45, 0.45, 0.45)) is None
    assert second.evaluated(Score(2, 4, 0.3, 0.45, 0.4)) is None, "nobody else has come so far"
    assert first.evaluated(Score(2, 4, 0.6, 0.6, 0.55)) is None
    said = second.evaluated(Score(3, 6, 0.3, 0.45, 0.4))
    assert said is None, "trial 0 runs on, and has no third evaluation yet"
    ledger.end_trial(first.trial, State.COMPLETED, first.last)
    said = second.evaluated(Score(4, 8, 0.46, 0.46, 0.4))
    assert said == "bandit: at evaluation 4 its best 0.46 is below 0.5, trial 0's best 0.6 with slack_amount 0.1"


RULES = [
    {"policy": "bandit", "slack_factor": 0},
    {"policy": "bandit", "slack_amount": 0},
    {"policy": "median_stopping"},
    {"policy": "truncation_selection", "truncation_percentage": 99},
    {"policy": "asha", "reduction_factor": 2, "min_evaluations": 1},
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: "-".join(map(str, r.values())))
@pytest.mark.parametrize("value", [2 / 3, 1 / 6, 11 / 12, 0.1])
def test_equal_trials_do_not_stop_each_other(ledger, rule, value):
    trials, values = [journal(ledger, i, rule) for i in range(3)], [value] * 4
    for number in range(1, len(values) + 1):
        mean = sum(values[:number]) / number
        for each in trials:
            assert each.evaluated(Score(number, 2 * number, value, value, mean)) is None


def test_numbers_come_back_as_they_were(ledger):
    mine = Score(1, 2, 2 / 3, 11 / 12, 1e-17 + 1 / 6)
    journal(ledger, 0).evaluated(mine)
    assert [e.score for e in ledger.evaluations()] == [mine]
    assert journal(ledger, 1).evaluated(mine) is None
    assert ledger.evaluate(Evaluation(2, 1, mine))[0] == {0: mine, 1: mine}
    assert ledger.trials()[0].value == 2 / 3


def test_a_trial_ends_itself_for_a_later_attempt_and_for_the_deadline(ledger):
    first = journal(ledger, 0)
    assert first.evaluated(Score(1, 2, 0.1, 0.1, 0.1)) is None
    second = journal(ledger, 0, deadline=-1)
    assert first.evaluated(Score(2, 4, 0.1, 0.1, 0.1)).startswith("superseded")
    assert second.evaluated(Score(2, 4, 0.1, 0.1, 0.1)).startswith("timeout_hours")


def test_a_store_that_fails_stops_no_training(ledger, monkeypatch, capsys):
    one = journal(ledger, 0, {"policy": "bandit", "slack_amount": 0})

    def broken(*_):
        raise OSError("s3://user:secret@host is away")

    monkeypatch.setattr(storage, "write", broken)
    assert one.evaluated(Score(1, 2, 0.1, 0.1, 0.1)) is None
    said = capsys.readouterr().err
    assert "is away; going on" in said
    assert "secret" not in said


@pytest.fixture
def planned(tmp_path):
    """Return a lane of a sweep of two trials whose learning rates are drawn far below zero."""
    (tmp_path / "records.jsonl").write_text("")
    experiment = {
        "name": "n",
        "weights": {"pretrained": False},
        "task": "image-object-detection",
        "storage": str(tmp_path),
        "sweep": {"iterations": 2, "max_concurrent_iterations": 1, "space": {"learning_rate": {"normal": [0, 0.1]}}},
    }
    (lane,) = plan_sweep(experiment, str(tmp_path / "records.jsonl"), str(tmp_path / "records.jsonl"))
    file = Path(json.loads(lane)["ledger"], "experiment.json")  # as an older version planned it
    planned = json.loads(file.read_text())
    file.write_text(json.dumps({**planned, "space": {"learning_rate": {"normal": [-5, 0.1]}}}))
    return lane


def test_a_draw_out_of_range_fails_its_trial_and_says_why(planned):
    assert json.loads(train_lane(planned))["trials"] == {"0": "failed", "1": "failed"}
    trials = Ledger(json.loads(planned)["ledger"]).trials()
    for trial in trials:
        assert trial.error.startswith("sampled learning_rate: ")
        assert trial.settings["learning_rate"] < -4
    with pytest.raises(UserError, match=r"trial 1 failed: sampled learning_rate"):
        select_trial(json.loads(planned)["ledger"])


@pytest.mark.parametrize(("model", "published"), [("yolov5", False), ("fasterrcnn_resnet18_fpn", True)])
def test_unset_weights_are_decided_for_each_trials_model(tmp_path, monkeypatch, model, published):
    (tmp_path / "records.jsonl").write_text("")
    records, given = str(tmp_path / "records.jsonl"), {}

    def fit(job, *_):
        given["weights"] = job.weights
        return SimpleNamespace(best=None, reason=None, stopped=False)

    monkeypatch.setitem(sys.modules, "automl_images.training.fit", SimpleNamespace(fit=fit))
    space = [{"model_name": {"choice": [m]}} for m in ("yolov5", "fasterrcnn_resnet18_fpn")]
    experiment = {"task": "image-object-detection", "sweep": {"iterations": 2, "sampling": "grid", "space": space}}
    lane = json.loads(plan_sweep(experiment, records, records, default_storage=str(tmp_path))[0])
    ledger = Ledger(lane["ledger"])
    assert ledger.run(lane["run"]).weights == {"pretrained": None, "source": None}
    trial = ["yolov5", "fasterrcnn_resnet18_fpn"].index(model)
    run_trial(ledger, lane["run"], trial)
    assert ledger.trial(trial).settings["model_name"] == model
    assert given["weights"] == {"pretrained": published, "source": None}


def test_a_trial_that_dies_before_it_begins_is_recorded(planned, monkeypatch):
    dead = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: popen(dead, **options))
    assert json.loads(train_lane(planned))["trials"] == {"0": "failed", "1": "failed"}
    monkeypatch.undo()
    ledger = Ledger(json.loads(planned)["ledger"])
    assert [(t.resumes, t.attempt) for t in ledger.trials()] == [(True, 0)] * 2
    train_lane(planned)
    assert [(t.resumes, t.attempt) for t in ledger.trials()] == [(False, 2)] * 2, "tried again"
