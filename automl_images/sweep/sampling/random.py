"""Random sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from automl_images.sweep.sampling.sampler import Sampler
from automl_images.sweep.space import Branch
from automl_images.sweep.trial import Trial


class Random(Sampler):
    """Draws a branch, then its expressions in the order of their names, from a generator seeded with (seed, index)."""

    by: Literal["random"] = "random"

    def propose(
        self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()
    ) -> dict[str, Any]:
        """See :meth:`Sampler.propose`."""
        rng = np.random.default_rng([seed, index])
        branch = branches[int(rng.integers(len(branches)))]
        return {name: branch[name].draw(rng) for name in sorted(branch)}
