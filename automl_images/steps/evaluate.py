"""evaluate: how well a model folder finds what records say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.annotations.identity import set_digest
from automl_images.errors import UserError
from automl_images.evaluation import family, headline, plots, scalars, summary_lines, weakness
from automl_images.reports import Evaluation
from automl_images.reports import Family as Reports
from automl_images.tasks import get_task, part

__all__ = ["evaluate_model", "headline", "plots", "scalars", "summary_lines"]


def evaluate_model(
    model: str,
    data: str,
    output: str,
    *,
    title: str | None = None,
    lineage: Mapping[str, Any] | None = None,
    keep_thresholds: bool = False,
) -> dict[str, Any]:
    """Score a model folder on records; write ``metrics.json`` and ``report.html``.

    Args:
        model: a model folder, local or on a store.
        data: records (JSONL).
        output: the folder to write to.
        title: the report's heading.
        lineage: where the model came from, shown in the report.
        keep_thresholds: write a detector's score thresholds of the best F1 on these records into the model folder,
            where predict and the next report find them.

    Returns:
        ``metrics`` and ``more`` of the family's :class:`automl_images.evaluation.Evaluated`; ``task``, ``images``,
        ``seconds`` (reading and predicting); ``data``, ``model``, ``report`` (addresses); ``data_digest``, of
        :func:`automl_images.annotations.identity.set_digest`.

    Raises:
        UserError: the folder is not a model folder, or the records do not fit it; thresholds are to be kept, and the
            folder is on a store, or its model has none.
    """
    from automl_images.models.folder import THRESHOLDS, history
    from automl_images.prediction import load_model

    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        folder = storage.get_folder(model, Path(scratch))
        predictor, epochs = load_model(folder), history(folder)
    if keep_thresholds and not storage.is_local(model):
        raise UserError(f"{storage.redact(model)}: is on a store; thresholds are kept in a folder on this machine")
    if keep_thresholds and "box_score_thresh" not in predictor.settings:
        raise UserError(f"{storage.redact(model)}: a model for {predictor.task} has no score threshold to keep")
    records = list(read_records(data, get_task(predictor.task).label))
    if not records:
        raise UserError(f"{storage.redact(data)}: has no image to evaluate on")
    report = storage.join(storage.absolute(output), "report.html")
    described = {
        "model": storage.redact(storage.absolute(model)),
        "data": storage.redact(storage.absolute(data)),
        "images": len(records),
    }
    found = family(predictor.task).evaluate(predictor, records)
    milliseconds = 1000 * found.seconds / len(records)
    taken = f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
    result = {"task": predictor.task, **found.metrics, **found.more}
    shown = Evaluation(
        title=title or f"Evaluation of {predictor.settings['model_name']}",
        task=predictor.task,
        model={**described, "time": f"{taken} ms an image on {predictor.device}", **(lineage or {})},
        metrics=found.metrics,
        curves=found.curves,
        examples=found.examples,
        classes=predictor.classes,
        settings=predictor.settings,
        baseline=found.more["baseline"],
        weakness=weakness(result),
        history=epochs,
    )
    reports: Reports = part("reports", predictor.task)
    reports.write_report(report, shown)
    result |= {"seconds": round(found.seconds, 3), **described, "data_digest": set_digest(records), "report": report}
    storage.write(storage.join(output, "metrics.json"), json.dumps(result, indent=1))
    if keep_thresholds:
        storage.write(storage.join(model, THRESHOLDS), json.dumps(found.metrics["thresholds"], indent=1))
    return result
