"""What came of training an evolution's best again: mean and spread over seeds, and the one that is best by them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import MOST, State, Trial

_UNDEFINED = "without a fitness"


@dataclass(frozen=True)
class Confirmed:
    """A trial that was trained again, 0 being the starting point."""

    trial: int
    fitness: float | None  # its own, which chose it; None: it has none
    seeds: int  # how many were to be
    values: Mapping[int, float]  # the fitness with each seed, from 1, of those that were trained to their end
    lacking: Mapping[str, int]  # of the other seeds how many are failed, skipped, ...

    @property
    def mean(self) -> float | None:
        """The mean over its seeds; None: it has none."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None: of one seed it is undefined."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def whole(self) -> bool:
        """Whether no seed is lacking: the mean of what did not fail would say too much."""
        return len(self.values) == self.seeds and self.fitness is not None

    @property
    def settled(self) -> bool:
        """Whether each seed was trained, with whatever success."""
        return not self.lacking.keys() - {State.FAILED.value, _UNDEFINED}

    def text(self) -> str:
        """Return mean and deviation in words, and what is lacking."""
        if self.mean is None:
            return f"no seed of {self.seeds} ({self._without()})"
        spread = "" if self.deviation is None else f" +/- {self.deviation:.4f}"
        count = f"{self.seeds} seeds" if not self.lacking else f"{len(self.values)} of {self.seeds} seeds"
        return f"{self.mean:.4f}{spread} over {count}" + (f" ({self._without()})" if self.lacking else "")

    def _without(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.lacking.items())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        content = {"trial": self.trial, "fitness": self.fitness, "mean": self.mean, "deviation": self.deviation}
        return {**content, "seeds": self.seeds, "values": dict(self.values), "lacking": dict(self.lacking)}


@dataclass(frozen=True)
class Confirmation:
    """The trials that were trained again: the starting point, then the others by falling mean."""

    rows: tuple[Confirmed, ...]
    left_out: tuple[int, ...] = ()  # trials that are among the best by now, and were not trained again

    @property
    def best(self) -> Confirmed | None:
        """The one with the highest mean of those that lack no seed; the starting point may be it.

        None: there is none, or no child was trained with each seed, so that nothing is known of them.
        """
        whole = [row for row in self.rows if row.whole]
        if not any(row.trial and row.settled for row in self.rows):
            return None
        return max(whole, key=lambda row: (row.mean or 0.0, -row.trial), default=None)

    def lines(self) -> list[str]:
        """Return what it came to, a line a trial, the last lines on which is chosen and on what is left out."""
        lines = []
        for row in self.rows:
            who = "the starting point" if row.trial == 0 else f"trial {row.trial}"
            own = "no fitness" if row.fitness is None else f"fitness {row.fitness:.4f}"
            lines.append(f"{who} again: {row.text()}; itself: {own}")
        best = self.best
        if best is None:
            lines.append("no child has all its seeds, so the best fitness of a single training is chosen")
        elif best.trial == 0:
            lines.append("chosen: the starting point; no child with all its seeds has a higher mean")
        else:
            lines.append(f"chosen: trial {best.trial}, the highest mean")
        if self.left_out:
            names = ", ".join(map(str, self.left_out))
            lines.append(f"not trained again: trial {names}, among the best by now; submit again")
        return lines

    def csv(self) -> str:
        """Return confirm.csv: a row a trial; empty where a figure is undefined."""
        seeds = max((row.seeds for row in self.rows), default=0)
        lines = [["trial", "fitness", "mean", "deviation", "lacking", *(f"seed {n}" for n in range(1, seeds + 1))]]
        for row in self.rows:
            numbers = [row.fitness, row.mean, row.deviation]
            values = [row.values.get(n) for n in range(1, seeds + 1)]
            cells = [str(row.trial), *map(_exact, numbers), str(sum(row.lacking.values())), *map(_exact, values)]
            lines.append(cells)
        return "".join(",".join(cells) + "\n" for cells in lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        rows = [row.to_json() for row in self.rows]
        return {"chosen": self.best and self.best.trial, "trials": rows, "left_out": list(self.left_out)}


def confirmation_of(
    sampler: Evolve, genes: Sequence[str], trials: Sequence[Trial], submission: Submission | None
) -> Confirmation | None:
    """Return what came of training the best again; None if it was not asked for, or nothing has begun.

    Args:
        sampler, genes: the evolution, and the names that it moves.
        trials: those that count.
        submission: how many are confirmed, and with how many seeds; None: what there is.
    """
    again: dict[int, dict[int, Trial]] = {}
    for trial in trials:
        if trial.confirms is not None:
            again.setdefault(trial.confirms, {})[trial.index // MOST] = trial
    for index in submission.confirming or () if submission else ():
        again.setdefault(index % MOST, {})
    if not again or (submission and not submission.confirm):
        return None
    seeds = submission.confirm_seeds if submission else max(len(runs) for runs in again.values())
    own = {t.index: sampler.fitness_of(t) for t in trials if t.confirms is None}
    rows = [_confirmed(sampler, index, own.get(index), seeds, runs) for index, runs in again.items()]
    rows.sort(key=lambda row: (row.trial != 0, -math.inf if row.mean is None else -row.mean, row.trial))
    decided = submission and submission.confirming is not None
    wanted = sampler.to_confirm(trials, genes, submission.confirm) if submission and decided else []
    return Confirmation(tuple(rows), tuple(index for index in wanted if index not in again))


def _confirmed(sampler: Evolve, index: int, fitness: float | None, seeds: int, runs: Mapping[int, Trial]) -> Confirmed:
    values: dict[int, float] = {}
    lacking: Counter[str] = Counter()
    for seed in range(1, seeds + 1):
        trial = runs.get(seed)
        value = sampler.fitness_of(trial) if trial and trial.state is State.COMPLETED else None
        if value is not None:
            values[seed] = value
        else:  # terminated: the time was over, as no rule stops it
            undefined = trial and trial.state is State.COMPLETED
            lacking[_UNDEFINED if undefined else trial.state.value if trial else "not begun"] += 1
    return Confirmed(index, fitness, seeds, values, dict(lacking))


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
