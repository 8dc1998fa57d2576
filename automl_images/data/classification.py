"""Records as batches for classification: decoded once, cropped for each epoch, the same in whatever process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from automl_images.annotations.records import Record
from automl_images.data.store import ImageStore
from automl_images.errors import UserError, nearest
from automl_images.tasks import get_task

# torchvision's reference crops from 8 % on, for hundreds of epochs; trials have few
AREA, RATIO = (0.35, 1.0), (3 / 4, 4 / 3)
ASPECT_CHANGE = 0.25
KEPT = 1.5
THINNEST = 16


def is_multilabel(task: str) -> bool:
    """Return whether an image of the task may have any number of classes."""
    return get_task(task).label == "classes"


def classes_of(records: Sequence[Record], multilabel: bool) -> list[str]:
    """Return the classes of records, sorted; numbers by their value.

    Raises:
        UserError: there are too few classes to tell apart.
    """
    found = {name for record in records for name in record.label.names()}
    if len(found) < (1 if multilabel else 2):
        only = f"the only class is '{next(iter(found))}'" if found else "no image has a class"
        raise UserError(f"training data: {only}, so there is nothing to tell apart")
    return sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))


def truth_of(records: Sequence[Record], classes: Sequence[str], multilabel: bool) -> np.ndarray:
    """Return the class indices int64 [n] of records or, multi-label, which classes each has, bool [n, C].

    Raises:
        UserError: a record has a class that is not among ``classes``; the line says which.
    """
    index = {name: i for i, name in enumerate(classes)}
    truth = np.zeros((len(records), len(classes)), dtype=bool)
    for row, record in enumerate(records):
        for name in record.label.names():
            if name not in index:
                raise UserError(
                    f"{record.where or record.image_url}: the class '{name}' is not in the training data; "
                    f"{nearest(name, classes)}"
                )
            truth[row, index[name]] = True
    return truth if multilabel else truth.argmax(axis=1).astype(np.int64)


def class_weights(truth: np.ndarray, count: int, mode: int) -> Tensor | None:
    """Return what ``weighted_loss`` (0, 1 or 2) multiplies the loss by, float32, or None for 0.

    Inverse to the images: multi-class [count], of a class; multi-label [2, count], of the images without and with a
    class. Mode 1 takes the square root. The mean over the training images is 1 (mode 2 is scikit-learn's "balanced"),
    so that weights do not change how far a step goes. Azure's formula is not published; this is the usual one.
    ``truth`` is what :func:`truth_of` returned.
    """
    if not mode:
        return None
    images = np.array([(~truth).sum(0), truth.sum(0)]) if truth.ndim == 2 else np.bincount(truth, minlength=count)
    weights = images.clip(1) ** (-mode / 2)
    return torch.tensor(weights * len(truth) / (images * weights).sum(axis=0), dtype=torch.float32)


def shape_of(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return ``image_shape``'s height and width, or None if it is not set."""
    if not settings["image_shape"]:
        return None
    _, height, width = map(int, settings["image_shape"].split(","))
    return height, width


def evaluation_image(image: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return the image as it is scored and served, uint8 [S, S, 3].

    The shorter side becomes ``valid_resize_size``, then the centre is cropped to ``valid_crop_size``; with
    ``image_shape`` the image is scaled to it, whatever its aspect.
    """
    if shape := shape_of(settings):
        return scaled(image, shape)
    size = settings["valid_crop_size"]
    return centre(shortened(image, settings["valid_resize_size"]), (size, size))


def kept_image(image: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return a training image as it is kept for all epochs: scaled down to what crops need, never up for them.

    Raises:
        UserError: the image is smaller than ``image_shape``, after ``resize``.
    """
    shape, kind = shape_of(settings), settings["augmentation_type"]
    if not shape:
        side = settings["train_crop_size"]
        if kind:
            return shortened(image, max(settings["valid_resize_size"], side))
        limit = longest_needed(settings)
        return shortened(image, limit) if min(image.shape[:2]) > limit else image
    if settings["resize"]:
        image = shortened(image, settings["resize"])
    height, width = image.shape[:2]
    if height < shape[0] or width < shape[1]:
        raise UserError(
            f"the image is {width} x {height} pixels, smaller than image_shape ({shape[1]} x {shape[0]}); "
            "set resize to scale images up first"
        )
    return image if kind else centre(image, shape)


def longest_needed(settings: Mapping[str, Any]) -> int:
    """Return the shorter side in pixels beyond which a training image has more than its crops show."""
    shape = shape_of(settings)
    if shape:
        return settings["resize"] or 1 << 16
    return max(settings["valid_resize_size"], math.ceil(KEPT * settings["train_crop_size"]))


def training_crop(image: np.ndarray, settings: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return one epoch's view of an image of :func:`kept_image`, uint8 [H, W, 3]: cropped, scaled and flipped."""
    shape, kind = shape_of(settings), settings["augmentation_type"]
    size = shape or (settings["train_crop_size"], settings["train_crop_size"])
    if shape and not kind:
        return image
    height, width = _crop_size(image.shape[:2], size, kind, rng)
    top = int(rng.integers(image.shape[0] - height + 1))
    left = int(rng.integers(image.shape[1] - width + 1))
    view = image[top : top + height, left : left + width]
    view = view if (height, width) == size else scaled(view, size)
    return view[:, ::-1] if rng.random() < 0.5 else view


def _crop_size(
    has: tuple[int, ...], size: tuple[int, int], kind: str | None, rng: np.random.Generator
) -> tuple[int, int]:
    """Return height and width of a crop: of Azure's recipe any area and aspect in range, else the size asked for."""
    if kind is None:
        area = has[0] * has[1]
        for _ in range(10):  # Szegedy et al. 2014: draw until it fits
            ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            target = area * rng.uniform(*AREA)
            height, width = round(math.sqrt(target / ratio)), round(math.sqrt(target * ratio))
            if 0 < height <= has[0] and 0 < width <= has[1]:
                return height, width
        side = min(has[0], has[1])
        return side, side
    height, width = size
    if kind == "crop_color_transform":
        ratio = 1 + rng.uniform(-ASPECT_CHANGE, ASPECT_CHANGE)
        height, width = round(height / math.sqrt(ratio)), round(width * math.sqrt(ratio))
    return min(height, has[0]), min(width, has[1])


def scaled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return uint8 [H, W, 3] scaled to (height, width) with antialiasing."""
    if image.shape[:2] == size:
        return image
    source = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]
    return F.interpolate(source, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


def shortened(image: np.ndarray, side: int) -> np.ndarray:
    """Return the image scaled so that its shorter side is ``side``.

    Of one that is scaled up the centre alone is kept, of at most 16 times its shorter side, or a row of pixels would
    fill the memory.
    """
    short = min(image.shape[:2])
    if short < side:
        most = THINNEST * short
        image = centre(image, (min(image.shape[0], most), min(image.shape[1], most)))
    height, width = image.shape[:2]
    return scaled(image, (max(1, round(height * side / short)), max(1, round(width * side / short))))


def centre(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the centre crop of (height, width)."""
    top, left = ((has - wanted) // 2 for has, wanted in zip(image.shape[:2], size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


class TrainingBatches(Dataset):
    """Whole batches of crops by (epoch, index), a function of the trial's seed and these alone.

    ``store`` has images from :func:`kept_image`, ``truth`` is of :func:`truth_of`, and ``threads`` crop at once: 1 in a
    loader's own processes.
    """

    def __init__(self, store: ImageStore, truth: np.ndarray, settings: Mapping[str, Any], seed: int, threads: int = 1):
        self.store, self.settings, self.seed, self.threads = store, settings, seed, threads
        self.truth = torch.from_numpy(truth if truth.ndim == 1 else truth.astype(np.float32))

    def __len__(self) -> int:
        return len(self.store)

    def __getitems__(self, keys: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, 3, H, W], laid out with channels last, and their truth."""
        with ThreadPoolExecutor(self.threads) as pool:
            views = list((pool.map if self.threads > 1 else map)(self._view, keys))
        return _stacked(views), self.truth[[i for _, i in keys]]

    def _view(self, key: tuple[int, int]) -> np.ndarray:
        epoch, i = key
        return training_crop(self.store.image(i), self.settings, np.random.default_rng([self.seed, epoch, i]))


class EvaluationBatches(Dataset):
    """Whole batches of images as they are scored, with their indices."""

    def __init__(self, store: ImageStore):
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, list[int]]:
        """Return images uint8 [B, 3, H, W], laid out with channels last, and their indices."""
        return _stacked([self.store.image(i) for i in indices]), indices


def as_it_is(batch: Any) -> Any:
    """Collate nothing: a batch is made whole."""
    return batch


def _stacked(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
