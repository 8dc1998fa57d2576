"""The catalogue: every hyperparameter by name, for each task and model.

Names, ranges and defaults are Azure's for AutoML for images ("Hyperparameters for computer vision tasks"); what only
SageMaker has keeps its name. Other spellings (Azure v2's, SageMaker's, the older ones of the NMS threshold) are taken
and turned into the one name.
"""

from __future__ import annotations

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import classification, common, detection
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.hyperparameters.names import MODELS

_ROWS = (*common.ROWS, *classification.ROWS, *detection.ROWS)
CATALOGUE: dict[str, Hyperparameter] = {row.name: row for row in _ROWS}
ALIASES: dict[str, str] = {alias: row.name for row in _ROWS for alias in row.aliases}


def hyperparameters(model: str) -> dict[str, Hyperparameter]:
    """Return the rows that apply to a model, by name, without those that are given elsewhere than in its settings."""
    return {n: h for n, h in described(model).items() if h.place is None}


def described(model: str) -> dict[str, Hyperparameter]:
    """Return all rows that concern a model, by name, wherever they are given."""
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
    if row.place:
        raise UserError(f"{name}: is not given here but by {row.place}. {row.effect}")
    if row.name not in known:
        raise UserError(f"{name}: does not apply to {model}; it is for {', '.join(row.models or ())}")
    return row
