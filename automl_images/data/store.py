"""Images decoded once: uint8 arrays in memory up to a budget, beyond it in a memory-mapped file or not kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from automl_images.annotations.records import Record
from automl_images.data.images import load_image
from automl_images.environment import lanes_here
from automl_images.errors import DiskFullError, UserError
from automl_images.memory import container

SHARE = 0.25
_EACH = 8  # images that a thread decodes before what was decoded is kept


def memory_budget() -> int:
    """Return the bytes of decoded images that a trial keeps in memory: its lane's part of a quarter of the machine's.

    A container's own limit counts, where it has one.
    """
    machine, own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), container()
    return int(min(machine, own.limit if own else machine) * SHARE / lanes_here())


class ImageStore:
    """Prepared images of records by index; all are decoded by :meth:`fill`, or each when it is asked for.

    Args:
        records: whose images they are.
        prepare: from uint8 [H, W, 3] to the uint8 [h, w, 3] that is kept.
        scratch: a folder for the file that takes what memory does not; None: such images are decoded whenever they are
            asked for, as suits whole images, which fill a disk sooner than their decoding is felt.
        budget: bytes in memory; None for :func:`memory_budget`.
        shorter: as for :func:`automl_images.data.images.load_image`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        prepare: Callable[[np.ndarray], np.ndarray],
        scratch: Path | None,
        budget: int | None = None,
        shorter: int | None = None,
    ):
        self.records, self.prepare, self.shorter = records, prepare, shorter
        self.left = memory_budget() if budget is None else budget
        self.file = scratch / "decoded-images" if scratch else None
        self._kept: dict[int, np.ndarray] = {}
        self._spilled: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._map: np.ndarray = np.empty(0, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.records)

    def image(self, i: int) -> np.ndarray:
        """Return image ``i``, uint8 [h, w, 3]; not to be written to.

        Raises:
            UserError: the image is missing or does not open; the line names the record.
        """
        if i in self._kept:
            return self._kept[i]
        if i not in self._spilled:
            return self._keep(i, self._load(i))
        start, shape = self._spilled[i]
        assert self.file is not None
        end = start + int(np.prod(shape))
        if end > len(self._map):  # one map of the whole file: a process may not have one for each of many images
            self._map = np.memmap(self.file, dtype=np.uint8, mode="r")
        return self._map[start:end].reshape(shape)

    def fill(self) -> None:
        """Decode all images, or those that are kept, in threads, so that processes forked from here share them."""
        from joblib import cpu_count  # of the train extra, which a served model does without

        threads = min(16, cpu_count())
        left = [i for i in range(len(self.records)) if i not in self._kept and i not in self._spilled]
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(left), _EACH * threads):
                chunk = left[start : start + _EACH * threads]
                for i, image in zip(chunk, pool.map(self._load, chunk), strict=True):
                    self._keep(i, image)
                if chunk[-1] not in self._kept and chunk[-1] not in self._spilled:
                    break

    def _load(self, i: int) -> np.ndarray:
        record = self.records[i]
        image = load_image(record.image_url, record.where, self.shorter)
        try:
            return np.ascontiguousarray(self.prepare(image))
        except UserError as error:
            raise UserError(f"{record.where or record.image_url}: {error}") from None

    def _keep(self, i: int, image: np.ndarray) -> np.ndarray:
        if image.nbytes <= self.left:
            self.left -= image.nbytes
            self._kept[i] = image
            return image
        if self.file is None:
            return image
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as file:
                at = file.tell()
                file.write(image.tobytes())
        except OSError as error:
            raise DiskFullError(
                f"{self.file}: the disk does not take the decoded images that memory has no room for "
                f"({error.strerror}); free some, or set TMPDIR to a larger disk"
            ) from None
        self._spilled[i] = at, image.shape
        return image
