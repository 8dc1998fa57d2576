"""What a sampler is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from automl_images.sweep.schema import Block
from automl_images.sweep.space import Branch
from automl_images.sweep.trial import Trial


class Sampler(Block):
    """Proposes settings; what it can be told is its fields, and ``by`` its name.

    Attributes:
        adaptive: whether it reads the other trials.
    """

    adaptive: ClassVar[bool] = False

    def points(self, branches: Sequence[Branch]) -> int | None:
        """Return how many different trials it can propose at most; None: no limit.

        Raises:
            UserError: it cannot search this space.
        """
        return None

    def propose(
        self, branches: Sequence[Branch], seed: int, index: int, trials: Sequence[Trial] = ()
    ) -> dict[str, Any]:
        """Return the sampled settings of a trial.

        Samplers that are not adaptive depend on seed and index alone: equal arguments give equal settings on any
        machine.

        Args:
            branches: the space.
            seed, index: the sweep's seed; the trial's number.
            trials: the ledger's trials, for a sampler that is adaptive.

        Raises:
            UserError: it has no such trial.
        """
        raise NotImplementedError
