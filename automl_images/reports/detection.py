"""The report of an evaluated detector: figures, curves and examples in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from automl_images import storage
from automl_images.metrics import voc_map
from automl_images.reports import Evaluation
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.draw import Colour, class_colours, css, draw_boxes
from automl_images.reports.html import jpeg_uri, render

_LONGEST_SIDE = 800


def write_report(path_html: str, shown: Evaluation) -> None:
    """Write the report of an evaluation to any fsspec URL.

    Of ``shown``, ``metrics`` are of `automl_images.metrics.detection_metrics`, ``curves`` of
    `automl_images.metrics.voc_map`; ``examples`` are images with their name, ground truth (of
    `automl_images.metrics.truth_arrays`) and detections, in pixels. Those with a score above the metrics'
    ``score_threshold`` are drawn.
    """
    metrics, curves, colours = shown.metrics, shown.curves, class_colours(shown.classes)
    threshold, iou = metrics["score_threshold"], metrics["iou_threshold"]
    drawn = [name for name in shown.classes if curves.get(name, {}).get("recall")]
    coco = metrics.get("coco") or {}
    ap_name = ("COCO AP" if metrics["metric_type"] == "coco" else "VOC AP") + f" {100 * iou:g}"
    has_50 = bool(coco) and ap_name != "COCO AP 50"
    headline = [
        (f"mean {ap_name}", metrics["mean_average_precision"]),
        *([("COCO mAP 50:95", coco["map"])] if coco else []),
        *([("COCO mAP 50", coco["map_50"])] if has_50 else []),
        (f"mean {ap_name}, scores above {threshold:g}", metrics["mean_average_precision_above_threshold"]),
        ("precision", metrics["precision"]),
        ("recall", metrics["recall"]),
    ]
    values = {
        "headline": [(text, value, None) for text, value in headline],
        "ap_name": ap_name,
        "has_coco": bool(coco),
        "has_50": has_50,
        "colours": {name: css(colour) for name, colour in colours.items()},
        "plot": _plot({n: curves[n] for n in drawn}, colours, threshold) if drawn else None,
        "drawn": drawn,
        "examples": [_example(e, shown.classes, colours, threshold, iou) for e in shown.examples],
    }
    storage.write(path_html, render("detection.html.j2", **{**vars(shown), **values}))


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the boxes of ``{"boxes": [...]}`` drawn on it, of any task of the family."""
    found, sides = answer["boxes"], (*image.size, *image.size)
    corners = [[one["box"][k] for k in ("topX", "topY", "bottomX", "bottomY")] for one in found]
    boxes = [[c * side for c, side in zip(box, sides, strict=True)] for box in corners]
    labels, scores = ([one[k] for one in found] for k in ("label", "score"))
    return draw_boxes(image, boxes, labels, class_colours(classes), scores)


def _example(
    example: tuple[Image.Image, str, Mapping[str, Any], Mapping[str, Any]],
    classes: Sequence[str],
    colours: Mapping[str, Colour],
    score: float,
    iou: float,
) -> dict[str, Any]:
    image, name, truth, found = example
    keep = found["scores"] > score
    above = {key: found[key][keep] for key in ("boxes", "scores", "labels")}
    figures = voc_map([truth], [above], classes, iou)["per_class"].values()
    hits = sum(round((f["recall"] or 0) * f["count"]) for f in figures)
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    scale = 2 * (small.width / image.width, small.height / image.height)
    crowds = zip(truth["labels"], truth["crowd"], strict=True)
    expected = [f"{classes[i]} (crowd)" if crowd else classes[i] for i, crowd in crowds]
    predicted = [classes[i] for i in above["labels"]]
    by_text = {**colours, **{f"{text} (crowd)": colour for text, colour in colours.items()}}
    return {
        "name": name,
        "truth": jpeg_uri(draw_boxes(small, truth["boxes"] * scale, expected, by_text)),
        "prediction": jpeg_uri(draw_boxes(small, above["boxes"] * scale, predicted, colours, above["scores"])),
        "found": hits,
        "expected": sum(f["count"] for f in figures),
        "false": sum(f["detections"] for f in figures) - hits,
    }


def _plot(
    curves: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, Colour], threshold: float
) -> dict[str, Any]:
    """Return the chart of precision by recall: for each recall the best precision that is still reached."""
    lines = []
    for name, curve in curves.items():
        points, x = [], 0.0
        ends = {round(y, 3): end for end, y in zip(curve["recall"], curve["precision"], strict=True)}  # precision falls
        for y, end in ends.items():
            points += [(x, y), (end, y)]
            x = end
        above = sum(score > threshold for score in curve["score"])
        mark = (curve["recall"][above - 1], curve["precision"][above - 1]) if above else None
        points.append((x, 0.0))  # nothing more is found beyond
        lines.append(Line(points, css(colours[name]), name, mark=mark))
    return line_chart(lines, "recall", "precision", shares=True, size=(900, 420))
