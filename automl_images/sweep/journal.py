"""How a trial reports to its ledger."""

from __future__ import annotations

import time
from pathlib import Path

from automl_images import storage
from automl_images.errors import say
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.termination import Rule
from automl_images.sweep.trial import Trial


class LedgerJournal:
    """Reports a trial to its ledger.

    Args:
        ledger, trial: the ledger, and what its ``start_trial`` returned.
        deadline: when the submission's time is over, in seconds since 1970.
        rule: the sweep's early termination.
    """

    def __init__(self, ledger: Ledger, trial: Trial, deadline: float, rule: Rule):
        self.ledger, self.trial, self.deadline = ledger, trial, deadline
        self.rule, self.superseded = rule, False
        self.last: Score | None = None

    def evaluated(self, score: Score) -> str | None:
        """Write the score and judge it; a store that cannot be read or written never stops a training.

        Returns:
            Why the trial stops now; None: it goes on.
        """
        self.last = score
        peers: dict[int, Score] = {}
        try:
            mine = Evaluation(self.trial.index, self.trial.attempt, score)
            peers, self.superseded = self.ledger.evaluate(mine)
        except OSError as error:
            say(f"ledger: {storage.redact(str(error))}; going on")
        if self.superseded:
            return "superseded: a later attempt at this trial is running"
        if time.time() > self.deadline:
            return "timeout_hours: the time of the sweep is over"
        return self.rule.stop(score, peers)

    def save_model(self, folder: Path) -> None:
        """Replace the trial's model folder."""
        storage.put_folder(folder, self.ledger.model_url(self.trial.index))

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep the model folder of an epoch, in ``epochs/`` of the trial's folder."""
        storage.put_folder(folder, storage.join(self.ledger.trial_folder(self.trial.index), "epochs", f"{epoch:04d}"))

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Replace the trial's checkpoint."""
        self.ledger.write_checkpoint(self.trial.index, f"checkpoint-{epoch}", folder)
