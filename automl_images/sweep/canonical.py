"""One name and one value for each way to write a setting, from the moment that an experiment is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import ALIASES, CATALOGUE
from automl_images.hyperparameters.number import number


def canonical_name(name: str) -> str:
    """Return a hyperparameter's own name for an alias; other names as they are."""
    return ALIASES.get(name, name)


def canonical_settings(settings: Mapping[str, Any], where: str = "settings") -> dict[str, Any]:
    """Return settings under their own names, each value as its type: ``"1e-3"`` is 0.001, a flag's true is 1.

    What is no hyperparameter, or out of range, stays as it is: who knows the model refuses it.

    Args:
        settings: names or aliases, and values.
        where: their path in the experiment, for the error.

    Raises:
        UserError: two names are of one hyperparameter.
    """
    return {n: _value(n, v) for n, v in _named(settings, where).items()}


def canonical_space(space: Any) -> Any:
    """Return a search space with its own names and values, in the shape that it has; what is no space as it is.

    Raises:
        UserError: two names of a branch are of one hyperparameter.
    """
    if isinstance(space, list):
        return [_branch(b, f"sweep.space[{i}]") if isinstance(b, Mapping) else b for i, b in enumerate(space)]
    return _branch(space, "sweep.space") if isinstance(space, Mapping) else space


def _branch(branch: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {n: _expression(n, e) for n, e in _named(branch, where).items()}


def _expression(name: str, expression: Any) -> Any:
    if not isinstance(expression, Mapping):
        return _value(name, expression)
    made = {}
    for kind, arguments in expression.items():
        one = _value if kind == "choice" else _number
        made[kind] = [one(name, a) for a in arguments] if isinstance(arguments, list) else one(name, arguments)
    return made


def _named(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    spelt: dict[str, str] = {}
    for name in given:
        own = canonical_name(name)
        if own in spelt:
            raise UserError(f"{where}.{name}: is the same hyperparameter as {spelt[own]}; give one of the two")
        spelt[own] = name
    return {own: given[name] for own, name in spelt.items()}


def _value(name: str, value: Any) -> Any:
    try:
        return CATALOGUE[name].check(value) if name in CATALOGUE else value
    except UserError:
        return value


def _number(name: str, value: Any) -> Any:
    try:
        return number(value)
    except ValueError:
        return value
