"""The figures of a detector: the one that ranks trials, Azure's own beside it, and COCO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.metrics.arrays import Detections, Truth, flatten
from automl_images.metrics.coco import IOU_THRESHOLDS, accumulate, coco_figures
from automl_images.metrics.voc import Matched, match, voc_figures

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
        boxes of all classes with a score above the threshold, matched as VOC does for every metric type. ``voc``,
        ``voc_2007``: {``map``}, VOC's all-point area and its form of 2007, and ``log_average_miss_rate`` (lower is
        better), all of all detections at ``iou_threshold``. ``per_label_metrics``: {name: {``precision``, ``recall``
        (above the threshold), ``average_precision`` (on all detections, as it ranks), ``count`` (boxes to be found),
        ``voc``, ``voc_2007``, ``log_average_miss_rate``}}, and with ``coco`` ``coco_map`` and ``coco_map_50``.
        ``coco``: the twelve figures of `coco_map`, with ``coco`` only. ``metric_type``, ``iou_threshold``,
        ``score_threshold``: as given. Where both sides have masks, all are of masks, and ``box`` has the same figures
        of boxes. Every figure is a float in [0, 1], or None where it is undefined: average precision, miss rate and
        recall without ground truth, precision without detections. JSON-serialisable.

    Raises:
        UserError: ``metric_type`` is unknown.
        ValueError: as `flatten`.
    """
    if metric_type not in METRIC_TYPES:
        known = nearest(metric_type, METRIC_TYPES)
        raise UserError(f"validation_metric_type: '{metric_type}' is not a metric type; {known}")
    flat_truth, found = flatten(truth, detections, classes)
    result: dict[str, Any] = {
        **_figures(flat_truth, found, classes, metric_type, iou_threshold, score_threshold, len(truth)),
        "metric_type": metric_type,
        "iou_threshold": iou_threshold,
        "score_threshold": score_threshold,
    }
    if found.masks is not None:
        boxes = flat_truth._replace(masks=None), found._replace(masks=None)
        result["box"] = _figures(*boxes, classes, metric_type, iou_threshold, score_threshold, len(truth))
    return result


def _figures(
    truth: Truth,
    detections: Detections,
    classes: Sequence[str],
    metric_type: str,
    iou_threshold: float,
    score_threshold: float,
    images: int,
) -> dict[str, Any]:
    """Return the figures of masks where both sides have them, else of boxes."""
    matched, above = match(truth, detections, iou_threshold), detections.scores > score_threshold
    voc = voc_figures(truth, detections, classes, matched, images)
    best = detections.above(score_threshold)
    working_point = voc_figures(truth, best, classes, Matched(*(a[above] for a in matched)), images)
    result: dict[str, Any] = {
        "mean_average_precision": voc["map"],
        "mean_average_precision_above_threshold": working_point["map"],
        "precision": working_point["precision"],
        "recall": working_point["recall"],
        "voc": {"map": voc["map"]},
        "voc_2007": {"map": voc["map_2007"]},
        "log_average_miss_rate": voc["log_average_miss_rate"],
        "per_label_metrics": {
            name: {
                "precision": working_point["per_class"][name]["precision"],
                "recall": working_point["per_class"][name]["recall"],
                "average_precision": f["average_precision"],
                "count": f["count"],
                "voc": f["average_precision"],
                "voc_2007": f["average_precision_2007"],
                "log_average_miss_rate": f["log_average_miss_rate"],
            }
            for name, f in voc["per_class"].items()
        },
    }
    if metric_type == "voc":
        return result
    tables = accumulate(truth, detections, len(classes), sorted({*IOU_THRESHOLDS, iou_threshold}))
    coco = coco_figures(tables, classes)
    for name, by_class in coco.pop("per_class").items():
        result["per_label_metrics"][name] |= {f"coco_{key}": value for key, value in by_class.items()}
    result["coco"] = coco
    if metric_type == "coco":
        at_threshold = accumulate(truth, best, len(classes), [iou_threshold])
        result["mean_average_precision"] = tables.average_precision([iou_threshold])
        result["mean_average_precision_above_threshold"] = at_threshold.average_precision([iou_threshold])
        for c, figures in enumerate(result["per_label_metrics"].values()):
            figures["average_precision"] = tables.average_precision([iou_threshold], c)
    return result
