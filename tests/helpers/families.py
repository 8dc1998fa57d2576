"""A tiny training of each task, the whole of it: drawn images, a fit, the model folder."""

import pytest
import torch

from automl_images.hyperparameters import resolve
from automl_images.training.fit import fit
from automl_images.training.job import Job
from tests.conftest import write_jsonl
from tests.effects.probe import SMALL, draw_classes, write_labels
from tests.helpers import segments
from tests.helpers.outlines import outlined
from tests.helpers.training_probe import Journal

SETTINGS = {
    "classification": SMALL,
    "detection": {"model_name": "fasterrcnn_resnet18_fpn", "min_size": 64, "max_size": 64, "number_of_epochs": 1},
    "instances": {"model_name": "maskrcnn_resnet18_fpn", "min_size": 64, "max_size": 64, "number_of_epochs": 1},
    "segmentation": segments.SMALL,
}
HIDDEN = {"segmentation": {"model_size": "nano"}}


def trained_in(folder, task, squares, settings=None):
    """Train a task's model in a folder, by ``settings`` if they are given, which are complete.

    Returns the address of its validation data, a journal with its model folder, and what the trial came to.
    """
    if task.label == "boxes":
        records, data = (squares[0][:4], squares[1][:3]), str(write_jsonl(folder, squares[1][:3]))
    elif task.label == "polygons":
        drawn = [outlined(record) for record in (*squares[0][:4], *squares[1][:3])]
        records, data = (drawn[:4], drawn[4:]), write_labels(folder / "validation.jsonl", drawn[4:])
    elif task.label == "mask":
        drawn = segments.drawn(folder / "images", 7)
        records, data = (drawn[:4], drawn[4:]), write_labels(folder / "validation.jsonl", drawn[4:])
    else:
        names = ["blue", "green", "red"] * 4
        labels = names if task.label == "class" else [[], ["blue"], ["green", "red"], ["red"]] * 3
        drawn = draw_classes(folder / "images", labels)
        records, data = (drawn[:8], drawn[8:]), write_labels(folder / "validation.jsonl", drawn[8:])
    settings = settings or resolve(task.name, SETTINGS[task.family]) | HIDDEN.get(task.family, {})
    journal = Journal(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        fitted = fit(Job(task.name, settings, *records, {}, seed=1), journal)
    return data, journal, fitted
