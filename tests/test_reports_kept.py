"""What the terminal says of trials that an earlier run has begun or ended."""

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
    ledger.evaluate(Evaluation(1, 1, Score(5, 5, 0.4, 0.4, 0.4)))  # the checkpoint is of an epoch before
    (tmp_path / "checkpoint").mkdir()
    ledger.artifacts(1).write_checkpoint(1, 3, tmp_path / "checkpoint")
    ledger.start_trial(1, SETTINGS, ["learning_rate"])
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

    just_now = TrialTable("accuracy").lines(trials, [])
    assert "trial 0 starts: learning_rate=0.1" in just_now, "one that ended within this submission did start in it"
