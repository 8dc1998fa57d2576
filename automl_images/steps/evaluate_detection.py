"""evaluate, for object detection."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from automl_images.annotations import Record

EXAMPLES = 8


def evaluate(
    predictor: Any,
    records: list[Record],
    report: str,
    *,
    title: str,
    described: Mapping[str, Any],
    lineage: Mapping[str, Any],
) -> dict[str, Any]:
    """Score a detector on records and write the report.

    The metric that ranked the trials is measured as the model's settings say (metric type, IoU, score threshold); VOC's
    and COCO's figures are given whatever they say.

    Args:
        predictor: a :class:`automl_images.prediction.detector.Predictor`.
        records: at least one.
        report: where to write the report (HTML).
        title: its heading.
        described, lineage: what was evaluated on what, and where the model came from: shown as they are.

    Returns:
        What :func:`automl_images.metrics.detection_metrics` returns, with ``coco``; ``voc`` (``map`` and per class
        ``average_precision``), ``seconds``.

    Raises:
        UserError: a record has a class that the model does not know, or its image does not open.
    """
    from automl_images.metrics import detection_metrics, voc_map
    from automl_images.reports.evaluation import write_evaluation

    settings, classes = predictor.settings, predictor.classes
    started = time.monotonic()
    truth, found, samples = _detect(predictor, records)
    seconds = time.monotonic() - started
    taken = f"{1000 * seconds / len(records):.0f} ms an image on {predictor.device}"
    kind, iou, score = (settings[n] for n in ("validation_metric_type", "validation_iou_threshold", "box_score_thresh"))
    figures = detection_metrics(truth, found, classes, "coco" if kind == "coco" else "coco_voc", iou, score)
    voc = voc_map(truth, found, classes, iou)
    write_evaluation(
        report,
        title=title,
        task=predictor.task,
        model={**described, "time": taken, **lineage},
        metrics=figures,
        curves=voc["curves"],
        examples=_examples(records, samples, found, classes),
        classes=classes,
        settings=settings,
    )
    average = {"map": voc["map"], **{n: f["average_precision"] for n, f in voc["per_class"].items()}}
    return {**figures, "voc": average, "seconds": round(seconds, 3)}


def _detect(predictor: Any, records: list[Record]) -> tuple[list[Any], list[Any], Any]:
    from automl_images.data.detection import Samples

    samples = Samples(records, predictor.classes)
    size = predictor.settings["validation_batch_size"]
    batches = ([samples.image(i) for i in range(k, min(k + size, len(records)))] for k in range(0, len(records), size))
    found = []
    for count, detections in enumerate(predictor.detections(batches), 1):
        found.append(detections)
        if count % 100 == 0:
            print(f"evaluate: {count} of {len(records)} images", file=sys.stderr, flush=True)
    return [samples.truth(i) for i in range(len(records))], found, samples


def _examples(records: list[Record], samples: Any, found: list[Any], classes: list[str]) -> list[Any]:
    """Return a few images, evenly spread over the records, with predictions and truth."""
    from PIL import Image

    from automl_images.prediction.detector import response

    chosen = sorted({i * len(records) // EXAMPLES for i in range(EXAMPLES)})
    shown = []
    for i in chosen:
        image = Image.fromarray(samples.image(i))
        name = records[i].image_url.rsplit("/", 1)[-1]
        answer = {**response(found[i], image.size, classes, 0.0), "filename": name}
        shown.append((image, answer, records[i].label.boxes))
    return shown


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation: the mean average precisions, precision and recall."""
    names = ("mean_average_precision", "mean_average_precision_above_threshold", "precision", "recall")
    return {**{n: result[n] for n in names}, **result["coco"]}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, then the means."""
    iou = result["iou_threshold"]
    head = f"{'class':24} {'boxes':>6} {f'VOC AP@{iou:g}':>11} {'COCO AP':>8} {'AP@0.5':>8}"
    lines = [head]
    for name, figures in result["per_label_metrics"].items():
        values = (result["voc"][name], figures["coco_map"], figures["coco_map_50"])
        lines.append(f"{name:24} {figures['count']:6} " + _columns(values))
    count = sum(f["count"] for f in result["per_label_metrics"].values())
    means = (result["voc"]["map"], result["coco"]["map"], result["coco"]["map_50"])
    lines.append(f"{'all (mean)':24} {count:6} " + _columns(means))
    lines.append(
        f"precision {_figure(result['precision'])}, recall {_figure(result['recall'])} "
        f"above a score of {result['score_threshold']:g}; report {result['report']}"
    )
    return lines


def _columns(values: tuple[float | None, ...]) -> str:
    return f"{_figure(values[0]):>11} {_figure(values[1]):>8} {_figure(values[2]):>8}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
