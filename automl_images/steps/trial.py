"""One trial in a process of its own: ``python -m automl_images.steps.trial LEDGER RUN TRIAL``.

Exit codes: 0 the trial is completed or terminated, 2 it failed by something that can be mended, 1 by a fault of ours;
the ledger has the same. 3: a later attempt has taken the trial over, and the ledger has that one's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.errors import DiskFullError, UserError, explain_full_disk
from automl_images.hyperparameters import resolve, without_effect
from automl_images.sweep import ledger as states
from automl_images.sweep.evaluation import Evaluation
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import ADAPTIVE, propose
from automl_images.sweep.space import parse_space
from automl_images.sweep.termination import Rule, early_termination
from automl_images.tasks import get_task

if TYPE_CHECKING:
    from automl_images.training.fit import Fitted

EXIT_SUPERSEDED = 3
MOST = 300  # characters of an error that was not written for people


class LedgerJournal:
    """Reports a trial to its ledger.

    Args:
        ledger: the ledger.
        content: what :meth:`Ledger.start_trial` returned.
        deadline: when the submission's time is over, in seconds since 1970.
        rule: the sweep's early termination, or None.
    """

    def __init__(self, ledger: Ledger, content: dict[str, Any], deadline: float, rule: Rule | None):
        self.ledger, self.content, self.deadline = ledger, content, deadline
        self.rule, self.superseded = rule, False
        self.last: Evaluation | None = None

    def evaluated(self, epoch: int, value: float, best: float, mean: float) -> str | None:
        """Write the evaluation and judge it; a store that cannot be read or written never stops a training."""
        number = -(-epoch // self.content["settings"]["evaluation_frequency"])
        mine = Evaluation(self.content["trial"], self.content["attempt"], number, epoch, value, best, mean)
        self.last = mine
        peers: list[Evaluation] = []
        try:
            peers, self.superseded = self.ledger.evaluate(mine)
        except OSError as error:
            print(f"ledger: {storage.redact(str(error))}; going on", file=sys.stderr, flush=True)
        if self.superseded:
            return "superseded: a later attempt at this trial is running"
        if time.time() > self.deadline:
            return "timeout_hours: the time of the sweep is over"
        return self.rule.stop(mine, peers) if self.rule else None

    def save_model(self, folder: Path) -> None:
        """Replace the trial's model folder."""
        storage.put_folder(folder, self.ledger.model_url(self.content["trial"]))

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep the model folder of an epoch, in ``epochs/`` of the trial's folder."""
        storage.put_folder(
            folder, storage.join(self.ledger.trial_folder(self.content["trial"]), "epochs", f"{epoch:04d}")
        )

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Replace the trial's checkpoint."""
        self.ledger.write_checkpoint(self.content["trial"], f"checkpoint-{epoch}", folder)


def drawn(ledger: Ledger, trial: int) -> dict[str, Any]:
    """Return a trial's sampled settings.

    One that has started before keeps them: what it would be proposed now may depend on the others.
    """
    experiment = ledger.experiment()
    branches = parse_space(experiment["space"])
    before, after = ledger.trial(trial), int(experiment.get("baseline") is not None)
    if before and before["settings"]:
        return {name: before["settings"][name] for name in before["sampled"]}
    if experiment.get("baseline") is not None and trial == 0:
        return dict(experiment["baseline"])
    others = ledger.written() if experiment["sampling"] in ADAPTIVE else []
    return propose(experiment["sampling"], branches, experiment["seed"], trial - after, others)


def proposed(ledger: Ledger, trial: int) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return a trial's complete settings, the names that were sampled, and lines on settings without effect.

    Raises:
        UserError: a sampled value is out of the setting's range.
    """
    experiment, sampled = ledger.experiment(), drawn(ledger, trial)
    given = {**experiment["settings"], **sampled}
    settings = resolve(experiment["task"], given, experiment["profile"])
    return settings, sorted(sampled), without_effect(settings, given)


class Silence:
    """The journal of a process that only helps."""

    def evaluated(self, epoch: int, value: float, best: float, mean: float) -> str | None:
        """Leave the decision to the first process."""
        return None

    def save_model(self, folder: Path) -> None:
        """Save nothing, as do the others."""

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Save nothing."""

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Save nothing."""


def _rank() -> int:
    """Return which of the trial's processes this is, as Lightning tells those that it starts; the first is 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def run_trial(ledger: Ledger, run: str, trial: int) -> int:
    """Run a trial from where it is, and write how it ended; return the exit code.

    Raises:
        UserError: it failed; the ledger says so already.
    """
    try:
        settings, sampled, notes = proposed(ledger, trial)
    except UserError as error:  # a normal expression has no bounds that plan could check
        sampled_values = drawn(ledger, trial)
        given = {**ledger.experiment()["settings"], **sampled_values}
        content = ledger.start_trial(trial, given, sorted(sampled_values))
        ledger.end_trial(content, states.FAILED, error=f"sampled {error}")
        raise
    content = ledger.start_trial(trial, settings, sampled)
    submission, experiment = ledger.run(run), ledger.experiment()
    rule = early_termination(experiment.get("early_termination"))
    journal = LedgerJournal(ledger, content, submission["deadline"], rule)
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    try:
        with explain_full_disk():
            fitted = _fitted(ledger, experiment, submission, content, journal)
    except Exception as error:
        known = isinstance(error, UserError)
        line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0][:MOST]
        resumes = isinstance(error, DiskFullError)
        ledger.end_trial(content, states.FAILED, journal.last, error=storage.redact(line), resumes=resumes)
        raise
    if journal.superseded:
        return EXIT_SUPERSEDED
    state = states.TERMINATED if fitted.stopped else states.COMPLETED
    ledger.end_trial(
        content, state, journal.last, best=fitted.best, reason=fitted.reason, model=ledger.model_url(trial)
    )
    ledger.remove_checkpoints(trial)
    return 0


def help_trial(ledger: Ledger, run: str, trial: int) -> int:
    """Train along with the process that runs the trial, on another GPU; that one alone reports.

    Raises:
        UserError: it failed; the first process fails too, and says so in the ledger.
    """
    content = ledger.trial(trial)
    assert content, "the first process writes the trial before it starts the others"
    _fitted(ledger, ledger.experiment(), ledger.run(run), content, Silence())
    return 0


def _fitted(
    ledger: Ledger,
    experiment: dict[str, Any],
    submission: dict[str, Any],
    content: dict[str, Any],
    journal: LedgerJournal | Silence,
) -> Fitted:
    from automl_images.training.fit import fit
    from automl_images.training.job import Job

    trial, kind = content["trial"], get_task(experiment["task"]).label
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        job = Job(
            experiment["task"],
            content["settings"],
            list(read_records(submission["training"], kind)),
            list(read_records(submission["validation"], kind)),
            submission["weights"],
            seed=experiment["seed"] * 10_007 + trial,
            checkpoint=_checkpoint(ledger, trial, Path(scratch)) if content["attempt"] > 1 else None,
        )
        return fit(job, journal)


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
            return (help_trial if _rank() else run_trial)(Ledger(url), run, int(trial))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main())
