"""evaluate: how well a model folder finds what records say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.errors import UserError
from automl_images.steps import evaluate_classification, evaluate_detection
from automl_images.tasks import TASKS

MATRIX_CLASSES = 50


def evaluate_model(
    model: str, data: str, output: str, *, title: str | None = None, lineage: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Score a model folder on records; write ``metrics.json`` and ``report.html``.

    Args:
        model: a model folder, local or on a store.
        data: records (JSONL).
        output: the folder to write to.
        title: the report's heading.
        lineage: where the model came from, shown in the report.

    Returns:
        The figures of :func:`evaluate_detection.evaluate` or :func:`evaluate_classification.evaluate`; ``task``,
        ``images``, ``seconds`` (reading and predicting), ``data``, ``model``, ``report`` (addresses).

    Raises:
        UserError: the folder is not a model folder, or the records do not fit it.
    """
    from automl_images.prediction import load_model

    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        predictor = load_model(storage.get_folder(model, Path(scratch)))
    records = list(read_records(data, TASKS[predictor.task].label))
    if not records:
        raise UserError(f"{storage.redact(data)}: has no image to evaluate on")
    report = storage.join(storage.absolute(output), "report.html")
    described = {
        "model": storage.redact(storage.absolute(model)),
        "data": storage.redact(storage.absolute(data)),
        "images": len(records),
    }
    figures = _part(predictor.task).evaluate(
        predictor,
        records,
        report,
        title=title or f"Evaluation of {predictor.settings['model_name']}",
        described=described,
        lineage=lineage or {},
    )
    result = {"task": predictor.task, **figures, **described, "report": report}
    storage.write(storage.join(output, "metrics.json"), json.dumps(result, indent=1))
    return result


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, then the means."""
    return _part(result["task"]).summary_lines(result)


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the single figures of an evaluation, the primary metric first, without those that are undefined."""
    return {k: v for k, v in _part(result["task"]).scalars(result).items() if v is not None}


def plots(result: dict[str, Any]) -> tuple[list[str], list[list[int]] | None, dict[str, list[float]] | None]:
    """Take out of an evaluation what is too long for a step's result, and return what a page draws of it.

    Returns:
        The classes; the confusion matrix, rows by true class, or None (detection, multi-label, more than 50 classes);
        the ROC curve over all pairs of image and class, ``fpr``, ``tpr`` and ``threshold``, or None (detection, or
        undefined). The curve leaves ``result``, and a confusion matrix of more than 50 classes does.
    """
    classes = list(result["per_label_metrics"])
    if len(classes) > MATRIX_CLASSES:
        result.pop("confusion_matrix", None)
    matrix = result.get("confusion_matrix")
    return classes, matrix if isinstance(matrix, list) else None, result.pop("roc", None)


def _part(task: str) -> ModuleType:
    return evaluate_classification if TASKS[task].label in ("class", "classes") else evaluate_detection
