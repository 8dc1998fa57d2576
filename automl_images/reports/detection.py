"""The report of an evaluated detector: figures, confusions, curves and its worst images in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from automl_images import storage
from automl_images.reports import Evaluation
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.confusion import heat, pairs
from automl_images.reports.draw import Colour, class_colours, css, draw_boxes
from automl_images.reports.html import jpeg_uri, render
from automl_images.reports.training import training_charts

MATRIX_CLASSES, PAIRS, CURVES, LABELS = 20, 20, 12, 40
_SIZE = 560, 400
_NAMED = 5  # objects of an answer in a few words
_COCO = {
    "map": "AP, mean of IoU 0.50 to 0.95",
    "map_50": "AP at IoU 0.50",
    "map_75": "AP at IoU 0.75",
    "map_small": "AP, small (below 32 x 32 px)",
    "map_medium": "AP, medium",
    "map_large": "AP, large (above 96 x 96 px)",
    "mar_1": "AR, 1 detection an image",
    "mar_10": "AR, 10 detections an image",
    "mar_100": "AR, 100 detections an image",
    "mar_small": "AR, small",
    "mar_medium": "AR, medium",
    "mar_large": "AR, large",
}


def write_report(path_html: str, shown: Evaluation) -> None:
    """Write the report of an evaluation to any fsspec URL.

    Of ``shown``, ``metrics``, ``curves`` and ``examples`` are of `automl_images.evaluation.detection.measured`, boxes
    in pixels. Where examples have masks these are drawn, and boxes are not.
    """
    metrics, classes = shown.metrics, shown.classes
    colours, drawn = class_colours(classes), _hardest(metrics, shown.curves["classes"])
    threshold, above, iou = metrics["score_threshold"], metrics["shown_above"], metrics["iou_threshold"]
    coco, box = metrics.get("coco") or {}, metrics.get("box") or {}
    ap_name = ("COCO AP" if metrics["metric_type"] == "coco" else "VOC AP") + f" {100 * iou:g}"
    has_50 = bool(coco) and ap_name != "COCO AP 50"
    best = metrics["thresholds"]["overall"]
    of = "masks: " if box else ""
    headline = [
        (f"{of}mean {ap_name}", metrics["mean_average_precision"]),
        *([(f"{of}COCO mAP 50:95", coco["map"])] if coco else []),
        *([(f"{of}COCO mAP 50", coco["map_50"])] if has_50 else []),
        *([(f"boxes: mean {ap_name}", box["mean_average_precision"])] if box else []),
        *([("boxes: COCO mAP 50:95", box["coco"]["map"])] if box.get("coco") else []),
        ("best F1" + ("" if best["threshold"] is None else f", scores above {best['threshold']:.3g}"), best["f1"]),
        (f"mean {ap_name}, scores above {threshold:g}", metrics["mean_average_precision_above_threshold"]),
        (f"precision, scores above {threshold:g}", metrics["precision"]),
        (f"recall, scores above {threshold:g}", metrics["recall"]),
    ]
    background = "background" if "background" not in classes else "(background)"
    few, confusions = len(classes) <= MATRIX_CLASSES, metrics["confusion_matrix"]
    values = {
        "training": training_charts(shown.history),
        "headline": [(text, value, None) for text, value in headline],
        "ap_name": ap_name,
        "has_coco": bool(coco),
        "has_50": has_50,
        "objects": "Objects" if box else "Boxes",
        "box": box,
        "best": best,
        "above": above,
        "names": [*classes, background],
        "matrix": heat(confusions) if few else None,
        "pairs": pairs(confusions, classes, PAIRS),
        "missed": sum(row[-1] for row in confusions),
        "invented": sum(confusions[-1]),
        "colours": {name: css(colour) for name, colour in colours.items()},
        "plot": _plot({n: shown.curves["classes"][n] for n in drawn}, colours, above) if drawn else None,
        "confidence": _confidence(shown.curves["confidence"], above) if best["f1"] is not None else None,
        "drawn": drawn,
        "known": sum(bool(curve["recall"]) for curve in shown.curves["classes"].values()),
        "examples": [_example(e, classes, colours) for e in shown.examples],
        "coco": [(text, coco[n], (box.get("coco") or {}).get(n)) for n, text in _COCO.items()] if coco else [],
    }
    storage.write(path_html, render("detection.html.j2", **{**vars(shown), **values}))


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the boxes of ``{"boxes": [...]}`` drawn on it, of any task of the family."""
    return draw_found(image, answer, classes)


