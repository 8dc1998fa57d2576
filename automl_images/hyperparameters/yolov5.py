"""What YOLOv5 alone can be set to: the names, starting values and limits of its hyperparameter files.

Four of a file's names are rows of every model: ``lr0`` is ``learning_rate``, ``warmup_epochs`` is
``warmup_cosine_lr_warmup_epochs``, ``momentum`` and ``weight_decay`` are called the same.
"""

from __future__ import annotations

from typing import Any

from automl_images.hyperparameters.hyperparameter import Hyperparameter, choice

ANCHOR, ANCHOR_FREE = "anchor", "anchor_free"
_ANCHOR = {"head": (ANCHOR,)}
_COSINE = {"lr_scheduler": ("warmup_cosine",)}
_MODEL = ("yolov5",)


def _gene(name: str, default: float, gene: tuple[float, float, float], effect: str, **more: Any) -> Hyperparameter:
    """Return the row of a number from 0 on that evolution may move; ``gene`` is its gain and its limits."""
    return Hyperparameter(name, "float", default, effect, **{"low": 0, "families": _MODEL, "gene": gene, **more})


def _chance(name: str, default: float, gain: float, effect: str) -> Hyperparameter:
    return _gene(name, default, (gain, 0, 1), effect, high=1)


ROWS: tuple[Hyperparameter, ...] = (
    choice(
        "head",
        ANCHOR_FREE,
        "How boxes are predicted: from anchors with an objectness, as YOLOv5 does, or without either, as its successor "
        "of ultralytics does, which needs that package (AGPL-3.0).",
        choices=(ANCHOR, ANCHOR_FREE),
        families=_MODEL,
    ),
    _gene(
        "lrf",
        0.01,
        (1, 0.01, 1),
        "The share of the learning rate that its cosine nears, in place of 0; 1 keeps it.",
        high=1,
        needs=_COSINE,
    ),
    _gene(
        "warmup_momentum",
        0.8,
        (1, 0, 0.95),
        "The momentum at the start of the warm-up, at whose end it is momentum.",
        high=1,
        needs={**_COSINE, "optimizer": ("sgd", "nag")},
    ),
    _gene(
        "warmup_bias_lr",
        0.1,
        (1, 0, 0.2),
        "The learning rate of biases at the start of the warm-up, at whose end it is that of the rest.",
        high=1,
        needs=_COSINE,
    ),
    _gene(
        "box",
        0.05,
        (1, 0.02, 0.2),
        "The weight of the loss of boxes; 0 leaves them to chance.",
        defaults={(ANCHOR_FREE,): 7.5},
        variants={ANCHOR_FREE: {"gene": (1, 1, 20)}},
    ),
    _gene("cls", 0.5, (1, 0.2, 4), "The weight of the loss of classes."),
    _gene(
        "cls_pw",
        1.0,
        (1, 0.5, 2),
        "The weight of the class that is there against those that are not; above 1 favours recall.",
        open_low=True,
        needs=_ANCHOR,
    ),
    _gene("obj", 1.0, (1, 0.2, 4), "The weight of the loss of objectness.", needs=_ANCHOR),
    _gene(
        "obj_pw",
        1.0,
        (1, 0.5, 2),
        "The weight of places with an object against those without; above 1 favours recall.",
        open_low=True,
        needs=_ANCHOR,
    ),
    _gene(
        "iou_t",
        0.2,
        (0, 0.1, 0.7),
        "An anchor learns an object if their shapes, on one centre, overlap (IoU) by more; 0 asks for nothing.",
        high=1,
        open_high=True,
        needs=_ANCHOR,
    ),
    _gene(
        "anchor_t",
        4.0,
        (1, 2, 8),
        "An anchor learns an object if neither has a side of more than so many times the other's.",
        low=1,
        open_low=True,
        needs=_ANCHOR,
    ),
    Hyperparameter(
        "anchors",
        "int",
        None,
        "Anchors of each of the three grids, fitted to the training boxes; not set, or 0: three usual ones, fitted "
        "where they match too few boxes.",
        low=0,
        high=10,
        families=_MODEL,
        gene=(2, 2, 10),
        needs=_ANCHOR,
    ),
    _gene(
        "fl_gamma",
        0.0,
        (0, 0, 2),
        "Focal loss: how much less what is right already weighs, in classes and objectness; 0 is none.",
        needs=_ANCHOR,
    ),
    Hyperparameter(
        "dfl",
        "float",
        1.5,
        "The weight of the loss of the distances from a place to a box's sides.",
        low=0,
        families=_MODEL,
        needs={"head": (ANCHOR_FREE,)},
        variants={ANCHOR_FREE: {"gene": (1, 0.4, 12)}},
    ),
    _gene("hsv_h", 0.015, (1, 0, 0.1), "The hue of a training image turns by up to this share of the circle.", high=1),
    _gene("hsv_s", 0.7, (1, 0, 0.9), "Its saturation changes by up to this share.", high=1),
    _gene("hsv_v", 0.4, (1, 0, 0.9), "Its brightness changes by up to this share.", high=1),
    _gene("degrees", 0.0, (1, 0, 45), "It is turned by up to so many degrees either way.", high=180),
    _gene("translate", 0.1, (1, 0, 0.9), "It is shifted by up to this share of its side.", high=1),
    _gene("scale", 0.5, (1, 0, 0.9), "It is made smaller or larger by up to this share.", high=1, open_high=True),
    _gene("shear", 0.0, (1, 0, 10), "It is sheared by up to so many degrees.", high=90, open_high=True),
    _gene("perspective", 0.0, (0, 0, 0.001), "Its far side shrinks, by up to this a pixel.", high=0.001),
    _chance("flipud", 0.0, 1, "The chance that it is turned upside down."),
    _chance("fliplr", 0.5, 0, "The chance that left and right are exchanged."),
    _chance("mosaic", 1.0, 1, "The chance that four training images are joined to one."),
    _chance("mixup", 0.0, 1, "The chance that a training image is blended with another one."),
    _chance("copy_paste", 0.0, 1, "The chance that objects are pasted a second time, mirrored, into their image."),
    Hyperparameter(
        "close_mosaic",
        "int",
        0,
        "So many last epochs have no mosaic.",
        low=0,
        families=_MODEL,
        defaults={(ANCHOR_FREE,): 10},
    ),
)
NAMES = tuple(row.name for row in ROWS)
