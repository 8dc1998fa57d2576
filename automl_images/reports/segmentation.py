"""The report of an evaluated segmenter: figures, confusions and its worst images; an answer drawn on its image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from automl_images import storage
from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.masks import IGNORE
from automl_images.annotations.shapes import decoded
from automl_images.reports import Evaluation
from automl_images.reports.confusion import heat, pairs
from automl_images.reports.draw import Colour, beside_legend, class_colours, css, draw_mask
from automl_images.reports.html import jpeg_uri, render
from automl_images.reports.training import training_charts

MATRIX_CLASSES, PAIRS = 20, 20


def write_report(path_html: str, shown: Evaluation) -> None:
    """Write the report of an evaluation to any fsspec URL.

    Of ``shown``, ``metrics`` and ``examples`` are of `automl_images.evaluation.segmentation.evaluate`.
    """
    metrics, classes = shown.metrics, shown.classes
    colours, by_class = class_colours(classes), metrics["per_label_metrics"]
    headline = {
        "mean_iou": "mean IoU",
        "pixel_accuracy": "pixel accuracy",
        "mean_dice": "mean Dice",
        "boundary_f1": "mean boundary F1",
        "mean_pixel_accuracy": "pixel accuracy, mean over classes",
        "frequency_weighted_iou": "IoU by the classes' pixels",
    }
    total = sum(figures["count"] for figures in by_class.values())
    seen = np.unique([value for e in shown.examples for side in ("truth", "predicted") for value in np.unique(e[side])])
    confusions, few = metrics["confusion_matrix"], len(classes) <= MATRIX_CLASSES
    values = {
        "training": training_charts(shown.history),
        "headline": [(text, metrics[name], shown.baseline.get(name)) for name, text in headline.items()],
        "colours": {name: css(colour) for name, colour in colours.items()},
        "shares": {name: figures["count"] / max(1, total) for name, figures in by_class.items()},
        "matrix": heat(confusions) if few else None,
        "pairs": pairs(confusions, classes, PAIRS),
        "examples": [_example(example, colours) for example in shown.examples],
        "legend": [(name, css(colour)) for c, (name, colour) in enumerate(colours.items()) if c in seen],
        "ignored": IGNORE in seen,
    }
    storage.write(path_html, render("segmentation.html.j2", **{**vars(shown), **values}))


def _example(example: Mapping[str, Any], colours: Mapping[str, Colour]) -> dict[str, Any]:
    image, places = example["image"], dict(enumerate(colours.values()))
    return {
        "name": example["name"],
        "mean_iou": example["mean_iou"],
        "pixel_accuracy": example["pixel_accuracy"],
        "image": jpeg_uri(image.convert("RGB")),
        **{side: jpeg_uri(draw_mask(image, example[side], places)) for side in ("truth", "predicted")},
    }


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the classes of an answer's pixels as colours over it, and a legend of them.

    The answer has ``regions`` of run lengths, or a ``mask`` of an image's base64. The legend has the share of the
    pixels that each class has, the largest first.
    """
    mask = _mask(answer, classes)
    colours = class_colours(classes)
    texts = {text: colours[name] for name, text in _shares(mask, classes).items()}
    return beside_legend(draw_mask(image, mask, dict(enumerate(colours.values()))), list(texts), texts)


def answer_line(answer: Mapping[str, Any], task: str) -> str:
    """Return an answer in a few words, ``sky 61.0 %, road 39.0 %``: the classes that it has, the largest first."""
    return ", ".join(_shares(_mask(answer, answer["classes"]), answer["classes"]).values())


def _shares(mask: np.ndarray, classes: Sequence[str]) -> dict[str, str]:
    """Return the classes that a mask has, the largest first, each with its share of the pixels."""
    places, counts = np.unique(mask, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {classes[places[k]]: f"{classes[places[k]]} {100 * counts[k] / mask.size:.1f} %" for k in order}


def _mask(answer: Mapping[str, Any], classes: Sequence[str]) -> np.ndarray:
    """Return uint8 [H, W], the places of an answer's classes."""
    if "mask" in answer:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["mask"]["image"]))))
    height, width = answer["regions"][0]["rle"]["size"]
    mask = np.zeros((height, width), np.uint8)
    for region in answer["regions"]:
        mask[decoded(Rle(height, width, region["rle"]["counts"]))] = classes.index(region["label"])
    return mask
