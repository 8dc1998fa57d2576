"""One name and one value for each way to write a setting, from the moment that an experiment is read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import ALIASES, CATALOGUE
from automl_images.hyperparameters.number import number


def canonical_name(name: str) -> str:
    """Return a hyperparameter's own name for an alias; other names as they are."""
    return ALIASES.get(name, name)


def canonical_settings(settings: Mapping[str, Any], where: str = "settings", one: Any = None) -> dict[str, Any]:
    """Return settings under their own names, each value as its type: ``"1e-3"`` is 0.001, a flag's true is 1.

    What is no hyperparameter, or out of range, stays as it is: who knows the model refuses it.

    Args:
        settings: names or aliases, and values.
        where: their path in the experiment, for the error.
        one: what makes a value of a name and what was given; None: a setting's own type.

    Raises:
        UserError: two names are of one hyperparameter.
    """
    spelt: dict[str, str] = {}
    for name in settings:
        own = canonical_name(name)
        if own in spelt:
            raise UserError(f"{where}.{name}: is the same hyperparameter as {spelt[own]}; give one of the two")
        spelt[own] = name
    return {own: (one or _value)(own, settings[name]) for own, name in spelt.items()}


def canonical_space(space: Any) -> Any:
    """Return a search space with its own names and values, in the shape that it has; what is no space as it is.

    Raises:
        UserError: two names of a branch are of one hyperparameter.
    """
    if isinstance(space, Mapping):
        return canonical_settings(space, "sweep.space", _expression)
    if not isinstance(space, list):
        return space
    named = ((f"sweep.space[{i}]", b) for i, b in enumerate(space))
    return [canonical_settings(b, where, _expression) if isinstance(b, Mapping) else b for where, b in named]


def _expression(name: str, expression: Any) -> Any:
    if not isinstance(expression, Mapping):
        return _value(name, expression)
    made = {}
    for kind, arguments in expression.items():
        one = _value if kind == "choice" else _number
        made[kind] = [one(name, a) for a in arguments] if isinstance(arguments, list) else one(name, arguments)
    return made


def _value(name: str, value: Any) -> Any:
    with contextlib.suppress(UserError):
        return CATALOGUE[name].check(value) if name in CATALOGUE else value
    return value


def _number(name: str, value: Any) -> Any:
    with contextlib.suppress(ValueError):
        return number(value)
    return value
