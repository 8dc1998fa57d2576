"""Average precision as Pascal VOC has measured it since 2010: the area under the all-point precision envelope.

The definition is that of the VOC development kit (Everingham et al., "The Pascal Visual Object Classes Challenge",
IJCV 2010, section 4.2, and VOCevaldet.m from 2010 on), with one difference: coordinates are continuous, so a box is
``right - left`` wide, where the kit counts whole pixels and adds one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from automl_images.metrics.arrays import Detections, Truth, flatten


def voc_map(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    iou_threshold: float = 0.5,
) -> dict[str, Any]:
    """Return the average precision of each class and their mean.

    Each detection, by falling score, goes to the ground truth of its class and image with the highest IoU. One of at
    least ``iou_threshold`` is a true positive; a second one on the same ground truth is a false positive, as is one
    that reaches none. One whose best ground truth is crowd (VOC's "difficult") is neither. Equal scores keep their
    order.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`.
        iou_threshold: in (0, 1].

    Returns:
        ``map``: the mean over the classes that have ground truth, None if none has. ``precision``, ``recall``: over
        all boxes of all classes, None where nothing was detected or there is no ground truth. ``per_class``: {name:
        {``average_precision``, ``precision``, ``recall``, ``count`` (ground truth without crowd), ``detections``
        (those that count)}}, each figure None where it is undefined. ``curves``: {name: {``recall``, ``precision``,
        ``score``}}, the envelope's corners for a plot: the highest precision at that recall or more, and the score
        that reaches the recall; only classes with ground truth. Floats in [0, 1]; JSON-serialisable.

    Raises:
        ValueError: as `flatten`.
    """
    return voc_figures(*flatten(truth, detections, classes), classes, iou_threshold)


def voc_figures(truth: Truth, detections: Detections, classes: Sequence[str], iou_threshold: float) -> dict[str, Any]:
    """Do `voc_map`'s work on flat arrays."""
    positive, counts = match(truth, detections, iou_threshold)
    order = np.lexsort((-detections.scores, detections.labels))
    order = order[counts[order]]
    starts = np.searchsorted(detections.labels[order], np.arange(len(classes) + 1))
    totals = np.bincount(truth.labels[~truth.crowd], minlength=len(classes))
    per_class, curves = {}, {}
    for c, name in enumerate(classes):
        rows = order[starts[c] : starts[c + 1]]
        total, hits = int(totals[c]), np.cumsum(positive[rows])
        found = int(hits[-1]) if len(hits) else 0
        area = None
        if total:
            recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            step = positive[rows]  # recall rises at the true positives, each time by the same amount
            area = float(envelope[step].sum() / total)
            curves[name] = {
                "recall": recall[step].tolist(),
                "precision": envelope[step].tolist(),
                "score": detections.scores[rows][step].tolist(),
            }
        per_class[name] = {
            "average_precision": area,
            "precision": found / len(rows) if len(rows) else None,
            "recall": found / total if total else None,
            "count": total,
            "detections": len(rows),
        }
    areas = [f["average_precision"] for f in per_class.values() if f["average_precision"] is not None]
    everything, hits_overall = int(totals.sum()), int(positive.sum())
    return {
        "map": sum(areas) / len(areas) if areas else None,
        "precision": hits_overall / len(order) if len(order) else None,
        "recall": hits_overall / everything if everything else None,
        "per_class": per_class,
        "curves": curves,
    }


def match(truth: Truth, detections: Detections, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for each detection whether it is a true positive, and whether it counts at all, both [n] bool."""
    best = np.full(len(detections.scores), -1)
    images = np.union1d(truth.image, detections.image)
    t = np.searchsorted(truth.image, [images, images + 1])
    d = np.searchsorted(detections.image, [images, images + 1])
    for t0, t1, d0, d1 in zip(*t, *d, strict=True):
        if t0 == t1 or d0 == d1:
            continue
        iou = box_iou(detections.boxes[d0:d1], truth.boxes[t0:t1])
        iou[detections.labels[d0:d1, None] != truth.labels[None, t0:t1]] = -1
        first = iou.argmax(axis=1)
        reached = iou[np.arange(d1 - d0), first] >= iou_threshold
        best[d0:d1] = np.where(reached, t0 + first, -1)
    counts = np.ones(len(best), dtype=bool)
    counts[best >= 0] = ~truth.crowd[best[best >= 0]]
    by_score = np.argsort(-detections.scores, kind="stable")
    by_score = by_score[(best[by_score] >= 0) & counts[by_score]]
    _, winners = np.unique(best[by_score], return_index=True)  # the first of each, so the one with the highest score
    positive = np.zeros(len(best), dtype=bool)
    positive[by_score[winners]] = True
    return positive, counts


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each of ``a`` [n, 4] with each of ``b`` [m, 4], [n, m]; 0 without area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = sides.clip(min=0).prod(axis=2)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
