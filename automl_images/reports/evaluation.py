"""The report of an evaluated detector: figures, curves and examples in one HTML file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from automl_images import storage
from automl_images.metrics import detection_arrays, truth_arrays, voc_map
from automl_images.reports.draw import Colour, class_colours, draw_boxes
from automl_images.reports.html import data_uri, render

if TYPE_CHECKING:
    from automl_images.annotations import Box

_LONGEST_SIDE = 800


def write_evaluation(
    path_html: str,
    *,
    title: str,
    task: str,
    model: Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    examples: Sequence[tuple[Image.Image, Mapping[str, Any], Sequence[Box]]],
    classes: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Write the report of an evaluation.

    Args:
        path_html: where to write; any fsspec URL.
        title: the page's heading.
        task: the task's name.
        model: what the model is and where it came from, shown as given: name, trial, data, versions.
        metrics: what `automl_images.metrics.detection_metrics` returned.
        curves: what `automl_images.metrics.voc_map` returned under ``curves``.
        examples: images with their prediction (``{"boxes": [...]}``, and ``filename`` if it is to be shown) and their
            ground truth. Boxes with a score above the metrics' ``score_threshold`` are drawn.
        classes: all class names, in the model's order; every label of the examples is one of them.
        settings: the settings of the trial.
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
        "evaluation.html.j2",
        title=title,
        task=task,
        model=model,
        metrics=metrics,
        headline=headline,
        ap_name=ap_name,
        has_coco=bool(coco),
        has_50=has_50,
        classes=classes,
        colours={name: _css(colour) for name, colour in colours.items()},
        plot=_plots({n: curves[n] for n in drawn}, colours, threshold) if drawn else None,
        drawn=drawn,
        examples=[_example(e, classes, colours, threshold, metrics["iou_threshold"]) for e in examples],
        settings=settings,
    )
    storage.write(path_html, page)


def _example(
    example: tuple[Image.Image, Mapping[str, Any], Sequence[Box]],
    classes: Sequence[str],
    colours: Mapping[str, Colour],
    score: float,
    iou: float,
) -> dict[str, Any]:
    image, prediction, truth = example
    boxes = [b for b in prediction["boxes"] if b["score"] > score]
    size = image.size
    figures = voc_map(
        [truth_arrays(truth, classes, size)], [detection_arrays({"boxes": boxes}, classes, size)], classes, iou
    )["per_class"].values()
    found = sum(round((f["recall"] or 0) * f["count"]) for f in figures)
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    expected = [{"box": b.to_json(), "label": b.label + (" (crowd)" if b.isCrowd else "")} for b in truth]
    by_text = {**colours, **{f"{name} (crowd)": colour for name, colour in colours.items()}}
    return {
        "name": prediction.get("filename"),
        "truth": _jpeg(draw_boxes(small, expected, by_text)),
        "prediction": _jpeg(draw_boxes(small, boxes, colours)),
        "found": found,
        "expected": sum(f["count"] for f in figures),
        "false": sum(f["detections"] for f in figures) - found,
    }


def _jpeg(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85, subsampling=0)  # full colour: labels are thin
    return data_uri(data.getvalue(), "image/jpeg")


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
                axes.step(recall, precision, where="pre", color=_css(colours[label]), linewidth=1.8)
                # Nothing more is found beyond: the curve falls to the axis.
                axes.plot([recall[-1]] * 2, [precision[-1], 0], color=_css(colours[label]), linewidth=1, linestyle=":")
                above = sum(s > threshold for s in curve["score"])
                if above:
                    axes.plot(recall[above], precision[above], "o", color=_css(colours[label]), markersize=6, zorder=3)
            axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
            axes.grid(color=rule, linewidth=0.8)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            data = io.BytesIO()
            canvas.print_png(data)
        plots[name] = data_uri(data.getvalue(), "image/png")
    return plots


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
