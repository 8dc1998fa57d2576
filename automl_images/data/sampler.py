"""The order of training images, of every task."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler):
    """A shuffle that depends on the seed and the epoch alone; yields (epoch, index): the data set needs both."""

    def __init__(self, size: int, seed: int, processes: int = 1, rank: int = 0):
        super().__init__(range(size), processes, rank, shuffle=True, seed=seed)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, i) for i in super().__iter__())
