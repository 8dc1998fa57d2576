"""Early termination: whether a trial stops itself, judged by its own score and its peers'.

The formulas are Azure's, for a metric of which more is better; an interval is one report of the primary metric. A rule
acts at evaluation n when n is at least ``delay_evaluation`` and a multiple of ``evaluation_interval``. ASHA is Li et
al. 2020, "A System for Massively Parallel Hyperparameter Tuning"; each trial judges itself as it reaches a rung.

A rule is a class whose ``policy`` is its name, whose fields are its keys, and whose ``stop`` returns why a trial stops
now (rule, numbers, peers), or None to go on. It is added to the one table below, ``_Rules``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from automl_images.sweep.schema import Block, Real, Whole
from automl_images.sweep.score import Score

Peers = Mapping[int, Score]  # by the trial's index


def below(value: float, limit: float) -> bool:
    """Return whether a value is below another by more than rounding, that of ledgers with nine digits included."""
    return value < limit and not math.isclose(value, limit, rel_tol=1e-8)


class Periodic(Block):
    """What rules share that act every so many evaluations."""

    # 0 stands for the default in Azure's own classes
    evaluation_interval: Whole = Field(1, ge=0, description="Acts at every so many evaluations; 0 is 1.")
    delay_evaluation: Whole = Field(0, ge=0, description="Does not act before this evaluation.")

    def acts(self, mine: Score, peers: Peers) -> bool:
        """Return whether the rule judges at this evaluation."""
        due = mine.number >= self.delay_evaluation and mine.number % max(1, self.evaluation_interval) == 0
        return due and bool(peers)


class Bandit(Periodic):
    """Stops a trial whose best is below ``best / (1 + slack_factor)`` or ``best - slack_amount`` of the best trial."""

    policy: Literal["bandit"] = "bandit"
    slack_factor: Real | None = Field(None, ge=0)
    slack_amount: Real | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_slack(self) -> Bandit:
        if (self.slack_factor is None) == (self.slack_amount is None):
            raise ValueError("bandit needs slack_factor or slack_amount, and not both")
        return self

    def stop(self, mine: Score, peers: Peers) -> str | None:
        """See the module."""
        if not self.acts(mine, peers):
            return None
        leader = max(peers, key=lambda trial: (peers[trial].best, -trial))
        best = peers[leader].best
        if self.slack_factor is not None:
            # a factor would raise the limit of a negative best; the distance is the same on both sides of 0
            limit = best - abs(best) * (1 - 1 / (1 + self.slack_factor))
            slack = f"slack_factor {self.slack_factor:g}"
        else:
            limit, slack = best - (self.slack_amount or 0), f"slack_amount {self.slack_amount:g}"
        if not below(mine.best, limit):
            return None
        return (
            f"bandit: at evaluation {mine.number} its best {mine.best:.4g} is below {limit:.4g}, "
            f"trial {leader}'s best {best:.4g} with {slack}"
        )


class MedianStopping(Periodic):
    """Stops a trial whose best is below the median of all trials' running means."""

    policy: Literal["median_stopping"] = "median_stopping"

    def stop(self, mine: Score, peers: Peers) -> str | None:
        """See the module."""
        if not self.acts(mine, peers):
            return None
        median = statistics.median([mine.mean, *(p.mean for p in peers.values())])
        if not below(mine.best, median):
            return None
        return (
            f"median_stopping: at evaluation {mine.number} its best {mine.best:.4g} is below {median:.4g}, "
            f"the median of the running means of {len(peers) + 1} trials"
        )


class TruncationSelection(Periodic):
    """Stops the lowest ``truncation_percentage`` percent of the trials, rounded down, at each interval."""

    policy: Literal["truncation_selection"] = "truncation_selection"
    truncation_percentage: Whole = Field(ge=1, le=99)

    def stop(self, mine: Score, peers: Peers) -> str | None:
        """See the module."""
        if not self.acts(mine, peers):
            return None
        count = len(peers) + 1
        lowest = math.floor(count * self.truncation_percentage / 100)
        if sum(not below(mine.best, p.best) for p in peers.values()) >= lowest:  # as low as mine, or lower
            return None
        return (
            f"truncation_selection: at evaluation {mine.number} its best {mine.best:.4g} is among the lowest "
            f"{lowest} of {count} trials ({self.truncation_percentage} %)"
        )


class Asha(Block):
    """Stops a trial that, at a rung, is not among the best 1 / ``reduction_factor`` of those that have reached it.

    Rungs are the evaluations ``min_evaluations * reduction_factor ** k``. The first trials at a rung have few to be
    judged by and go on: that is what lets the rule act within the first wave, before anyone has finished.
    """

    policy: Literal["asha"] = "asha"
    reduction_factor: Whole = Field(3, ge=2)
    min_evaluations: Whole = Field(1, ge=1)

    def stop(self, mine: Score, peers: Peers) -> str | None:
        """See the module."""
        rung = self.min_evaluations
        while rung < mine.number:
            rung *= self.reduction_factor
        if rung != mine.number:
            return None
        reached = [p for p in peers.values() if p.number == mine.number]
        count = len(reached) + 1
        kept = count // self.reduction_factor
        better = sum(below(mine.best, p.best) for p in reached)
        if count < self.reduction_factor or better < kept:
            return None
        return (
            f"asha: at rung {mine.number} its best {mine.best:.4g} is not among the best {kept} of the {count} "
            f"trials that reached it (reduction_factor {self.reduction_factor})"
        )


class Unstopped(Block):
    """Stops no trial."""

    policy: Literal["none"] = "none"

    def stop(self, mine: Score, peers: Peers) -> str | None:
        """See the module."""
        return None


_Rules = Annotated[Bandit | MedianStopping | TruncationSelection | Asha | Unstopped, Field(discriminator="policy")]


def _described(value: Any) -> Any:
    """Return a rule's mapping with its policy in small letters; nothing, and no policy, is Unstopped's."""
    if not value or value == {"policy": None}:
        return {"policy": "none"}
    if isinstance(value, Mapping) and isinstance(value.get("policy"), str):
        return {**value, "policy": value["policy"].lower()}
    return value


Rule = Annotated[_Rules, BeforeValidator(_described, json_schema_input_type=_Rules | None)]
RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
