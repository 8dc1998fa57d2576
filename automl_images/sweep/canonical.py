"""One name and one value for each way to write a setting, from the moment that an experiment is read.

What is no hyperparameter, out of range, or no space stays as it is: who knows the model refuses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import CATALOGUE, canonical, canonical_name
from automl_images.hyperparameters.number import number


def canonical_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under their own names, values of their type; raises UserError if one is there twice."""
    return canonical(settings, _value, "settings.")


def canonical_space(space: Any) -> Any:
    """Return a search space, in its shape; raises UserError if two names of a branch are of one hyperparameter."""
    if isinstance(space, list):
        return [_branch(branch, f"sweep.space[{i}].") for i, branch in enumerate(space)]
    return _branch(space, "sweep.space.")


def _branch(branch: Any, where: str) -> Any:
    return canonical(branch, _expression, where) if isinstance(branch, Mapping) else branch


def _expression(name: str, expression: Any) -> Any:
    if not isinstance(expression, Mapping):
        return _value(name, expression)
    made = {}
    for kind, arguments in expression.items():
        one = _value if kind == "choice" else _number
        made[kind] = [one(name, a) for a in arguments] if isinstance(arguments, list) else one(name, arguments)
    return made


def _value(name: str, value: Any) -> Any:
    row = CATALOGUE.get(canonical_name(name))
    with contextlib.suppress(UserError):
        return row.check(value) if row else value
    return value


def _number(name: str, value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return number(value)
    return value
