"""COCO's detection figures, computed by faster-coco-eval from arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automl_images.metrics.arrays import Detections, Truth, box_area, flatten

# Written out as pycocotools' own linspace gives them: np.arange's are off in the last digit.
IOU_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
_AREAS = ("all", "small", "medium", "large")
_LIMITS = (1, 10, 100)  # detections an image and class, those of highest score


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
        return _mean(self.precision[rows][:, :, labels, _AREAS.index(area), -1])

    def average_recall(self, limit: int, area: str = "all") -> float | None:
        """Return the mean over COCO's thresholds and all classes of the highest recall within a limit."""
        rows = [self.thresholds.index(t) for t in IOU_THRESHOLDS]
        return _mean(self.recall[rows][:, :, _AREAS.index(area), _LIMITS.index(limit)])


def coco_map(
    truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Return COCO's twelve figures and each class's average precision (https://cocodataset.org/#detection-eval).

    An object is small below an area of 32 x 32 pixels, large above 96 x 96. Crowd ground truth swallows any number of
    detections. Of an image and class the 100 detections with the highest scores count.

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
    """Match and accumulate as COCO does; ``thresholds`` are the IoU thresholds, rising."""
    from faster_coco_eval import COCO, COCOeval_faster

    images = int(max(truth.image.max(initial=-1), detections.image.max(initial=-1))) + 1
    if not images or not classes:
        shape = (classes, len(_AREAS), len(_LIMITS))
        empty = (np.full((len(thresholds), *points, *shape), -1.0) for points in ((101,), ()))
        return Accumulated(tuple(thresholds), *empty)
    frame = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
    }
    both = (
        _annotations(truth, truth.area, "iscrowd", truth.crowd.astype(int)),
        _annotations(detections, box_area(detections.boxes), "score", detections.scores),
    )
    evaluation = COCOeval_faster(
        *(COCO({**frame, "annotations": rows}, print_function=_silent) for rows in both),
        iouType="bbox",
        print_function=_silent,
    )
    evaluation.params.iouThrs = np.array(thresholds)
    evaluation.params.maxDets = list(_LIMITS)
    evaluation.params.imgIds = [i + 1 for i in range(images)]
    evaluation.params.catIds = [c + 1 for c in range(classes)]
    evaluation.evaluate()
    evaluation.accumulate()
    return Accumulated(tuple(thresholds), evaluation.eval["precision"], evaluation.eval["recall"])


def _annotations(flat: Truth | Detections, areas: np.ndarray, key: str, values: np.ndarray) -> list[dict[str, Any]]:
    boxes = np.hstack([flat.boxes[:, :2], flat.boxes[:, 2:] - flat.boxes[:, :2]])
    columns = (a.tolist() for a in (flat.image + 1, flat.labels + 1, boxes, areas, values))
    return [
        {"id": n, "image_id": image, "category_id": label, "bbox": box, "area": area, key: value}
        for n, (image, label, box, area, value) in enumerate(zip(*columns, strict=True), start=1)
    ]


def _mean(table: np.ndarray) -> float | None:
    table = table[table > -1]
    return float(table.mean()) if table.size else None


def _silent(*_: object) -> None:
    """Print nothing."""