def answer_line(answer: Mapping[str, Any], task: str) -> str:
    """Return an answer in a few words, ``2 objects: red 0.93, blue 0.55``: the best, of any task of the family."""
    found = answer["boxes"]
    if not found:
        return "no object"
    best = ", ".join(f"{one['label']} {one['score']:.2f}" for one in found[:_NAMED])
    more = ", ..." if len(found) > _NAMED else ""
    return f"{len(found)} object{'s' if len(found) > 1 else ''}: {best}{more}"


def draw_found(
    image: Image.Image, answer: Mapping[str, Any], classes: Sequence[str], masks: Sequence[Image.Image] | None = None
) -> Image.Image:
    """Return a copy of an image with an answer's boxes, or ``masks`` as `draw_boxes` takes them, drawn on it."""
    found, sides = answer["boxes"], (*image.size, *image.size)
    corners = [[one["box"][k] for k in ("topX", "topY", "bottomX", "bottomY")] for one in found]
    boxes = [[c * side for c, side in zip(box, sides, strict=True)] for box in corners]
    labels, scores = ([one[k] for one in found] for k in ("label", "score"))
    return draw_boxes(image, boxes, labels, class_colours(classes), scores, masks=masks)


def _example(example: Mapping[str, Any], classes: Sequence[str], colours: Mapping[str, Colour]) -> dict[str, Any]:
    truth, found, missed, false = (example[name] for name in ("truth", "found", "missed", "false"))
    image, (width, height) = example["image"], truth["size"]
    scale = 2 * (image.width / width, image.height / height)

    def drawn(side: Mapping[str, Any], notes: Sequence[str], scores: Sequence[float] | None = None) -> str:
        labels = [classes[int(i)] for i in side["labels"]]
        texts = _texts(labels if len(classes) > 1 else [""] * len(labels), notes, scores)
        strong = [bool(note) for note in notes]
        boxes = side["boxes"] * scale
        return jpeg_uri(draw_boxes(image, boxes, labels, colours, texts=texts, strong=strong, masks=_masks(side)))

    crowds = [("crowd", "")[not crowd] for crowd in truth["crowd"]]
    expected = int((~truth["crowd"]).sum())
    return {
        "name": example["name"],
        "truth": drawn(truth, [crowd or ("missed" if m else "") for crowd, m in zip(crowds, missed, strict=True)]),
        "prediction": drawn(found, ["false" if wrong else "" for wrong in false], found["scores"]),
        "found": expected - int(missed.sum()),
        "expected": expected,
        "false": int(false.sum()),
    }


def _texts(names: Sequence[str], notes: Sequence[str], scores: Sequence[float] | None) -> list[str]:
    """Return what is written at each object; nothing where there are so many that it would hide them."""
    if len(names) > LABELS:
        return [""] * len(names)
    figures = [""] * len(names) if scores is None else [f"{score:.2f}" for score in scores]
    whole = [" ".join(filter(None, pair)) for pair in zip(names, figures, strict=True)]
    return [f"{text} ({note})" if text and note else text or note for text, note in zip(whole, notes, strict=True)]


def _masks(side: Mapping[str, Any]) -> list[Image.Image] | None:
    if "masks" not in side:
        return None
    from faster_coco_eval import mask

    return [Image.fromarray(255 * mask.decode(one)) for one in side["masks"]]


def _hardest(metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> list[str]:
    """Return the classes whose curves are drawn, in the model's order: those with the least average precision."""
    known = [name for name, curve in curves.items() if curve["recall"]]
    low = sorted(known, key=lambda name: metrics["per_label_metrics"][name]["average_precision"])[:CURVES]
    return [name for name in known if name in low]


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
    return line_chart(lines, "recall", "precision", shares=True, size=_SIZE)


def _confidence(curves: Mapping[str, Sequence[float | None]], threshold: float) -> dict[str, Any]:
    """Return the chart of precision, recall and F1 by the score that detections must exceed."""
    lines = []
    shown = (("precision", "var(--accent)", False), ("recall", "var(--good)", False), ("f1", "var(--text)", True))
    nearest = min(range(len(curves["score"])), key=lambda k: abs((curves["score"][k] or 0) - threshold))
    for name, colour, strong in shown:
        points = [(x, y) for x, y in zip(curves["score"], curves[name], strict=True) if x is not None and y is not None]
        value = curves[name][nearest]
        title = "F1" if name == "f1" else name
        lines.append(Line(points, colour, title, strong, mark=None if value is None else (threshold, value)))
    return line_chart(lines, "score that detections exceed", "", shares=True, size=_SIZE)
