"""Azure's hyperparameters by their names, v1's and v2's, with Azure's ranges."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import canonical_name, check_model, described
from automl_images.hyperparameters.vendors.draft import Named
from automl_images.tasks import TASKS

TITLE = "Azure"
TASKS_THERE = tuple(name for name in TASKS if name != "image-semantic-segmentation")
_NAMES = (
    *("number_of_epochs", "training_batch_size", "validation_batch_size", "grad_accumulation_step"),
    *("early_stopping", "early_stopping_patience", "early_stopping_delay", "learning_rate", "lr_scheduler"),
    *("step_lr_gamma", "step_lr_step_size", "warmup_cosine_lr_cycles", "warmup_cosine_lr_warmup_epochs", "optimizer"),
    *("momentum", "weight_decay", "nesterov", "beta1", "beta2", "amsgrad", "evaluation_frequency", "split_ratio"),
    *("checkpoint_frequency", "checkpoint_run_id", "checkpoint_dataset_id", "checkpoint_filename"),
    *("layers_to_freeze", "weighted_loss", "valid_resize_size", "valid_crop_size", "train_crop_size"),
    *("validation_metric_type", "validation_iou_threshold", "min_size", "max_size", "box_score_thresh"),
    *("nms_iou_thresh", "box_detections_per_img", "tile_grid_size", "tile_overlap_ratio"),
    *("tile_predictions_nms_thresh", "img_size", "model_size", "multi_scale", "mask_pixel_score_threshold"),
    *("max_number_of_polygon_points", "export_as_image", "image_type"),
)
_OTHERS = {"epochs", "mini_batch_size", "validation_mini_batch_size", "lr0", "warmup_epochs", "beta_1", "beta_2"}
_RANGES: dict[str, dict[str, Any]] = {  # where our row takes more than Azure's
    "optimizer": {"choices": ("sgd", "adam", "adamw")},
    "lr_scheduler": {"choices": ("warmup_cosine", "step")},
    "warmup_cosine_lr_warmup_epochs": {"type": "int", "low": 1},
}
_SPELT = {"extra_large": "xlarge"}


def table(task: str, model: str) -> dict[str, Named]:
    """Return Azure's hyperparameters of a model by their v1 names, v2's among the row's aliases."""
    rows = described(model)
    found = {}
    for name in _NAMES:
        if name in rows:
            row = rows[name]
            aliases = tuple(a for a in row.aliases if a not in _OTHERS)
            default = row.default_for(task, model)
            found[name] = Named(
                replace(row, aliases=aliases, **_RANGES.get(name, {})), row.place or f"settings.{name}", default
            )
    return found


def checked_model(task: str, model: Any, key: str) -> str:
    """Return a model's name; raises UserError, the line begins with ``key``, if the task has no such model."""
    try:
        return check_model(task, model)
    except UserError as error:
        raise UserError(f"{key}: {str(error).partition(': ')[2]}") from None


def has(task: str, model: str, name: str) -> bool:
    """Return whether Azure has a hyperparameter of this name for a model."""
    own, known = canonical_name(name), table(task, model)
    return own in known and (name == own or name in known[own].row.aliases)


def named_of(task: str, model: str, name: str, key: str) -> Named:
    """Return a model's hyperparameter of one of Azure's names; raises UserError if there is none."""
    known = table(task, model)
    if not has(task, model, name):
        raise UserError(f"{key}: {TITLE}'s {model} has no such hyperparameter; {nearest(name, known)}")
    return known[canonical_name(name)]


def setting(named: Named, value: Any, key: str) -> Any:
    """Return a hyperparameter's value as ours, checked; raises UserError for a wrong one."""
    if named.row.name == "layers_to_freeze" and str(value) == "0":  # Azure's own examples freeze none so
        return None
    return named.check(word(value) if named.row.type == "choice" else value, key)


def word(value: Any) -> Any:
    """Return a word in small letters, as Azure's classes take it in any: AdamW, warmup_cosine, WarmupCosine."""
    return snake(value) if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]+", value) else value


def snake(value: Any) -> str:
    """Return a word of Azure's classes as its files have it: ``MedianStopping`` is ``median_stopping``."""
    text = str(value)
    small = text.lower() if text.isupper() or "_" in text else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return {"adam_w": "adamw", **_SPELT}.get(small, small)
