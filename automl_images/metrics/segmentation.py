"""The figures of a model that gives each pixel a class, from a confusion matrix of pixels that images are added to.

A pixel that the truth ignores counts nowhere, whatever is predicted there. Per class with true positives TP, false
positives FP and false negatives FN: IoU is TP / (TP + FP + FN), Dice 2 TP / (2 TP + FP + FN). A class that is in no
truth and in no prediction has neither: its figures are None, and means leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from automl_images.annotations.masks import IGNORE

TOLERANCE = 0.0075  # of an image's diagonal: how far apart boundaries may lie (Csurka et al., BMVC 2013)


class Tally:
    """What the predictions of images add up to, in memory that does not grow with their number.

    Attributes:
        confusion: int64 [classes, classes], pixels by true (row) and predicted class.
        boundary: float64 [classes, 2], of each class the sum of its boundary F1 over images, and of how many.
    """

    def __init__(self, classes: int):
        self.confusion = np.zeros((classes, classes), np.int64)
        self.boundary = np.zeros((classes, 2))

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Count an image, and return its own confusion matrix; arguments and errors are those of :func:`confusion`."""
        own = confusion(truth, predicted, len(self.confusion))
        self.confusion += own
        self.boundary += boundary(truth, predicted, len(self.confusion))
        return own


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return how many pixels of an image have each pair of true (row) and predicted class: int64 [classes, classes].

    Args:
        truth: [H, W] places of classes, ``IGNORE`` where a pixel does not count.
        predicted: [H, W] places of classes; what is predicted where the truth is ignored is not read.
        classes: how many there are.

    Raises:
        ValueError: the shapes differ, or a pixel that counts has a value that is no class.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"the truth has {truth.shape} pixels, and the prediction {predicted.shape}")
    counted = truth != IGNORE
    true, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    for what, values in (("truth", true), ("prediction", found)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            wrong = values[(values < 0) | (values >= classes)][0]
            raise ValueError(f"the {what} has the value {wrong}, which is none of {classes} classes")
    return np.bincount(true * classes + found, minlength=classes**2).reshape(classes, classes)


def boundary(truth: np.ndarray, predicted: np.ndarray, classes: int, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return float64 [classes, 2]: of each class its boundary F1 on an image, and 1 if it has one there, else 0 and 0.

    A class's boundary are its pixels beside one of another class; beside an ignored pixel there is none. Precision is
    the share of the predicted boundary with a true one of the class within ``tolerance`` of the image's diagonal,
    recall the opposite. F1 is 0 where only one of the two has a boundary; where neither has, the class has none.

    The arguments are those of :func:`confusion`, of which errors are found there.
    """
    from scipy.spatial import cKDTree

    counted, result = truth != IGNORE, np.zeros((classes, 2))
    most = tolerance * float(np.hypot(*truth.shape))
    edges = [(values, _edges(values, counted)) for values in (truth, predicted)]
    points = [(np.argwhere(edge), values[edge]) for values, edge in edges]
    for c in range(classes):
        true, found = (where[of == c] for where, of in points)
        if len(true) and len(found):
            right = cKDTree(true).query(found, distance_upper_bound=np.nextafter(most, np.inf))[0] <= most
            reached = cKDTree(found).query(true, distance_upper_bound=np.nextafter(most, np.inf))[0] <= most
            precision, recall = right.mean(), reached.mean()
            result[c] = 2 * precision * recall / max(precision + recall, 1e-12), 1
        elif len(true) or len(found):
            result[c, 1] = 1
    return result


def _edges(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return which pixels that count lie beside one that counts and has another value."""
    edge = np.zeros(values.shape, bool)
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differ = (values[one] != values[other]) & counted[one] & counted[other]
        edge[one] |= differ
        edge[other] |= differ
    return edge


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU of each class of a confusion matrix: float64 [classes], NaN where it is undefined."""
    right = np.diag(confusion)
    return _ratio(right, confusion.sum(0) + confusion.sum(1) - right)


def segmentation_metrics(
    confusion: np.ndarray, classes: Sequence[str], boundary: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the figures of a set of images.

    Args:
        confusion, boundary: a :class:`Tally`'s of these images; without ``boundary`` its figures are left out.
        classes: the class names.

    Returns:
        ``mean_iou``, ``mean_dice``: means over the classes that have them; ``mean_iou`` ranks trials.
        ``pixel_accuracy``: the share of pixels with the right class; ``mean_pixel_accuracy``: the mean over the classes
        of the share of their own pixels that is right; ``frequency_weighted_iou``: the mean of the IoUs by the pixels
        of each class. ``boundary_f1``: the mean over classes of their means over images, ``boundary_tolerance``: as a
        share of an image's diagonal. ``per_label_metrics``: {name: {``iou``, ``dice``, ``pixel_accuracy``,
        ``precision``, ``boundary_f1``, ``count`` (the pixels that have it), ``predicted`` (those that are given it)}}.
        ``confusion_matrix``: as given. Each figure is a float in [0, 1], or None where it is undefined.
        JSON-serialisable.
    """
    right, count, found = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    by_class = {
        "iou": class_iou(confusion),
        "dice": _ratio(2 * right, count + found),
        "pixel_accuracy": _ratio(right, count),
        "precision": _ratio(right, found),
    }
    total = count.sum()
    figures: dict[str, Any] = {
        "mean_iou": _mean(by_class["iou"]),
        "pixel_accuracy": float(right.sum() / total) if total else None,
        "mean_pixel_accuracy": _mean(by_class["pixel_accuracy"]),
        "mean_dice": _mean(by_class["dice"]),
        "frequency_weighted_iou": float(np.nansum(by_class["iou"] * count) / total) if total else None,
    }
    if boundary is not None:
        by_class["boundary_f1"] = _ratio(boundary[:, 0], boundary[:, 1])
        figures |= {"boundary_f1": _mean(by_class["boundary_f1"]), "boundary_tolerance": TOLERANCE}
    figures["per_label_metrics"] = {
        name: {
            **{key: None if np.isnan(values[c]) else float(values[c]) for key, values in by_class.items()},
            "count": int(count[c]),
            "predicted": int(found[c]),
        }
        for c, name in enumerate(classes)
    }
    figures["confusion_matrix"] = confusion.tolist()
    return figures


def baseline(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """Return the single figures of giving every pixel the commonest true class, by a model's confusion matrix."""
    count = confusion.sum(1)
    simplest = np.zeros_like(confusion)
    simplest[:, count.argmax()] = count
    found = segmentation_metrics(simplest, classes)
    return {name: value for name, value in found.items() if not isinstance(value, dict | list)}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
