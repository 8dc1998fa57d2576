"""The report of an evaluated detector: figures, curves and examples in one HTML file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from automl_images import storage
from automl_images.metrics import voc_map
from automl_images.reports.draw import Colour, class_colours, css, draw_boxes
from automl_images.reports.html import data_uri, jpeg_uri, render

_LONGEST_SIDE = 800


def write_report(
    path_html: str,
    *,
    title: str,
    task: str,
    model: Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Any],
    examples: Sequence[tuple[Image.Image, str, Mapping[str, Any], Mapping[str, Any]]],
    classes: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Write the report of an evaluation; see :class:`automl_images.reports.Family`.

    Args:
        path_html, title, task, model, classes, settings: as there.
        metrics: what `automl_images.metrics.detection_metrics` returned.
        curves: what `automl_images.metrics.voc_map` returned under ``curves``.
        examples: images with their name, ground truth (of `automl_images.metrics.truth_arrays`) and detections, in
            pixels. Those with a score above the metrics' ``score_threshold`` are drawn.
    """
    colours = class_colours(classes)
    drawn = [name for name in classes if curves.get(name, {}).get("recall")]
    coco = metrics.get("coco") or {}
    ap_name = ("COCO AP" if metrics["metric_type"] == "coco" else "VOC AP") + f" {100 * metrics['iou_threshold']:g}"
    has_50 = bool(coco) and ap_name != "COCO AP 50"
    headline = [
        (f"mean {ap_name}", metrics["mean_average_precision"]),
        *([("COCO mAP 50:95", coco["map"])] if coco else []),
        *([("COCO mAP 50", coco["map_50"])] if has_50 else []),
        (
            f"mean {ap_name}, scores above {metrics['score_threshold']:g}",
            metrics["mean_average_precision_above_threshold"],
        ),
        ("precision", metrics["precision"]),
        ("recall", metrics["recall"]),
    ]
    threshold = metrics["score_threshold"]
    page = render(
        "detection.html.j2",
        title=title,
        task=task,
        model=model,
        metrics=metrics,
        headline=headline,
        ap_name=ap_name,
        has_coco=bool(coco),
        has_50=has_50,
        classes=classes,
        colours={name: css(colour) for name, colour in colours.items()},
        plot=_plots({n: curves[n] for n in drawn}, colours, threshold) if drawn else None,
        drawn=drawn,
        examples=[_example(e, classes, colours, threshold, metrics["iou_threshold"]) for e in examples],
        settings=settings,
    )
    storage.write(path_html, page)


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the boxes of ``{"boxes": [...]}`` drawn on it, of any task of the family."""
    found, sides = answer["boxes"], (*image.size, *image.size)
    corners = [[one["box"][k] for k in ("topX", "topY", "bottomX", "bottomY")] for one in found]
    boxes = [[c * side for c, side in zip(box, sides, strict=True)] for box in corners]
    labels, scores = ([one[k] for one in found] for k in ("label", "score"))
    return draw_boxes(image, boxes, labels, scores, class_colours(classes))


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
        "truth": jpeg_uri(draw_boxes(small, truth["boxes"] * scale, expected, colours=by_text)),
        "prediction": jpeg_uri(draw_boxes(small, above["boxes"] * scale, predicted, above["scores"], colours)),
        "found": hits,
        "expected": sum(f["count"] for f in figures),
        "false": sum(f["detections"] for f in figures) - hits,
    }


def _plots(
    curves: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, Colour], threshold: float
) -> dict[str, str]:
    """Draw the curves twice, on light and on dark. The legend is the page's: it knows every script a name may be in."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots = {}
    for name, text, rule in (("light", "#5b6675", "#dfe3e9"), ("dark", "#9aa6b5", "#313a45")):
        with mpl.rc_context({"text.color": text, "axes.labelcolor": text, "xtick.color": text, "ytick.color": text}):
            figure = Figure(figsize=(9, 4.2), dpi=160, layout="constrained")
            canvas = FigureCanvasAgg(figure)
            figure.patch.set_alpha(0)
            axes = figure.subplots()
            axes.set_facecolor("none")
            for label, curve in curves.items():
                recall, precision = [0, *curve["recall"]], [curve["precision"][0], *curve["precision"]]
                axes.step(recall, precision, where="pre", color=css(colours[label]), linewidth=1.8)
                # Nothing more is found beyond: the curve falls to the axis.
                axes.plot([recall[-1]] * 2, [precision[-1], 0], color=css(colours[label]), linewidth=1, linestyle=":")
                above = sum(s > threshold for s in curve["score"])
                if above:
                    axes.plot(recall[above], precision[above], "o", color=css(colours[label]), markersize=6, zorder=3)
            axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
            axes.grid(color=rule, linewidth=0.8)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            data = io.BytesIO()
            canvas.print_png(data)
        plots[name] = data_uri(data.getvalue(), "image/png")
    return plots
