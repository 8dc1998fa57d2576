"""Records as torch data sets for detection: deterministic order and augmentation, decoded images kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from automl_images.annotations.records import Record
from automl_images.data.images import load_image
from automl_images.errors import UserError, nearest

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
CACHE_BYTES = 1 << 30


def pixel_boxes(record: Record, height: int, width: int) -> np.ndarray:
    """Return a record's boxes in pixels of an image of that size: float32 [n, 4], (x1, y1, x2, y2)."""
    boxes = np.array([(b.topX, b.topY, b.bottomX, b.bottomY) for b in record.label.boxes], dtype=np.float32)
    return boxes.reshape(-1, 4) * np.array([width, height, width, height], dtype=np.float32)


def labels_of(records: Sequence[Record]) -> list[str]:
    """Return the sorted classes of records.

    Raises:
        UserError: no record has a box.
    """
    classes = sorted({name for record in records for name in record.label.names()})
    if not classes:
        raise UserError("training data: no image has a box, so there is nothing to learn")
    return classes


class Samples:
    """Decoded images with boxes and labels by index; images stay in memory up to a budget.

    Args:
        records: the records.
        classes: the labels; a box's label becomes its index here.
        budget: bytes of decoded images to keep.

    Raises:
        UserError: a record has a class that is not among ``classes``.
    """

    def __init__(self, records: Sequence[Record], classes: Sequence[str], budget: int = CACHE_BYTES):
        self.records = records
        self._index = {name: i for i, name in enumerate(classes)}
        self._cache: dict[int, np.ndarray] = {}
        self._left = budget
        for record in records:
            for name in record.label.names():
                if name not in self._index:
                    raise UserError(
                        f"{record.image_url}: the class '{name}' is not in the training data; {nearest(name, classes)}"
                    )

    def __len__(self) -> int:
        return len(self.records)

    def image(self, i: int) -> np.ndarray:
        """Return image ``i``, uint8 [H, W, 3]; not to be written to."""
        image = self._cache.get(i)
        if image is None:
            record = self.records[i]
            image = load_image(record.image_url, record.where)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._cache[i] = image
        return image

    def labels(self, i: int) -> np.ndarray:
        """Return the class indices of record ``i``'s boxes, int64 [n]."""
        return np.array([self._index[name] for name in self.records[i].label.names()], dtype=np.int64)

    def crowd(self, i: int) -> np.ndarray:
        """Return which of record ``i``'s boxes are crowds, bool [n]."""
        return np.array([b.isCrowd for b in self.records[i].label.boxes], dtype=bool)

    def training(self, i: int) -> Sample:
        """Return image, boxes in pixels (float32 [n, 4]) and class indices, without crowds, which teach nothing."""
        image = self.image(i)
        keep = ~self.crowd(i)
        return image, pixel_boxes(self.records[i], *image.shape[:2])[keep], self.labels(i)[keep]

    def truth(self, i: int) -> dict[str, Any]:
        """Return what metrics compare with: ``boxes``, ``labels``, ``crowd`` and ``size`` (width, height)."""
        height, width = self.image(i).shape[:2]
        return {
            "boxes": pixel_boxes(self.records[i], height, width),
            "labels": self.labels(i),
            "crowd": self.crowd(i),
            "size": (width, height),
        }


class TrainingSet(Dataset):
    """Augmented samples by (epoch, index), a function of the seed and these two alone, so that training can resume.

    Args:
        samples: the decoded images.
        augment: from (index, seed) to an augmented sample.
        seed: the trial's seed.
    """

    def __init__(self, samples: Samples, augment: Callable[[int, int], Sample], seed: int):
        self.samples, self.augment, self.seed = samples, augment, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        epoch, i = key
        seed = int(np.random.SeedSequence([self.seed, epoch, i]).generate_state(1)[0])
        return to_tensors(self.augment(i, seed))


class EvaluationSet(Dataset):
    """Images as they are, with their index."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return image_tensor(self.samples.image(i)), i


def image_tensor(image: np.ndarray) -> Tensor:
    """Return a uint8 [H, W, 3] array as a uint8 [3, H, W] tensor of its own."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)).copy())


def to_tensors(sample: Sample) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a sample as the models take it: a uint8 [3, H, W] image, ``boxes`` and ``labels``."""
    image, boxes, labels = sample
    return image_tensor(image), {
        "boxes": torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.as_tensor(labels, dtype=torch.int64),
    }


def as_lists(batch: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Collate a batch into two lists, since images differ in size."""
    first, second = zip(*batch, strict=True)
    return list(first), list(second)
