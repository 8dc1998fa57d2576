"""A trial's journal: what it writes, whom it is judged by, when it ends itself."""

import time

import pytest

from automl_images import storage
from automl_images.steps.trial import LedgerJournal
from automl_images.sweep.ledger import COMPLETED, Ledger
from automl_images.sweep.termination import early_termination

SETTINGS = {"model_name": "yolov5", "number_of_epochs": 9, "evaluation_frequency": 2}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "ledger"))


def journal(ledger, trial, rule=None, deadline=None):
    content = ledger.start_trial(trial, SETTINGS, [])
    return LedgerJournal(ledger, content, deadline or time.time() + 60, early_termination(rule))


def test_the_rule_judges_by_the_ledger(ledger):
    rule = {"policy": "bandit", "slack_amount": 0.1}
    first, second = journal(ledger, 0, rule), journal(ledger, 1, rule)
    assert first.evaluated(2, 0.5, 0.5, 0.5) is None
    assert second.evaluated(2, 0.45, 0.45, 0.45) is None
    assert second.evaluated(4, 0.3, 0.45, 0.4) is None, "nobody else has come so far"
    assert first.evaluated(4, 0.6, 0.6, 0.55) is None
    said = second.evaluated(6, 0.3, 0.45, 0.4)
    assert said is None, "trial 0 runs on, and has no third evaluation yet"
    ledger.end_trial(first.content, COMPLETED, first.last)
    said = second.evaluated(8, 0.46, 0.46, 0.4)
    assert said == "bandit: at evaluation 4 its best 0.46 is below 0.5, trial 0's best 0.6 with slack_amount 0.1"


def test_the_last_epoch_is_an_evaluation_of_its_own(ledger):
    one = journal(ledger, 0)
    for epoch in (2, 4, 6, 8, 9):
        one.evaluated(epoch, 0.1, 0.1, 0.1)
    assert [e.number for e in sorted(ledger.evaluations(), key=lambda e: e.epoch)] == [1, 2, 3, 4, 5]


def test_a_trial_ends_itself_for_a_later_attempt_and_for_the_deadline(ledger):
    first = journal(ledger, 0)
    assert first.evaluated(2, 0.1, 0.1, 0.1) is None
    second = journal(ledger, 0, deadline=time.time() - 1)
    assert first.evaluated(4, 0.1, 0.1, 0.1).startswith("superseded")
    assert second.evaluated(4, 0.1, 0.1, 0.1).startswith("timeout_hours")


def test_a_store_that_fails_stops_no_training(ledger, monkeypatch, capsys):
    one = journal(ledger, 0, {"policy": "bandit", "slack_amount": 0})

    def broken(*_):
        raise OSError("s3://user:secret@host is away")

    monkeypatch.setattr(storage, "write", broken)
    assert one.evaluated(2, 0.1, 0.1, 0.1) is None
    said = capsys.readouterr().err
    assert "is away; going on" in said
    assert "secret" not in said
