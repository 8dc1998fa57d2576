"""Azure's search spaces: expressions in the spellings of v1 and v2, and conditional branches."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.catalogue import canonical_name
from automl_images.hyperparameters.number import number
from automl_images.hyperparameters.resolve import default_model
from automl_images.hyperparameters.vendors.azure_names import checked_model, named_of, setting, word
from automl_images.hyperparameters.vendors.draft import Draft, Named, mapping
from automl_images.plain import read_yaml


@dataclass(frozen=True)
class Branch:
    """A mapping of a search space: where it stands, its expressions, the models that it is of, and what is fixed."""

    where: str
    expressions: Mapping[str, tuple[str, list[Any]]]
    models: list[str]
    fixed: dict[str, tuple[Any, str]] = field(default_factory=dict)  # name: value and where that stands


def branches_of(file: str, task: str, space: Any, fixed: Mapping[str, Any]) -> list[Branch]:
    """Return the branches of a search space: a list of conditional mappings, or one mapping; none: no space."""
    made = []
    for i, given in enumerate((space if isinstance(space, list) else [space]) if space else []):
        where = f"{file}: search_space[{i}]" if isinstance(space, list) else f"{file}: search_space"
        for at, branch in _unfolded(mapping(given, where), where):
            found = {name: _expression(value, f"{at}.{name}") for name, value in branch.items()}
            kind, names = found.get("model_name", ("choice", [fixed.get("model_name") or default_model(task)]))
            if kind != "choice":
                raise UserError(f"{at}.model_name: models are named in a choice, not by {kind}")
            made.append(Branch(at, found, [checked_model(task, word(name), f"{at}.model_name") for name in names]))
    return made


def put_space(draft: Draft, file: str, task: str, branches: Sequence[Branch]) -> None:
    """Put the search space; what it searches goes before what is fixed, and that is said."""
    made: list[dict[str, Any]] = []
    settings = draft.content.get("settings", {})
    for i, branch in enumerate(branches):
        found: dict[str, Any] = {}
        for name, (kind, arguments) in branch.expressions.items():
            key, ours = f"{branch.where}.{name}", canonical_name(name)
            draft.origins[f"sweep.space[{i}].{ours}"] = key
            if name == "model_name":
                found[name] = {"choice": branch.models}
            else:
                named = [named_of(task, model, name, key) for model in branch.models]
                checked, *_ = [_within(each, kind, arguments, key) for each in named]
                found[ours] = {kind: checked if kind == "choice" or len(checked) > 1 else checked[0]}
        for name, (value, key) in branch.fixed.items():
            if canonical_name(name) not in found:
                found[canonical_name(name)] = {"choice": [value]}
                draft.origins[f"sweep.space[{i}].{canonical_name(name)}"] = key
        made.append(dict(sorted(found.items(), key=lambda item: item[0] != "model_name")))
    for ours in sorted(set(settings) & {name for found in made for name in found}):
        value, origin = settings.pop(ours), draft.origins.pop(f"settings.{ours}")
        without = [i for i, found in enumerate(made) if ours not in found]
        for i in without:  # searched in other branches
            made[i][ours] = {"choice": [value]}
            draft.origins[f"sweep.space[{i}].{ours}"] = origin
        if not without:
            draft.note(origin, "search_space goes before it")
    draft.content.setdefault("sweep", {})["space"] = made
    draft.origins["sweep.space"] = f"{file}: search_space"


def _unfolded(branch: Mapping[str, Any], where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the branches of v1's conditional space: a choice of mappings, which the other names join."""
    for name, value in branch.items():
        kind, arguments = _expression(value, f"{where}.{name}")
        if kind == "choice" and arguments and all(isinstance(a, Mapping) for a in arguments):
            rest = {n: v for n, v in branch.items() if n != name}
            return [(f"{where}.{name}[{i}]", {**rest, **each}) for i, each in enumerate(arguments)]
    return [(where, branch)]


_ARGUMENTS = {
    "choice": ("values",),
    "randint": ("upper",),
    **dict.fromkeys(("uniform", "loguniform"), ("min_value", "max_value")),
    **dict.fromkeys(("quniform", "qloguniform"), ("min_value", "max_value", "q")),
    **dict.fromkeys(("normal", "lognormal"), ("mu", "sigma")),
    **dict.fromkeys(("qnormal", "qlognormal"), ("mu", "sigma", "q")),
}


def _expression(value: Any, key: str) -> tuple[str, list[Any]]:
    """Return the kind and the arguments of an expression in any of Azure's spellings; a plain value is a choice."""
    call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", value) if isinstance(value, str) else None
    if isinstance(value, Mapping) and "type" in value:
        kind = str(value["type"])
        names = _ARGUMENTS.get(kind, ())
        if set(value) - {"type"} != set(names):
            raise UserError(f"{key}: {kind} takes {' and '.join(names) or 'nothing that is known'}")
        arguments = value["values"] if kind == "choice" else [value[name] for name in names]
    elif call:
        kind, arguments = call[1], read_yaml(f"[{call[2]}]", key)
        if kind == "choice" and len(arguments) == 1 and isinstance(arguments[0], list):
            arguments = arguments[0]
    elif isinstance(value, list) and len(value) == 2 and value[0] in _ARGUMENTS and isinstance(value[1], list):
        kind, arguments = value[0], value[1]
        if kind == "choice" and len(arguments) == 1 and isinstance(arguments[0], list):
            arguments = arguments[0]
    else:
        return "choice", [value]
    if kind not in _ARGUMENTS:
        raise UserError(f"{key}: no expression is called '{kind}'; {nearest(kind, _ARGUMENTS)}")
    if not isinstance(arguments, list) or not arguments:
        raise UserError(f"{key}: {kind} has no values")
    return kind, arguments


def _within(named: Named, kind: str, arguments: list[Any], key: str) -> list[Any]:
    """Return an expression's arguments, checked against the hyperparameter's range."""
    if kind == "choice":
        return [setting(named, value, key) for value in arguments]
    try:
        numbers = [number(value) for value in arguments]
    except ValueError as error:
        raise UserError(f"{key}: {kind}: {error}") from None
    if len(numbers) != len(_ARGUMENTS[kind]):
        raise UserError(f"{key}: {kind} takes {', '.join(_ARGUMENTS[kind])}; found {arguments}")
    if kind.endswith("uniform"):
        for end in numbers[:2]:
            named.check(math.exp(end) if "log" in kind else end, key)
    elif kind == "randint":
        for end in (0, numbers[0] - 1):
            named.check(end, key)
    return numbers
