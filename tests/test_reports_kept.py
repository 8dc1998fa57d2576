"""What the terminal says of trials that an earlier run has begun or ended."""

import io

from rich.console import Console

from automl_images.reports.leaderboard import write_leaderboard
from automl_images.reports.terminal import TrialTable
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State

SETTINGS = {"number_of_epochs": 9, "learning_rate": 0.1}


def test_what_is_kept_or_resumed_is_not_said_to_start(tmp_path):
    ledger = Ledger(str(tmp_path / "ledger"))
    first = ledger.start_trial(0, SETTINGS, ["learning_rate"])
    ledger.evaluate(Evaluation(0, 1, Score(1, 9, 0.5, 0.5, 0.5)))
    ledger.end_trial(first, State.COMPLETED, best={"metric": "accuracy", "value": 0.5, "epoch": 9})
    ledger.start_trial(1, SETTINGS, ["learning_rate"])
    ledger.evaluate(Evaluation(1, 1, Score(5, 5, 0.4, 0.4, 0.4)))  # the last checkpoint is of epoch 3
    ledger.start_trial(1, SETTINGS, ["learning_rate"], resumed=3)
    ledger.start_trial(2, SETTINGS, ["learning_rate"])
    ledger.start_trial(2, SETTINGS, ["learning_rate"])  # killed before its first checkpoint
    ledger.start_trial(3, SETTINGS, ["learning_rate"])
    trials = ledger.trials()
    table = TrialTable("accuracy", since=max(t.ended or 0 for t in trials) + 0.001)
    lines = table.lines(trials, [])
    assert lines[0].startswith("trial 0 is kept from an earlier run: completed after ")
    assert lines[0].endswith(" at epoch 9 of 9, best accuracy 0.5000 at epoch 9")
    assert "trial 1 resumes after epoch 3 (attempt 2): learning_rate=0.1" in lines
    assert "trial 2 starts again (attempt 2): learning_rate=0.1" in lines
    assert "trial 3 starts: learning_rate=0.1" in lines
    assert not any(line.startswith(("trial 0 starts", "trial 0: epoch", "trial 1 starts")) for line in lines)

    assert not any("baseline" in line for line in lines), "an earlier version's trials have none"

    just_now = TrialTable("accuracy").lines(trials, [])
    assert "trial 0 starts: learning_rate=0.1" in just_now, "one that ended within this submission did start in it"


def test_the_baseline_stands_where_the_metric_is_read(tmp_path):
    ledger = Ledger(str(tmp_path / "ledger"))
    best = {"metric": "accuracy", "value": 0.5, "epoch": 9, "metrics": {"baseline": {"accuracy": 0.375}}}
    ledger.end_trial(ledger.start_trial(0, SETTINGS, []), State.COMPLETED, best=best)
    ledger.start_trial(1, SETTINGS, [])
    trials, table = ledger.trials(), TrialTable("accuracy")
    assert table.lines(trials, [])[1].endswith("best accuracy 0.5000 (baseline 0.3750) at epoch 9")
    text = io.StringIO()
    Console(file=text, width=200).print(table.render(trials))
    assert "best: trial 0 (*), accuracy 0.5000; baseline: 0.3750" in text.getvalue()
    write_leaderboard(f"{tmp_path}/board.html", title="T", metric="accuracy", trials=trials, best=0)
    assert "<b>0.3750</b>baseline" in (tmp_path / "board.html").read_text()
    write_leaderboard(f"{tmp_path}/old.html", title="T", metric="accuracy", trials=trials[1:], best=None)
    assert "</b>baseline" not in (tmp_path / "old.html").read_text()
