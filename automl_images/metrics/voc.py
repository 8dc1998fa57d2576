"""Figures of one IoU threshold: average precision as Pascal VOC has measured it, and the log-average miss rate.

Average precision is that of the VOC development kit (Everingham et al., "The Pascal Visual Object Classes Challenge",
IJCV 2010, section 4.2, and VOCevaldet.m): since 2010 the area under the all-point precision envelope, in 2007 the mean
of the envelope at eleven recalls. One thing differs: coordinates are continuous, so a box is ``right - left`` wide,
where the kit counts whole pixels and adds one. The log-average miss rate is that of Dollar et al., "Pedestrian
Detection: An Evaluation of the State of the Art", PAMI 2012, section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automl_images.metrics.arrays import Detections, Truth, flatten

FALSE_POSITIVES = np.logspace(-2, 0, 9)  # an image, at which the miss rate is read
_PAIRS = 1_000_000  # of a detection and an object, that are compared at once
_LEAST_MISS = 1e-10  # so that the logarithm of a class of which nothing is missed is finite


class Matched(NamedTuple):
    """What each detection came to.

    Attributes:
        positive: [n] whether it is a true positive.
        counts: [n] whether it counts at all; not if it lies on a crowd.
    """

    positive: np.ndarray
    counts: np.ndarray


def voc_map(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    iou_threshold: float = 0.5,
) -> dict[str, Any]:
    """Return the figures of each class and their means.

    Each detection, by falling score, goes to the ground truth of its class and image with the highest IoU. One of at
    least ``iou_threshold`` is a true positive; a second one on the same ground truth is a false positive, as is one
    that reaches none. One whose best ground truth is crowd (VOC's "difficult") is neither. Equal scores keep their
    order. Where both sides have masks, overlaps are of masks, and a crowd is what COCO calls one: how far a detection
    lies in it is what counts, and only if the detection reaches no other ground truth.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`.
        iou_threshold: in (0, 1].

    Returns:
        ``map``, ``map_2007``, ``log_average_miss_rate``: the mean over the classes that have ground truth, None if none
        has. ``precision``, ``recall``: over all boxes of all classes, None where nothing was detected or there is no
        ground truth. ``per_class``: {name: {``average_precision`` (the area under the envelope),
        ``average_precision_2007``, ``log_average_miss_rate``, ``precision``, ``recall``, ``count`` (ground truth
        without crowd), ``detections`` (those that count)}}, each figure None where it is undefined. ``curves``: {name:
        {``recall``, ``precision``, ``score``}}, the envelope's corners for a plot: the highest precision at that recall
        or more, and the score that reaches the recall; only classes with ground truth. Floats in [0, 1];
        JSON-serialisable. A miss rate is better the lower it is, and at least 1e-10.

    Raises:
        ValueError: as `flatten`.
    """
    flat_truth, found = flatten(truth, detections, classes)
    return voc_figures(flat_truth, found, classes, match(flat_truth, found, iou_threshold), len(truth))


def voc_figures(
    truth: Truth, detections: Detections, classes: Sequence[str], matched: Matched, images: int
) -> dict[str, Any]:
    """Do `voc_map`'s work on flat arrays of so many images, and what `match` returned of them."""
    positive, counts = matched
    order = np.lexsort((-detections.scores, detections.labels))
    order = order[counts[order]]
    starts = np.searchsorted(detections.labels[order], np.arange(len(classes) + 1))
    totals = np.bincount(truth.labels[~truth.crowd], minlength=len(classes))
    per_class, curves = {}, {}
    for c, name in enumerate(classes):
        rows = order[starts[c] : starts[c + 1]]
        total, hits = int(totals[c]), np.cumsum(positive[rows])
        found = int(hits[-1]) if len(hits) else 0
        figures: dict[str, Any] = dict.fromkeys(_RANKED)
        if total:
            recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            step = positive[rows]  # recall rises at the true positives, each time by the same amount
            figures = {
                "average_precision": float(envelope[step].sum() / total),
                "average_precision_2007": _at_eleven(envelope, hits, total),
                "log_average_miss_rate": _miss_rate(hits, total, images),
            }
            curves[name] = {
                "recall": recall[step].tolist(),
                "precision": envelope[step].tolist(),
                "score": detections.scores[rows][step].tolist(),
            }
        per_class[name] = {
            **figures,
            "precision": found / len(rows) if len(rows) else None,
            "recall": found / total if total else None,
            "count": total,
            "detections": len(rows),
        }
    everything, hits_overall = int(totals.sum()), int(positive.sum())
    return {
        **{mean: _mean([f[key] for f in per_class.values()]) for key, mean in _RANKED.items()},
        "precision": hits_overall / len(order) if len(order) else None,
        "recall": hits_overall / everything if everything else None,
        "per_class": per_class,
        "curves": curves,
    }


# a class's figure, and what the mean is called
_RANKED = {
    "average_precision": "map",
    "average_precision_2007": "map_2007",
    "log_average_miss_rate": "log_average_miss_rate",
}


def _at_eleven(envelope: np.ndarray, hits: np.ndarray, total: int) -> float:
    """Return the mean of the envelope at recall 0, 0.1, ..., 1; ``hits`` are the true positives up to a detection."""
    first = np.searchsorted(10 * hits, np.arange(11) * total)  # in whole numbers, as 3 of 10 must reach 0.3
    return float(np.append(envelope, 0.0)[first].sum() / 11)


def _miss_rate(hits: np.ndarray, total: int, images: int) -> float:
    """Return the geometric mean of the miss rates at nine rates of false positives an image; see `_at_eleven`.

    At each, it is the lowest miss rate with no more false positives; 1 if even the first detection is one too many.
    """
    false = np.arange(1, len(hits) + 1) - hits
    within = np.searchsorted(false / images, FALSE_POSITIVES, side="right")
    missed = 1 - np.concatenate([[0], hits])[within] / total
    return float(np.exp(np.log(np.maximum(missed, _LEAST_MISS)).mean()))


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [f for f in figures if f is not None]
    return sum(known) / len(known) if known else None


def match(truth: Truth, detections: Detections, iou_threshold: float) -> Matched:
    """Return what each detection is.

    A detection without those of lower score comes to the same: this serves any cut by score too.
    """
    best = _best_truth(truth, detections, iou_threshold)
    counts = np.ones(len(best), dtype=bool)
    counts[best >= 0] = ~truth.crowd[best[best >= 0]]
    by_score = np.argsort(-detections.scores, kind="stable")
    by_score = by_score[(best[by_score] >= 0) & counts[by_score]]
    _, winners = np.unique(best[by_score], return_index=True)  # the first of each, so the one with the highest score
    positive = np.zeros(len(best), dtype=bool)
    positive[by_score[winners]] = True
    return Matched(positive, counts)


def _best_truth(truth: Truth, detections: Detections, iou_threshold: float) -> np.ndarray:
    """Return for each detection the ground truth that it overlaps most, [n]; -1 where no IoU reaches the threshold.

    Of equal overlaps the first one counts. Overlaps are of masks where both sides have them; then a crowd's is the
    share of the detection that lies in it, and counts only for a detection that reaches nothing else.
    """
    classes = 1 + int(max(truth.labels.max(initial=0), detections.labels.max(initial=0)))
    wanted, given = (flat.image * classes + flat.labels for flat in (truth, detections))
    order = np.argsort(wanted, kind="stable")
    first, last = (np.searchsorted(wanted[order], given, side) for side in ("left", "right"))
    count = last - first
    best = np.full(len(given), -1)
    rows = np.argsort(given, kind="stable")
    rows = rows[count[rows] > 0]
    ends = np.cumsum(count[rows])
    for part in np.split(rows, np.searchsorted(ends, np.arange(_PAIRS, ends.max(initial=0), _PAIRS))):
        if not len(part):
            continue
        # all pairs of a detection and an object, detection by detection, its objects in their order
        starts = np.cumsum(count[part]) - count[part]
        pairs = np.repeat(part, count[part])
        objects = order[np.arange(len(pairs)) + np.repeat(first[part] - starts, count[part])]
        if truth.masks is None or detections.masks is None:
            iou = _iou(detections.boxes[pairs], truth.boxes[objects])
        else:
            iou = np.concatenate([_mask_iou(truth, detections, *group) for group in _groups(part, order, first, last)])
            crowd = truth.crowd[objects]
            reached = np.maximum.reduceat((iou >= iou_threshold) & ~crowd, starts)
            iou[crowd & np.repeat(reached, count[part])] = -1
        highest = np.maximum.reduceat(iou, starts)
        candidates = np.flatnonzero(iou == np.repeat(highest, count[part]))
        chosen = candidates[np.searchsorted(candidates, starts)]
        best[part] = np.where(highest >= iou_threshold, objects[chosen], -1)
    return best


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each of ``a`` [n, 4] with each of ``b`` [m, 4], [n, m]; 0 without area."""
    return _iou(a[:, None], b[None])


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    common = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(min=0).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _groups(
    rows: np.ndarray, order: np.ndarray, first: np.ndarray, last: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the detections that share their objects, and these; ``rows`` has those that do in a row."""
    cuts = [0, *(np.flatnonzero(np.diff(first[rows])) + 1).tolist(), len(rows)]
    for start, end in itertools.pairwise(cuts):
        yield rows[start:end], order[first[rows[start]] : last[rows[start]]]


def _mask_iou(truth: Truth, detections: Detections, found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the overlap of each detection with each object, detection by detection."""
    from faster_coco_eval import mask as coco

    assert truth.masks is not None and detections.masks is not None
    crowd = truth.crowd[objects].astype(int).tolist()
    table = coco.iou(detections.masks[found].tolist(), truth.masks[objects].tolist(), crowd)
    return np.asarray(table).reshape(-1)
