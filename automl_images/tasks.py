"""The tasks: what each predicts, the metric that ranks its trials, its default model."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from automl_images.errors import UserError, nearest


@dataclass(frozen=True)
class Task:
    """One kind of vision problem.

    Attributes:
        name: Azure's task name, with hyphens.
        family: whose files in the rooms do it: ``classification``, ``detection``, ``instances`` or ``segmentation``.
        label: what a record's label is: ``class``, ``classes``, ``boxes``, ``polygons`` or ``mask``.
        primary_metric: the metric that ranks trials (fixed by the task, as in Azure); higher is better.
        default_model: the model that is trained when none is named; None where no model is built yet.
    """

    name: str
    family: str
    label: str
    primary_metric: str
    default_model: str | None = None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("image-classification", "classification", "class", "accuracy", "vitb16r224"),
        Task("image-classification-multilabel", "classification", "classes", "iou", "vitb16r224"),
        Task("image-object-detection", "detection", "boxes", "mean_average_precision", "yolov5"),
        Task("image-instance-segmentation", "instances", "polygons", "mean_average_precision"),
        Task("image-semantic-segmentation", "segmentation", "mask", "mean_iou"),
    )
}


def get_task(name: str) -> Task:
    """Return the task of that name; underscores serve for hyphens.

    Raises:
        UserError: the name is not a task, or no model for it is built yet.
    """
    task = TASKS.get(name.replace("_", "-"))
    if task is None:
        raise UserError(f"task: no task is called '{name}'; {nearest(name, TASKS)}")
    if task.default_model is None:
        built = ", ".join(t.name for t in TASKS.values() if t.default_model)
        raise UserError(f"task: '{task.name}' has no model in this version; built: {built}")
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
    """Return the task's primary metric; refuse another one.

    Raises:
        UserError: ``metric`` is given and is not the task's.
    """
    if metric is not None and metric != task.primary_metric:
        raise UserError(
            f"primary_metric: '{metric}' does not rank {task.name}; use '{task.primary_metric}' or leave it out"
        )
    return task.primary_metric
