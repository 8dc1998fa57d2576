"""Evolution: a trial is a mutated child of the best trials so far, asked afresh from what the ledger holds.

YOLOv5's hyperparameter evolution, as its guide describes it. A generation is a trial: children whose parents still run
wait for nobody, a failed child is never a parent, and trial 0 is the starting point as it is. Once all have ended, some
of them may be trained again with other seeds; those trainings are neither generations nor parents.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from automl_images.errors import UserError
from automl_images.sweep.hyp import read_hyp
from automl_images.sweep.sampling.sampler import Sampler, Settings
from automl_images.sweep.schema import Real, Whole
from automl_images.sweep.space import Branch, Expression
from automl_images.sweep.trial import Trial

FITNESS = ("precision", "recall", "mAP@0.5", "mAP@0.5:0.95")
CONFIRM = ("confirm", "confirm_seeds")  # settings that may change within a ledger
_PARENTS = 5
_TRIES = 100  # draws until a child differs from its parent and from all trials; a small grid may have no other point
_HALVED, _LEAST = 50, 0.1  # the step is half as long after so many trials, and never below this share of its length

Weights = Annotated[list[Annotated[Real, Field(ge=0)]], Field(min_length=4, max_length=4)]


class Evolve(Sampler):
    """Reads the other trials; what it leaves out here, the plan completes for the model before the first trial."""

    by: Literal["evolve"] = "evolve"
    parents: Literal["single", "weighted", "crossover"] = Field(
        "single",
        description="Of the best five so far: one drawn by fitness, their mean weighted by it, or two mixed by gene.",
    )
    form: Literal["normalised", "classic"] = Field(
        "normalised",
        description="normalised: adds to a gene's place in its range; classic: multiplies as YOLOv5 does, and a gene "
        "at 0 stays there.",
    )
    probability: Real = Field(0.8, gt=0, le=1, description="The chance that a gene is changed.")
    sigma: Real = Field(0.2, gt=0, le=1, description="The deviation of a change, times the gene's gain.")
    fitness: Weights | None = Field(
        None,
        description="Detectors: weights of precision, recall, mAP@0.5 and mAP@0.5:0.95; null: [0, 0, 0.1, 0.9], and "
        "the primary metric of other tasks.",
    )
    genes: list[str] = Field(default_factory=list, description="Genes besides those of the model whose gain is not 0.")
    fixed: list[str] = Field(default_factory=list, description="Genes of the model that stay as they start.")
    gains: dict[str, Annotated[Real, Field(gt=0)]] = Field(
        default_factory=dict, description="Gains of genes; of those that are not here the model's, or 1."
    )
    start: Annotated[dict[str, Any], BeforeValidator(read_hyp, json_schema_input_type=str | dict[str, Any])] = Field(
        default_factory=dict, description="Where genes start: a mapping or a hyp file; of those not here their default."
    )
    confirm: Whole = Field(
        0,
        ge=0,
        le=20,
        description="Train so many of the best trials again, and the starting point, with several seeds and without "
        "early termination, once all have ended; the best mean of the fitness is selected.",
    )
    confirm_seeds: Whole = Field(3, ge=2, le=20, description="With confirm: seeds of each, the same for all.")
    adaptive: ClassVar[bool] = True

    @model_validator(mode="after")
    def _confirms(self) -> Self:
        if not self.confirm and "confirm_seeds" in self.model_fields_set:
            raise ValueError("confirm_seeds has no effect without confirm")
        return self

    def points(self, branches: Sequence[Branch]) -> int | None:
        """Return None: no limit; raises UserError if the space is conditional or has choices."""
        if len(branches) > 1:
            raise UserError("sweep.space: evolve has one set of genes, and this space is conditional; give one mapping")
        for name, e in branches[0].items():
            if e.kind == "choice":
                raise UserError(
                    f"sweep.space.{name}: evolve moves numbers, and this is a choice; put one value into settings, "
                    "or use sampling: bayesian"
                )
        return None

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()) -> Settings:
        """See :meth:`Sampler.propose`; it depends on the trials that have ended alone."""
        genes = dict(sorted(branches[0].items()))
        start = {name: self.start.get(name, e.quantile(0.5)) for name, e in genes.items()}
        if index == 0 or not genes:
            return start
        trials = [t for t in trials if t.confirms is None]
        best = self.best(trials, genes)
        rng = np.random.default_rng([seed, index])
        ended = sum(t.succeeded for t in trials)
        there = [tuple(t.settings.get(name) for name in genes) for t in trials]
        child = start
        for tried in range(_TRIES):
            parent = self._parent(rng, genes, best) if best else start
            if self.form == "classic":
                return self._multiplied(rng, genes, parent)
            # wider with each try, so that whole numbers get to others
            step = self.sigma * max(_LEAST, 1 / (1 + ended / _HALVED)) * (1 + tried / 10)
            child = self._moved(rng, genes, parent, step)
            if tuple(child.values()) not in [*there, tuple(parent.values())]:
                break
        return child

    def fitness_of(self, trial: Trial) -> float | None:
        """Return a trial's fitness; None if it did not end well, or a figure that has a weight is undefined."""
        if not trial.succeeded:
            return None
        if self.fitness is None:
            return trial.value
        metrics = figures(trial)
        parts = [(weight, value) for weight, value in zip(self.fitness, metrics, strict=True) if weight]
        if any(value is None or not math.isfinite(value) for _, value in parts):
            return None
        return sum(weight * (value or 0.0) for weight, value in parts)

    def best(self, trials: Sequence[Trial], genes: Mapping[str, Any]) -> list[tuple[float, dict[str, Any]]]:
        """Return fitness and genes of the best five generations, best first."""
        rated = self._rated(trials, genes)
        return [(f, {name: t.settings[name] for name in genes}) for f, t in rated[:_PARENTS]]

    def to_confirm(self, trials: Sequence[Trial], genes: Collection[str], count: int) -> list[int]:
        """Return the trials to train again: the starting point, 0, then the best, ``count`` of them at the most.

        No two have the same genes, and none has those of the starting point.
        """
        chosen = {tuple(t.settings.get(name) for name in genes): 0 for t in trials if t.index == 0}
        for _, trial in self._rated(trials, genes):
            chosen.setdefault(tuple(trial.settings[name] for name in genes), trial.index)
        return [0, *[index for index in chosen.values() if index][:count]]

    def _rated(self, trials: Sequence[Trial], genes: Collection[str]) -> list[tuple[float, Trial]]:
        own = (t for t in trials if t.confirms is None and set(genes) <= set(t.settings))
        rated = [(f, t) for t in own if (f := self.fitness_of(t)) is not None]
        return sorted(rated, key=lambda pair: (-pair[0], pair[1].index))

    def _parent(self, rng: np.random.Generator, genes: Branch, best: list[tuple[float, dict[str, Any]]]) -> Settings:
        fitness = np.array([f for f, _ in best])
        weights = fitness - fitness.min() + 1e-6
        weights /= weights.sum()
        known = [parent for _, parent in best]
        if self.parents == "weighted":
            place, value = (_same, _rounded) if self.form == "classic" else (_to_unit, _from_unit)
            return {
                name: value(e, float(weights @ np.array([place(e, parent[name]) for parent in known])))
                for name, e in genes.items()
            }
        if self.parents == "single" or len(known) == 1:
            return known[int(rng.choice(len(known), p=weights))]
        one, other = (known[int(i)] for i in rng.choice(len(known), 2, replace=False, p=weights))
        return {name: (one if rng.random() < 0.5 else other)[name] for name in genes}

    def _moved(self, rng: np.random.Generator, genes: Branch, parent: Settings, step: float) -> Settings:
        """Return a child: some genes moved in their ranges from 0 to 1, reflected at the ends; at least one."""
        gains = np.array([self.gains.get(name, 1.0) for name in genes])
        moves = np.zeros(len(genes))
        while not moves.any():
            moves = (rng.random(len(genes)) < self.probability) * rng.standard_normal(len(genes)) * gains * step
        places = [_to_unit(e, parent[name]) for name, e in genes.items()]
        moved = 1 - np.abs(1 - np.mod(np.array(places) + moves, 2))  # a triangle wave: reflected at 0 and at 1
        return {
            name: _from_unit(e, float(u)) if move else parent[name]
            for (name, e), u, move in zip(genes.items(), moved, moves, strict=True)
        }

    def _multiplied(self, rng: np.random.Generator, genes: Branch, parent: Settings) -> Settings:
        """Return a child as YOLOv5 makes it: factors that share one scale, 0.3 to 3; clipped, with five decimals."""
        gains = np.array([self.gains.get(name, 1.0) for name in genes])
        factors = np.ones(len(genes))
        while (factors == 1).all():
            drawn = (rng.random(len(genes)) < self.probability) * rng.standard_normal(len(genes)) * rng.random()
            factors = np.clip(1 + gains * drawn * self.sigma, 0.3, 3.0)
        return {
            name: _rounded(e, float(parent[name] * factor))
            for (name, e), factor in zip(genes.items(), factors, strict=True)
        }


