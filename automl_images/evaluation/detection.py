"""Evaluation of object detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automl_images.evaluation import Evaluated, columns, example, outputs
from automl_images.reports.trials import figure

if TYPE_CHECKING:
    from automl_images.annotations import Record
    from automl_images.prediction import ModelPredictor

EXAMPLES = 8


def evaluate(predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
    """Score a detector on records; see :class:`automl_images.evaluation.Family`.

    The metric that ranked the trials is measured as the model's settings say (metric type, IoU, score threshold); VOC's
    and COCO's figures are given whatever they say.

    Returns:
        ``metrics``: what :func:`automl_images.metrics.detection_metrics` returns, with ``coco``; ``more``: ``voc``
        (``map`` and per class ``average_precision``), ``baseline``.
    """
    from automl_images.data.detection import checked_boxes

    known = frozenset(predictor.classes)
    for record in records:
        checked_boxes(record, known)  # before the time that predicting takes
    found, seconds = outputs(predictor, records)
    return measured(records, found, predictor.settings, predictor.classes, seconds)


def measured(
    records: Sequence[Record],
    found: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    classes: Sequence[str],
    seconds: float,
) -> Evaluated:
    """Return what :func:`evaluate` does of detections that are there, a model's own or made elsewhere; without torch.

    Args:
        records: their labels are boxes of ``classes`` alone.
        found: what is found on each record's image, with its ``size``; see `automl_images.metrics.arrays.flatten`.
        settings: ``validation_metric_type``, ``validation_iou_threshold`` and ``box_score_thresh`` act.
        classes: the class names.
        seconds: how long it took to find them.
    """
    from automl_images.annotations import Boxes
    from automl_images.metrics import detection_metrics, truth_arrays, voc_map

    boxes = [record.label.boxes for record in records if isinstance(record.label, Boxes)]
    truth = [truth_arrays(b, classes, f["size"]) for b, f in zip(boxes, found, strict=True)]
    kind, iou, score = (settings[n] for n in ("validation_metric_type", "validation_iou_threshold", "box_score_thresh"))
    metrics = detection_metrics(truth, found, classes, "coco" if kind == "coco" else "coco_voc", iou, score)
    voc = voc_map(truth, found, classes, iou)
    average = {"map": voc["map"], **{n: f["average_precision"] for n, f in voc["per_class"].items()}}
    more = {"voc": average, "baseline": {"mean_average_precision": 0.0}}  # of a model that finds nothing
    return Evaluated(metrics, more, voc["curves"], _examples(records, truth, found), seconds)


def _examples(records: Sequence[Record], truth: Sequence[Any], found: Sequence[Any]) -> list[Any]:
    """Return a few images, evenly spread over the records, with their name, truth and detections."""
    chosen = sorted({i * len(records) // EXAMPLES for i in range(EXAMPLES)})
    return [(*example(records[i]), truth[i], found[i]) for i in chosen]


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation: the mean average precisions, precision and recall."""
    names = ("mean_average_precision", "mean_average_precision_above_threshold", "precision", "recall")
    return {**{n: result[n] for n in names}, **result["coco"]}


def headline(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean average precisions."""
    coco = result["coco"]
    return {"VOC mAP": result["voc"]["map"], "COCO mAP": coco["map"], "COCO mAP@0.5": coco["map_50"]}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, then the means."""
    voc, coco, by_class = result["voc"], result["coco"], result["per_label_metrics"]
    rows = [(name, f["count"], voc[name], f["coco_map"], f["coco_map_50"]) for name, f in by_class.items()]
    rows.append(("all (mean)", sum(row[1] for row in rows), voc["map"], coco["map"], coco["map_50"]))
    head = f"VOC AP@{result['iou_threshold']:g}"
    return [
        f"{'class':24} {'boxes':>6} {head:>11} {'COCO AP':>8} {'AP@0.5':>8}",
        *(f"{name:24} {count:6} {columns(values, 11)}" for name, count, *values in rows),
        f"precision {figure(result['precision'])}, recall {figure(result['recall'])} "
        f"above a score of {result['score_threshold']:g}; report {result['report']}",
    ]
