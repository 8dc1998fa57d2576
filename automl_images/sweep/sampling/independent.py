"""Samplers that do not read the other trials: equal seed and index give equal settings on any machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from automl_images.errors import UserError
from automl_images.sweep.sampling.sampler import Sampler, Settings
from automl_images.sweep.space import Branch, points


class Random(Sampler):
    """Draws a branch, then its expressions in the order of their names, from a generator seeded with (seed, index)."""

    by: Literal["random"] = "random"

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Any = ()) -> Settings:
        """See :meth:`Sampler.propose`."""
        rng = np.random.default_rng([seed, index])
        branch = branches[int(rng.integers(len(branches)))]
        return {name: branch[name].draw(rng) for name in sorted(branch)}


class Grid(Sampler):
    """Counts through the branches one after another, the last name fastest."""

    by: Literal["grid"] = "grid"

    def points(self, branches: Sequence[Branch]) -> int:
        """Return its number of points; raises UserError if an expression is continuous (Azure refuses this too)."""
        for name, expression in (item for branch in branches for item in branch.items()):
            if expression.kind != "choice":
                raise UserError(
                    f"sweep.space: grid sampling takes choices only, and {name} is {expression.kind}; "
                    "use a choice, or sampling: random"
                )
        return points(branches) or 0

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Any = ()) -> Settings:
        """See :meth:`Sampler.propose`."""
        every = ((b, values) for b in branches for values in itertools.product(*(e.arguments for e in b.values())))
        for branch, values in itertools.islice(every, index, None):
            return dict(zip(branch, values, strict=True))
        raise UserError(f"sweep.space: the grid has {self.points(branches)} points, so there is no trial {index}")


class Sobol(Sampler):
    """Takes point ``index`` of a scrambled sequence with a dimension for the branch and one for each name.

    Sobol 1967; Owen 1998.
    """

    by: Literal["sobol"] = "sobol"

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Any = ()) -> Settings:
        """See :meth:`Sampler.propose`."""
        from scipy.stats import qmc

        names = sorted({name for branch in branches for name in branch})
        sequence = qmc.Sobol(1 + len(names), scramble=True, rng=np.random.default_rng(seed))
        if index:
            sequence.fast_forward(index)
        point = sequence.random(1)[0]
        branch = branches[min(int(point[0] * len(branches)), len(branches) - 1)]
        return {n: branch[n].quantile(float(u)) for n, u in zip(names, point[1:], strict=True) if n in branch}
