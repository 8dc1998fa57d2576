"""What a sampler is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from automl_images.sweep.schema import Block
from automl_images.sweep.space import Branch
from automl_images.sweep.trial import Trial

Settings = dict[str, Any]


class Sampler(Block):
    """Proposes settings; what it can be told is its fields, and ``by`` its name."""

    adaptive: ClassVar[bool] = False  # whether it reads the other trials

    def points(self, branches: Sequence[Branch]) -> int | None:
        """Return how many different trials it has at most, None: no limit; UserError: it cannot search this space."""
        return None

    def propose(self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()) -> Settings:
        """Return the sampled settings of a trial; raises UserError if it has no such trial.

        Args:
            branches: the space.
            seed, index: the sweep's seed; the trial's number.
            trials: the ledger's trials, for a sampler that is adaptive; the others depend on seed and index alone.
        """
        raise NotImplementedError
