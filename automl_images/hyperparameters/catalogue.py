"""The catalogue: every hyperparameter by name, for each task and model.

Names, ranges and defaults are Azure's for AutoML for images ("Hyperparameters for computer vision tasks"); what only
SageMaker has keeps its name. Other spellings (Azure v2's, SageMaker's, the older ones of the NMS threshold) are taken
and turned into the one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from automl_images.architectures import ARCHITECTURES, models_of
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import classification, common, detection
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.tasks import get_task

_ROWS = (*common.ROWS, *classification.ROWS, *detection.ROWS)
CATALOGUE: dict[str, Hyperparameter] = {row.name: row for row in _ROWS}
ALIASES: dict[str, str] = {alias: row.name for row in _ROWS for alias in row.aliases}


@cache
def hyperparameters(model: str) -> Mapping[str, Hyperparameter]:
    """Return the rows that apply to a model, by name, without those that are given elsewhere than in its settings."""
    return MappingProxyType({n: h for n, h in described(model).items() if h.place is None})


@cache
def described(model: str) -> Mapping[str, Hyperparameter]:
    """Return all rows that concern a model, by name, wherever they are given."""
    family = ARCHITECTURES[model].family
    return MappingProxyType({n: h.variant(family, model) for n, h in CATALOGUE.items() if h.applies_to(model)})


def check_model(task: str, model: str) -> str:
    """Return the model's name if the task has it.

    Raises:
        UserError: the task has no such model; the line gives the nearest names.
    """
    models = models_of(get_task(task).family)
    if model not in models:
        raise UserError(f"model_name: {task} has no model '{model}'; {nearest(str(model), models)}")
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
    if row.place:
        raise UserError(f"{name}: is not given here but by {row.place}. {row.effect}")
    if row.name not in known:
        others = ", ".join(m for m in ARCHITECTURES if row.applies_to(m))
        raise UserError(f"{name}: does not apply to {model}; it is for {others}")
    return known[row.name]


def canonical(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return settings under their one name, their values checked and of their type; ``model_name`` is left out.

    Raises:
        UserError: a name is unknown or given twice, or a value is out of range.
    """
    settings: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for name, value in given.items():
        if name == "model_name":
            continue
        row = find(name, model)
        if row.name in spelt:
            raise UserError(f"{name}: is the same hyperparameter as {spelt[row.name]}; give one of the two")
        spelt[row.name] = name
        settings[row.name] = row.check(value)
    return settings


def inference_settings(model: str) -> tuple[str, ...]:
    """Return the names of the hyperparameters that act at inference, and can be changed there."""
    return tuple(name for name, row in hyperparameters(model).items() if row.inference)


def check_inference(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings for a trained model under their one name, checked.

    Raises:
        UserError: one does not act at inference, or is unknown, given twice or out of range.
    """
    acting = inference_settings(model)
    for name in given:
        if name == "model_name" or find(name, model).name not in acting:
            raise UserError(f"{name}: cannot be changed in a trained {model}; these can: {', '.join(acting)}")
    return canonical(given, model)
