"""watch: a sweep's ledger as a table, once or live, wherever it lies."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from automl_images import storage, store
from automl_images.errors import UserError
from automl_images.sweep.confirmation import confirmation_of
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import evolving
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import State, Trial, best_trial

if TYPE_CHECKING:
    from rich.console import Console

_COST = 5  # a ledger that is slow to read is read more rarely: so many times as long passes in between
_WIDE = 200  # columns of a table that goes to a file


def read_trials(ledger: str) -> list[dict[str, Any]]:
    """Return a ledger's trials as JSON holds them; numbers that are not finite are None.

    Raises:
        UserError: there is no ledger.
    """
    shared = Ledger(ledger)
    shared.experiment()
    return json.loads(json.dumps([t.to_json() for t in shared.trials()]), parse_constant=lambda _: None)


def show_trials(ledger: str, console: Console | None = None) -> None:
    """Print a ledger's trials as a table.

    Args:
        ledger: the ledger's address.
        console: where to; standard output if None.

    Raises:
        UserError: there is no ledger.
    """
    shared, console = Ledger(ledger), console or _console()
    table = _table(shared)
    run, _ = newest_run(shared)
    table.expect(run)
    trials = shared.trials()
    console.print(table.render(trials, shared.paces(trials)))
    for line in _confirmed(shared, trials, run):
        _say(console, line)


def write_generations(ledger: str, csv: str | None, hyp: str | None) -> str:
    """Write an evolution's generations so far, and return a line on them.

    Args:
        ledger: the ledger's address; its trials may still run.
        csv, hyp: where to write evolve.csv and hyp_evolve.yaml (any fsspec URL); None: not.

    Raises:
        UserError: there is no ledger, or its sweep does not evolve.
    """
    from automl_images.reports.evolution import evolution_of

    shared = Ledger(ledger)
    evolution = evolution_of(shared.experiment(), *_counted(shared.trials(), newest_run(shared)[0]))
    if evolution is None:
        raise UserError(f"{storage.redact(shared.url)}: --csv and --hyp are for a sweep that evolves, unlike this")
    for url, text in ((csv, evolution.csv()), (hyp, evolution.yaml())):
        if url:
            storage.write(url, text)
    best = evolution.best
    found = f"the best is trial {best.trial}, fitness {best.fitness:.4f}" if best else "there is no best yet"
    if evolution.confirmation:
        found = "\n".join([found, *(f"confirm: {line}" for line in evolution.confirmation.lines())])
    return f"generations: {len(evolution.rows)}; trials without a fitness: {evolution.without}; {found}"


def watch_trials(ledger: str, every: float = 2.0, console: Console | None = None) -> None:
    """Show a ledger's trials until none runs and those of its newest submission have ended, or until Ctrl-C.

    On a terminal a table is kept up to date; elsewhere a line is printed for all that is new.

    Args:
        ledger: the ledger's address.
        every: seconds between two looks at the ledger, at the least.
        console: where to; standard output if None.

    Raises:
        UserError: there is no ledger.
    """
    from rich.live import Live

    shared, console = Ledger(ledger), console or _console()
    table = _table(shared)
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    before: list[Trial] = []
    try:
        with live or nullcontext():
            while True:
                start = time.monotonic()
                run, written = newest_run(shared)
                table.expect(run)
                trials = shared.trials()
                paces = shared.paces(trials)
                if live:
                    live.update(table.render(trials, paces), refresh=True)
                for line in [] if live else table.lines(trials, before, paces):
                    _say(console, line)
                before = trials
                if ended(trials, run, written):
                    break
                time.sleep(max(every, _COST * (time.monotonic() - start)))
    except KeyboardInterrupt:
        return
    if not live:
        _say(console, _outcome(before, table.metric))
    for line in _confirmed(shared, before, newest_run(shared)[0]):
        _say(console, line)


def newest_run(ledger: Ledger) -> tuple[Submission | None, float]:
    """Return the submission that was written last, and when, in seconds since 1970; None if there is none."""
    folder = storage.join(ledger.url, "runs")
    found = []
    for name in storage.names(folder):
        if name.endswith(".json"):
            found.append((_written(storage.join(folder, name)), name.removesuffix(".json")))
    written, newest = max(found, default=(0.0, None))
    return ledger.run(newest) if newest else None, written


def ended(trials: list[Trial], run: Submission | None, written: float) -> bool:
    """Return whether nothing more is to be expected of a sweep.

    A trial that ended before the submission and that the submission will resume has not ended.

    Args:
        trials: the ledger's trials.
        run: the newest submission; None: whatever has started counts.
        written: when that was written, in seconds since 1970.
    """
    if any(t.state is State.RUNNING for t in trials):
        return False
    if run is None:
        return bool(trials)
    done = {t.index for t in trials if t.finished or (t.ended or 0) >= written}
    return run.done(done) or time.time() > run.deadline


def _written(url: str) -> float:
    files, path = store.filesystem(url)
    try:
        return files.modified(path).timestamp()
    except NotImplementedError:  # a store that tells no times: then names decide, which begin with the time
        return 0.0


def _table(shared: Ledger) -> Any:
    from automl_images.reports.terminal import TrialTable

    return TrialTable(shared.experiment()["primary_metric"])


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _counted(trials: list[Trial], run: Submission | None) -> tuple[list[Trial], Submission | None]:
    """Return the trials, of those that train others again the ones that the newest submission asks for, and that."""
    return [t for t in trials if t.confirms is None or run is None or run.counts(t.index)], run


def _confirmed(shared: Ledger, trials: list[Trial], run: Submission | None) -> list[str]:
    sampler = evolving(experiment := shared.experiment())
    genes = list(experiment.get("space") or ())
    found = confirmation_of(sampler, genes, *_counted(trials, run)) if sampler else None
    return [f"confirm: {line}" for line in found.lines()] if found else []


def _outcome(trials: list[Trial], metric: str) -> str:
    from automl_images.reports import trials as view

    leader = best_trial(trials)
    best = f"the best is trial {leader.index}, {metric} {view.figure(leader.value)}" if leader else "none has a value"
    return f"ended: {view.tally(trials)}; {best}"
