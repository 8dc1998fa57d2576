"""evaluate, for classification with one label an image or several."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from automl_images.annotations import Record

MISTAKES = 12
_THREADS = 8


def evaluate(
    predictor: Any,
    records: list[Record],
    report: str,
    *,
    title: str,
    described: Mapping[str, Any],
    lineage: Mapping[str, Any],
) -> dict[str, Any]:
    """Score a classifier on records and write the report.

    Args:
        predictor: a :class:`automl_images.prediction.classifier.ClassifierPredictor`.
        records: at least one.
        report: where to write the report (HTML).
        title: its heading.
        described, lineage: what was evaluated on what, and where the model came from: shown as they are.

    Returns:
        What :func:`automl_images.metrics.classification_metrics` returns; ``roc``: the curve over all pairs of image
        and class (``fpr``, ``tpr``, ``threshold``) or None; ``top_k``; ``seconds``.

    Raises:
        UserError: a record has a class that the model does not know, or its image does not open.
    """
    from automl_images.data.classification import truth_of
    from automl_images.metrics.classification import classification_metrics, curves
    from automl_images.reports.classification import write_classification

    settings, classes, multilabel = predictor.settings, predictor.classes, predictor.multilabel
    truth = truth_of(records, classes, multilabel)
    started = time.monotonic()
    probs = _classify(predictor, records)
    seconds = time.monotonic() - started
    taken = f"{1000 * seconds / len(records):.3g} ms an image on {predictor.device}"
    figures = classification_metrics(truth, probs, classes, multilabel, settings.get("top_k"))
    drawn = curves(truth, probs, classes, multilabel)
    hot = truth if multilabel else truth[:, None] == np.arange(len(classes))
    write_classification(
        report,
        title=title,
        task=predictor.task,
        model={**described, "time": taken, **lineage},
        metrics=figures,
        curves=drawn,
        mistakes=_mistakes(records, hot, probs, multilabel),
        classes=classes,
        settings=settings,
    )
    return {**figures, "roc": drawn["micro"]["roc"], "top_k": settings.get("top_k"), "seconds": round(seconds, 3)}


def _classify(predictor: Any, records: Sequence[Record]) -> np.ndarray:
    rows: list[np.ndarray] = []
    for probs in predictor.probabilities(_batches(records, predictor.settings["validation_batch_size"])):
        before = len(rows)
        rows.extend(probs)
        if len(rows) // 1000 > before // 1000:
            print(f"evaluate: {len(rows)} of {len(records)} images", file=sys.stderr, flush=True)
    return np.stack(rows)


def _batches(records: Sequence[Record], size: int) -> Iterator[list[np.ndarray]]:
    from automl_images.data.images import load_image

    with ThreadPoolExecutor(_THREADS) as pool:
        for k in range(0, len(records), size):
            yield list(pool.map(lambda r: load_image(r.image_url, r.where), records[k : k + size]))


def _mistakes(records: Sequence[Record], hot: np.ndarray, probs: np.ndarray, multilabel: bool) -> list[dict[str, Any]]:
    """Return the images that the model is most sure of and wrong about, the surest first."""
    from PIL import Image

    from automl_images.data.images import load_image
    from automl_images.metrics.classification import predicted

    said = predicted(probs, multilabel)
    # how sure: of a label that is wrong its probability, of one that is missing (multi-label) 1 - its probability
    sure = np.where(said & ~hot, probs, np.where(multilabel & hot & ~said, 1 - probs, 0.0)).max(1)
    worst = [int(i) for i in np.argsort(-sure, kind="stable")[:MISTAKES] if sure[i] > 0]
    return [
        {
            "image": Image.fromarray(load_image(records[i].image_url, records[i].where)),
            "name": records[i].image_url.rsplit("/", 1)[-1],
            "truth": hot[i],
            "predicted": said[i],
            "probs": probs[i],
        }
        for i in worst
    ]


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation, the primary metric first."""
    return {k: v for k, v in result.items() if isinstance(v, float) and k != "seconds"}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, the means, and the figures over all images."""
    columns = ("precision", "recall", "f1_score", "AUC", "average_precision")
    lines = [f"{'class':24} {'images':>7} {'precision':>9} {'recall':>8} {'F1':>8} {'AUC':>8} {'AP':>8}"]
    for name, figures in result["per_label_metrics"].items():
        lines.append(f"{name:24} {figures['count']:7} {_columns([figures[c] for c in columns])}")
    means = ("precision_score", "recall_score", "f1_score", "AUC", "average_precision_score")
    count = result["images"]
    for kind in ("macro", "micro", "weighted"):
        lines.append(f"{f'all ({kind})':24} {count:7} {_columns([result[f'{m}_{kind}'] for m in means])}")
    shown = ["iou", "accuracy", "accuracy_per_class_mean", "balanced_accuracy", "log_loss"]
    said = [f"{n} {_figure(result[n])}" for n in shown if n in result]
    if result["top_k"]:
        said.append(f"top-{result['top_k']} accuracy {_figure(result['top_k_accuracy'])}")
    lines.append(f"{', '.join(said)}; report {result['report']}")
    return lines


def _columns(values: Sequence[float | None]) -> str:
    return f"{_figure(values[0]):>9} " + " ".join(f"{_figure(v):>8}" for v in values[1:])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
