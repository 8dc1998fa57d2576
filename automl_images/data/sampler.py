"""The order of training images, of every task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import DistributedSampler

_TOGETHER = 16  # batches whose images are sorted by shape among themselves: the more, the less an epoch is shuffled


class EpochSampler(DistributedSampler):
    """A shuffle that depends on the seed and the epoch alone; yields (epoch, index): the data set needs both.

    With ``aspects``, each image's width by its height, images of like shape come together in batches of ``batch``:
    less of a batch is padding. Each image still comes once an epoch.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        processes: int = 1,
        rank: int = 0,
        aspects: Sequence[float] | None = None,
        batch: int = 1,
    ):
        super().__init__(range(size), processes, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.aspects, self.batch = aspects, batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(super().__iter__())
        if self.aspects is not None and self.batch > 1:
            order = self._grouped(order, self.aspects)
        return ((self.epoch, i) for i in order)

    def _grouped(self, order: list[int], aspects: Sequence[float]) -> list[int]:
        """Return an order with images of like shape next to one another; a last batch that is not full stays last."""
        chunk = _TOGETHER * self.batch
        parts = [sorted(order[k : k + chunk], key=aspects.__getitem__) for k in range(0, len(order), chunk)]
        grouped = [i for part in parts for i in part]
        full = len(grouped) // self.batch * self.batch
        batches = np.array(grouped[:full], dtype=int).reshape(-1, self.batch)
        rng = np.random.default_rng([self.seed, self.epoch, self.rank])
        return [*rng.permutation(batches).ravel().tolist(), *grouped[full:]]
