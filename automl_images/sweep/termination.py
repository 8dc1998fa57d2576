"""Early termination: whether a trial stops itself, judged by its own evaluation and its peers'.

The formulas are Azure's, for a metric of which more is better; an interval is one report of the primary metric. A rule
acts at evaluation n when n is at least ``delay_evaluation`` and a multiple of ``evaluation_interval``. ASHA is Li et
al. 2020, "A System for Massively Parallel Hyperparameter Tuning"; each trial judges itself as it reaches a rung.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from automl_images.errors import UserError, nearest
from automl_images.sweep.evaluation import Evaluation


class Rule(Protocol):
    """A rule of early termination."""

    def stop(self, mine: Evaluation, peers: Sequence[Evaluation]) -> str | None:
        """Return why the trial stops now (rule, numbers, peers), or None to go on."""


@dataclass(frozen=True)
class Periodic:
    """What rules share: when they act."""

    evaluation_interval: int
    delay_evaluation: int

    def acts(self, mine: Evaluation, peers: Sequence[Evaluation]) -> bool:
        """Return whether the rule judges at this evaluation."""
        due = mine.number >= self.delay_evaluation and mine.number % self.evaluation_interval == 0
        return due and bool(peers)


@dataclass(frozen=True)
class Bandit(Periodic):
    """Stops a trial whose best is below ``best / (1 + slack_factor)`` or ``best - slack_amount`` of the best trial."""

    slack_factor: float | None
    slack_amount: float | None

    def stop(self, mine: Evaluation, peers: Sequence[Evaluation]) -> str | None:
        """See :meth:`Rule.stop`."""
        if not self.acts(mine, peers):
            return None
        leader = max(peers, key=lambda p: (p.best, -p.trial))
        if self.slack_factor is not None:
            # a factor would raise the limit of a negative best; the distance is the same on both sides of 0
            limit = leader.best - abs(leader.best) * (1 - 1 / (1 + self.slack_factor))
            slack = f"slack_factor {self.slack_factor:g}"
        else:
            limit, slack = leader.best - float(self.slack_amount or 0), f"slack_amount {self.slack_amount:g}"
        if mine.best >= limit:
            return None
        return (
            f"bandit: at evaluation {mine.number} its best {mine.best:.4g} is below {limit:.4g}, "
            f"trial {leader.trial}'s best {leader.best:.4g} with {slack}"
        )


@dataclass(frozen=True)
class MedianStopping(Periodic):
    """Stops a trial whose best is below the median of all trials' running means."""

    def stop(self, mine: Evaluation, peers: Sequence[Evaluation]) -> str | None:
        """See :meth:`Rule.stop`."""
        if not self.acts(mine, peers):
            return None
        median = statistics.median([mine.mean, *(p.mean for p in peers)])
        if mine.best >= median:
            return None
        return (
            f"median_stopping: at evaluation {mine.number} its best {mine.best:.4g} is below {median:.4g}, "
            f"the median of the running means of {len(peers) + 1} trials"
        )


@dataclass(frozen=True)
class TruncationSelection(Periodic):
    """Stops the lowest ``truncation_percentage`` percent of the trials, rounded down, at each interval."""

    truncation_percentage: int

    def stop(self, mine: Evaluation, peers: Sequence[Evaluation]) -> str | None:
        """See :meth:`Rule.stop`."""
        if not self.acts(mine, peers):
            return None
        count = len(peers) + 1
        lowest = math.floor(count * self.truncation_percentage / 100)
        worse = sum(p.best < mine.best for p in peers)
        equal = sum(p.best == mine.best for p in peers)
        if worse + equal >= lowest:
            return None
        return (
            f"truncation_selection: at evaluation {mine.number} its best {mine.best:.4g} is among the lowest "
            f"{lowest} of {count} trials ({self.truncation_percentage} %)"
        )


@dataclass(frozen=True)
class Asha:
    """Stops a trial that, at a rung, is not among the best 1 / ``reduction_factor`` of those that have reached it.

    Rungs are the evaluations ``min_evaluations * reduction_factor ** k``. The first trials at a rung have few to be
    judged by and go on: that is what lets the rule act within the first wave, before anyone has finished.
    """

    reduction_factor: int
    min_evaluations: int

    def stop(self, mine: Evaluation, peers: Sequence[Evaluation]) -> str | None:
        """See :meth:`Rule.stop`."""
        rung = self.min_evaluations
        while rung < mine.number:
            rung *= self.reduction_factor
        if rung != mine.number:
            return None
        reached = [p for p in peers if p.number == mine.number]
        count = len(reached) + 1
        kept = count // self.reduction_factor
        better = sum(p.best > mine.best for p in reached)
        if count < self.reduction_factor or better < kept:
            return None
        return (
            f"asha: at rung {mine.number} its best {mine.best:.4g} is not among the best {kept} of the {count} "
            f"trials that reached it (reduction_factor {self.reduction_factor})"
        )


_KEYS = {
    "bandit": ("slack_factor", "slack_amount", "evaluation_interval", "delay_evaluation"),
    "median_stopping": ("evaluation_interval", "delay_evaluation"),
    "truncation_selection": ("truncation_percentage", "evaluation_interval", "delay_evaluation"),
    "asha": ("reduction_factor", "min_evaluations"),
}


def early_termination(described: Mapping[str, Any] | None) -> Rule | None:
    """Return the rule that an experiment's ``sweep.early_termination`` describes; None for none.

    Raises:
        UserError: the policy is unknown, a key is not its own, or a value is out of range.
    """
    if not described or described.get("policy") in (None, "none"):
        return None
    policy = str(described["policy"]).lower()
    where = "sweep.early_termination"
    if policy not in _KEYS:
        raise UserError(f"{where}.policy: no policy is called '{described['policy']}'; {nearest(policy, _KEYS)}")
    for key in described:
        if key not in (*_KEYS[policy], "policy"):
            raise UserError(f"{where}.{key}: is not a key of {policy}; {nearest(key, _KEYS[policy])}")

    def whole(key: str, default: int | None, low: int, high: float = math.inf) -> int:
        value = described.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            upto = f" to {high:g}" if high < math.inf else " or more"
            raise UserError(f"{where}.{key}: {value} is not a whole number of {low}{upto}")
        return value

    if policy == "asha":
        return Asha(whole("reduction_factor", 3, 2), whole("min_evaluations", 1, 1))
    # 0 stands for the default in Azure's own classes
    when = max(1, whole("evaluation_interval", 1, 0)), whole("delay_evaluation", 0, 0)
    if policy == "median_stopping":
        return MedianStopping(*when)
    if policy == "truncation_selection":
        return TruncationSelection(*when, whole("truncation_percentage", None, 1, 99))
    given = {k: described.get(k) for k in ("slack_factor", "slack_amount")}
    if sum(v is not None for v in given.values()) != 1:
        raise UserError(f"{where}: bandit needs slack_factor or slack_amount, and not both")
    for key, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise UserError(f"{where}.{key}: {value} is not a number of 0 or more")
    return Bandit(*when, given["slack_factor"], given["slack_amount"])
