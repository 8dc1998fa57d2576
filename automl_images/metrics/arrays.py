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
        masks: [n] COCO's run lengths as objects, ``{"size": [height, width], "counts": bytes}``; None: boxes alone.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    image: np.ndarray
    area: np.ndarray
    masks: np.ndarray | None = None


class Detections(NamedTuple):
    """The detections of all images in flat arrays, in image order; ``scores`` is [n], the rest as in `Truth`."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    image: np.ndarray
    masks: np.ndarray | None = None

    def above(self, score: float) -> Detections:
        """Return the detections whose score is strictly greater."""
        keep = self.scores > score
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep], self.image[keep], masks)


def truth_arrays(boxes: Iterable[Box], classes: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    """Return one image's ground truth as the metrics read it: ``boxes``, ``labels``, ``crowd``, ``area`` and ``size``.

    ``size`` is the width and height in pixels, of which a record's boxes are fractions. Boxes become pixels, float64
    with nine decimals: with an error of the last bit an overlap at the threshold could fall on either side of it. A
    label becomes its place in ``classes``.

    Raises:
        KeyError: a box has a class that is not in ``classes``.
    """
    index = {name: i for i, name in enumerate(classes)}
    found = list(boxes)
    corners = [(b.topX, b.topY, b.bottomX, b.bottomY) for b in found]
    pixels = (np.array(corners, dtype=np.float64).reshape(-1, 4) * (*size, *size)).round(9)
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
        "boxes": (np.array([box_of(one) for one in found], dtype=np.float64).reshape(-1, 4) * (*size, *size)).round(9),
        "labels": np.array([index[one.label] for one in found], dtype=np.int64),
        "crowd": np.array([one.isCrowd for one in found], dtype=bool),
        "area": np.array(areas, dtype=np.float64),
        "size": size,
        "masks": masks,
    }


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [n] of boxes [n, 4]."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def mask_area(masks: np.ndarray) -> np.ndarray:
    """Return the pixels [n] inside masks, run lengths [n] as in `Truth`."""
    from faster_coco_eval import mask as coco

    return np.asarray(coco.area(masks.tolist()), dtype=np.float64).reshape(-1)


def flatten(
    truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> tuple[Truth, Detections]:
    """Join the arrays of all images and check them.

    Args:
        truth: one mapping an image: ``boxes`` [n, 4] left, top, right, bottom in pixels, ``labels`` [n] places in
            ``classes``, and optionally ``crowd`` [n] bool (default: none is), ``area`` [n] (default: the mask's, else
            the box's) and ``masks``, a list of n of COCO's run lengths of the whole image. Other keys are not read.
        detections: one mapping for each of the same images: ``boxes``, ``scores`` [n], ``labels``, optionally
            ``masks``. Masks are kept where all images of both sides have them.
        classes: the class names.

    Raises:
        ValueError: the lists differ in length, as do arrays of an image; a label is not a place in ``classes``; a
            coordinate or score is not finite; a box ends before it begins; some images have masks and others do not;
            masks of an image differ in size.
    """
    if len(truth) != len(detections):
        raise ValueError(f"ground truth of {len(truth)} images, but detections of {len(detections)}")
    boxes, labels, image = _join(truth, len(classes), "ground truth")
    found_boxes, found_labels, found_image = _join(detections, len(classes), "detections")
    scores = _column(detections, "scores", found_image, np.float64, "detections")
    infinite = ~np.isfinite(scores)
    if infinite.any():
        raise ValueError(f"detections: image {found_image[infinite][0]} has a score that is not a finite number")
    masks, found_masks = _masks(truth, image, "ground truth"), _masks(detections, found_image, "detections")
    if masks is None or found_masks is None:
        masks = found_masks = None
    else:
        _check_sizes(masks, image, found_masks, found_image)
    area = _column(truth, "area", image, np.float64, "ground truth", np.nan)
    unknown = np.isnan(area)
    if unknown.any():
        area[unknown] = box_area(boxes[unknown]) if masks is None else mask_area(masks[unknown])
    crowd = _column(truth, "crowd", image, bool, "ground truth", False)
    joined = Truth(boxes, labels, crowd, image, area, masks)
    return joined, Detections(found_boxes, found_labels, scores, found_image, found_masks)


def _join(images: Sequence[Mapping[str, Any]], classes: int, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the boxes, labels and image of all objects."""
    boxes = [one["boxes"] for one in images]
    image = np.repeat(np.arange(len(images)), _lengths(boxes))
    box = _concatenated(boxes, np.float64).reshape(-1, 4)
    label = _column(images, "labels", image, np.int64, what)
    for wrong, why in (
        (~np.isfinite(box).all(axis=1), "a coordinate that is not a finite number"),
        ((box[:, 2:] < box[:, :2]).any(axis=1), "a box that ends before it begins"),
        ((label < 0) | (label >= classes), f"a label outside the {classes} classes"),
    ):
        if wrong.any():
            raise ValueError(f"{what}: image {image[wrong][0]} has {why}")
    return box, label, image


def _column(
    images: Sequence[Mapping[str, Any]], key: str, image: np.ndarray, kind: Any, what: str, default: Any = None
) -> np.ndarray:
    """Return one value an object; a key may be missing or None if there is a ``default``."""
    values = [one[key] for one in images] if default is None else [one.get(key) for one in images]
    counts = np.bincount(image, minlength=len(images))
    for n in [n for n, given in enumerate(values) if given is None]:
        values[n] = np.full(counts[n], default)
    _check_lengths(values, counts, key, what)
    return _concatenated(values, kind)


def _concatenated(values: Sequence[Any], kind: Any) -> np.ndarray:
    # an empty list has no second dimension
    return np.concatenate([v for v in values if len(v)] or [np.zeros(0)], dtype=kind, casting="unsafe")


def _lengths(values: Sequence[Any]) -> np.ndarray:
    return np.fromiter(map(len, values), np.int64, len(values))


def _check_lengths(values: Sequence[Any], counts: np.ndarray, key: str, what: str) -> None:
    lengths = _lengths(values)
    for n in np.flatnonzero(lengths != counts)[:1]:
        raise ValueError(f"{what}: image {n} has {counts[n]} boxes, {lengths[n]} {key}")


def _masks(images: Sequence[Mapping[str, Any]], image: np.ndarray, what: str) -> np.ndarray | None:
    having = [i.get("masks") is not None for i in images]
    if not any(having):
        return None
    if not all(having):
        raise ValueError(f"{what}: image {having.index(True)} has masks, and image {having.index(False)} has none")
    _check_lengths([one["masks"] for one in images], np.bincount(image, minlength=len(images)), "masks", what)
    masks = np.empty(len(image), dtype=object)
    masks[:] = [mask for one in images for mask in one["masks"]]
    return masks


def _check_sizes(masks: np.ndarray, image: np.ndarray, found: np.ndarray, found_image: np.ndarray) -> None:
    sizes = np.array([mask["size"] for mask in (*masks, *found)]).reshape(-1, 2)
    places = np.concatenate([image, found_image])
    _, first, of = np.unique(places, return_index=True, return_inverse=True)
    wrong = np.flatnonzero((sizes != sizes[first][of]).any(axis=1))
    if len(wrong):
        (height, width), (other_height, other_width) = sizes[first][of][wrong[0]], sizes[wrong[0]]
        what = f"{width} x {height} and {other_width} x {other_height}"
        raise ValueError(f"image {places[wrong[0]]} has masks of {what} pixels")
