"""Whether two predictors find the same on images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.shapes import decoded
from automl_images.errors import UserError
from automl_images.models.detector import SCORE_FLOOR
from automl_images.prediction import ModelPredictor

PROBABILITY, SCORE, OVERLAP = 1e-4, 1e-3, 0.99
CORNER = 0.05  # pixels: a box at an edge may be thinner than rounding, and no IoU of its own be near 1
SURE = 0.05  # boxes above this score are compared, and those of lower ones where a model finds none above it
MASK, PIXELS = 0.01, 2  # share of a mask's pixels, and pixels, by which it may differ


@dataclass
class Parity:
    """What was compared: ``images``, ``compared`` values or boxes, and the largest ``difference`` of a score."""

    images: int = 0
    compared: int = 0
    difference: float = 0.0


def parity(expected: ModelPredictor, found: ModelPredictor, images: Iterable[np.ndarray]) -> Parity:
    """Return how alike two predictors are on uint8 [H, W, 3] images, of which each is looked at in three shapes.

    Probabilities must agree to 1e-4. Boxes must have a partner of the same label, whose score is theirs to 1e-3, and
    whose IoU with them is at least 0.99 or whose corners are theirs to 0.05 pixels; in both directions. Masks must be
    equal but for 1 % of their pixels. Boxes of low scores, and the last of a full list, are left out: which of them is
    above a limit may depend on rounding.

    Raises:
        UserError: they differ, and where; or there was nothing to compare.
    """
    come = Parity()
    for number, image in enumerate(images, 1):
        come.images += 1
        for view in views(image):
            (one,), (other,) = (list(predictor.outputs([[view]])) for predictor in (expected, found))
            where = f"image {number}, {view.shape[1]} x {view.shape[0]} pixels"
            if isinstance(one, np.ndarray):
                _same_values(one, other, where, come)
            else:
                _same_boxes(one, other, where, come, expected.settings)
    if not come.compared:
        raise UserError("the model finds nothing on these images, so that nothing is compared; give others")
    return come


def views(image: np.ndarray) -> list[np.ndarray]:
    """Return an image, its upper two thirds and its left half: what was traced for one shape alone fails on others."""
    height, width = image.shape[:2]
    return [image, image[: max(1, 2 * height // 3)], image[:, : max(1, width // 2)]]


def _same_values(one: np.ndarray, other: np.ndarray, where: str, come: Parity) -> None:
    apart = float(np.abs(one - other).max()) if one.shape == other.shape else np.inf
    if not apart <= PROBABILITY:  # NaN is none
        raise UserError(f"{where}: its probabilities differ by {apart:.2g}")
    come.compared += len(one)
    come.difference = max(come.difference, apart)


def _same_boxes(
    one: Mapping[str, Any], other: Mapping[str, Any], where: str, come: Parity, settings: Mapping[str, Any]
) -> None:
    most = settings.get("box_detections_per_img", 300)
    last = [found["scores"][-1] for found in (one, other) if len(found["scores"]) >= most]
    least = max([SCORE_FLOOR, *last]) + SCORE
    sure = max(least, min(SURE, settings["box_score_thresh"]))
    if any((found["scores"] > sure).any() for found in (one, other)):
        least = sure
    for these, those, which in ((one, other, "has no box"), (other, one, "has a box too many")):
        taken = np.zeros(len(those["scores"]), bool)
        for n in np.flatnonzero(~(these["scores"] <= least)):
            apart = np.abs(those["scores"] - these["scores"][n])
            overlap = _overlaps(these["boxes"][n], those["boxes"])
            near = np.abs(those["boxes"] - these["boxes"][n]).max(1, initial=0) <= CORNER
            alike = (those["labels"] == these["labels"][n]) & (apart <= SCORE)
            fits = alike & (near | (overlap >= OVERLAP)) & ~taken
            if not fits.any():
                score, label = these["scores"][n], these["labels"][n]
                raise UserError(f"{where}: the export {which} of class {label} and score {score:.4f}")
            best = int(np.argmax(np.where(fits, overlap, -1)))
            taken[best] = True
            if which == "has no box":
                come.compared += 1
                come.difference = max(come.difference, float(apart[best]))
                if "masks" in these:
                    _same_mask(these["masks"][n], those["masks"][best], where)


def _same_mask(one: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    a, b = (decoded(Rle(mask["size"][0], mask["size"][1], mask["counts"].decode())) for mask in (one, other))
    apart = int((a != b).sum())
    if apart > max(PIXELS, MASK * int((a | b).sum())):
        raise UserError(f"{where}: a mask of {int(a.sum())} pixels differs in {apart}")


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU of a box [4] with each of [n, 4]."""
    sides = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0)
    shared = sides.prod(1)
    return shared / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared, 1e-12)
