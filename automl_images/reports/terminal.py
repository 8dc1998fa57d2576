"""A sweep on the terminal: a live table where there is one, plain lines where there is not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from automl_images.reports import trials as view
from automl_images.sweep.pace import Pace
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import State, Trial, best_trial

_COLOURS = {
    State.RUNNING: "cyan",
    State.COMPLETED: "green",
    State.TERMINATED: "yellow",
    State.FAILED: "red",
    State.SKIPPED: "dim",
}
_FRAME = 6  # lines that are not trials: the heading, the sum in two, the time left, and two of whatever is around
_REASONS = 4  # of so many trials a live table says why they ended, the latest
_OTHERS = 60  # columns that the table takes without the settings
_PACE = 22  # more columns for how trials that run are getting on
_NARROW = 110  # columns of a terminal in which there is no room for bars beside these


class TrialTable:
    """The trials of a sweep for people; knows only what the ledger says.

    ``total`` is how many trials the sweep has, if known: those that have not started are counted too. ``since`` is when
    the submission that is shown began, in seconds since 1970; what had ended by then is kept from an earlier one.
    ``lanes`` is how many trials run at a time, ``deadline`` when the sweep's time is over, in seconds since 1970.
    """

    def __init__(self, metric: str, total: int | None = None, since: float = 0.0):
        self.metric, self.total, self.since = metric, total, since
        self.lanes, self.deadline = 1, math.inf

    def expect(self, submission: Submission | None) -> None:
        """Take over from a submission what the sweep will have; None: nothing is known of it."""
        if submission:
            self.total, self.lanes, self.deadline = submission.total, submission.lanes, submission.deadline

    def render(self, trials: Sequence[Trial], paces: Mapping[int, Pace] | None = None) -> _Fitting:
        """Return a table for a rich console or `rich.live.Live`, with the paces of trials that run, by index.

        On a terminal that is too low for all trials, the running, the best and the latest stay; below the table
        the latest that ended early say why. Written to a file, nothing is left out.
        """
        paces = paces or {}
        left = view.time_left(trials, paces, self.total, self.lanes, self.deadline)
        return _Fitting(self.metric, self.total, sorted(trials, key=lambda t: t.index), paces, left)

    def lines(
        self,
        trials: Iterable[Trial],
        previous: Iterable[Trial],
        paces: Mapping[int, Pace] | None = None,
        told: dict[int, list[str]] | None = None,
    ) -> list[str]:
        """Return the lines of what is new since ``previous``: trials that started, epochs, trials that ended.

        ``previous`` is the list given at the last call; empty at first. ``told`` has the lines of epochs that a trial
        has written itself, by index; those that are returned are taken out of it. Without, there is a line for each
        evaluation in the ledger, the last with the trial's pace, if it is among ``paces``.
        """
        now, before = sorted(trials, key=lambda t: t.index), {t.index: t for t in previous}
        lines = []
        for trial in now:
            old = before.get(trial.index)
            name = view.name(trial)
            if old is None and trial.state is not State.RUNNING and (trial.ended or self.since) < self.since:
                lines.append(f"{name} is kept from an earlier run: {self._end(trial)}")
                continue
            if trial.state is not State.SKIPPED and (old is None or trial.attempt > old.attempt):
                lines.append(f"{name} {_start(trial)}")
            if told is None:
                known = 0 if old is None else len(view.evaluations(old))
                lines += self._evaluations(trial, known, (paces or {}).get(trial.index))
            else:
                lines += told.pop(trial.index, [])
            if trial.state is not State.RUNNING and (old is None or old.state is not trial.state):
                lines.append(f"{name} {self._end(trial)}")
        return lines

    def _evaluations(self, trial: Trial, known: int, pace: Pace | None) -> list[str]:
        """Return the lines of a trial's evaluations but the ``known`` first, as training writes them."""
        lines, best = [], -math.inf
        found = view.evaluations(trial)
        for i, (epoch, value) in enumerate(found):
            best = max(best, value)
            if i >= known:
                at = f"{epoch}/{trial.epochs}" if trial.epochs else str(epoch)
                more = f"; {_paced(pace)}" if pace and pace.epoch == epoch else ""
                figures = f"{self.metric} {view.figure(value)} (best {view.figure(best)})"
                lines.append(f"{view.name(trial)}: epoch {at}: {figures}{more}")
        return lines

    def _end(self, trial: Trial) -> str:
        why = view.why(trial).splitlines()[-1:]
        parts = [str(trial.state)]
        if trial.state is not State.SKIPPED:
            parts[0] += f" after {view.duration(view.seconds(trial))} at epoch {_epochs(trial, trial.epoch)}"
        if trial.best and trial.value is not None:
            simplest = view.baseline([trial])
            beside = "" if simplest is None else f" (baseline {view.figure(simplest)})"
            parts.append(f"best {self.metric} {view.figure(trial.value)}{beside} at epoch {trial.best['epoch']}")
        return ", ".join(parts) + "".join(f": {w.strip()}" for w in why)


