"""The catalogue: every hyperparameter by name, for each task and model.

Names, ranges and defaults are Azure's for AutoML for images ("Hyperparameters for computer vision tasks"); what only
SageMaker has keeps its name. Other spellings (Azure v2's, SageMaker's, the older ones of the NMS threshold) are taken
and turned into the one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from automl_images.architectures import ARCHITECTURES, models_of
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import classification, common, detection, segmentation, yolov5
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.hyperparameters.sizes import SIZES_TOGETHER
from automl_images.tasks import get_task

_ROOMS = (common, classification, detection, segmentation, yolov5)
CATALOGUE = {row.name: row for room in _ROOMS for row in room.ROWS}
ALIASES = {alias: row.name for row in CATALOGUE.values() for alias in row.aliases}


def canonical_name(name: str) -> str:
    """Return a hyperparameter's own name for an alias; other names as they are."""
    return ALIASES.get(name, name)


def canonical(given: Mapping[str, Any], made: Callable[[str, Any], Any], where: str = "") -> dict[str, Any]:
    """Return settings under their own names, each value what ``made(name as given, value)`` makes of it.

    Raises:
        UserError: two names are of one hyperparameter; ``where`` stands before the name.
    """
    spelt: dict[str, str] = {}
    for name in given:
        other = spelt.setdefault(canonical_name(name), name)
        if other != name:
            raise UserError(f"{where}{name}: is the same hyperparameter as {other}; give one of the two")
    return {own: made(name, given[name]) for own, name in spelt.items()}


@cache
def hyperparameters(model: str) -> Mapping[str, Hyperparameter]:
    """Return the rows that apply to a model, by name, without those that are given elsewhere than in its settings."""
    return MappingProxyType({n: h for n, h in described(model).items() if h.place is None})


@cache
def described(model: str) -> Mapping[str, Hyperparameter]:
    """Return all rows that concern a model, by name, wherever they are given."""
    family = ARCHITECTURES[model].family
    return MappingProxyType({n: h.variant(family, model) for n, h in CATALOGUE.items() if h.applies_to(model)})


def together(model: str) -> list[set[str]]:
    """Return the groups of a model's settings whose values are judged together, at most three of them by one rule."""
    rows = hyperparameters(model).values()
    return [*SIZES_TOGETHER, *({row.name, *refusal.beside} for row in rows for refusal in row.refused)]


def check_model(task: str, model: str) -> str:
    """Return the model's name; raises UserError, with the nearest names, if the task has no such model."""
    models = models_of(get_task(task).family)
    if model not in models:
        raise UserError(f"model_name: {task} has no model '{model}'; {nearest(str(model), models)}")
    return model


def find(name: str, model: str) -> Hyperparameter:
    """Return a model's row of a name or alias; raises UserError if there is none, or it is not for the model."""
    row = CATALOGUE.get(canonical_name(name))
    known = hyperparameters(model)
    if row is None:
        raise UserError(f"{name}: no hyperparameter of {model} is called that; {nearest(name, [*known, 'model_name'])}")
    if row.place:
        raise UserError(f"{name}: is not given here but by {row.place}. {row.effect}")
    if row.name not in known:
        others = ", ".join(m for m in ARCHITECTURES if row.applies_to(m))
        raise UserError(f"{name}: does not apply to {model}; it is for {others}")
    return known[row.name]


def checked(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a model's settings but its name, checked, under their own names; raises UserError for a wrong one."""
    named = {name: value for name, value in given.items() if name != "model_name"}
    return canonical(named, lambda name, value: find(name, model).check(value))


_SHAPES = ("model_name", "model_size", "head", "algorithm", "backbone")  # what the shapes of the weights go by


def inference_settings(model: str) -> tuple[str, ...]:
    """Return the names of the hyperparameters that act at inference, and can be changed there."""
    return tuple(name for name, row in hyperparameters(model).items() if row.inference)


def check_inference(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a trained model, checked; raises UserError for a wrong one, or one of training alone."""
    acting = inference_settings(model)
    for name in given:
        if name == "model_name" or find(name, model).name not in acting:
            own = canonical_name(name)
            why = f"; the weights fit no other {own}" if own in _SHAPES else ""
            raise UserError(f"{name}: cannot be changed in a trained {model}; these can: {', '.join(acting)}{why}")
    return checked(given, model)
