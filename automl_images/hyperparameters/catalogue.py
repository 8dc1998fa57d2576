"""Every hyperparameter: range, default and effect, by task and model, in Azure's v1 names.

Ranges and defaults are Azure's for AutoML for images ("Hyperparameters for computer vision tasks"). Other spellings
(Azure v2's, and the older ones of the NMS threshold) are accepted and turned into the one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError, nearest

DETECTION = "image-object-detection"
YOLO = ("yolov5",)
FASTER_RCNN = ("fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn")

MODELS: dict[str, tuple[str, ...]] = {DETECTION: (*YOLO, *FASTER_RCNN)}


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the catalogue.

    Attributes:
        name: Azure's v1 name.
        type: ``int``, ``float``, ``flag`` (0 or 1) or ``choice``.
        default: the default where neither ``by_model`` nor ``by_task`` has one.
        effect: what it observably changes, the ends of its range included.
        low, high: the range of a number, both ends allowed; None is unbounded.
        choices: the values of a choice.
        by_model, by_task: defaults that differ.
        models: the models that it applies to; None for all.
        aliases: other vendors' names for the same thing.
        needs: the setting and the values under which it acts, such as ``("optimizer", ("sgd",))``.
        sweepable: False where trials could not be compared if it varied.
    """

    name: str
    type: str
    default: Any
    effect: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    by_model: Mapping[str, Any] = field(default_factory=dict)
    by_task: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()
    needs: tuple[str, tuple[Any, ...]] | None = None
    sweepable: bool = True

    def default_for(self, task: str, model: str) -> Any:
        """Return the default for a task and model: the model's, else the task's, else the general one."""
        return self.by_model.get(model, self.by_task.get(task, self.default))

    def range_text(self) -> str:
        """Return the allowed values in words, such as ``at least 1`` or ``0 to 1``."""
        if self.choices:
            return "one of " + ", ".join(str(c) for c in self.choices)
        if self.type == "flag":
            return "0 or 1"
        if self.high is None:
            return f"at least {self.low:g}" if self.low is not None else "any number"
        return f"{self.low:g} to {self.high:g}"

    def check(self, value: Any) -> Any:
        """Return ``value`` as this hyperparameter's type.

        Raises:
            UserError: the type is wrong or the value is out of range; the line names the hyperparameter and the range.
        """
        try:
            checked = self._typed(value)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.name}: {value!r} is not {_ARTICLE[self.type]}; allowed: {self.range_text()}"
            ) from None
        too_low = self.low is not None and isinstance(checked, int | float) and checked < self.low
        too_high = self.high is not None and isinstance(checked, int | float) and checked > self.high
        if too_low or too_high or (self.choices and checked not in self.choices):
            hint = f"; {nearest(str(value), map(str, self.choices))}" if self.choices else ""
            raise UserError(f"{self.name}: {value!r} is out of range; allowed: {self.range_text()}{hint}")
        return checked

    def _typed(self, value: Any) -> Any:
        if self.type == "choice":
            return _CHOICE_SPELLINGS.get(value, value) if isinstance(value, str) else value
        if self.type == "flag":
            flags = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
            if str(value).lower() not in flags:
                raise ValueError
            return flags[str(value).lower()]
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        if self.type == "int":
            if number != int(number):
                raise ValueError
            return int(number)
        return number


_ARTICLE = {"int": "a whole number", "float": "a number", "flag": "a flag", "choice": "a known value"}
_CHOICE_SPELLINGS = {"extra_large": "xlarge", "cocovoc": "coco_voc"}

_SGD = ("optimizer", ("sgd",))
_ADAMS = ("optimizer", ("adam", "adamw"))
_STEP = ("lr_scheduler", ("step",))
_COSINE = ("lr_scheduler", ("warmup_cosine",))
_STOPPING = ("early_stopping", (1,))

