"""What a detector confuses, misses and invents, and from which score on its detections are worth showing.

Overlaps are intersection over union: of masks where both sides have them, else of boxes. With a crowd they are the
share of the detection that lies in it, as in COCO: a crowd of its class swallows any number of detections, which then
are neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from automl_images.metrics.arrays import box_area, flatten
from automl_images.metrics.voc import box_iou

POINTS = 201  # of a curve over scores from 0 to 1
_FALSE, _SWALLOWED = -1, -2


class Pairing(NamedTuple):
    """All detections, matched within each class.

    Each detection, by falling score, goes to the ground truth of its class and image that it overlaps most; the first
    one there is right, and each other one is false, as is one that reaches none.

    Attributes:
        scores, labels, image: [n] of each detection, in image order.
        truth: [n] the place in its image of the ground truth that a detection is right about; below 0: it is false
            (-1) or in a crowd (-2).
        expected: [classes] how many objects there are to find, without crowds.
    """

    scores: np.ndarray
    labels: np.ndarray
    image: np.ndarray
    truth: np.ndarray
    expected: np.ndarray


class Mistakes(NamedTuple):
    """What is wrong on an image: ``missed`` [objects], ``false`` [detections], bool; those below the score are not."""

    missed: np.ndarray
    false: np.ndarray


def paired(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    iou_threshold: float,
) -> Pairing:
    """Match the detections of all images.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`.
        iou_threshold: in (0, 1]; from how much overlap a detection is right.

    Raises:
        ValueError: as `flatten`.
    """
    flat, found = flatten(truth, detections, classes)
    owners = []
    for expected, one in zip(truth, detections, strict=True):
        owner, labels = np.full(len(one["scores"]), _FALSE), np.asarray(expected["labels"], dtype=np.int64)
        if len(owner) and len(labels):
            overlap, crowd = overlaps(expected, one), _crowd(expected)
            overlap[np.asarray(one["labels"])[:, None] != labels[None]] = -1
            single = np.where(crowd[None], -1, overlap)
            best = single.argmax(axis=1)
            reached = np.flatnonzero(single[np.arange(len(owner)), best] >= iou_threshold)
            by_score = reached[np.argsort(-np.asarray(one["scores"])[reached], kind="stable")]
            _, winners = np.unique(best[by_score], return_index=True)  # the first of each: the highest score
            right = by_score[winners]
            owner[(overlap[:, crowd] >= iou_threshold).any(axis=1)] = _SWALLOWED
            owner[right] = best[right]
        owners.append(owner)
    joined = np.concatenate([*owners, np.zeros(0, np.int64)])
    expected_of = np.bincount(flat.labels[~flat.crowd], minlength=len(classes))
    return Pairing(found.scores, found.labels, found.image, joined, expected_of)


def mistakes(truth: Sequence[Mapping[str, Any]], found: Pairing, score: float) -> list[Mistakes]:
    """Return what is missed and what is false on each image, of detections with a score strictly above ``score``."""
    kept = found.scores > score
    starts = np.searchsorted(found.image, np.arange(len(truth) + 1))
    result = []
    for n, expected in enumerate(truth):
        rows = slice(starts[n], starts[n + 1])
        missed, owner = ~_crowd(expected), found.truth[rows]
        missed[owner[kept[rows] & (owner >= 0)]] = False
        result.append(Mistakes(missed, kept[rows] & (owner == _FALSE)))
    return result


def confidence_curves(found: Pairing) -> dict[str, list[float | None]]:
    """Return precision, recall and F1 over all classes' boxes by the score that detections must exceed.

    Returns:
        ``score``: 0 to 1 in equal steps; ``precision``, ``recall``, ``f1`` at each, in [0, 1]: None where undefined,
        which is precision without detections, and recall and F1 without ground truth.
    """
    grid = np.linspace(0, 1, POINTS)
    ranked = _ranked(found, None)
    kept = np.searchsorted(-ranked.scores, -grid, side="left")  # how many are strictly above
    right, total = np.concatenate([[0], np.cumsum(ranked.right)])[kept], ranked.expected
    return {
        "score": grid.tolist(),
        "precision": [hits / n if n else None for hits, n in zip(right.tolist(), kept.tolist(), strict=True)],
        "recall": [hits / total if total else None for hits in right.tolist()],
        "f1": [2 * h / (n + total) if total else None for h, n in zip(right.tolist(), kept.tolist(), strict=True)],
    }


def best_thresholds(found: Pairing, classes: Sequence[str], iou_threshold: float) -> dict[str, Any]:
    """Return the score of the best F1, over the boxes of all classes and of each.

    Detections *strictly* above a threshold count. It lies midway between the lowest score that is to be kept and the
    next lower one (or 0); where several have the same F1 it is the largest.

    Returns:
        ``overall``, and ``per_class``, by name: each ``threshold``, ``f1``, ``precision``, ``recall`` (there) and
        ``count`` (objects to find). All but the count are None where nothing is to be found; where nothing found is
        right F1 and recall are 0, and threshold and precision None. ``iou_threshold``: as given. JSON-serialisable.
    """
    by_class = {name: _best(_ranked(found, c)) for c, name in enumerate(classes)}
    return {"overall": _best(_ranked(found, None)), "per_class": by_class, "iou_threshold": iou_threshold}


def confusion_matrix(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    iou_threshold: float,
    score: float,
) -> list[list[int]]:
    """Return how often each class was taken for each.

    Of detections with a score strictly above ``score`` and objects of *any* class on the same image, the pair with the
    most overlap is matched first (of equal ones that with the higher score), each with one other at most.

    Returns:
        Rows by true class, columns by predicted class; the last of both is the background: its column has objects that
        were missed, its row detections of nothing. Crowds are in no row.

    Raises:
        ValueError: as `automl_images.metrics.arrays.flatten`.
    """
    flatten(truth, detections, classes)
    matrix = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for expected, given in zip(truth, detections, strict=True):
        one = above(given, score)
        labels, predicted = np.asarray(expected["labels"], np.int64), np.asarray(one["labels"], np.int64)
        crowd, overlap = _crowd(expected), overlaps(expected, one)
        free, unused = ~crowd, np.ones(len(predicted), bool)
        single = np.where(crowd[None], -1, overlap)
        rows, columns = np.nonzero(single >= iou_threshold)
        for k in np.lexsort((-np.asarray(one["scores"])[rows], -single[rows, columns])):
            row, column = rows[k], columns[k]
            if unused[row] and free[column]:
                unused[row] = free[column] = False
                matrix[labels[column], predicted[row]] += 1
        same = predicted[:, None] == labels[None, crowd]
        unused &= ~((overlap[:, crowd] >= iou_threshold) & same).any(axis=1)
        np.add.at(matrix[:, -1], labels[free], 1)
        np.add.at(matrix[-1], predicted[unused], 1)
    return matrix.tolist()


def overlaps(truth: Mapping[str, Any], found: Mapping[str, Any]) -> np.ndarray:
    """Return the overlap of each of an image's detections with each of its ground truths, float64 [n, m] in [0, 1]."""
    a = np.asarray(found["boxes"], dtype=np.float64).reshape(-1, 4)
    b = np.asarray(truth["boxes"], dtype=np.float64).reshape(-1, 4)
    crowd = _crowd(truth)
    if not (len(a) and len(b)):
        return np.zeros((len(a), len(b)))
    if truth.get("masks") is not None and found.get("masks") is not None:
        from faster_coco_eval import mask

        return np.asarray(mask.iou(list(found["masks"]), list(truth["masks"]), crowd.tolist()), dtype=np.float64)
    overlap = box_iou(a, b)
    if crowd.any():
        sides = np.minimum(a[:, None, 2:], b[None, crowd, 2:]) - np.maximum(a[:, None, :2], b[None, crowd, :2])
        common, area = sides.clip(min=0).prod(axis=2), box_area(a)[:, None]
        overlap[:, crowd] = np.divide(common, area, out=np.zeros_like(common), where=area > 0)
    return overlap


class _Ranked(NamedTuple):
    """Detections that count, by falling score, and how many objects there are to find."""

    scores: np.ndarray
    right: np.ndarray
    expected: int


def _ranked(found: Pairing, label: int | None) -> _Ranked:
    """Return the detections of a class, or of all."""
    counts = found.truth != _SWALLOWED
    rows = np.flatnonzero(counts if label is None else counts & (found.labels == label))
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    expected = found.expected.sum() if label is None else found.expected[label]
    return _Ranked(found.scores[rows], found.truth[rows] >= 0, int(expected))


def _best(ranked: _Ranked) -> dict[str, Any]:
    scores, total = ranked.scores, ranked.expected
    nothing: dict[str, Any] = {"threshold": None, "f1": None, "precision": None, "recall": None, "count": total}
    if not total:
        return nothing
    if not ranked.right.any():
        return nothing | {"f1": 0.0, "recall": 0.0}
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # equal scores are kept together
    hits, kept = np.cumsum(ranked.right)[ends], ends + 1
    f1 = 2 * hits / (kept + total)
    k = int(f1.argmax())  # the first of equal ones
    lowest = float(scores[ends[k]])
    below = float(scores[ends[k] + 1]) if k + 1 < len(ends) else 0.0 if lowest > 0 else lowest - 1
    middle = (lowest + below) / 2
    return {
        "threshold": middle if middle < lowest else below,  # neighbours in floating point
        "f1": float(f1[k]),
        "precision": float(hits[k] / kept[k]),
        "recall": float(hits[k] / total),
        "count": total,
    }


def above(found: Mapping[str, Any], score: float) -> dict[str, Any]:
    """Return an image's detections with a score strictly above one."""
    keep = np.asarray(found["scores"]) > score
    one: dict[str, Any] = {name: np.asarray(found[name])[keep] for name in ("boxes", "labels", "scores")}
    if found.get("masks") is not None:
        one["masks"] = [found["masks"][n] for n in np.flatnonzero(keep)]
    return one


def _crowd(truth: Mapping[str, Any]) -> np.ndarray:
    given = truth.get("crowd")
    return np.zeros(len(truth["labels"]), bool) if given is None else np.asarray(given, dtype=bool)
