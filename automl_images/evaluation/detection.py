"""Evaluation of object detection, and of instance segmentation by the same figures of masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_images.evaluation import Evaluated, columns, example, outputs
from automl_images.reports.trials import figure

if TYPE_CHECKING:
    from automl_images.annotations import Record
    from automl_images.metrics.matching import Mistakes
    from automl_images.prediction import ModelPredictor

WORST, GOOD = 12, 4  # images to show
_LONGEST_SIDE = 800  # of one in pixels


def evaluate(predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
    """Score a detector on records; see :class:`automl_images.evaluation.Family`.

    The metric that ranked the trials is measured as the model's settings say (metric type, IoU, score threshold); VOC's
    and COCO's figures are given whatever they say.

    Returns:
        What :func:`measured` does.
    """
    from automl_images.data.detection import checked_boxes

    return evaluated(predictor, records, checked_boxes)


def evaluated(
    predictor: ModelPredictor, records: Sequence[Record], check: Callable[[Record, Collection[str]], Any]
) -> Evaluated:
    """Do :func:`evaluate`'s work for records that ``check`` refuses if their labels are wrong."""
    known = frozenset(predictor.classes)
    for record in records:
        check(record, known)  # before the time that predicting takes
    found, seconds = outputs(predictor, records)
    shown_above = predictor.working_point.get("box_score_thresh")
    return measured(records, found, predictor.settings, predictor.classes, seconds, shown_above)


def measured(
    records: Sequence[Record],
    found: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    classes: Sequence[str],
    seconds: float,
    shown_above: float | None = None,
) -> Evaluated:
    """Return what :func:`evaluate` does of detections that are there, a model's own or made elsewhere; without torch.

    Args:
        records: their labels are boxes, or outlines, of ``classes`` alone.
        found: what is found on each record's image, with its ``size``; see `automl_images.metrics.arrays.flatten`.
        settings: ``validation_metric_type``, ``validation_iou_threshold`` and ``box_score_thresh`` act.
        classes: the class names.
        seconds: how long it took to find them.
        shown_above: detections with a score above this are drawn and counted in the confusion matrix; None:
            ``box_score_thresh``.

    Returns:
        ``metrics``: what :func:`automl_images.metrics.detection_metrics` returns, with ``coco``; ``thresholds``,
        ``confusion_matrix``, of the functions in `automl_images.metrics.matching`, the latter above ``shown_above``.
        ``more``: ``baseline``. ``curves``: ``classes``, of :func:`automl_images.metrics.voc_map`, and ``confidence``.
        ``examples``: the images with most missed and false detections, then some without any: ``image`` (of at most
        800 pixels a side), ``name``, ``truth``, ``found`` (both in the pixels of ``truth``'s ``size``), ``missed``,
        ``false``.
    """
    from automl_images.metrics import detection_metrics, voc_map
    from automl_images.metrics import matching as match

    truth = [_truth(record, classes, f["size"]) for record, f in zip(records, found, strict=True)]
    kind, iou, score = (settings[n] for n in ("validation_metric_type", "validation_iou_threshold", "box_score_thresh"))
    metrics = detection_metrics(truth, found, classes, "coco" if kind == "coco" else "coco_voc", iou, score)
    pairing, shown_above = match.paired(truth, found, classes, iou), score if shown_above is None else shown_above
    metrics["thresholds"] = match.best_thresholds(pairing, classes, iou)
    metrics["confusion_matrix"] = match.confusion_matrix(truth, found, classes, iou, shown_above)
    metrics["shown_above"] = shown_above
    more = {"baseline": {"mean_average_precision": 0.0}}  # of a model that finds nothing
    curves = {
        "classes": voc_map(truth, found, classes, iou)["curves"],
        "confidence": match.confidence_curves(pairing),
    }
    shown = _examples(records, truth, found, match.mistakes(truth, pairing, shown_above), shown_above)
    return Evaluated(metrics, more, curves, shown, seconds)


