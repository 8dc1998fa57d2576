"""Records with masks as torch data sets for semantic segmentation: an image and the class of each of its pixels.

Both lie in one array, so that whatever is cropped or mirrored is so in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from automl_images.annotations.labels import Mask
from automl_images.annotations.masks import IGNORE, indices_of
from automl_images.annotations.records import Record
from automl_images.data.classification import scaled
from automl_images.data.store import ImageStore
from automl_images.errors import UserError, nearest

__all__ = ["IGNORE", "EvaluationSet", "Samples", "TrainingSet", "as_lists", "classes_of", "crop_side", "truth_of"]

MOST_CLASSES = 254  # SageMaker's; the indices are bytes, of which 255 is IGNORE
SCALE = (0.5, 2.0)  # of base_size, which a training image's longer side is scaled to
FILL = (124, 116, 104)  # beyond an image's edges: ImageNet's mean colour


def classes_of(records: Sequence[Record]) -> list[str]:
    """Return the classes of records: in the order of their label map where all have the same, else sorted.

    With a label map those are classes too that no pixel shows. Numbers are sorted by their value.

    Raises:
        UserError: a label is no mask, there are fewer than 2 classes, or more than 254.
    """
    maps: dict[tuple[str, ...], set[str]] = {}
    for record in records:
        label = checked_mask(record)
        named = tuple(name for name, _ in label.classes)
        shown = maps.setdefault(named, set(named))
        if not named:
            shown.update(label.names() if label.present is not None else map(str, _shown(label)))
    if len(maps) == 1 and (order := next(iter(maps))):
        classes = list(order)
    else:
        found = set().union(*maps.values())
        classes = sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(f"training data: the masks have {len(classes)} classes; a model takes 2 to {MOST_CLASSES}")
    return classes


def checked_mask(record: Record) -> Mask:
    """Return a record's label; raises UserError, naming the record, if it is no mask."""
    if not isinstance(record.label, Mask):
        raise UserError(f"{_where(record)}: its label is not a mask, which semantic segmentation needs")
    return record.label


def check_classes(record: Record, classes: Sequence[str]) -> None:
    """Raise UserError, naming the record, if its mask shows a class that is not among ``classes``."""
    unknown = next((name for name in checked_mask(record).names() if name not in classes), None)
    if unknown is not None:
        known = nearest(unknown, classes)
        raise UserError(f"{_where(record)}: the class '{unknown}' is not in the training data; {known}")


