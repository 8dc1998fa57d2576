"""One trial in a process of its own: ``python -m automl_images.steps.trial LEDGER RUN TRIAL ATTEMPT``.

Exit codes: 0 the trial is completed or terminated, 2 it failed by something that can be mended, 1 by a fault of ours;
the ledger has the same. 3: a later attempt has taken the trial over, and the ledger has that one's.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images import storage, store
from automl_images.annotations import read_records
from automl_images.environment import rank
from automl_images.errors import (
    CheckpointError,
    DiskFullError,
    StoreError,
    UserError,
    explain_full_disk,
    first_line,
    say,
)
from automl_images.faults import explained
from automl_images.hyperparameters import in_one_line
from automl_images.hyperparameters.sizes import WITHOUT_PUBLISHED_WEIGHTS
from automl_images.steps.interruption import die_at_once
from automl_images.sweep import proposal
from automl_images.sweep.artifacts import epoch_of
from automl_images.sweep.computing import Computing
from automl_images.sweep.journal import LedgerJournal
from automl_images.sweep.ledger import Ledger, TakenError
from automl_images.sweep.liveness import identity
from automl_images.sweep.termination import RULE, Unstopped
from automl_images.sweep.trial import State, Trial
from automl_images.tasks import get_task

if TYPE_CHECKING:
    from automl_images.training.fit import Fitted

EXIT_SUPERSEDED = 3
MOST = 300  # characters of an error that was not written for people


def run_trial(ledger: Ledger, run: str, trial: int, attempt: int | None = None) -> int:
    """Run a trial, write how it ended, return the exit code; raises UserError if it failed, which the ledger says.

    ``attempt`` is the number that was free when it was decided to run; None: the next.
    """
    more: dict[str, Any] = {"attempt": attempt, "run": run, "process": identity()}
    try:
        settings, sampled, notes = proposal.proposed(ledger, trial)
    except UserError as error:
        started = ledger.start_trial(trial, *proposal.given(ledger, trial), **more)
        ledger.end_trial(started, State.FAILED, error=f"sampled {error}")
        raise
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        checkpoint, has_best = _checkpoint(ledger, trial, Path(scratch))
        resumed = epoch_of(checkpoint.name) if checkpoint else None
        try:
            started = ledger.start_trial(trial, settings, sampled, resumed=resumed, **more)
        except TakenError:
            return EXIT_SUPERSEDED
        journal = _journal(ledger, started, ledger.time_left(run)[0])
        with journal.beating():
            if checkpoint and has_best and not ledger.artifacts(trial).adopt_model(started.attempt, checkpoint.name):
                started = _over(ledger, started, f"{checkpoint.name}: its model has changed or is lost")
                checkpoint = None
            where = "from its beginning" if started.resumed is None else f"after epoch {started.resumed}"
            say("starting" if started.attempt == 1 else f"resuming {where} (attempt {started.attempt})")
            for note in in_one_line(notes):
                say(f"note: {note}")
            return _run(ledger, run, started, journal, checkpoint)


def _run(ledger: Ledger, run: str, started: Trial, journal: LedgerJournal, checkpoint: Path | None) -> int:
    try:
        with explain_full_disk():
            try:
                fitted = _fitted(ledger, run, started, journal, checkpoint)
            except CheckpointError as error:
                started = _over(ledger, started, f"the checkpoint of another version does not fit ({error})")
                fitted = _fitted(ledger, run, started, journal, None)
            if journal.superseded:
                return EXIT_SUPERSEDED
            journal.close()
            best = _best(journal, fitted.best)
    except Exception as error:
        known = isinstance(error, UserError)
        line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0][:MOST]
        resumes = isinstance(error, DiskFullError | StoreError | BrokenPipeError)  # its lane is gone
        ledger.end_trial(started, State.FAILED, journal.last, error=storage.redact(line), resumes=resumes)
        raise
    state = State.TERMINATED if fitted.stopped else State.COMPLETED
    model = journal.artifacts.model(started.attempt)
    ledger.end_trial(started, state, journal.last, best=best, reason=fitted.reason, model=model)
    journal.artifacts.clear(started.attempt)
    return 0


def _over(ledger: Ledger, trial: Trial, why: str) -> Trial:
    """Return the trial as one that starts from its beginning, and say why; a model taken over from before goes."""
    say(f"{why}, so the trial starts over")
    trial = dataclasses.replace(trial, resumed=None)
    ledger.rewrite(trial)
    storage.remove(ledger.artifacts(trial.index).model(trial.attempt))
    return trial


def _best(journal: LedgerJournal, best: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the best evaluation's figures: those of the model that is there, which may be newer than a checkpoint.

    Raises:
        StoreError: there is no model.
    """
    if best is None:
        return None
    artifacts, attempt = journal.artifacts, journal.trial.attempt
    written = artifacts.metrics(attempt)
    if written is None:
        artifacts.clear(attempt)
        lost = f"{storage.redact(artifacts.model(attempt))}: the best model is lost"
        raise StoreError(f"{lost}; submit again, and the trial starts over")
    metrics = json.loads(written)
    if metrics.get("epoch") == best["epoch"] or best["metric"] not in metrics:
        return best
    epoch = metrics.pop("epoch")
    return {**best, "value": metrics[best["metric"]], "epoch": epoch, "metrics": metrics}


