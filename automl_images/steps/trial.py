"""One trial in a process of its own: ``python -m automl_images.steps.trial LEDGER RUN TRIAL``.

Exit codes: 0 the trial is completed or terminated, 2 it failed by something that can be mended, 1 by a fault of ours;
the ledger has the same. 3: a later attempt has taken the trial over, and the ledger has that one's.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.environment import rank
from automl_images.errors import DiskFullError, UserError, explain_full_disk, say
from automl_images.faults import explained
from automl_images.hyperparameters.sizes import WITHOUT_PUBLISHED_WEIGHTS
from automl_images.steps.interruption import die_at_once
from automl_images.sweep import proposal
from automl_images.sweep.computing import Computing
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.termination import RULE
from automl_images.sweep.trial import State, Trial
from automl_images.tasks import get_task

if TYPE_CHECKING:
    from automl_images.training.fit import Fitted

EXIT_SUPERSEDED = 3
MOST = 300  # characters of an error that was not written for people


def run_trial(ledger: Ledger, run: str, trial: int) -> int:
    """Run a trial, write how it ended, return the exit code; raises UserError if it failed, which the ledger says."""
    try:
        settings, sampled, notes = proposal.proposed(ledger, trial)
    except UserError as error:  # a normal expression has no bounds that plan could check
        content = ledger.start_trial(trial, *proposal.given(ledger, trial))
        ledger.end_trial(content, State.FAILED, error=f"sampled {error}")
        raise
    started = ledger.start_trial(trial, settings, sampled)
    journal = _journal(ledger, run, started)
    where = "from its beginning" if started.resumed is None else f"after epoch {started.resumed}"
    say("starting" if started.attempt == 1 else f"resuming {where} (attempt {started.attempt})")
    for note in notes:
        say(f"note: {note}")
    try:
        with explain_full_disk():
            fitted = _fitted(ledger, run, started, journal)
    except Exception as error:
        known = isinstance(error, UserError)
        line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0][:MOST]
        resumes = isinstance(error, DiskFullError | BrokenPipeError)  # its lane is gone
        ledger.end_trial(started, State.FAILED, journal.last, error=storage.redact(line), resumes=resumes)
        raise
    if journal.superseded:
        return EXIT_SUPERSEDED
    state = State.TERMINATED if fitted.stopped else State.COMPLETED
    ledger.end_trial(
        started, state, journal.last, best=fitted.best, reason=fitted.reason, model=ledger.model_url(trial)
    )
    ledger.remove_checkpoints(trial)
    return 0


def help_trial(ledger: Ledger, run: str, trial: int) -> int:
    """Train along with the process that runs the trial, on another GPU; that one alone reports, failures too."""
    started = ledger.trial(trial)
    assert started, "the first process writes the trial before it starts the others"
    _fitted(ledger, run, started, _journal(ledger, run, started))
    return 0


def _journal(ledger: Ledger, run: str, trial: Trial) -> LedgerJournal:
    rule = RULE.validate_python(ledger.experiment().get("early_termination"))
    return LedgerJournal(ledger, trial, ledger.run(run).deadline, rule)


def _fitted(ledger: Ledger, run: str, trial: Trial, journal: LedgerJournal) -> Fitted:
    from automl_images.training.fit import fit
    from automl_images.training.job import Job

    submission, experiment = ledger.run(run), ledger.experiment()
    weights = {"pretrained": None, **submission.weights}
    if weights["pretrained"] is None:
        weights["pretrained"] = trial.settings["model_name"] not in WITHOUT_PUBLISHED_WEIGHTS
    kind = get_task(experiment["task"]).label
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        job = Job(
            experiment["task"],
            trial.settings,
            list(read_records(submission.training, kind)),
            list(read_records(submission.validation, kind)),
            weights,
            seed=experiment["seed"] * 10_007 + trial.index,
            checkpoint=_checkpoint(ledger, trial.index, Path(scratch)) if trial.attempt > 1 else None,
            computing=Computing(ledger.url).chosen,
        )
        return fit(job, journal)


def _checkpoint(ledger: Ledger, trial: int, scratch: Path) -> Path | None:
    name = ledger.checkpoint(trial)
    return storage.get_folder(storage.join(ledger.trial_folder(trial), name), scratch) if name else None


def main() -> int:
    """Run the trial that the arguments name."""
    die_at_once()
    url, run, trial = sys.argv[1:]
    try:
        with explained():
            return (help_trial if rank() else run_trial)(Ledger(url), run, int(trial))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main())