def _truth(record: Record, classes: Sequence[str], size: tuple[int, int]) -> dict[str, Any]:
    from automl_images.annotations import Boxes
    from automl_images.annotations.labels.polygons import Polygons
    from automl_images.metrics.arrays import instance_arrays, truth_arrays

    if isinstance(record.label, Polygons):
        return instance_arrays(record.label.instances, classes, size)
    assert isinstance(record.label, Boxes)
    return truth_arrays(record.label.boxes, classes, size)


def _examples(
    records: Sequence[Record],
    truth: Sequence[Any],
    found: Sequence[Any],
    mistakes: Sequence[Mistakes],
    score: float,
) -> list[dict[str, Any]]:
    from automl_images.metrics.matching import above

    counts = [int(wrong.missed.sum() + wrong.false.sum()) for wrong in mistakes]
    worst = sorted((n for n, count in enumerate(counts) if count), key=lambda n: -counts[n])[:WORST]
    right = [n for n, count in enumerate(counts) if not count]
    good = [n for n in right if len(truth[n]["labels"])] or right
    chosen = [*worst, *sorted({good[i * len(good) // GOOD] for i in range(GOOD)} if good else ())]
    shown = []
    for n in chosen:
        image, name = example(records[n])
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))  # at once: many photographs are large
        false = mistakes[n].false[np.asarray(found[n]["scores"]) > score]
        one = {"image": image, "name": name, "truth": truth[n], "found": above(found[n], score)}
        shown.append({**one, "missed": mistakes[n].missed, "false": false})
    return shown


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation: the mean average precisions, precision, recall, the best F1."""
    names = ("mean_average_precision", "mean_average_precision_above_threshold", "precision", "recall")
    best = result["thresholds"]["overall"]
    found = {**{n: result[n] for n in names}, "best_f1": best["f1"], "best_f1_threshold": best["threshold"]}
    found |= {f"{n}_map": result[n]["map"] for n in ("voc", "voc_2007")}
    found["log_average_miss_rate"] = result["log_average_miss_rate"]
    boxes = {f"box_{n}": result["box"][n] for n in names} if "box" in result else {}
    return {**found, **result["coco"], **boxes}


def headline(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean average precisions."""
    coco = result["coco"]
    found = {"VOC mAP": result["voc"]["map"], "COCO mAP": coco["map"], "COCO mAP@0.5": coco["map_50"]}
    return found | ({"box COCO mAP@0.5": result["box"]["coco"]["map_50"]} if "box" in result else {})


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, then the means; of masks, with the boxes' figure behind them."""
    voc, coco, box, by_class = result["voc"], result["coco"], result.get("box"), result["per_label_metrics"]
    rows = [(name, f["count"], f["voc"], f["coco_map"], f["coco_map_50"]) for name, f in by_class.items()]
    rows.append(("all (mean)", sum(row[1] for row in rows), voc["map"], coco["map"], coco["map_50"]))
    behind = [""] * len(rows)
    if box:
        boxes = [*(f["coco_map_50"] for f in box["per_label_metrics"].values()), box["coco"]["map_50"]]
        behind = [f" {figure(value):>10}" for value in boxes]
    head, best = f"VOC AP@{result['iou_threshold']:g}", result["thresholds"]["overall"]
    what, last = ("objects", f" {'box AP@0.5':>10}") if box else ("boxes", "")
    best_line = f"best F1 {figure(best['f1'])}"
    if best["threshold"] is not None:
        found = f"precision {figure(best['precision'])}, recall {figure(best['recall'])}"
        best_line += f" above a score of {figure(best['threshold'])}: {found}"
    return [
        f"{'class':24} {what:>7} {head:>11} {'COCO AP':>8} {'AP@0.5':>8}{last}",
        *(
            f"{name:24} {count:7} {columns(values, 11)}{end}"
            for (name, count, *values), end in zip(rows, behind, strict=True)
        ),
        best_line,
        f"precision {figure(result['precision'])}, recall {figure(result['recall'])} "
        f"above a score of {result['score_threshold']:g}; report {result['report']}",
    ]
