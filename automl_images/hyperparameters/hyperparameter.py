"""One row of the catalogue: a hyperparameter's type, range, defaults, effect, and what leaves it without one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.number import number
from automl_images.tasks import TASKS

Conditions = Mapping[str, tuple[Any, ...] | None]
"""Other settings, and the values that each may have: all must hold. None: any value, as long as it is set."""


@dataclass(frozen=True)
class Refusal:
    """A value that does not go with other settings."""

    value: Any
    why: str  # goes on after the value in the error's line; says how to mend it
    beside: Conditions  # the settings with which it is refused


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the catalogue."""

    name: str  # Azure's v1 name, or the vendor's that alone has it
    type: str  # int, float, flag (0 or 1), choice, text, epochs ("10,20"), shape ("3,8,8") or pair ("3,2", "3x2")
    default: Any  # where `defaults` and the model's row have none; None: it is not set
    effect: str  # what it observably changes, the ends of its range included
    low: float | None = None  # the range of a number; None: unbounded
    high: float | None = None
    open_low: bool = False  # whether that end itself is not allowed
    open_high: bool = False
    choices: tuple[Any, ...] = ()  # the values of a choice
    # defaults that differ, by any of a head, a profile, a model, a task and a family, as ("sagemaker", "segmentation")
    defaults: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    # of families and models, those that have it; None: all. It applies to models whose row lists it besides
    families: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()  # other vendors' names for the same thing
    needs: Conditions = field(default_factory=dict)  # the settings under which it acts
    capped_by: str | None = None  # another setting, above whose value it has no effect
    idle: str | None = None  # why it never has an effect here
    refused: tuple[Refusal, ...] = ()  # values within its range that do not go with other settings
    inference: bool = False  # whether it acts at inference too, and can be changed there
    gene: tuple[float, float, float] | None = None  # of evolution: the mutation's gain (0: only if asked for), limits
    # by family, model or head, the attributes of this row that are others there, such as `choices`
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweepable: bool = True  # False: trials could not be compared if it varied
    place: str | None = None  # where it is given if not among the settings, such as data.split_ratio

    def applies_to(self, model: str) -> bool:
        """Return whether a model has it."""
        row = ARCHITECTURES[model]
        return self.families is None or not {row.family, model}.isdisjoint(self.families) or self.name in row.settings

    def variant(self, *names: str) -> Hyperparameter:
        """Return the row as it is for a family and a model; of two variants the last that is named goes before."""
        differing = {k: v for name in names for k, v in self.variants.get(name, {}).items()}
        return replace(self, **differing) if differing else self

    def default_for(self, task: str, model: str, profile: str = "azure", head: str | None = None) -> Any:
        """Return the most specific default: a head's goes before a profile's, a model's, a task's and a family's.

        Args:
            task, model: their names.
            profile: ``azure``, whose defaults they are if no other profile is named, or ``sagemaker``.
            head: of a model that has two, which; None: its first.
        """
        known = {(): self.default, **self.defaults}
        architecture = ARCHITECTURES.get(model)
        if architecture and self.name in architecture.defaults:
            own = architecture.defaults[self.name]
            known |= {(model, t): v for t, v in own.items()} if isinstance(own, Mapping) else {(model,): own}
        names = (head, profile, model, task, TASKS[task].family)
        matching = [key for key in known if all(name in names for name in key)]
        return known[max(matching, key=lambda key: [name in key for name in names])]

    def range_text(self) -> str:
        """Return the allowed values in words, such as ``at least 1`` or ``0 to 1``."""
        if self.choices:
            return "one of " + ", ".join(str(c) for c in self.choices)
        if self.type in _FORMS:
            return _FORMS[self.type]
        low = "" if self.low is None else f"above {self.low:g}" if self.open_low else f"{self.low:g}"
        high = "" if self.high is None else f"below {self.high:g}" if self.open_high else f"{self.high:g}"
        if low and high:
            return f"{low} to {high}"
        if high:
            return high if self.open_high else f"at most {high}"
        return "any number" if not low else low if self.open_low else f"at least {low}"

    def check(self, value: Any) -> Any:
        """Return ``value`` as its type, None where that is a default; raises UserError for a wrong type or value."""
        if value is None and None in (self.default, *self.defaults.values()):
            return None
        try:
            checked = self._typed(value)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.name}: {value!r} is not {_ARTICLE[self.type]}; allowed: {self.range_text()}"
            ) from None
        if not self._within(checked) or (self.choices and checked not in self.choices):
            hint = f"; {nearest(str(value), map(str, self.choices))}" if self.choices else ""
            raise UserError(f"{self.name}: {value!r} is out of range; allowed: {self.range_text()}{hint}")
        return checked

    def check_beside(self, settings: Mapping[str, Any]) -> None:
        """Raise UserError if its value in complete settings is refused beside the others."""
        for refusal in self.refused:
            if settings[self.name] == refusal.value and not _unmet(refusal.beside, settings):
                raise UserError(f"{self.name}: {_shown(refusal.value)} {refusal.why}")

    def without_effect(self, settings: Mapping[str, Any]) -> list[str]:
        """Return a line for each reason why complete settings leave this hyperparameter's value without effect."""
        lines = [f"{self.name} has no effect: {self.idle}"] if self.idle else []
        if self.capped_by and settings[self.name] > settings[self.capped_by]:
            lines.append(f"{self.name} has no effect above {self.capped_by} ({settings[self.capped_by]})")
        for other in _unmet(self.needs, settings):
            wanted = " or ".join(map(_shown, self.needs[other] or ("one",)))
            lines.append(f"{self.name} has no effect with {other}: {_shown(settings.get(other))}; it needs {wanted}")
        return lines

    def _within(self, value: Any) -> bool:
        if self.low is not None and (value <= self.low if self.open_low else value < self.low):
            return False
        return self.high is None or (value < self.high if self.open_high else value <= self.high)

    def _typed(self, value: Any) -> Any:
        if self.type == "choice":
            return self._choice(value)
        if self.type == "text":
            if not isinstance(value, str) or not value:
                raise TypeError
            return value
        if self.type in _LISTS:
            if self.type == "pair" and isinstance(value, str):
                value = re.sub(r"(?<=\d)\s*x\s*(?=\d)", ",", value)
            return _whole_numbers(value, _LISTS[self.type])
        if self.type == "flag" and str(value).lower() in ("true", "false"):
            return int(str(value).lower() == "true")
        found = number(value)
        if self.type == "float":
            return found
        if found != int(found) or (self.type == "flag" and found not in (0, 1)):
            raise ValueError
        return int(found)

    def _choice(self, value: Any) -> Any:
        texts = {c for c in self.choices if isinstance(c, str)}
        if isinstance(value, str) and texts:
            return _CHOICE_SPELLINGS.get(value, value)
        try:
            found = number(value)
        except ValueError:
            return value
        return next((c for c in self.choices if c not in texts and c == found), value)


