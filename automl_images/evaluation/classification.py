"""Evaluation of classification with one label an image or several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_images.evaluation import Evaluated, beside, columns, example, outputs
from automl_images.reports.trials import figure

if TYPE_CHECKING:
    from automl_images.annotations import Record
    from automl_images.prediction import ModelPredictor

MISTAKES = 12


def evaluate(predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
    """Score a classifier on records; see :class:`automl_images.evaluation.Family`.

    Returns:
        ``metrics``: what :func:`automl_images.metrics.classification_metrics` returns; ``more``: ``roc``, the curve
        over all pairs of image and class (``fpr``, ``tpr``, ``threshold``) or None, ``top_k``, and ``baseline``.
    """
    from automl_images.data.classification import is_multilabel, truth_of
    from automl_images.metrics.classification import baseline, classification_metrics, curves

    classes, multilabel, top_k = predictor.classes, is_multilabel(predictor.task), predictor.settings.get("top_k")
    labels = truth_of(records, classes, multilabel)
    rows, seconds = outputs(predictor, records)
    probs = np.stack(rows)
    metrics = classification_metrics(labels, probs, classes, multilabel, top_k)
    drawn = curves(labels, probs, classes, multilabel)
    truth = labels if multilabel else labels[:, None] == np.arange(len(classes))
    simplest = baseline(labels, classes, multilabel, top_k)
    more = {"roc": drawn["micro"]["roc"], "top_k": top_k, "baseline": simplest}
    return Evaluated(metrics, more, drawn, _mistakes(records, truth, probs, multilabel), seconds)


def _mistakes(
    records: Sequence[Record], truth: np.ndarray, probs: np.ndarray, multilabel: bool
) -> list[dict[str, Any]]:
    """Return the images that the model is most sure of and wrong about, the surest first."""
    from automl_images.metrics.classification import predicted_labels

    predicted = predicted_labels(probs, multilabel)
    # how sure: of a label that is wrong its probability, of one that is missing (multi-label) 1 - its probability
    sure = np.where(predicted & ~truth, probs, np.where(multilabel & truth & ~predicted, 1 - probs, 0.0)).max(1)
    worst = [int(i) for i in np.argsort(-sure, kind="stable")[:MISTAKES] if sure[i] > 0]
    names = ("image", "name", "truth", "predicted", "probs")
    return [dict(zip(names, (*example(records[i]), truth[i], predicted[i], probs[i]), strict=True)) for i in worst]


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation, the primary metric first."""
    return {k: v for k, v in result.items() if isinstance(v, float) and k != "seconds"}


def headline(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the first three figures."""
    return dict(itertools.islice(scalars(result).items(), 3))


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, the means, and the figures over all images."""
    names = ("precision", "recall", "f1_score", "AUC", "average_precision")
    lines = [f"{'class':24} {'images':>7} {'precision':>9} {'recall':>8} {'F1':>8} {'AUC':>8} {'AP':>8}"]
    for name, figures in result["per_label_metrics"].items():
        lines.append(f"{name:24} {figures['count']:7} {columns([figures[c] for c in names], 9)}")
    means = ("precision_score", "recall_score", "f1_score", "AUC", "average_precision_score")
    count = result["images"]
    for kind in ("macro", "micro", "weighted"):
        lines.append(f"{f'all ({kind})':24} {count:7} {columns([result[f'{m}_{kind}'] for m in means], 9)}")
    shown = ["iou", "accuracy", "accuracy_per_class_mean", "balanced_accuracy", "log_loss"]
    simplest = result.get("baseline") or {}
    whole = [f"{n} {figure(result[n])}{beside(simplest.get(n))}" for n in shown if n in result]
    if result["top_k"]:
        whole.append(f"top-{result['top_k']} accuracy {figure(result['top_k_accuracy'])}")
    lines.append(f"{', '.join(whole)}; report {result['report']}")
    return lines
