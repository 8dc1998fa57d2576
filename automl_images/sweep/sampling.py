"""The samplers: which settings trial ``index`` has, from the seed and the index alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from automl_images.errors import UserError
from automl_images.sweep.space import Branch

SAMPLERS = ("random", "grid")
ADAPTIVE: tuple[str, ...] = ()


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


def propose(sampling: str, branches: list[Branch], seed: int, index: int, trials: Any = ()) -> dict[str, Any]:
    """Return the sampled settings of trial ``index``; equal arguments give equal settings on any machine.

    Random draws a branch, then its expressions in the order of their names, from a generator seeded with (seed, index).
    Grid counts through the branches one after another, the last name fastest.

    Raises:
        UserError: the sampler is unknown, or the grid has no such point.
    """
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
