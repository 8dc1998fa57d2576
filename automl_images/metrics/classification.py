"""The figures of a classifier, with one label an image (multi-class) or any number of them (multi-label).

A class that no image has is undefined: its figures are None and macro means leave it out, as they leave out the AUC of
a class that every image has. A class that images have and the model never names has precision, F1 and IoU 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from automl_images.metrics.ranking import curve_pair, ranking_figures

THRESHOLD = 0.5


def classification_metrics(
    truth: Any, probs: Any, classes: Sequence[str], multilabel: bool, top_k: int | None = None
) -> dict[str, Any]:
    """Return the figures of a classifier on a set of images, under Azure's names.

    Args:
        truth: multi-class: [n] places in ``classes``; multi-label: [n, C] 0 or 1.
        probs: [n, C] probabilities in [0, 1]; multi-label, a label is predicted from one above 0.5, else the class
            with the highest one, the first of equal ones.
        classes: the C class names.
        multilabel: whether an image may have any number of labels.
        top_k: at least 1; brings ``top_k_accuracy``.

    Returns:
        JSON-serialisable; every figure is a float or None (undefined). Both: ``accuracy`` (multi-label: the share of
        images with exactly the right labels); ``precision_score_``, ``recall_score_``, ``f1_score_``, ``AUC_``,
        ``average_precision_score_``, each with ``macro`` (mean over classes), ``micro`` (over all pairs of image and
        class) and ``weighted`` (mean over classes by their images); ``log_loss``, natural, with probabilities clipped
        by their type's epsilon as scikit-learn does (multi-label: the mean binary loss over all pairs);
        ``top_k_accuracy``: the share of images with their label among the k most probable (multi-label: of the images
        with labels, the share with any of them there).

        Multi-class: ``balanced_accuracy`` (the macro recall R), ``norm_macro_recall`` ((R - c) / (1 - c) with c = 1 /
        the number of classes that images have), ``matthews_correlation``; the last two are None if all images have
        one class. Multi-label: ``iou``, the mean over images of the labels both true and predicted / the labels true or
        predicted, 1 for an image without either; ``iou_macro``, ``iou_micro``, ``iou_weighted`` of the same ratio by
        class; ``accuracy_per_class_mean``: the mean over classes of the share of images that are right about it.

        ``per_label_metrics``: {class: {``precision``, ``recall``, ``f1_score``, ``AUC``, ``average_precision``,
        ``accuracy`` (of this class against the rest), ``count`` (images that have it)}}. ``confusion_matrix``: [C][C]
        images by true (row) and predicted class; multi-label {class: [[neither, only predicted], [only true, both]]}.

    Raises:
        ValueError: there is no image; shapes or values are not as above; a probability is not finite.
    """
    truth, probs = _checked(truth, probs, classes, multilabel)
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it is at least 1")
    predicted = predicted_labels(probs, multilabel)
    count, named, both = truth.sum(0), predicted.sum(0), (truth & predicted).sum(0)
    right = (truth == predicted).mean(0)
    auc, precision = np.array([ranking_figures(truth[:, c], probs[:, c]) for c in range(len(classes))]).T
    auc_micro, precision_micro = ranking_figures(truth.ravel(), probs.ravel())
    by_class = {
        "precision": _ratio(both, named, count),
        "recall": _ratio(both, count, count),
        "f1_score": _ratio(2 * both, named + count, count),
        "AUC": auc,
        "average_precision": precision,
        "accuracy": right,
    }
    figures: dict[str, Any] = {}
    if multilabel:
        overlap, union = (truth & predicted).sum(1), (truth | predicted).sum(1)
        figures["iou"] = float(np.where(union > 0, overlap / np.maximum(union, 1), 1.0).mean())
    figures["accuracy"] = float((truth == predicted).all(1).mean())
    if multilabel:
        either = named + count - both
        figures["accuracy_per_class_mean"] = float(right.mean())
        figures |= _averages("iou", _ratio(both, either, count), count, _micro(both, either, count))
    else:
        figures |= _chance_corrected(truth, predicted, by_class["recall"])
    for name, micro in (
        ("precision", _micro(both, named, count)),
        ("recall", _micro(both, count, count)),
        ("f1_score", _micro(2 * both, named + count, count)),
        ("AUC", auc_micro),
        ("average_precision", precision_micro),
    ):
        azure = name if name in ("f1_score", "AUC") else f"{name}_score"
        figures |= _averages(azure, by_class[name], count, micro)
    figures["log_loss"] = _log_loss(truth, probs, multilabel)
    if top_k is not None:
        figures["top_k_accuracy"] = _top_k(truth, probs, top_k)
    figures["per_label_metrics"] = {
        name: {**{k: _figure(v[c]) for k, v in by_class.items()}, "count": int(count[c])}
        for c, name in enumerate(classes)
    }
    figures["confusion_matrix"] = _confusion(truth, predicted, classes, multilabel)
    return figures


def baseline(truth: Any, classes: Sequence[str], multilabel: bool, top_k: int | None = None) -> dict[str, float | None]:
    """Return the single figures of knowing no image: each class always has the share of images that have it.

    So the largest class is predicted (multi-label: those of more than half of the images), AUC is 0.5, and average
    precision is the prior. The arguments are those of :func:`classification_metrics`.
    """
    known = np.asarray(truth)
    share = known.mean(0) if multilabel else np.bincount(known, minlength=len(classes)) / len(known)
    found = classification_metrics(known, np.tile(share, (len(known), 1)), classes, multilabel, top_k)
    return {name: value for name, value in found.items() if not isinstance(value, dict | list)}


def predicted_labels(probs: np.ndarray, multilabel: bool) -> np.ndarray:
    """Return bool [n, C], the labels that probabilities [n, C] amount to (see :func:`classification_metrics`)."""
    if multilabel:
        return probs > THRESHOLD
    return probs.argmax(1)[:, None] == np.arange(probs.shape[1])


def curves(truth: Any, probs: Any, classes: Sequence[str], multilabel: bool) -> dict[str, Any]:
    """Return the ROC and precision-recall curves: of each class against the rest, and of all pairs of image and class.

    The arguments are those of :func:`classification_metrics`.

    Returns:
        ``classes``: {class: {``roc``: {``fpr``, ``tpr``, ``threshold``} from (0, 0) to (1, 1), ``pr``: {``recall``,
        ``precision``, ``threshold``} by rising recall}}, and ``micro`` with the same two keys. A point holds for the
        probabilities from its threshold upwards; each list has at most 200 points, spread evenly along the curve. None
        in place of a curve that is undefined: no image has the class or, for ROC, every image has it.

    Raises:
        ValueError: as :func:`classification_metrics`.
    """
    truth, probs = _checked(truth, probs, classes, multilabel)
    return {
        "classes": {name: curve_pair(truth[:, c], probs[:, c]) for c, name in enumerate(classes)},
        "micro": curve_pair(truth.ravel(), probs.ravel()),
    }


def _checked(truth: Any, probs: Any, classes: Sequence[str], multilabel: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth as bool [n, C] and the probabilities as floating [n, C]."""
    truth, probs = np.asarray(truth), np.asarray(probs)
    if probs.dtype.kind != "f":
        probs = probs.astype(np.float64)
    if probs.ndim != 2 or probs.shape[1] != len(classes) or not probs.size:
        wanted = f"[images, {len(classes)}] with images above 0"
        raise ValueError(f"probabilities have the shape {probs.shape}, not {wanted}")
    shape = probs.shape if multilabel else probs.shape[:1]
    if truth.shape != shape:
        raise ValueError(f"truth has the shape {truth.shape}; it is {shape}")
    broken = ~np.isfinite(probs).all(1)
    if broken.any():
        raise ValueError(f"image {broken.argmax()} has a probability that is not a finite number")
    if probs.min() < -1e-6 or probs.max() > 1 + 1e-6:
        raise ValueError(f"probabilities lie in [{probs.min():g}, {probs.max():g}], not in [0, 1]")
    if multilabel:
        if not np.isin(truth, (0, 1)).all():
            raise ValueError("truth has values other than 0 and 1")
        return truth.astype(bool), probs
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= len(classes):
        raise ValueError(f"truth has values that are no place among the {len(classes)} classes")
    return truth[:, None] == np.arange(len(classes)), probs