def help_trial(ledger: Ledger, run: str, trial: int) -> int:
    """Train along with the process that runs the trial, on another GPU; that one alone reports, failures too."""
    started = ledger.trial(trial)
    assert started, "the first process writes the trial before it starts the others"
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        checkpoint = None if started.resumed is None else _checkpoint(ledger, trial, Path(scratch))[0]
        _fitted(ledger, run, started, _journal(ledger, started, float("inf")), checkpoint)
    return 0


def _journal(ledger: Ledger, trial: Trial, left: float) -> LedgerJournal:
    rule = RULE.validate_python(ledger.experiment().get("early_termination"))
    return LedgerJournal(ledger, trial, left, Unstopped() if trial.confirms is not None else rule)


def _fitted(ledger: Ledger, run: str, trial: Trial, journal: LedgerJournal, checkpoint: Path | None) -> Fitted:
    from automl_images.training.fit import fit
    from automl_images.training.job import Job

    submission, experiment = ledger.run(run), ledger.experiment()
    weights = {"pretrained": None, **submission.weights}
    if weights["pretrained"] is None:
        weights["pretrained"] = trial.settings["model_name"] not in WITHOUT_PUBLISHED_WEIGHTS
    kind = get_task(experiment["task"]).label
    job = Job(
        experiment["task"],
        trial.settings,
        list(read_records(submission.training, kind)),
        list(read_records(submission.validation, kind)),
        weights,
        seed=experiment["seed"] * 10_007 + trial.seed,
        checkpoint=checkpoint,
        computing=Computing(ledger.url).chosen,
    )
    return fit(job, journal)


def _checkpoint(ledger: Ledger, trial: int, scratch: Path) -> tuple[Path | None, bool]:
    """Return a local copy of a trial's last checkpoint, under its name, and whether there was a best model by then.

    None: it has no checkpoint that can be used.
    """
    artifacts = ledger.artifacts(trial)
    name = artifacts.checkpoint()
    if name is None:
        return None, False
    try:
        folder = storage.get_folder(storage.join(artifacts.url, name), scratch / name)
        return folder, _has_best(folder)
    except StoreError:
        raise
    except Exception as error:  # torch, zipfile and json have a dozen kinds for what is damaged
        say(f"{name}: the checkpoint is damaged ({first_line(error)[:MOST]}), so the trial starts over")
        return None, False


def _has_best(checkpoint: Path) -> bool:
    """Return whether there was a best model when a checkpoint was written.

    Raises an error if it is not all there, or holds anything but tensors and plain values.
    """
    import zipfile

    import torch

    from automl_images.training.callbacks import Evaluations
    from automl_images.training.job import Compute

    Compute.read(checkpoint)
    with zipfile.ZipFile(checkpoint / "trainer.ckpt") as file:
        if file.testzip():
            raise ValueError("its bytes are others than were written")
    content = torch.load(checkpoint / "trainer.ckpt", map_location="cpu", weights_only=True, mmap=True)
    if missing := {"state_dict", "optimizer_states", "callbacks", "epoch"} - content.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    return content["callbacks"].get(Evaluations.__qualname__, {}).get("best") is not None


def main() -> int:
    """Run the trial that the arguments name."""
    die_at_once()
    url, run, trial, attempt = sys.argv[1:]
    try:
        with explained(), store.patience(store.LONG):
            if rank():
                return help_trial(Ledger(url), run, int(trial))
            return run_trial(Ledger(url), run, int(trial), int(attempt))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main())
