"""The search space: for each hyperparameter an expression, in one mapping or in a list of conditional mappings.

Expressions and their mathematics are Azure's: bounds of the ``log`` family are natural logarithms, and the ``q`` family
rounds to multiples of q.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import check_model, default_model, find, resolve
from automl_images.hyperparameters.number import number

_CHECKED = 1000
ARITY = {"choice": None, "randint": 1, "uniform": 2, "loguniform": 2, "normal": 2, "lognormal": 2}
ARITY |= {"quniform": 3, "qloguniform": 3, "qnormal": 3, "qlognormal": 3}


@dataclass(frozen=True)
class Expression:
    """One hyperparameter's distribution: its kind and its arguments (the values, for ``choice``)."""

    kind: str
    arguments: tuple[Any, ...]

    @property
    def size(self) -> int | None:
        """How many values it has; None: infinitely many."""
        if self.kind == "choice":
            return len(self.arguments)
        return int(self.arguments[0]) if self.kind == "randint" else None

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one value: an item, an int (``randint``: 0 up to, not including, its argument) or a float."""
        a = self.arguments
        if self.size:
            drawn = int(rng.integers(self.size))
            return a[drawn] if self.kind == "choice" else drawn
        value = rng.uniform(a[0], a[1]) if self.kind.endswith("uniform") else rng.normal(a[0], a[1])
        return self.rounded(float(np.exp(value)) if "log" in self.kind else value)

    def rounded(self, value: float) -> float:
        """Return a value as a multiple of q, in the q family."""
        q = self.arguments[2] if self.kind.startswith("q") else None
        return float(value) if q is None else float(np.round(value / q) * q)

    def quantile(self, u: float) -> Any:
        """Return the value below which a share ``u``, in [0, 1), of the draws lies."""
        a = self.arguments
        if self.size:
            drawn = min(int(u * self.size), self.size - 1)
            return a[drawn] if self.kind == "choice" else drawn
        if self.kind.endswith("uniform"):
            value = a[0] + u * (a[1] - a[0])
        else:
            value = a[0] + a[1] * NormalDist().inv_cdf(min(max(u, 1e-12), 1 - 1e-12))
        return self.rounded(float(np.exp(value)) if "log" in self.kind else value)

    def probability(self, value: float) -> float:
        """Return the share of the draws of a normal expression that lies below ``value``."""
        mean, deviation = self.arguments[:2]
        at = float(np.log(max(value, 1e-300))) if "log" in self.kind else value
        return NormalDist(mean, deviation).cdf(at) if deviation > 0 else 0.5

    def bounds(self) -> tuple[float, float] | None:
        """Return the least and greatest value, or None for choices and unbounded expressions."""
        a = self.arguments
        if self.kind == "randint":
            return 0, int(a[0]) - 1
        if not self.kind.endswith("uniform"):
            return None
        low, high = (float(np.exp(x)) if "log" in self.kind else float(x) for x in a[:2])
        if self.kind.startswith("q"):
            low, high = (float(np.round(x / a[2]) * a[2]) for x in (low, high))
        return low, high


Branch = dict[str, Expression]


def points(branches: Sequence[Branch]) -> int | None:
    """Return how many different settings a space has; None: infinitely many."""
    sizes = [[e.size for e in branch.values()] for branch in branches]
    return None if any(None in s for s in sizes) else sum(math.prod(filter(None, s)) for s in sizes)


def parse_space(space: Mapping[str, Any] | list[Mapping[str, Any]] | None) -> list[Branch]:
    """Return the conditional branches of a space as it stands in an experiment; one for a plain mapping.

    A bare value stands for a choice of that one value.

    Raises:
        UserError: an expression is unknown or has wrong arguments; the line starts with its path in the experiment.
    """
    if not space:
        return [{}]
    branches = space if isinstance(space, list) else [space]
    parsed = []
    for i, branch in enumerate(branches):
        where = f"sweep.space[{i}]" if isinstance(space, list) else "sweep.space"
        if not isinstance(branch, Mapping):
            raise UserError(f"{where}: is not a mapping of hyperparameters to expressions")
        parsed.append({name: _expression(value, f"{where}.{name}") for name, value in branch.items()})
    return parsed


def _expression(value: Any, where: str) -> Expression:
    if not isinstance(value, Mapping):
        if isinstance(value, list):
            raise UserError(f"{where}: a list is no expression; write {{choice: {value}}}")
        return Expression("choice", (value,))
    if len(value) != 1:
        raise UserError(f"{where}: an expression has one key, such as choice or uniform; found {list(value)}")
    kind, arguments = next(iter(value.items()))
    if kind not in ARITY:
        raise UserError(f"{where}: no expression is called '{kind}'; {nearest(str(kind), ARITY)}")
    arguments = tuple(arguments) if isinstance(arguments, list | tuple) else (arguments,)
    if kind == "choice":
        if not arguments:
            raise UserError(f"{where}: choice has no values")
        return Expression(kind, arguments)
    try:
        numbers = tuple(map(number, arguments))
    except ValueError:
        numbers = ()
    if len(numbers) != ARITY[kind]:
        raise UserError(f"{where}: {kind} takes {ARITY[kind]} numbers, found {list(arguments)}")
    if kind.endswith("uniform") and numbers[0] > numbers[1]:
        raise UserError(f"{where}: {kind} has its lower bound {numbers[0]:g} above its upper bound {numbers[1]:g}")
    if kind.startswith("q") and numbers[2] <= 0:
        raise UserError(f"{where}: {kind} rounds to multiples of {numbers[2]:g}, which must be above 0")
    if kind.endswith("normal") and numbers[1] < 0:
        raise UserError(f"{where}: {kind} has a negative standard deviation {numbers[1]:g}")
    if kind == "randint" and (numbers[0] < 1 or not numbers[0].is_integer()):
        raise UserError(
            f"{where}: randint draws from 0 up to, not including, {numbers[0]:g}, which must be a whole number from 1"
        )
    return Expression(kind, numbers)


def check_space(
    task: str, branches: list[Branch], fixed: Mapping[str, Any], conditional: bool, profile: str = "azure"
) -> None:
    """Refuse a space that could propose settings which no trial can run.

    Args:
        task, branches: the task's name, and what :func:`parse_space` returned.
        fixed: the experiment's fixed settings.
        conditional: whether the experiment has a list of mappings, for the paths in error lines.
        profile: whose defaults hold for what neither has.

    Raises:
        UserError: a name or value is wrong for a model that the branch can choose; the line has its path.
    """
    for i, branch in enumerate(branches):
        where = f"sweep.space[{i}]" if conditional else "sweep.space"
        names = branch.get("model_name")
        models = names.arguments if names else (fixed.get("model_name") or default_model(task, profile),)
        if names and names.kind != "choice":
            raise UserError(f"{where}.model_name: models are named in a choice, not by {names.kind}")
        for name, expression in branch.items():
            if name in fixed:
                raise UserError(f"{where}.{name}: is in settings too; give it in one of the two")
            for model in models:
                _check_expression(task, model, name, expression, f"{where}.{name}")
        for model in models:
            for n, point in enumerate(_points(branch)):
                try:
                    resolve(task, {**fixed, **point, "model_name": model}, profile)
                except UserError as error:
                    if n == 0:
                        name = str(error).partition(":")[0]
                        raise UserError(f"{where if name in branch else 'settings'}.{error}") from None
                    chosen = ", ".join(f"{name} {value}" for name, value in point.items())
                    raise UserError(f"{where}: {model} with {chosen}: {error}") from None


def _points(branch: Branch) -> Iterator[dict[str, Any]]:
    """Yield the combinations of the choices among a branch's settings, as many as can be checked at once."""
    choices = {n: e.arguments for n, e in branch.items() if e.kind == "choice" and n != "model_name"}
    for values in itertools.islice(itertools.product(*choices.values()), _CHECKED):
        yield dict(zip(choices, values, strict=True))


def _check_expression(task: str, model: str, name: str, expression: Expression, where: str) -> None:
    try:
        if name == "model_name":
            for choice in expression.arguments:
                check_model(task, choice)
            return
        row = find(name, check_model(task, model))
        if not row.sweepable:
            raise UserError(
                f"{name}: must be one for the whole sweep, or trials could not be compared; put it in settings"
            )
        bounds = expression.bounds()
        for value in expression.arguments if expression.kind == "choice" else bounds or ():
            row.check(round(value) if row.type == "int" and expression.kind == "quniform" else value)
    except UserError as error:
        raise UserError(f"{where}: {str(error).partition(': ')[2]}") from None