def _ratio(part: np.ndarray, whole: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return part / whole by class, 0 where the whole is empty, NaN for a class that no image has."""
    return np.where(count > 0, part / np.maximum(whole, 1), np.nan)


def _micro(part: np.ndarray, whole: np.ndarray, count: np.ndarray) -> float:
    return float(part.sum() / max(1, whole.sum())) if count.any() else np.nan


def _averages(name: str, values: np.ndarray, count: np.ndarray, micro: float) -> dict[str, float | None]:
    """Return the macro, micro and weighted figure; NaN values are left out."""
    known = ~np.isnan(values)
    return {
        f"{name}_macro": float(values[known].mean()) if known.any() else None,
        f"{name}_micro": _figure(micro),
        f"{name}_weighted": float(np.average(values[known], weights=count[known])) if known.any() else None,
    }


def _chance_corrected(truth: np.ndarray, predicted: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
    from sklearn.metrics import matthews_corrcoef

    known = ~np.isnan(recall)
    mean, chance = float(recall[known].mean()), 1 / int(known.sum())
    return {
        "balanced_accuracy": mean,
        "norm_macro_recall": (mean - chance) / (1 - chance) if chance < 1 else None,
        "matthews_correlation": float(matthews_corrcoef(truth.argmax(1), predicted.argmax(1))) if chance < 1 else None,
    }


def _log_loss(truth: np.ndarray, probs: np.ndarray, multilabel: bool) -> float:
    least = np.finfo(probs.dtype).eps
    clipped = probs.clip(least, 1 - least).astype(np.float64)
    likely = np.where(truth, clipped, 1 - clipped) if multilabel else clipped[truth]
    return float(-np.log(likely).mean())


def _top_k(truth: np.ndarray, probs: np.ndarray, k: int) -> float | None:
    labelled = truth.any(1)
    # of equal probabilities the first class counts as the more probable one, as for argmax
    best = np.argsort(-probs[labelled], axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(truth[labelled], best, 1).any(1).mean()) if labelled.any() else None


def _confusion(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], multilabel: bool) -> Any:
    if not multilabel:
        pairs = truth.argmax(1) * len(classes) + predicted.argmax(1)
        return np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), -1).tolist()
    cells = np.array([[(a & b).sum(0) for b in (~predicted, predicted)] for a in (~truth, truth)])
    return {name: cells[:, :, c].tolist() for c, name in enumerate(classes)}


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
