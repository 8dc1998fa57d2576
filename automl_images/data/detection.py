"""Records as torch data sets for detection: deterministic order and augmentation, decoded images kept in memory.

Boxes are pixels, float64 [n, 4] (left, top, right, bottom), as the metrics take them; float32 as the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from automl_images.annotations import Box, Boxes, Record
from automl_images.data.augment import Augment
from automl_images.data.store import ImageStore
from automl_images.errors import UserError, nearest
from automl_images.metrics.arrays import Sample, truth_arrays


def classes_of(records: Sequence[Record]) -> list[str]:
    """Return the sorted classes of records.

    Raises:
        UserError: no record has an object.
    """
    classes = sorted({name for record in records for name in record.label.names()})
    if not classes:
        raise UserError("training data: no image has an object, so there is nothing to learn")
    return classes


def checked_boxes(record: Record, classes: Collection[str]) -> list[Box]:
    """Return a record's boxes.

    Raises:
        UserError: it has another kind of label, or a class that is not among ``classes``; the line says which.
    """
    if not isinstance(record.label, Boxes):
        raise UserError(f"{_where(record)}: its label is not a list of boxes, which object detection needs")
    check_classes(record, classes)
    return list(record.label.boxes)


def check_classes(record: Record, classes: Collection[str]) -> None:
    """Raise UserError, naming the record, if one of its objects is of a class that is not among ``classes``."""
    unknown = next((name for name in record.label.names() if name not in classes), None)
    if unknown is not None:
        known = nearest(unknown, classes)
        raise UserError(f"{_where(record)}: the class '{unknown}' is not in the training data; {known}")


def _where(record: Record) -> str:
    return record.where or record.image_url


class Samples:
    """Images with boxes and labels by index.

    Args:
        records: whose they are.
        classes: of which a label is the index.
        budget, scratch: as of `ImageStore`.
        longest: images are kept with a longer side of at most so many pixels; None: as they are.

    Raises:
        UserError: as :func:`checked_boxes`.
    """

    checked: Callable[[Record, Collection[str]], Sequence[Any]] = staticmethod(checked_boxes)
    arrays: Callable[[Sequence[Any], Sequence[str], tuple[int, int]], dict[str, Any]] = staticmethod(truth_arrays)

    def __init__(
        self,
        records: Sequence[Record],
        classes: Sequence[str],
        budget: int | None = None,
        longest: int | None = None,
        scratch: Path | None = None,
    ):
        self.classes, known = list(classes), frozenset(classes)
        self.objects = [self.checked(record, known) for record in records]
        self.store = ImageStore(records, _prepared(longest), scratch, budget, longest)

    def __len__(self) -> int:
        return len(self.objects)

    def training(self, i: int) -> Sample:
        """Return image ``i`` with its objects, without crowds, which teach nothing."""
        image = self.store.image(i)
        truth = self.truth(i, (image.shape[1], image.shape[0]))
        keep = ~truth["crowd"]
        return Sample(image, truth["boxes"][keep].astype(np.float32), truth["labels"][keep])

    def aspects(self) -> list[float]:
        """Return the width by the height of each image, 1 where the record has none."""
        records = self.store.records
        return [r.width / r.height if r.width and r.height else 1.0 for r in records]

    def truth(self, i: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return what metrics compare with, of an image of that width and height; see `truth_arrays`."""
        return self.arrays(self.objects[i], self.classes, size)


def _prepared(longest: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes of an image that which is kept."""
    if not longest:
        return np.asarray
    from automl_images.data.warp import shrunk  # of the train extra

    return lambda image: shrunk(image, longest)


class TrainingSet(Dataset):
    """Augmented samples by (epoch, index), a function of these and the trial's seed alone, so that it resumes."""

    def __init__(self, samples: Sized, augment: Augment, seed: int):
        self.samples, self.augment, self.seed = samples, augment, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        epoch, i = key
        seed = int(np.random.SeedSequence([self.seed, epoch, i]).generate_state(1)[0])
        return to_tensors(self.augment(i, seed, epoch))


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
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))


def to_tensors(sample: Sample) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a sample as the models take it: a uint8 [3, H, W] image, ``boxes``, ``labels`` and, if any, ``masks``."""
    target = {
        "boxes": torch.as_tensor(sample.boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.as_tensor(sample.labels, dtype=torch.int64),
    }
    if sample.masks is not None:
        target["masks"] = torch.from_numpy(np.ascontiguousarray(sample.masks, dtype=np.uint8))
    return image_tensor(sample.image), target


def as_lists(batch: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Collate a batch into two lists, since images differ in size."""
    first, second = zip(*batch, strict=True)
    return list(first), list(second)
