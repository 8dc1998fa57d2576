"""COCO's figures of boxes and masks, computed by hotcoco from arrays in memory.

hotcoco gives pycocotools' tables to the last bit, takes arrays as they are, and is the fastest of those that were tried
(`benchmarks/evaluation.py`); `accumulate` alone knows it. Its threads do not live on in a forked process, where it
would wait for them for ever: so masks are coded by faster-coco-eval, which the forked workers of data loaders can use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automl_images.metrics.arrays import Detections, Truth, flatten

# Written out as pycocotools' own linspace gives them: np.arange's are off in the last digit.
IOU_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
_AREAS = ("all", "small", "medium", "large")
_LIMITS = (1, 10, 100)  # detections an image and class, those of highest score
_processes: set[int] = set()  # in which hotcoco's threads run; a forked one inherits the entry, not the threads


class Accumulated(NamedTuple):
    """COCO's tables; -1 where a class has no ground truth of that area.

    Attributes:
        thresholds: the T IoU thresholds.
        precision: [T, 101, classes, areas, limits] interpolated precision at recall 0, 0.01, ..., 1.
        recall: [T, classes, areas, limits] the highest recall.
    """

    thresholds: tuple[float, ...]
    precision: np.ndarray
    recall: np.ndarray

    def average_precision(
        self, thresholds: Sequence[float], label: int | None = None, area: str = "all"
    ) -> float | None:
        """Return the mean precision at these thresholds, of one class or of all; None if there is nothing to find."""
        rows = [self.thresholds.index(t) for t in thresholds]
        labels = slice(None) if label is None else slice(label, label + 1)
        return _mean(self.precision[:, :, labels, _AREAS.index(area), -1][rows])

    def average_recall(self, limit: int, area: str = "all") -> float | None:
        """Return the mean over COCO's thresholds and all classes of the highest recall within a limit."""
        rows = [self.thresholds.index(t) for t in IOU_THRESHOLDS]
        return _mean(self.recall[:, :, _AREAS.index(area), _LIMITS.index(limit)][rows])


def coco_map(
    truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Return COCO's twelve figures and each class's average precision (https://cocodataset.org/#detection-eval).

    An object is small below an area of 32 x 32 pixels, large above 96 x 96. Crowd ground truth swallows any number of
    detections. Of an image and class the 100 detections with the highest scores count. Where both sides have masks,
    overlaps are of masks.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`.

    Returns:
        ``map``, ``map_50``, ``map_75``, ``map_small``, ``map_medium``, ``map_large``, ``mar_1``, ``mar_10``,
        ``mar_100``, ``mar_small``, ``mar_medium``, ``mar_large``; and ``per_class``: {name: {``map``, ``map_50``}}.
        Floats in [0, 1], or None where there is no ground truth to measure on. JSON-serialisable.

    Raises:
        ValueError: as `flatten`.
    """
    return coco_figures(accumulate(*flatten(truth, detections, classes), len(classes), IOU_THRESHOLDS), classes)


def coco_figures(tables: Accumulated, classes: Sequence[str]) -> dict[str, Any]:
    """Return what `coco_map` returns; the tables must have COCO's thresholds."""
    ap, ar = tables.average_precision, tables.average_recall
    figures: dict[str, Any] = {"map": ap(IOU_THRESHOLDS), "map_50": ap([0.5]), "map_75": ap([0.75])}
    figures |= {f"map_{a}": ap(IOU_THRESHOLDS, area=a) for a in _AREAS[1:]}
    figures |= {f"mar_{n}": ar(n) for n in _LIMITS} | {f"mar_{a}": ar(_LIMITS[-1], a) for a in _AREAS[1:]}
    figures["per_class"] = {
        name: {"map": ap(IOU_THRESHOLDS, label=c), "map_50": ap([0.5], label=c)} for c, name in enumerate(classes)
    }
    return figures


def accumulate(truth: Truth, detections: Detections, classes: int, thresholds: Sequence[float]) -> Accumulated:
    """Match and accumulate as COCO does, masks where both have them, else boxes.

    A crowd's overlap is the share of the detection that lies in it. The size of a detection is that of its mask or box.

    Args:
        truth, detections: see `automl_images.metrics.arrays.flatten`.
        classes: how many classes there are.
        thresholds: the IoU thresholds, rising.

    Raises:
        RuntimeError: the process was forked from one that has done this; it would wait for ever for threads that a
            fork does not take along.
    """
    if _processes - {os.getpid()}:
        raise RuntimeError("COCO's figures were computed before this process was forked; start it by spawn")
    _processes.add(os.getpid())
    from hotcoco import COCO, COCOeval, mask

    images = int(max(truth.image.max(initial=-1), detections.image.max(initial=-1))) + 1
    if not images or not classes:
        shape = (classes, len(_AREAS), len(_LIMITS))
        empty = (np.full((len(thresholds), *points, *shape), -1.0) for points in ((101,), ()))
        return Accumulated(tuple(thresholds), *empty)
    masks = found_masks = None
    if truth.masks is not None and detections.masks is not None:
        masks, found_masks = truth.masks.tolist(), detections.masks.tolist()
    expected = COCO.from_arrays(
        [{"id": i + 1} for i in range(images)],
        [{"id": c + 1, "name": str(c)} for c in range(classes)],
        truth.image + 1,
        truth.labels + 1,
        _sides(truth.boxes),
        area=truth.area,
        iscrowd=truth.crowd,
        segmentation=masks,
    )
    columns = (detections.image + 1, _sides(detections.boxes), detections.scores, detections.labels + 1)
    found = expected.load_res(np.column_stack(columns), segmentation=found_masks)
    if found_masks is not None:  # else a mask's size would be its box's
        found.update_anns(ids=np.arange(len(found_masks)) + 1, area=mask.area(found_masks))
    evaluation = COCOeval(expected, found, "bbox" if masks is None else "segm")
    evaluation.params.iou_thrs = list(thresholds)
    evaluation.params.max_dets = list(_LIMITS)
    evaluation.evaluate()
    evaluation.accumulate()
    tables: Any = evaluation.eval
    return Accumulated(tuple(thresholds), tables["precision"], tables["recall"])


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Return left, top, width and height of boxes.

    The latter have nine decimals, so that a box that was written with its width has that, and not one a last bit beside
    it: with whole pixels an overlap may lie exactly at a threshold.
    """
    return np.hstack([boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).round(9)])


def _mean(table: np.ndarray) -> float | None:
    table = table[table > -1]
    return float(table.mean()) if table.size else None