@dataclass
class _Fitting:
    """The table of trials, cut to the terminal's size when it is drawn."""

    metric: str
    total: int | None
    trials: list[Trial]
    paces: Mapping[int, Pace]
    left: float | None  # seconds that the sweep still takes; None: not known

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        leader = best_trial(self.trials)
        shown, explained = self.trials, [t for t in self.trials if view.why(t)]
        if console.is_terminal:
            explained = sorted(explained, key=lambda t: t.ended or 0)[-_REASONS:]
            room = max(3, console.height - len(explained) - _FRAME)
            order = sorted(shown, key=lambda t: (t is not leader, t.state is not State.RUNNING, -t.index))
            shown = sorted(order[:room], key=lambda t: t.index)
        yield self._table(shown, leader, options.max_width)
        waiting = f", {self.total - len(self.trials)} to come" if self.total and self.total > len(self.trials) else ""
        hidden = f"; {len(self.trials) - len(shown)} are not shown" if len(shown) < len(self.trials) else ""
        best = f"trial {leader.index} (*), {self.metric} {view.figure(leader.value)}" if leader else "none yet"
        simplest = view.baseline(self.trials)
        beside = "" if simplest is None else f"; baseline: {view.figure(simplest)}"
        yield Text(f"{view.tally(self.trials)}{waiting}{hidden}; best: {best}{beside}", style="bold")
        if self.left:
            yield Text(f"about {view.duration(self.left)} left", style="bold")
        for trial in explained:
            why = f"trial {trial.index} {trial.state}: {view.why(trial).splitlines()[-1].strip()}"
            yield Text(why, style="dim", no_wrap=console.is_terminal, overflow="ellipsis")

    def _table(self, shown: list[Trial], leader: Trial | None, width: int) -> Table:
        sampled = view.varying(self.trials)
        values = {t.index: [view.setting(t.settings.get(name)) for name in sampled] for t in shown}
        wanted = (
            sum(max(len(n), *(len(v[i]) for v in values.values())) + 1 for i, n in enumerate(sampled)) if shown else 0
        )
        paced = bool(self.paces)
        narrow = paced and width < _NARROW
        apart = (
            wanted <= width - _OTHERS - _PACE * paced
        )  # else all settings share one column, which is cut where it must be
        table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("trial", justify="right", min_width=5, no_wrap=True)
        table.add_column("state", min_width=10, no_wrap=True)
        table.add_column("epoch" if narrow else "progress", min_width=5 if narrow else 14, no_wrap=True)
        for name in ("last", "best", *(("loss", "img/s") if paced else ()), "time", *(("left",) if paced else ())):
            table.add_column(name, justify="right", min_width=7 if name in ("time", "left") else 6, no_wrap=True)
        for name in sampled if apart else [", ".join(sampled)]:
            table.add_column(name, overflow="ellipsis", no_wrap=True)
        for trial in shown:
            best, latest, settings = trial is leader, view.evaluations(trial), values[trial.index]
            pace = self.paces.get(trial.index)
            loss_rate = [f"{pace.loss:.3g}", f"{pace.rate:.4g}"] if pace else ["", ""]
            table.add_row(
                Text(f"{'*' if best else ''}{trial.index}{'' if trial.confirms is None else f' ({trial.confirms})'}"),
                Text(trial.state, style=_COLOURS[trial.state]),
                _progress(trial, pace, bar=not narrow),
                Text(view.figure(latest[-1][1] if latest else None)),
                Text(view.figure(trial.value)),
                *(Text(figure) for figure in loss_rate if paced),
                Text(view.duration(view.seconds(trial))),
                *([Text(view.duration(pace.left) if pace else "")] if paced else []),
                *(Text(s) for s in (settings if apart else [", ".join(settings)])),
                style="bold" if best else "",
            )
        return table


def _start(trial: Trial) -> str:
    begins = "starts" if trial.attempt <= 1 else f"starts again (attempt {trial.attempt})"
    if trial.attempt > 1 and trial.resumed:
        begins = f"resumes after epoch {trial.resumed} (attempt {trial.attempt})"
    names = trial.sampled or ("model_name",)
    text = ", ".join(f"{n}={view.setting(trial.settings[n])}" for n in names if n in trial.settings)
    return begins + (f": {text}" if text else "")


def _epochs(trial: Trial, epoch: int) -> str:
    return f"{epoch} of {trial.epochs}" if trial.epochs else str(epoch)


def _paced(pace: Pace) -> str:
    return f"loss {pace.loss:.3f}; {pace.rate:.1f} images/s, about {view.duration(pace.left)} left"


def _progress(trial: Trial, pace: Pace | None, bar: bool) -> Table | Text:
    epoch = max(trial.epoch, pace.epoch if pace else 0)
    count = Text(f"{epoch}/{trial.epochs}" if trial.epochs else str(epoch))
    if not bar or not trial.epochs or trial.state is State.SKIPPED:
        return count
    both = Table.grid(padding=(0, 1, 0, 0))
    both.add_row(ProgressBar(total=trial.epochs, completed=epoch, width=8), count)
    return both
