"""The report of an evaluated classifier: figures, confusions, curves and the surest mistakes in one HTML file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from automl_images import storage
from automl_images.metrics.classification import THRESHOLD
from automl_images.reports import Evaluation
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.confusion import heat, pairs
from automl_images.reports.draw import class_colours, css, draw_labels
from automl_images.reports.html import jpeg_uri, render
from automl_images.reports.training import training_charts
from automl_images.tasks import get_task

MATRIX_CLASSES, PAIRS, CURVES, LABELS = 40, 20, 12, 8
_SIZE = 560, 400
_LONGEST_SIDE = 320
_LEAST = 0.01  # of a probability that is drawn
_AVERAGES = ("macro", "micro", "weighted")
_AVERAGED = {
    "iou": "IoU",
    "precision_score": "Precision",
    "recall_score": "Recall",
    "f1_score": "F1",
    "AUC": "AUC",
    "average_precision_score": "Average precision",
}


def write_report(path_html: str, shown: Evaluation) -> None:
    """Write the report of an evaluation to any fsspec URL.

    Of ``shown``, ``metrics`` and ``curves`` are of the two functions in `automl_images.metrics.classification`;
    ``examples``: wrong predictions: ``image`` (Pillow), ``name``, ``truth`` and ``predicted`` bool [C], ``probs`` [C].
    """
    metrics, curves, classes = shown.metrics, shown.curves, shown.classes
    multilabel, drawn = "iou" in metrics, _hardest(metrics, curves)
    colours = {name: css(colour) for name, colour in class_colours(drawn).items()}
    values: dict[str, Any] = {
        "training": training_charts(shown.history),
        "headline": _headline(metrics, shown.baseline, shown.settings.get("top_k")),
        "averages": {
            text: [(metrics[f"{n}_{a}"], shown.baseline[f"{n}_{a}"]) for a in _AVERAGES]
            for n, text in _AVERAGED.items()
            if f"{n}_macro" in metrics
        },
        "others": {
            k: v for k, v in metrics.items() if not isinstance(v, dict | list) and k.rpartition("_")[2] not in _AVERAGES
        },
        "colours": colours,
        "multilabel": multilabel,
        "matrix": None if multilabel or len(classes) > MATRIX_CLASSES else heat(metrics["confusion_matrix"]),
        "pairs": [] if multilabel else pairs(metrics["confusion_matrix"], classes, PAIRS),
        "drawn": drawn,
        "known": sum(bool(pair["pr"]) for pair in curves["classes"].values()),
        "roc": _chart(curves, drawn, colours, "roc", ("fpr", "tpr"), ("false positive rate", "true positive rate")),
        "pr": _chart(curves, drawn, colours, "pr", ("recall", "precision"), ("recall", "precision")),
        "mistakes": [_mistake(example, classes) for example in shown.examples],
    }
    storage.write(path_html, render("classification.html.j2", **vars(shown), **values))


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the labels of ``{"probs": [...], "labels": [...]}`` written on it.

    The three most probable ones of at least 1 %; multi-label, those above 50 %, or the most probable one.
    """
    return draw_labels(image, _likely(answer, task), class_colours(classes))


def answer_line(answer: Mapping[str, Any], task: str) -> str:
    """Return an answer in a few words, ``red 0.93, blue 0.05``: the labels that :func:`draw_answer` writes."""
    return ", ".join(f"{label} {value:.2f}" for label, value in _likely(answer, task))


def _likely(answer: Mapping[str, Any], task: str) -> list[tuple[str, float]]:
    ranked = sorted(zip(answer["labels"], answer["probs"], strict=True), key=lambda pair: -pair[1])
    if get_task(task).label == "classes":
        shown = [pair for pair in ranked if pair[1] > THRESHOLD]
    else:
        shown = [pair for pair in ranked[:3] if pair[1] >= _LEAST]
    return shown or ranked[:1]


def _headline(
    metrics: Mapping[str, Any], baseline: Mapping[str, float | None], top_k: int | None
) -> list[tuple[str, float | None, float | None]]:
    names = {
        "iou": "IoU, mean over images",
        "accuracy": "accuracy (all labels right)" if "iou" in metrics else "accuracy",
        "accuracy_per_class_mean": "accuracy, mean over classes",
        "balanced_accuracy": "balanced accuracy",
        "top_k_accuracy": f"top-{top_k} accuracy",
        "f1_score_macro": "F1, mean over classes",
        "AUC_macro": "AUC, mean over classes",
        "average_precision_score_macro": "average precision, mean over classes",
    }
    return [(text, metrics[name], baseline[name]) for name, text in names.items() if name in metrics]


def _hardest(metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> list[str]:
    """Return the classes whose curves are drawn, in the model's order: those with the least average precision."""
    known = [name for name, pair in curves["classes"].items() if pair["pr"]]
    low = sorted(known, key=lambda name: metrics["per_label_metrics"][name]["average_precision"])[:CURVES]
    return [name for name in known if name in low]


def _chart(
    curves: Mapping[str, Any],
    drawn: Sequence[str],
    colours: Mapping[str, str],
    kind: str,
    axes: tuple[str, str],
    labels: tuple[str, str],
) -> dict[str, Any] | None:
    every = ("all classes (micro average)", curves["micro"][kind], "var(--text)")
    lines = []
    for name, curve, colour in (*((n, curves["classes"][n][kind], colours[n]) for n in drawn), every):
        if curve:
            points = list(zip(*(curve[a] for a in axes), strict=True))
            lines.append(Line(_steps(points) if kind == "pr" else points, colour, name, name is every[0]))
    return line_chart(lines, *labels, shares=True, size=_SIZE) if lines else None


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return precision by recall as the steps whose area is the average precision."""
    corners = [(before[0], after[1]) for before, after in itertools.pairwise(points)]
    return [points[0], *(p for pair in zip(corners, points[1:], strict=True) for p in pair)]


def _mistake(mistake: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    truth, predicted, probs = mistake["truth"], mistake["predicted"], mistake["probs"]

    def labels(chosen: Any) -> dict[str, Any]:
        given = (c for c in range(len(classes)) if chosen[c])
        places = sorted(given, key=lambda c: (truth[c] == predicted[c], -probs[c]))  # what is wrong first
        shown = [(classes[c], float(probs[c]), bool(truth[c] == predicted[c])) for c in places[:LABELS]]
        return {"shown": shown, "more": len(places) - len(shown)}

    image = mistake["image"].convert("RGB")
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return {"image": jpeg_uri(image), "name": mistake["name"], "truth": labels(truth), "predicted": labels(predicted)}