_ROWS = (
    Hyperparameter("number_of_epochs", "int", 15, "Passes over the training images.", low=1, by_model={"yolov5": 30}),
    Hyperparameter(
        "training_batch_size", "int", 2, "Images in one forward and backward pass.", low=1, by_model={"yolov5": 16}
    ),
    Hyperparameter(
        "validation_batch_size",
        "int",
        1,
        "Images in one forward pass at an evaluation; changes speed and memory, never a metric.",
        low=1,
        by_model={"yolov5": 16},
    ),
    Hyperparameter(
        "grad_accumulation_step",
        "int",
        1,
        "Batches whose gradients are averaged before the weights move once.",
        low=1,
        aliases=("gradient_accumulation_step",),
    ),
    Hyperparameter("early_stopping", "flag", 1, "1 ends a trial whose primary metric no longer improves."),
    Hyperparameter(
        "early_stopping_patience",
        "int",
        5,
        "Evaluations without improvement, counted after the delay, that end the trial.",
        low=1,
        needs=_STOPPING,
    ),
    Hyperparameter(
        "early_stopping_delay",
        "int",
        5,
        "First evaluations during which a lack of improvement is not counted.",
        low=1,
        needs=_STOPPING,
    ),
    Hyperparameter(
        "learning_rate",
        "float",
        0.005,
        "The optimiser's base step; 0 leaves the weights as they were.",
        low=0,
        high=1,
        by_model={"yolov5": 0.01},
    ),
    Hyperparameter(
        "lr_scheduler",
        "choice",
        "warmup_cosine",
        "How the learning rate moves: linear warm-up then a cosine, or a factor every few epochs.",
        choices=("warmup_cosine", "step"),
        aliases=("learning_rate_scheduler",),
    ),
    Hyperparameter(
        "step_lr_gamma",
        "float",
        0.5,
        "Factor on the learning rate at each step; 1 keeps it, 0 ends learning at the first step.",
        low=0,
        high=1,
        needs=_STEP,
    ),
    Hyperparameter("step_lr_step_size", "int", 5, "Epochs between two steps.", low=1, needs=_STEP),
    Hyperparameter(
        "warmup_cosine_lr_cycles",
        "float",
        0.45,
        "Cosine periods after the warm-up: 0.45 ends at 2.4 % of the learning rate, 0.5 at 0, 0 keeps it.",
        low=0,
        high=1,
        needs=_COSINE,
    ),
    Hyperparameter(
        "warmup_cosine_lr_warmup_epochs",
        "int",
        2,
        "Epochs during which the learning rate rises from 0; as many as the trial has, and it never arrives.",
        low=1,
        needs=_COSINE,
    ),
    Hyperparameter("optimizer", "choice", "sgd", "How weights follow gradients.", choices=("sgd", "adam", "adamw")),
    Hyperparameter(
        "momentum",
        "float",
        0.9,
        "Share of the last step that the next one keeps; 0 needs nesterov: 0.",
        low=0,
        high=1,
        needs=_SGD,
    ),
    Hyperparameter("weight_decay", "float", 1e-4, "Pull of the weights towards 0.", low=0, high=1),
    Hyperparameter("nesterov", "flag", 1, "1 looks ahead along the momentum, which must be above 0.", needs=_SGD),
    Hyperparameter(
        "beta1", "float", 0.9, "Decay of the gradients' running mean; 1 is refused.", low=0, high=1, needs=_ADAMS
    ),
    Hyperparameter(
        "beta2", "float", 0.999, "Decay of the squared gradients' mean; 1 is refused.", low=0, high=1, needs=_ADAMS
    ),
    Hyperparameter(
        "amsgrad",
        "flag",
        0,
        "1 divides by the largest squared-gradient mean so far.",
        aliases=("ams_gradient",),
        needs=_ADAMS,
    ),
    Hyperparameter(
        "evaluation_frequency",
        "int",
        1,
        "Epochs between two evaluations; the last epoch is always evaluated.",
        low=1,
    ),
    Hyperparameter(
        "validation_metric_type",
        "choice",
        "voc",
        "The primary metric's definition: voc (all points of the curve), coco (101 points), coco_voc (voc ranks, "
        "COCO's twelve figures beside it), none (no evaluation: the last epoch is kept; not for a sweep).",
        choices=("none", "coco", "voc", "coco_voc"),
        sweepable=False,
    ),
    Hyperparameter(
        "validation_iou_threshold",
        "float",
        0.5,
        "Overlap (IoU) from which a detection counts as a hit.",
        low=0.1,
        high=1,
        sweepable=False,
    ),
    Hyperparameter(
        "min_size", "int", 600, "The shorter side of an image is scaled to this many pixels.", low=1, models=FASTER_RCNN
    ),
    Hyperparameter(
        "max_size",
        "int",
        1333,
        "The longer side is at most this many pixels; not below min_size.",
        low=1,
        models=FASTER_RCNN,
    ),
    Hyperparameter(
        "img_size",
        "int",
        640,
        "Images are scaled and padded to a square of this many pixels, rounded up to a multiple of 32.",
        low=1,
        models=YOLO,
        aliases=("image_size",),
    ),
    Hyperparameter(
        "model_size",
        "choice",
        "medium",
        "Depth and width of the network.",
        choices=("small", "medium", "large", "xlarge"),
        models=YOLO,
    ),
    Hyperparameter("multi_scale", "flag", 0, "1 varies the size of each training batch by up to 50 %.", models=YOLO),
    Hyperparameter(
        "box_score_thresh",
        "float",
        0.3,
        "A predicted box needs a score above this; ranks no trial, since trials are ranked on all boxes.",
        low=0,
        high=1,
        by_model={"yolov5": 0.1},
        aliases=("box_score_threshold",),
    ),
    Hyperparameter(
        "nms_iou_thresh",
        "float",
        0.5,
        "Of two boxes of a class that overlap by more, the lower score goes.",
        low=0,
        high=1,
        aliases=("nms_iou_threshold", "box_nms_thresh", "box_iou_thresh"),
    ),
    Hyperparameter(
        "box_detections_per_img",
        "int",
        100,
        "The most boxes that an image may have, best scores first.",
        low=1,
        models=FASTER_RCNN,
        aliases=("box_detections_per_image",),
    ),
)

CATALOGUE: dict[str, Hyperparameter] = {row.name: row for row in _ROWS}
ALIASES: dict[str, str] = {alias: row.name for row in _ROWS for alias in row.aliases}


def hyperparameters(model: str) -> dict[str, Hyperparameter]:
    """Return the rows that apply to a model, by name."""
    return {n: h for n, h in CATALOGUE.items() if h.models is None or model in h.models}


def check_model(task: str, model: str) -> str:
    """Return the model's name if the task has it.

    Raises:
        UserError: the task has no such model; the line gives the nearest names.
    """
    if model not in MODELS[task]:
        raise UserError(f"model_name: {task} has no model '{model}'; {nearest(str(model), MODELS[task])}")
    return model


def find(name: str, model: str) -> Hyperparameter:
    """Return the row of a name or alias, for a model.

    Raises:
        UserError: there is none, or it does not apply to the model.
    """
    row = CATALOGUE.get(ALIASES.get(name, name))
    known = hyperparameters(model)
    if row is None:
        raise UserError(f"{name}: no hyperparameter of {model} is called that; {nearest(name, [*known, 'model_name'])}")
    if row.name not in known:
        raise UserError(f"{name}: does not apply to {model}; it is for {', '.join(row.models or ())}")
    return row
