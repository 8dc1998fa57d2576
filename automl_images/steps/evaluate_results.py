"""evaluate, of predictions made elsewhere: how well COCO results find what any annotations say."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.annotations import findings, formats, read_records, results
from automl_images.errors import UserError
from automl_images.evaluation import weakness
from automl_images.reports import Evaluation
from automl_images.reports import Family as Reports
from automl_images.steps.convert import convert
from automl_images.tasks import get_task, part


def counted_line(result: Mapping[str, Any]) -> str:
    """Return in a line how many results there are, and what has none or was left out."""
    left_out = result["annotations"].get("skipped_images", 0)
    return (
        f"{result['results']} results on {result['images']} images, {result['images_without_results']} of them without "
        f"any; left out: {left_out} images with {result['results_left_out']} results"
    )


def evaluate_results(
    predictions: str,
    data: str,
    output: str,
    task: str,
    *,
    format: str = "auto",
    images: str | None = None,
    on_error: str = "fail",
    title: str | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.3,
) -> dict[str, Any]:
    """Score COCO results on annotations; write ``metrics.json`` and ``report.html``.

    Where the annotations are a COCO file, ``image_id`` and ``category_id`` are its ids. Elsewhere ``image_id`` is the
    name of the image's file, with or without suffix (a number is that of a name of digits), and ``category_id`` the
    name of the class.

    Args:
        predictions: the results (JSON), local or any fsspec URL.
        data, format, images, on_error: the annotations; see :func:`automl_images.steps.convert.convert`, which reads
            them. Of images, headers alone are read.
        output: the folder to write to.
        task: object detection or instance segmentation.
        title: the report's heading.
        iou_threshold: in (0, 1], from how much overlap an object is found, for VOC's figures and the miss rate.
        score_threshold: in [0, 1], for precision, recall and the report's drawings.

    Returns:
        What :func:`automl_images.steps.evaluate.evaluate_model` does, but ``predictions`` (the address) for ``model``,
        and no time; and ``results`` (how many count), ``results_left_out`` (those of images that were left out),
        ``images_without_results``, ``annotations`` (what :func:`automl_images.steps.convert.convert` counted: images
        left out, boxes dropped, ...).

    Raises:
        UserError: the task has no boxes or masks; the annotations are refused; a result is, by
            :func:`automl_images.annotations.results.read`; a threshold is out of range.
    """
    family, kind = part("evaluation", task), get_task(task).label
    if not hasattr(family, "measured"):
        raise UserError(f"task: '{task}' has no COCO results; they are of boxes or of masks of objects")
    if not 0 < iou_threshold <= 1:
        raise UserError(f"iou-threshold: is {iou_threshold:g}; it must be above 0 and at most 1")
    if not 0 <= score_threshold <= 1:
        raise UserError(f"score-threshold: is {score_threshold:g}; it must be from 0 to 1")
    form, source = formats.open_source(data, format, images, label=kind)
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        file = str(Path(scratch, "records.jsonl"))
        summary = convert(source, file, task, format=form.name, on_error=on_error, check="headers")
        records = list(read_records(file, kind))
    for line in findings.briefly(summary["findings"]):
        print(line, file=sys.stderr)
    sizes = {record.image_url: (int(record.width or 0), int(record.height or 0)) for record in records}
    if form is formats.FORMATS["coco"]:
        names = results.Names.of_ids(*formats.coco.ids(source), sizes)
    else:
        # there may be results of classes that are named apart from labels
        names = results.Names.of_files(list(sizes), {*summary["classes"], *source.named})
    masks = kind == "polygons"
    found, left_out = results.read(predictions, names, sizes, masks)
    classes = sorted({*summary["classes"], *(name for one in found.values() for name in one.labels)})
    empty = results.Found()
    arrays = [found.get(r.image_url, empty).arrays(classes, sizes[r.image_url], masks) for r in records]
    settings = {
        "validation_metric_type": "coco_voc",
        "validation_iou_threshold": iou_threshold,
        "box_score_thresh": score_threshold,
    }
    measured = family.measured(records, arrays, settings, classes, 0.0)
    counts = {
        "results": sum(len(one.scores) for one in found.values()),
        "results_left_out": left_out,
        "images_without_results": len(records) - len(found),
    }
    described = {
        "predictions": storage.redact(storage.absolute(predictions)),
        "data": storage.redact(storage.absolute(data)),
        "images": len(records),
        **counts,
    }
    result = {"task": get_task(task).name, **measured.metrics, **measured.more}
    report = storage.join(storage.absolute(output), "report.html")
    reports: Reports = part("reports", task)
    reports.write_report(
        report,
        Evaluation(
            title=title or "Evaluation of predictions",
            task=get_task(task).name,
            model={name.replace("_", " "): value for name, value in described.items()},
            metrics=measured.metrics,
            curves=measured.curves,
            examples=measured.examples,
            classes=classes,
            settings=settings,
            baseline=measured.more["baseline"],
            weakness=weakness(result),
        ),
    )
    result |= {**described, "report": report, "annotations": {k: v for k, v in summary.items() if isinstance(v, int)}}
    storage.write(storage.join(output, "metrics.json"), json.dumps(result, indent=1))
    return result
