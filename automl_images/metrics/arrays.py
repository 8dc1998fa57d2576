"""What detectors learn from and their metrics read: plain arrays per image, and how records become them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from automl_images.annotations import Box
    from automl_images.annotations.labels.polygons import Instance


class Sample(NamedTuple):
    """One image to learn from.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        boxes: float32 [n, 4] left, top, right, bottom in pixels.
        labels: int64 [n] class indices.
        masks: uint8 [n, H, W], 1 inside; None where boxes alone are learned.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None


class Truth(NamedTuple):
    """The ground truth of all images in flat arrays, in image order.

    Attributes:
        boxes: [n, 4] left, top, right, bottom in pixels.
        labels: [n] class indices.
        crowd: [n] whether a box is neither rewarded nor punished.
        image: [n] index of the image each box is on.
        area: [n] pixels, by which COCO calls an object small, medium or large.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    image: np.ndarray
    area: np.ndarray


class Detections(NamedTuple):
    """The detections of all images in flat arrays, in image order; ``scores`` is [n], the rest as in `Truth`."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    image: np.ndarray

    def above(self, score: float) -> Detections:
        """Return the detections whose score is strictly greater."""
        keep = self.scores > score
        return Detections(*(a[keep] for a in self))


def truth_arrays(boxes: Iterable[Box], classes: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    """Return one image's ground truth as the metrics read it: ``boxes``, ``labels``, ``crowd``, ``area`` and ``size``.

    ``size`` is the width and height in pixels, of which a record's boxes are fractions. Boxes become pixels, float64:
    in float32 an overlap at the threshold could fall on either side of it. A label becomes its place in ``classes``.

    Raises:
        KeyError: a box has a class that is not in ``classes``.
    """
    index = {name: i for i, name in enumerate(classes)}
    found = list(boxes)
    corners = [(b.topX, b.topY, b.bottomX, b.bottomY) for b in found]
    pixels = np.array(corners, dtype=np.float64).reshape(-1, 4) * (*size, *size)
    return {
        "boxes": pixels,
        "labels": np.array([index[b.label] for b in found], dtype=np.int64),
        "crowd": np.array([b.isCrowd for b in found], dtype=bool),
        "area": np.array([a if b.area is None else b.area for a, b in zip(box_area(pixels), found, strict=True)]),
        "size": size,
    }


def instance_arrays(instances: Iterable[Instance], classes: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    """Return one image's ground truth with outlines: what :func:`truth_arrays` returns, and ``masks``.

    A box is that of the outline, an area the annotation's own, else the mask's. ``masks`` are COCO's run lengths of the
    whole image, ``{"size": [height, width], "counts": bytes}``.

    Raises:
        KeyError: an object has a class that is not in ``classes``.
    """
    from faster_coco_eval import mask as coco

    from automl_images.annotations.shapes import box_of, coco_rle

    index = {name: i for i, name in enumerate(classes)}
    found = list(instances)
    masks = [coco_rle(one, *size) for one in found]
    areas = [one.area if one.area is not None else coco.area(m) for one, m in zip(found, masks, strict=True)]
    return {
        "boxes": np.array([box_of(one) for one in found], dtype=np.float64).reshape(-1, 4) * (*size, *size),
        "labels": np.array([index[one.label] for one in found], dtype=np.int64),
        "crowd": np.array([one.isCrowd for one in found], dtype=bool),
        "area": np.array(areas, dtype=np.float64),
        "size": size,
        "masks": masks,
    }


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [n] of boxes [n, 4]."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def flatten(
    truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> tuple[Truth, Detections]:
    """Join the arrays of all images and check them.

    Args:
        truth: one mapping an image: ``boxes`` [n, 4] left, top, right, bottom in pixels, ``labels`` [n] places in
            ``classes``, and optionally ``crowd`` [n] bool (default: none is) and ``area`` [n] (default: the box's).
            Other keys are not read.
        detections: one mapping for each of the same images: ``boxes``, ``scores`` [n], ``labels``.
        classes: the class names.

    Raises:
        ValueError: the lists differ in length, as do arrays of an image; a label is not a place in ``classes``; a
            coordinate or score is not finite; a box ends before it begins.
    """
    if len(truth) != len(detections):
        raise ValueError(f"ground truth of {len(truth)} images, but detections of {len(detections)}")
    crowd = [t.get("crowd") if t.get("crowd") is not None else np.zeros(len(t["labels"]), bool) for t in truth]
    boxes, labels, crowds, image = _join(truth, crowd, bool, len(classes), "ground truth")
    given = [t["area"] if t.get("area") is not None else np.full(len(t["labels"]), np.nan) for t in truth]
    area = np.concatenate([*given, np.zeros(0)])
    joined = Truth(boxes, labels, crowds, image, np.where(np.isnan(area), box_area(boxes), area))
    scores = [d["scores"] for d in detections]
    found = Detections(*_join(detections, scores, np.float64, len(classes), "detections"))
    infinite = ~np.isfinite(found.scores)
    if infinite.any():
        raise ValueError(f"detections: image {found.image[infinite][0]} has a score that is not a finite number")
    return joined, found


def _join(images: Sequence[Mapping[str, Any]], extra: Sequence[Any], kind: Any, classes: int, what: str):
    boxes = [np.asarray(i["boxes"], dtype=np.float64).reshape(-1, 4) for i in images]
    labels = [np.asarray(i["labels"], dtype=np.int64).reshape(-1) for i in images]
    extra = [np.asarray(e, dtype=kind).reshape(-1) for e in extra]
    for n, (b, name, e) in enumerate(zip(boxes, labels, extra, strict=True)):
        if not len(b) == len(name) == len(e):
            third = f"{len(e)} of the third array"
            raise ValueError(f"{what}: image {n} has {len(b)} boxes, {len(name)} labels and {third}")
    image = np.repeat(np.arange(len(images)), [len(b) for b in boxes])
    box = np.concatenate([*boxes, np.zeros((0, 4))])
    label = np.concatenate([*labels, np.zeros(0, dtype=np.int64)])
    for wrong, why in (
        (~np.isfinite(box).all(axis=1), "a coordinate that is not a finite number"),
        ((box[:, 2:] < box[:, :2]).any(axis=1), "a box that ends before it begins"),
        ((label < 0) | (label >= classes), f"a label outside the {classes} classes"),
    ):
        if wrong.any():
            raise ValueError(f"{what}: image {image[wrong][0]} has {why}")
    return box, label, np.concatenate([*extra, np.zeros(0, dtype=kind)]), image
