"""Sobol sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from automl_images.sweep.sampling.sampler import Sampler
from automl_images.sweep.space import Branch
from automl_images.sweep.trial import Trial


class Sobol(Sampler):
    """Takes point ``index`` of a scrambled sequence with a dimension for the branch and one for each name.

    Sobol 1967; Owen 1998.
    """

    by: Literal["sobol"] = "sobol"

    def propose(
        self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()
    ) -> dict[str, Any]:
        """See :meth:`Sampler.propose`."""
        from scipy.stats import qmc

        names = sorted({name for branch in branches for name in branch})
        sequence = qmc.Sobol(1 + len(names), scramble=True, rng=np.random.default_rng(seed))
        if index:
            sequence.fast_forward(index)
        point = sequence.random(1)[0]
        branch = branches[min(int(point[0] * len(branches)), len(branches) - 1)]
        return {n: branch[n].quantile(float(u)) for n, u in zip(names, point[1:], strict=True) if n in branch}
