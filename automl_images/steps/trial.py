"""One trial in a process of its own: ``python -m automl_images.steps.trial LEDGER RUN TRIAL``.

Exit codes: 0 the trial is completed or terminated, 2 it failed by something that can be mended, 1 by a fault of ours;
the ledger has the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.errors import DiskFullError, UserError, explain_full_disk
from automl_images.hyperparameters.sizes import WITHOUT_PUBLISHED_WEIGHTS
from automl_images.serving import write_score_file
from automl_images.sweep import journal, proposal
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.termination import RULE
from automl_images.sweep.trial import State, Trial

if TYPE_CHECKING:
    from automl_images.training.fit import Fitted

MOST = 300  # characters of an error that was not written for people


class LedgerJournal(journal.LedgerJournal):
    """Reports a trial to its ledger, with a score file in each model folder."""

    def save_model(self, folder: Path) -> None:
        """Replace the trial's model folder."""
        write_score_file(folder)
        super().save_model(folder)

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep the model folder of an epoch."""
        write_score_file(folder)
        super().save_epoch(folder, epoch)


def _rank() -> int:
    """Return which of the trial's processes this is, as Lightning tells those that it starts; the first is 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def run_trial(ledger: Ledger, run: str, trial: int) -> None:
    """Run a trial from where it is, and write how it ended.

    Raises:
        UserError: it failed; the ledger says so already.
    """
    try:
        settings, sampled, notes = proposal.proposed(ledger, trial)
    except UserError as error:  # a normal expression has no bounds that plan could check
        content = ledger.start_trial(trial, *proposal.given(ledger, trial))
        ledger.end_trial(content, State.FAILED, error=f"sampled {error}")
        raise
    started = ledger.start_trial(trial, settings, sampled)
    rule = RULE.validate_python(ledger.experiment().get("early_termination"))
    reports = LedgerJournal(ledger, started, ledger.run(run).deadline, rule)
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    try:
        with explain_full_disk():
            fitted = _fitted(ledger, run, started, reports)
    except Exception as error:
        known = isinstance(error, UserError)
        line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0][:MOST]
        resumes = isinstance(error, DiskFullError)
        ledger.end_trial(started, State.FAILED, reports.last, error=storage.redact(line), resumes=resumes)
        raise
    if reports.superseded:
        return
    state = State.TERMINATED if fitted.stopped else State.COMPLETED
    ledger.end_trial(
        started, state, reports.last, best=fitted.best, reason=fitted.reason, model=ledger.model_url(trial)
    )
    ledger.remove_checkpoints(trial)


def help_trial(ledger: Ledger, run: str, trial: int) -> None:
    """Train along with the process that runs the trial, on another GPU; that one alone reports.

    Raises:
        UserError: it failed; the first process fails too, and says so in the ledger.
    """
    started = ledger.trial(trial)
    assert started, "the first process writes the trial before it starts the others"
    _fitted(ledger, run, started, journal.Silence())


def _fitted(ledger: Ledger, run: str, trial: Trial, reports: LedgerJournal | journal.Silence) -> Fitted:
    from automl_images.training.fit import fit

    submission, experiment = ledger.run(run), ledger.experiment()
    weights = {"pretrained": None, **submission.weights}
    if weights["pretrained"] is None:
        weights["pretrained"] = trial.settings["model_name"] not in WITHOUT_PUBLISHED_WEIGHTS
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        return fit(
            experiment["task"],
            trial.settings,
            list(read_records(submission.training)),
            list(read_records(submission.validation)),
            reports,
            weights=weights,
            seed=experiment["seed"] * 10_007 + trial.index,
            checkpoint=_checkpoint(ledger, trial.index, Path(scratch)) if trial.attempt > 1 else None,
        )


def _checkpoint(ledger: Ledger, trial: int, scratch: Path) -> Path | None:
    name = ledger.checkpoint(trial)
    if name is None:
        return None
    if not _rank():
        print(f"resuming trial {trial} after epoch {name.rpartition('-')[2]} ({name})", file=sys.stderr, flush=True)
    return storage.get_folder(storage.join(ledger.trial_folder(trial), name), scratch)


def main() -> int:
    """Run the trial that the arguments name."""
    url, run, trial = sys.argv[1:]
    try:
        with explain_full_disk():
            (help_trial if _rank() else run_trial)(Ledger(url), run, int(trial))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