def figures(trial: Trial) -> list[float | None]:
    """Return precision, recall, mAP@0.5 and mAP@0.5:0.95 of a detector's best evaluation; None where undefined."""
    metrics: Mapping[str, Any] = (trial.best or {}).get("metrics") or {}
    coco = metrics.get("coco") or {}
    return [metrics.get("precision"), metrics.get("recall"), coco.get("map_50"), coco.get("map")]


def limits(e: Expression) -> tuple[float, float]:
    """Return the least and the greatest value of a gene; of a normal expression its setting's range."""
    low, high = e.bounds() or e.limits
    return float(f"{low:.12g}"), float(f"{high:.12g}")  # of a log expression without the last digits' noise


def _same(e: Expression, value: Any) -> float:
    return float(value)


def _to_unit(e: Expression, value: Any) -> float:
    if e.size:
        return (min(max(value, 0), e.size - 1) + 0.5) / e.size
    if e.bounds() is None:
        return float(min(max(e.probability(value), 0.0), 1.0))
    low, high = map(float, e.arguments[:2])
    place = math.log(max(value, 1e-300)) if "log" in e.kind else float(value)
    if e.kind == "reverseloguniform":
        place = -math.log(max(1 - value, 1e-300))
    return min(max((place - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _from_unit(e: Expression, u: float) -> Any:
    value = e.quantile(u)
    if e.size or e.kind.startswith("q"):
        return value
    low, high = limits(e)
    return min(max(float(f"{value:.6g}"), low), high)


def _rounded(e: Expression, value: float) -> Any:
    low, high = limits(e)
    value = min(max(value, low), high)
    if e.size:
        return round(value)
    return e.rounded(value) if e.kind.startswith("q") else min(max(round(value, 5), low), high)
