"""What ranking images by the probability of a class is worth: AUC, average precision and their curves."""

from __future__ import annotations

import numpy as np

POINTS = 200


def ranking_figures(truth: np.ndarray, probs: np.ndarray) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision, both from one sort.

    Equal to scikit-learn's ``roc_auc_score`` and ``average_precision_score`` (trapezoids; sum of precision by step of
    recall) at a tenth of their time, which an evaluation with a thousand classes needs. ``truth`` is [n] bool, whether
    an image has the class, ``probs`` [n] its probability. Floats in [0, 1], NaN where undefined: both without a true
    image, the AUC also without a false one.
    """
    order = np.argsort(-probs, kind="stable")
    sorted_probs = probs[order]
    # images of equal probability come in together: one point of the curve for each run of them
    last = np.append(np.flatnonzero(np.diff(sorted_probs)), len(order) - 1)
    found, taken = np.cumsum(truth[order])[last], last + 1
    true, false = int(found[-1]), int(taken[-1] - found[-1])
    if not true:
        return np.nan, np.nan
    wrong = np.append(0, taken - found)
    area = np.trapezoid(np.append(0, found), wrong) / (true * false) if false else np.nan
    return float(area), float((np.diff(found, prepend=0) * found / taken).sum() / true)


def curve_pair(truth: np.ndarray, probs: np.ndarray) -> dict[str, dict[str, list[float]] | None]:
    """Return ``roc`` and ``pr``, each a curve as :func:`automl_images.metrics.classification.curves` describes it."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    roc = pr = None
    if truth.any() and not truth.all():
        fpr, tpr, threshold = roc_curve(truth, probs)
        threshold[0] = 1.0  # scikit-learn's infinity, where nothing is predicted; JSON knows none
        roc = _thinned(fpr=fpr, tpr=tpr, threshold=threshold)
    if truth.any():
        precision, recall, threshold = precision_recall_curve(truth, probs, drop_intermediate=True)
        # scikit-learn adds a last point, at recall 0, without a threshold
        pr = _thinned(recall=recall[::-1], precision=precision[::-1], threshold=np.append(threshold, 1.0)[::-1])
    return {"roc": roc, "pr": pr}


def _thinned(**columns: np.ndarray) -> dict[str, list[float]]:
    x, y, _ = columns.values()
    keep = np.arange(len(x))
    if len(x) > POINTS:
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        keep = np.unique(np.append(np.searchsorted(along, np.linspace(0, along[-1], POINTS - 1)), len(x) - 1))
    return {name: [round(float(v), 6) for v in values[keep]] for name, values in columns.items()}