def count(name: str, default: int | None, effect: str, **more: Any) -> Hyperparameter:
    """Return the row of a whole number from 1 on."""
    return Hyperparameter(name, "int", default, effect, low=1, **more)


def share(name: str, default: float, effect: str, **more: Any) -> Hyperparameter:
    """Return the row of a number from 0 to 1, both ends allowed."""
    return Hyperparameter(name, "float", default, effect, low=0, high=1, **more)


def choice(name: str, default: Any, effect: str, **more: Any) -> Hyperparameter:
    """Return the row of one of several values."""
    return Hyperparameter(name, "choice", default, effect, **more)


def text(name: str, effect: str) -> Hyperparameter:
    """Return the row of a text, which is not set by default and the same for all trials."""
    return Hyperparameter(name, "text", None, effect, sweepable=False)


def flag(name: str, default: int, effect: str, **more: Any) -> Hyperparameter:
    """Return the row of a flag."""
    return Hyperparameter(name, "flag", default, effect, **more)


_ARTICLE = {
    "int": "a whole number",
    "float": "a number",
    "flag": "a flag",
    "choice": "a known value",
    "text": "text",
    "epochs": "a list of epochs",
    "shape": "an image's shape",
    "pair": "two numbers",
}
_FORMS = {
    "flag": "0 or 1",
    "text": "any text",
    "epochs": 'rising epochs from 1 on, such as "10,20"',
    "shape": '"channels,height,width" with 1 or 3 channels, such as "3,224,224"',
    "pair": 'two whole numbers from 1 on, such as "3,2" or "3x2"',
}
_LISTS: dict[str, Callable[[list[int]], bool]] = {
    "epochs": lambda n: all(a < b for a, b in itertools.pairwise([0, *n])),
    "shape": lambda n: len(n) == 3 and n[0] in (1, 3) and min(n) > 0,
    "pair": lambda n: len(n) == 2 and min(n) > 0,
}
_CHOICE_SPELLINGS = {"extra_large": "xlarge", "cocovoc": "coco_voc"}


def _whole_numbers(value: Any, allowed: Callable[[list[int]], bool]) -> str:
    """Return a list of whole numbers, or its text, as it is written in a settings file: with commas alone."""
    if isinstance(value, bool | float):
        raise TypeError
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).strip().strip("()[]")
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise ValueError
    numbers = [int(n) for n in text.split(",")]
    if not allowed(numbers):
        raise ValueError
    return ",".join(map(str, numbers))


def _unmet(conditions: Conditions, settings: Mapping[str, Any]) -> list[str]:
    """Return the settings whose values are not those that the conditions want; a model folder may lack a setting."""
    return [
        name
        for name, values in conditions.items()
        if (settings.get(name) is None if values is None else settings.get(name) not in values)
    ]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
