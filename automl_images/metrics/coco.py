"""COCO's detection figures, computed by faster-coco-eval from arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automl_images.metrics.arrays import Detections, Truth, flatten

# Written out as pycocotools' own linspace gives them: np.arange's are off in the last digit.
IOU_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
_AREAS = ("all", "small", "medium", "large")


class Accumulated(NamedTuple):
    """COCO's tables; -1 where a class has no ground truth of that area.

    Attributes:
        thresholds: the T IoU thresholds.
        limits: the M numbers of detections an image that are looked at.
        precision: [T, 101, classes, areas, M] interpolated precision at recall 0, 0.01, ..., 1.
        recall: [T, classes, areas, M] the highest recall.
    """

    thresholds: tuple[float, ...]
    limits: tuple[int, ...]
    precision: np.ndarray
    recall: np.ndarray

    def average_precision(
        self, thresholds: Sequence[float], label: int | None = None, area: str = "all"
    ) -> float | None:
        """Return the mean precision at these thresholds, of one class or of all; None if there is nothing to find."""
        rows = [self.thresholds.index(t) for t in thresholds if t in self.thresholds]
        labels = slice(None) if label is None else slice(label, label + 1)
        return _mean(self.precision[rows][:, :, labels, _AREAS.index(area), -1])

    def average_recall(self, thresholds: Sequence[float], limit: int, area: str = "all") -> float | None:
        """Return the mean over thresholds and classes of the highest recall with so many detections an image."""
        rows = [self.thresholds.index(t) for t in thresholds]
        return _mean(self.recall[rows][:, :, _AREAS.index(area), self.limits.index(limit)])


def coco_map(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    iou_thresholds: Sequence[float] | None = None,
    max_detections: int = 100,
) -> dict[str, Any]:
    """Return COCO's twelve figures and each class's average precision (https://cocodataset.org/#detection-eval).

    A box is small below 32 x 32 pixels, large above 96 x 96. Crowd ground truth swallows any number of detections.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`.
        iou_thresholds: what is averaged over; None is 0.50, 0.55, ..., 0.95.
        max_detections: so many detections with the highest scores count per image and class; at least 1.

    Returns:
        ``map``, ``map_50``, ``map_75``, ``map_small``, ``map_medium``, ``map_large``, ``mar_1``, ``mar_10``,
        ``mar_<max_detections>``, ``mar_small``, ``mar_medium``, ``mar_large``; and ``per_class``: {name: {``map``,
        ``map_50``}}. Floats in [0, 1], or None where there is no ground truth to measure on, or the threshold 0.5 or
        0.75 is not among those asked for. JSON-serialisable.

    Raises:
        ValueError: as `flatten`.
    """
    thresholds = IOU_THRESHOLDS if iou_thresholds is None else tuple(sorted(float(t) for t in iou_thresholds))
    tables = accumulate(*flatten(truth, detections, classes), len(classes), thresholds, max_detections)
    return coco_figures(tables, classes, thresholds)


def coco_figures(tables: Accumulated, classes: Sequence[str], thresholds: Sequence[float]) -> dict[str, Any]:
    """Return what `coco_map` returns, averaged over ``thresholds``, which must be among those of the tables."""
    ap, ar, last = tables.average_precision, tables.average_recall, tables.limits[-1]
    figures: dict[str, Any] = {"map": ap(thresholds), "map_50": ap([0.5]), "map_75": ap([0.75])}
    figures |= {f"map_{a}": ap(thresholds, area=a) for a in _AREAS[1:]}
    figures |= {f"mar_{n}": ar(thresholds, min(n, last)) for n in (1, 10, last)}
    figures |= {f"mar_{a}": ar(thresholds, last, area=a) for a in _AREAS[1:]}
    figures["per_class"] = {
        name: {"map": ap(thresholds, label=c), "map_50": ap([0.5], label=c)} for c, name in enumerate(classes)
    }
    return figures


def accumulate(
    truth: Truth, detections: Detections, classes: int, thresholds: Sequence[float], max_detections: int = 100
) -> Accumulated:
    """Match and accumulate as COCO does; ``thresholds`` are the IoU thresholds, rising."""
    from faster_coco_eval import COCO, COCOeval_faster

    limits = tuple(sorted({1, min(10, max_detections), max_detections}))
    images = int(max(truth.image.max(initial=-1), detections.image.max(initial=-1))) + 1
    if not images or not classes:
        return Accumulated(
            tuple(thresholds),
            limits,
            np.full((len(thresholds), 101, classes, len(_AREAS), len(limits)), -1.0),
            np.full((len(thresholds), classes, len(_AREAS), len(limits)), -1.0),
        )
    frame = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
    }
    evaluation = COCOeval_faster(
        COCO({**frame, "annotations": _annotations(truth, "iscrowd", truth.crowd.astype(int))}, print_function=_silent),
        COCO({**frame, "annotations": _annotations(detections, "score", detections.scores)}, print_function=_silent),
        iouType="bbox",
        print_function=_silent,
    )
    evaluation.params.iouThrs = np.array(thresholds)
    evaluation.params.maxDets = list(limits)
    evaluation.params.imgIds = [i + 1 for i in range(images)]
    evaluation.params.catIds = [c + 1 for c in range(classes)]
    evaluation.evaluate()
    evaluation.accumulate()
    return Accumulated(tuple(thresholds), limits, evaluation.eval["precision"], evaluation.eval["recall"])


def _annotations(flat: Truth | Detections, key: str, values: np.ndarray) -> list[dict[str, Any]]:
    sides = flat.boxes[:, 2:] - flat.boxes[:, :2]
    columns = (
        (flat.image + 1).tolist(),
        (flat.labels + 1).tolist(),
        np.hstack([flat.boxes[:, :2], sides]).tolist(),
        sides.prod(axis=1).tolist(),
        values.tolist(),
    )
    return [
        {"id": n, "image_id": image, "category_id": label, "bbox": box, "area": area, key: value}
        for n, (image, label, box, area, value) in enumerate(zip(*columns, strict=True), start=1)
    ]


def _mean(table: np.ndarray) -> float | None:
    table = table[table > -1]
    return float(table.mean()) if table.size else None


def _silent(*_: object) -> None:
    """Print nothing."""
