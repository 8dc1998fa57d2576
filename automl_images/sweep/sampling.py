"""The samplers: which settings trial ``index`` has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from automl_images.errors import UserError
from automl_images.sweep.bayesian import STARTUP, ask, known, valued
from automl_images.sweep.space import Branch

SAMPLERS = ("random", "grid", "sobol", "bayesian")
ADAPTIVE = ("bayesian",)


def grid_size(branches: list[Branch]) -> int:
    """Return the number of points of a grid.

    Raises:
        UserError: an expression is continuous, so that there is no grid (Azure refuses this too).
    """
    for branch in branches:
        for name, expression in branch.items():
            if expression.kind != "choice":
                raise UserError(
                    f"sweep.space: grid sampling takes choices only, and {name} is {expression.kind}; "
                    "use a choice, or sampling: random"
                )
    return sum(math.prod(len(e.arguments) for e in branch.values()) for branch in branches)


def propose(
    sampling: str, branches: list[Branch], seed: int, index: int, trials: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the sampled settings of trial ``index``.

    Random, grid and Sobol depend on seed and index alone: equal arguments give equal settings on any machine. Random
    draws a branch, then its expressions in the order of their names, from a generator seeded with (seed, index). Grid
    counts through the branches one after another, the last name fastest. Sobol is point ``index`` of a scrambled
    sequence with a dimension for the branch and one for each name (Sobol 1967; Owen 1998). Bayesian reads the other
    trials (:mod:`automl_images.sweep.bayesian`), and is Sobol until ten have a value.

    Args:
        sampling: one of :data:`SAMPLERS`.
        branches: the space.
        seed, index: the sweep's seed; the trial's number.
        trials: the ledger's trials, for the samplers of :data:`ADAPTIVE`.

    Raises:
        UserError: the sampler is unknown, or the grid has no such point.
    """
    if sampling == "bayesian":
        others = known(branches, trials)
        if valued(others) >= STARTUP:
            return ask(branches, others, seed, index)
        sampling = "sobol"
    if sampling == "sobol":
        return _sobol(branches, seed, index)
    if sampling == "random":
        rng = np.random.default_rng([seed, index])
        branch = branches[int(rng.integers(len(branches)))]
        return {name: branch[name].draw(rng) for name in sorted(branch)}
    if sampling != "grid":
        raise UserError(f"sweep.sampling: '{sampling}' is not built in this version; use {' or '.join(SAMPLERS)}")
    if index >= grid_size(branches):
        raise UserError(f"sweep.space: the grid has {grid_size(branches)} points, so there is no trial {index}")
    for branch in branches:
        points = math.prod(len(e.arguments) for e in branch.values())
        if index < points:
            values = itertools.product(*(e.arguments for e in branch.values()))
            return dict(zip(branch, next(itertools.islice(values, index, None)), strict=True))
        index -= points
    raise AssertionError("unreachable: the index was checked against the size of the grid")


def _sobol(branches: list[Branch], seed: int, index: int) -> dict[str, Any]:
    from scipy.stats import qmc

    names = sorted({name for branch in branches for name in branch})
    sequence = qmc.Sobol(1 + len(names), scramble=True, rng=np.random.default_rng(seed))
    if index:
        sequence.fast_forward(index)
    point = sequence.random(1)[0]
    branch = branches[min(int(point[0] * len(branches)), len(branches) - 1)]
    return {name: branch[name].quantile(float(u)) for name, u in zip(names, point[1:], strict=True) if name in branch}
