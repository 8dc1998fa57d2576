"""The tasks: what each predicts, the metric that ranks its trials, its default model."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from automl_images.errors import UserError, nearest


@dataclass(frozen=True)
class Task:
    """One kind of vision problem."""

    name: str  # Azure's, with hyphens
    family: str  # whose files in the rooms do it: classification, detection, instances or segmentation
    label: str  # what a record's label is: class, classes, boxes, polygons or mask
    primary_metric: str  # ranks trials (fixed by the task, as in Azure); higher is better
    default_model: str | None = None  # trained when none is named; None: no model is built yet


TASKS = {
    task.name: task
    for task in (
        Task("image-classification", "classification", "class", "accuracy", "vitb16r224"),
        Task("image-classification-multilabel", "classification", "classes", "iou", "vitb16r224"),
        Task("image-object-detection", "detection", "boxes", "mean_average_precision", "yolov5"),
        Task("image-instance-segmentation", "instances", "polygons", "mean_average_precision", "maskrcnn_resnet50_fpn"),
        Task("image-semantic-segmentation", "segmentation", "mask", "mean_iou", "fcn_resnet50"),
    )
}


def get_task(name: str, built: bool = True) -> Task:
    """Return a task, underscores for hyphens or not; raises UserError if there is none, or (``built``) no model."""
    task = TASKS.get(name.replace("_", "-"))
    if task is None:
        raise UserError(f"task: no task is called '{name}'; {nearest(name, TASKS)}")
    if built and task.default_model is None:
        names = ", ".join(t.name for t in TASKS.values() if t.default_model)
        raise UserError(f"task: '{task.name}' has no model in this version; built: {names}")
    return task


def part(room: str, task: str) -> Any:
    """Return the module of a task's family in a room: ``part("training", task)`` may be `training/detection.py`.

    What it has is stated by the room's ``Family``, a protocol.

    Raises:
        UserError: the name is not a task, no model for it is built yet, or the room has no file of its family.
    """
    found = get_task(task)
    name = f"automl_images.{room}.{found.family}"
    if importlib.util.find_spec(name) is None:
        raise UserError(f"task: '{found.name}' is of the family '{found.family}', which {room} does not know")
    return importlib.import_module(name)


def check_primary_metric(task: Task, metric: str | None) -> str:
    """Return the task's primary metric; raises UserError if another one is given."""
    if metric is not None and metric != task.primary_metric:
        raise UserError(
            f"primary_metric: '{metric}' does not rank {task.name}; use '{task.primary_metric}' or leave it out"
        )
    return task.primary_metric
