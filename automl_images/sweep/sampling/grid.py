"""Grid sampling."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

from automl_images.errors import UserError
from automl_images.sweep.sampling.sampler import Sampler
from automl_images.sweep.space import Branch, points
from automl_images.sweep.trial import Trial


class Grid(Sampler):
    """Counts through the branches one after another, the last name fastest."""

    by: Literal["grid"] = "grid"

    def points(self, branches: Sequence[Branch]) -> int:
        """Return the number of points of the grid.

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
        return points(branches) or 0

    def propose(
        self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()
    ) -> dict[str, Any]:
        """See :meth:`Sampler.propose`."""
        every = ((b, values) for b in branches for values in itertools.product(*(e.arguments for e in b.values())))
        for branch, values in itertools.islice(every, index, None):
            return dict(zip(branch, values, strict=True))
        raise UserError(f"sweep.space: the grid has {self.points(branches)} points, so there is no trial {index}")