def truth_of(record: Record, classes: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Return the class of each pixel of a record's image, uint8 [H, W]: its index among ``classes``, or ``IGNORE``.

    ``size`` is the image's width and height.

    Raises:
        UserError: the mask does not open, is of another size, or has a value of no class; the line names the record.
    """
    label = checked_mask(record)
    try:
        truth = indices_of(label, classes)
        if truth.shape[::-1] != size:
            raise UserError(
                f"the mask {label.mask_url} has {truth.shape[1]} x {truth.shape[0]} pixels, and its image "
                f"{size[0]} x {size[1]}"
            )
    except UserError as error:
        raise type(error)(f"{record.where}: {error}" if record.where else str(error)) from None
    return truth


def _shown(label: Mask) -> list[Any]:
    return [value for value in label.read()[0] if value not in label.ignore]


def _where(record: Record) -> str:
    return record.where or record.image_url


def crop_side(settings: Mapping[str, Any]) -> int:
    """Return the side of a training crop in pixels: ``crop_size``, rounded up to a multiple of 8."""
    return -(-settings["crop_size"] // 8) * 8


class Samples(ImageStore):
    """Images with the class of each pixel, by index, decoded once: uint8 [H, W, 4], of which the last is the truth.

    Memory is as :class:`automl_images.data.store.ImageStore` says; what it has no room for is decoded again.

    Raises:
        UserError: as :func:`check_classes`.
    """

    def __init__(self, records: Sequence[Record], classes: Sequence[str], budget: int | None = None):
        super().__init__(records, np.asarray, None, budget)
        self.classes = list(classes)
        for record in records:
            check_classes(record, self.classes)

    def pair(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image ``i``, uint8 [H, W, 3], and its truth, uint8 [H, W], of indices of classes or ``IGNORE``.

        Raises:
            UserError: either is missing or does not open, or as :func:`truth_of`; the line names the record.
        """
        both = self.image(i)
        return both[..., :3], both[..., 3]

    def _load(self, i: int) -> np.ndarray:
        image = super()._load(i)
        return np.dstack([image, truth_of(self.records[i], self.classes, image.shape[1::-1])])


class TrainingSet(Dataset):
    """Crops of samples by (epoch, index), a function of the trial's seed and these alone, so that it resumes.

    An image's longer side is scaled to ``base_size`` times 0.5 to 2, and a square of :func:`crop_side` is cut out of it
    somewhere; where the image is smaller, the rest is filled up and ignored. Half of the crops are mirrored.
    """

    def __init__(self, samples: Samples, settings: Mapping[str, Any], seed: int):
        self.samples, self.seed = samples, seed
        self.base, self.side = settings["base_size"], crop_side(settings)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return an image, uint8 [3, S, S], and its truth, uint8 [S, S]."""
        epoch, i = key
        rng = np.random.default_rng([self.seed, epoch, i])
        both = self.samples.image(i)
        both = cropped(both, self.base * rng.uniform(*SCALE) / max(both.shape[:2]), self.side, rng)
        return _tensors(both[:, ::-1] if rng.random() < 0.5 else both)


class EvaluationSet(Dataset):
    """Samples as they are, with their index; with ``crop`` each scaled so that its longer side is ``base_size``, and
    of these the squares of :func:`crop_side` in the middle, filled up where they are smaller.
    """

    def __init__(self, samples: Samples, settings: Mapping[str, Any], crop: bool):
        self.samples, self.crop = samples, crop
        self.base, self.side = settings["base_size"], crop_side(settings)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        """Return an image, uint8 [3, H, W], its truth, uint8 [H, W], and its index."""
        both = self.samples.image(i)
        if self.crop:
            both = cropped(both, self.base / max(both.shape[:2]), self.side)
        return *_tensors(both), i

    def pixels(self, classes: int) -> np.ndarray:
        """Return how many pixels are of each of so many classes, int64 [classes]; those that are ignored are not."""
        counts = np.zeros(IGNORE + 1, np.int64)
        for i in range(len(self)):
            counts += np.bincount(self[i][1].numpy().ravel(), minlength=len(counts))
        return counts[:classes]


def cropped(both: np.ndarray, scale: float, side: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return a square out of an image scaled by ``scale``, uint8 [side, side, 4], at a random place or in the middle.

    Only what is cut out is scaled, image and truth by the same: the image with antialiasing, the truth to the nearest.
    """
    rows, columns = (_span(length, scale, side, rng) for length in both.shape[:2])
    part = both[rows.source, columns.source]
    size = rows.length, columns.length
    result = np.full((side, side, 4), (*FILL, IGNORE), np.uint8)
    inside = result[rows.target, columns.target]
    inside[..., :3] = scaled(part[..., :3], size)
    inside[..., 3] = _nearest(part[..., 3], size)
    return result


class _Span:
    """What of a side of an image is taken, and where it is put.

    Attributes:
        source, target: slices of the image's side and of the crop's.
        length: of the target.
    """

    def __init__(self, source: slice, start: int, length: int):
        self.source, self.target, self.length = source, slice(start, start + length), length


def _span(length: int, scale: float, side: int, rng: np.random.Generator | None) -> _Span:
    whole = max(1, round(length * scale))
    if whole <= side:
        return _Span(slice(0, length), (side - whole) // 2, whole)
    taken = min(length, max(1, round(side / scale)))
    free = length - taken
    start = free // 2 if rng is None else int(rng.integers(free + 1))
    return _Span(slice(start, start + taken), 0, side)


def _nearest(truth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if truth.shape == size:
        return truth
    source = torch.from_numpy(np.ascontiguousarray(truth))[None, None]
    return F.interpolate(source, size, mode="nearest-exact")[0, 0].numpy()


def _tensors(both: np.ndarray) -> tuple[Tensor, Tensor]:
    planes = torch.from_numpy(np.ascontiguousarray(both.transpose(2, 0, 1)))
    return planes[:3], planes[3]


def as_lists(batch: list[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Collate a batch of evaluated samples into three lists, since images differ in size."""
    return tuple(map(list, zip(*batch, strict=True)))
