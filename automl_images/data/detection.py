"""Records as torch data sets for detection: deterministic order and augmentation, decoded images kept in memory.

Boxes are pixels, float64 [n, 4] (left, top, right, bottom), as the metrics take them; float32 as the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from automl_images.annotations import Box, Boxes, Record
from automl_images.data.store import ImageStore
from automl_images.errors import UserError, nearest
from automl_images.metrics.arrays import truth_arrays

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def classes_of(records: Sequence[Record]) -> list[str]:
    """Return the sorted classes of records.

    Raises:
        UserError: no record has a box.
    """
    classes = sorted({name for record in records for name in record.label.names()})
    if not classes:
        raise UserError("training data: no image has a box, so there is nothing to learn")
    return classes


def checked_boxes(record: Record, classes: Collection[str]) -> list[Box]:
    """Return a record's boxes.

    Raises:
        UserError: it has another kind of label, or a class that is not among ``classes``; the line says which.
    """
    where = record.where or record.image_url
    if not isinstance(record.label, Boxes):
        raise UserError(f"{where}: its label is not a list of boxes, which object detection needs")
    boxes = list(record.label.boxes)
    unknown = next((box.label for box in boxes if box.label not in classes), None)
    if unknown is not None:
        raise UserError(f"{where}: the class '{unknown}' is not in the training data; {nearest(unknown, classes)}")
    return boxes


class Samples:
    """Images with boxes and labels by index; a label is its index among ``classes``, a ``budget`` that of ImageStore.

    Raises:
        UserError: as :func:`checked_boxes`.
    """

    def __init__(self, records: Sequence[Record], classes: Sequence[str], budget: int | None = None):
        self.classes, known = list(classes), frozenset(classes)
        self.boxes = [checked_boxes(record, known) for record in records]
        self.store = ImageStore(records, np.asarray, None, budget)

    def __len__(self) -> int:
        return len(self.boxes)

    def training(self, i: int) -> Sample:
        """Return image, boxes (float32) and class indices (int64 [n]), without crowds, which teach nothing."""
        image = self.store.image(i)
        truth = self.truth(i, (image.shape[1], image.shape[0]))
        keep = ~truth["crowd"]
        return image, truth["boxes"][keep].astype(np.float32), truth["labels"][keep]

    def truth(self, i: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return what metrics compare with, of an image of that width and height; see `truth_arrays`."""
        return truth_arrays(self.boxes[i], self.classes, size)


class TrainingSet(Dataset):
    """Samples augmented by (index, seed), a function of the trial's seed, epoch and index alone, so that it resumes."""

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
        return image_tensor(self.samples.store.image(i)), i


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
