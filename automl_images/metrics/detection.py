"""The figures of a detector: the one that ranks trials, Azure's own beside it, and COCO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.metrics.arrays import flatten
from automl_images.metrics.coco import IOU_THRESHOLDS, accumulate, coco_figures
from automl_images.metrics.voc import voc_figures

METRIC_TYPES = ("voc", "coco", "coco_voc")


def detection_metrics(
    truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    metric_type: str,
    iou_threshold: float,
    score_threshold: float,
) -> dict[str, Any]:
    """Return the figures of a detector on a set of images.

    Args:
        truth, detections, classes: see `automl_images.metrics.arrays.flatten`. The detections should come before any
            cut by score: a cut truncates the precision-recall curve, and a trial would be ranked by its threshold.
        metric_type: how average precision is measured: ``voc`` and ``coco_voc`` by VOC's all-point area, ``coco`` by
            COCO's 101 points. The two with ``coco`` bring COCO's figures too.
        iou_threshold: in (0, 1]; from how much overlap a box is found.
        score_threshold: in [0, 1]; the detector's working point, for the figures that need one.

    Returns:
        ``mean_average_precision``: on all detections; it ranks trials. ``mean_average_precision_above_threshold``: on
        those with a score strictly above ``score_threshold``, as Azure reports it. ``precision``, ``recall``: over the
        boxes of all classes with a score above the threshold, matched as VOC does for every metric type.
        ``per_label_metrics``: {name: {``precision``, ``recall`` (above the threshold), ``average_precision`` (on all
        detections), ``count`` (boxes to be found)}}, and with ``coco`` ``coco_map`` and ``coco_map_50``. ``coco``: the
        twelve figures of `coco_map`, with ``coco`` only. ``metric_type``, ``iou_threshold``, ``score_threshold``: as
        given. Every figure is a float in [0, 1], or None where it is undefined: average precision and recall without
        ground truth, precision without detections. JSON-serialisable.

    Raises:
        UserError: ``metric_type`` is unknown.
        ValueError: as `flatten`.
    """
    if metric_type not in METRIC_TYPES:
        known = nearest(metric_type, METRIC_TYPES)
        raise UserError(f"validation_metric_type: '{metric_type}' is not a metric type; {known}")
    flat_truth, everything = flatten(truth, detections, classes)
    above = everything.above(score_threshold)
    working_point = voc_figures(flat_truth, above, classes, iou_threshold)
    tables = None
    if metric_type != "voc":
        tables = accumulate(flat_truth, everything, len(classes), sorted({*IOU_THRESHOLDS, iou_threshold}))
    if metric_type == "coco":
        assert tables is not None
        mean = tables.average_precision([iou_threshold])
        areas = [tables.average_precision([iou_threshold], c) for c in range(len(classes))]
        at_threshold = accumulate(flat_truth, above, len(classes), [iou_threshold])
        mean_above = at_threshold.average_precision([iou_threshold])
    else:
        figures = voc_figures(flat_truth, everything, classes, iou_threshold)
        mean, areas = figures["map"], [f["average_precision"] for f in figures["per_class"].values()]
        mean_above = working_point["map"]
    result: dict[str, Any] = {
        "mean_average_precision": mean,
        "mean_average_precision_above_threshold": mean_above,
        "precision": working_point["precision"],
        "recall": working_point["recall"],
        "per_label_metrics": {
            name: {"precision": f["precision"], "recall": f["recall"], "average_precision": area, "count": f["count"]}
            for (name, f), area in zip(working_point["per_class"].items(), areas, strict=True)
        },
        "metric_type": metric_type,
        "iou_threshold": iou_threshold,
        "score_threshold": score_threshold,
    }
    if tables is not None:
        coco = coco_figures(tables, classes)
        for name, by_class in coco.pop("per_class").items():
            result["per_label_metrics"][name] |= {f"coco_{key}": value for key, value in by_class.items()}
        result["coco"] = coco
    return result
