"""The search space: for each hyperparameter an expression, in one mapping or in a list of conditional mappings.

Expressions and their mathematics are Azure's: bounds of the ``log`` family are natural logarithms, and the ``q`` family
rounds to multiples of q. SageMaker's ``reverseloguniform: [a, b]`` is 1 - exp(-u), u uniform between a and b.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import CATALOGUE, check_model, default_model, find, resolve
from automl_images.hyperparameters.catalogue import canonical_name, together
from automl_images.hyperparameters.number import number
from automl_images.hyperparameters.sizes import check_varied

_CHECKED, _FEW = 1000, 12
_LEAST_SHARE = 0.01  # of a normal expression's draws that are in its setting's range; the others are drawn again
ARITY = {"choice": None, "randint": 1, "uniform": 2, "loguniform": 2, "normal": 2, "lognormal": 2}
ARITY |= {"quniform": 3, "qloguniform": 3, "qnormal": 3, "qlognormal": 3}
ARITY["reverseloguniform"] = 2


@dataclass(frozen=True)
class Expression:
    """One hyperparameter's distribution: its kind and its arguments (the values, for ``choice``)."""

    kind: str
    arguments: tuple[Any, ...]
    limits: tuple[float, float] = (-math.inf, math.inf)  # the setting's range, which a normal expression keeps to

    def at(self, place: float) -> float:
        """Return the value at a place between a uniform expression's bounds, or on a normal one's line."""
        if self.kind == "reverseloguniform":
            return -math.expm1(-place)
        return math.exp(place) if "log" in self.kind else place

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
            i = int(rng.integers(self.size))
            return a[i] if self.kind == "choice" else i
        for _ in range(_CHECKED):
            value = rng.uniform(a[0], a[1]) if self.kind.endswith("uniform") else rng.normal(a[0], a[1])
            drawn = self.at(float(value))
            if self.kind.endswith("uniform") or self.limits[0] <= drawn <= self.limits[1]:
                return self.rounded(drawn)
        return self.quantile(rng.random())

    def rounded(self, value: float) -> float:
        """Return a value as a multiple of q, in the q family; of a normal expression one within the limits."""
        if not self.kind.startswith("q"):
            return float(value)
        q = self.arguments[2]
        steps = float(np.round(value / q))
        if self.kind.endswith("normal"):
            low, high = self.limits
            steps = min(max(steps, math.ceil(low / q) if low > -math.inf else steps), high // q)
        return float(steps * q)

    def quantile(self, u: float) -> Any:
        """Return the value below which a share ``u``, in [0, 1), of the draws lies."""
        a = self.arguments
        if self.size:
            i = min(int(u * self.size), self.size - 1)
            return a[i] if self.kind == "choice" else i
        if self.kind.endswith("uniform"):
            value = a[0] + u * (a[1] - a[0])
        else:
            low, high = map(self._below, self.limits)
            value = a[0] + a[1] * NormalDist().inv_cdf(min(max(low + u * (high - low), 1e-12), 1 - 1e-12))
        return self.rounded(self.at(value))

    def probability(self, value: float) -> float:
        """Return the share of the draws of a normal expression that lies below ``value``."""
        if self.arguments[1] == 0:
            return 0.5
        low, high = map(self._below, self.limits)
        return (self._below(value) - low) / (high - low)

    @property
    def share(self) -> float:
        """The share of a normal expression's distribution that its limits leave."""
        if self.arguments[1] == 0:
            return float(self.limits[0] <= self.quantile(0.5) <= self.limits[1])
        return self._below(self.limits[1]) - self._below(self.limits[0])

    def _below(self, value: float) -> float:
        mean, deviation = self.arguments[:2]
        if "log" in self.kind:
            value = math.log(value) if value > 0 else -math.inf
        return NormalDist(mean, deviation).cdf(value) if deviation else float(value > mean)

    def values(self) -> list[Any] | None:
        """Return all values, or of very many some, both ends among them; None: the expression is continuous."""
        if self.kind == "choice":
            return list(self.arguments)
        bounds = self.bounds()
        if bounds is None or self.kind in ("uniform", "loguniform", "reverseloguniform"):
            return None
        q = self.arguments[2] if self.kind.startswith("q") else 1
        first, last = (round(b / q) for b in bounds)
        steps = np.unique(np.linspace(first, last, _CHECKED).round())
        return [float(s * q) if self.kind.startswith("q") else int(s) for s in steps]

    def bounds(self) -> tuple[float, float] | None:
        """Return the least and greatest value, or None for choices and unbounded expressions."""
        a = self.arguments
        if self.kind == "randint":
            return 0, int(a[0]) - 1
        if not self.kind.endswith("uniform"):
            return None
        low, high = (self.at(float(x)) for x in a[:2])
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
        parsed.append({name: _expression(value, f"{where}.{name}", _limits(name)) for name, value in branch.items()})
    return parsed


def _limits(name: str) -> tuple[float, float]:
    """Return a setting's range, closed: an end that is not allowed itself is moved a little."""
    row = CATALOGUE.get(canonical_name(name))
    if row is None:
        return -math.inf, math.inf
    low, high = (math.inf if end is None else end for end in (row.low, row.high))
    low = -math.inf if row.low is None else low
    return math.nextafter(low, math.inf) if row.open_low else low, math.nextafter(high, low) if row.open_high else high


def _expression(value: Any, where: str, limits: tuple[float, float]) -> Expression:
    if not isinstance(value, Mapping):
        call = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", value) if isinstance(value, str) else None
        if call and call[1] in ARITY:
            raise UserError(f"{where}: '{value.strip()}' is text; write {{{call[1]}: [{call[2].strip()}]}}")
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
    return Expression(kind, numbers, limits)


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
            for names_, point in _points(branch, model):
                try:
                    check_varied(resolve(task, {**fixed, **point, "model_name": model}, profile), branch)
                except UserError as error:
                    if not names_:
                        name = str(error).partition(":")[0]
                        raise UserError(f"{where if name in branch else 'settings'}.{error}") from None
                    chosen = ", ".join(f"{name} {_shown(point[name])}" for name in names_)
                    raise UserError(f"{where}: {model} with {chosen}: {error}") from None


def _points(branch: Branch, model: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the points of a branch that show whether all of it can be run, each with the names that tell it apart.

    First the first values alone. Then each value of each setting. Then, of the settings that a rule takes together,
    three at a time, their combinations: no rule takes more, and of many values the ends and some between will do.
    """
    values = {n: v for n, e in branch.items() if n != "model_name" and (v := e.values()) is not None}
    first = {name: each[0] for name, each in values.items()}
    yield (), first
    for name, each in values.items():
        yield from (((name,), {**first, name: value}) for value in each[1:])
    for group in together(model):
        names = [name for name in values if name in group]
        for chosen in itertools.combinations(names, min(3, len(names))):
            for point in itertools.product(*(_few(values[name]) for name in chosen)):
                yield chosen, {**first, **dict(zip(chosen, point, strict=True))}


def _few(values: list[Any]) -> list[Any]:
    if len(values) <= _FEW:
        return values
    if all(isinstance(v, int | float) for v in values):
        values = sorted(values)
    return [values[round(i * (len(values) - 1) / (_FEW - 1))] for i in range(_FEW)]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
        kind = expression.kind
        if row.type not in ("int", "float", "flag") and kind not in ("choice", "randint"):
            raise UserError(f"{name}: {kind} draws numbers, and it takes {row.range_text()}; use choice")
        whole = kind in ("choice", "randint") or (kind.startswith("q") and expression.arguments[2].is_integer())
        if row.type != "float" and not whole:
            raise UserError(
                f"{name}: {kind} draws fractions, and it takes {row.range_text()}, in whole numbers; use choice, "
                "randint, or quniform with a whole q"
            )
        if kind.endswith("normal") and expression.share < _LEAST_SHARE:
            raise UserError(f"{name}: {kind} hardly ever draws a value in its range, {row.range_text()}")
        for value in expression.values() or expression.bounds() or ():
            row.check(value)
    except UserError as error:
        raise UserError(f"{where}: {str(error).partition(': ')[2]}") from None
