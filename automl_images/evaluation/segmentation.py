"""Evaluation of semantic segmentation, image by image: no more masks are kept than the report shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_images.evaluation import Evaluated, beside, columns, example, stream
from automl_images.reports.trials import figure

if TYPE_CHECKING:
    from automl_images.annotations import Record
    from automl_images.prediction import ModelPredictor

WORST, BEST = 12, 4  # images to show
_LONGEST_SIDE = 800  # of one in pixels
_FIGURES = (
    *("mean_iou", "pixel_accuracy", "mean_pixel_accuracy", "mean_dice"),
    *("frequency_weighted_iou", "boundary_f1"),
)


def evaluate(predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
    """Score a segmenter on records; see :class:`automl_images.evaluation.Family`.

    Returns:
        What :func:`scored` does.
    """
    from automl_images.data.segmentation import check_classes

    for record in records:
        check_classes(record, predictor.classes)  # before the time that predicting takes
    found = zip(records, stream(predictor, records), strict=True)
    return scored(((record, output["mask"], taken) for record, (output, taken) in found), predictor.classes)


def scored(found: Iterable[tuple[Record, np.ndarray, float]], classes: Sequence[str]) -> Evaluated:
    """Return what :func:`evaluate` does of masks that are there, a model's own or made elsewhere.

    Args:
        found: records with what is found on the image of each, uint8 [H, W], places in ``classes`` (255 where the truth
            is ignored may stand for any), and the seconds that it took.
        classes: the class names.

    Returns:
        ``metrics``: what :func:`automl_images.metrics.segmentation.segmentation_metrics` returns; ``more``:
        ``baseline``, and ``images_ignored``, how many have no pixel that counts. ``curves``: nothing. ``examples``: the
        images with the lowest mean IoU, the lowest first, then those with the highest: ``image`` (of at most 800 pixels
        a side), ``name``, ``truth``, ``predicted`` (both uint8 [H, W] of the image's proportions, places in the
        classes, 255 where the truth is ignored), ``mean_iou`` and ``pixel_accuracy``, each of the image alone.

    Raises:
        UserError: a record's mask does not open, has another size, or a value of no class.
        ValueError: as :func:`automl_images.metrics.segmentation.confusion`.
    """
    from automl_images.data.segmentation import truth_of
    from automl_images.metrics.segmentation import Tally, baseline, class_iou, segmentation_metrics

    tally, seconds, ignored, kept = Tally(len(classes)), 0.0, 0, list[dict[str, Any]]()
    for record, predicted, taken in found:
        height, width = predicted.shape
        truth, seconds = truth_of(record, classes, (width, height)), seconds + taken
        own = tally.add(truth, predicted)
        ignored += not own.any()
        if own.any():
            shares = {"mean_iou": float(np.nanmean(class_iou(own))), "pixel_accuracy": float(np.trace(own) / own.sum())}
            kept.append({"record": record, "truth": _small(truth), "predicted": _small(predicted), **shares})
            kept.sort(key=lambda one: one["mean_iou"])
            del kept[WORST:-BEST]
    metrics = segmentation_metrics(tally.confusion, classes, tally.boundary)
    shown = []
    for one in kept:
        image, name = example(one.pop("record"))
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        shown.append({"image": image, "name": name, **one})
    more = {"baseline": baseline(tally.confusion, classes), "images_ignored": ignored}
    return Evaluated(metrics, more, {}, shown, seconds)


def _small(mask: np.ndarray) -> np.ndarray:
    """Return some of a mask's rows and columns, so that no side is longer than is shown."""
    step = -(-max(mask.shape) // _LONGEST_SIDE)
    return np.ascontiguousarray(mask[::step, ::step]).astype(np.uint8)


def scalars(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the single figures of an evaluation, the primary metric first."""
    return {name: result[name] for name in _FIGURES}


def headline(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean IoU, the pixel accuracy and the mean boundary F1."""
    return {name: result[name] for name in ("mean_iou", "pixel_accuracy", "boundary_f1")}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """Return an evaluation for people: a line a class, the means, and the figures over all pixels."""
    names = ("iou", "dice", "pixel_accuracy", "precision", "boundary_f1")
    head = f"{'IoU':>9} {'Dice':>8} {'accuracy':>8} {'prec.':>8} {'bound. F1':>8}"
    lines = [f"{'class':24} {'pixels':>11} {head}"]
    for name, figures in result["per_label_metrics"].items():
        lines.append(f"{name:24} {figures['count']:11} {columns([figures[n] for n in names], 9)}")
    count = sum(figures["count"] for figures in result["per_label_metrics"].values())
    means = [result["mean_iou"], result["mean_dice"], result["mean_pixel_accuracy"], None, result["boundary_f1"]]
    simplest = result.get("baseline") or {}
    whole = [f"{name} {figure(result[name])}{beside(simplest.get(name))}" for name in ("mean_iou", "pixel_accuracy")]
    lines.append(f"{'all (mean)':24} {count:11} {columns(means, 9)}")
    lines.append(f"{', '.join(whole)}; report {result['report']}")
    return lines
