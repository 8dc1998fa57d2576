"""One row of the catalogue: a hyperparameter's type, range, defaults and effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.number import number

_UNSET = object()


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the catalogue.

    Attributes:
        name: Azure's v1 name, or the vendor's that alone has it.
        type: ``int``, ``float``, ``flag`` (0 or 1), ``choice``, ``text``, ``epochs`` ("10,20") or ``shape`` ("3,8,8").
        default: the default where neither ``by_model`` nor ``by_task`` has one; None means that it is not set.
        effect: what it observably changes, the ends of its range included.
        low, high: the range of a number, both ends allowed; None is unbounded.
        choices: the values of a choice.
        by_model: defaults of models that differ, the same in all tasks or a mapping of tasks.
        by_task: defaults of tasks that differ.
        sagemaker: the default in SageMaker's profile, where it is another than Azure's.
        models: the models that it applies to; None for all.
        aliases: other vendors' names for the same thing.
        needs: the setting and the values under which it acts, such as ``("optimizer", ("sgd",))``; None: any value.
        sweepable: False where trials could not be compared if it varied.
        place: where it is given if not among the settings, such as ``data.split_ratio``.
    """

    name: str
    type: str
    default: Any
    effect: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    by_model: Mapping[str, Any] = field(default_factory=dict)
    by_task: Mapping[str, Any] = field(default_factory=dict)
    sagemaker: Any = _UNSET
    models: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()
    needs: tuple[str, tuple[Any, ...] | None] | None = None
    sweepable: bool = True
    place: str | None = None

    def default_for(self, task: str, model: str, profile: str = "azure") -> Any:
        """Return the default for a task and model: the model's, else the task's, else the general one.

        Args:
            task, model: their names.
            profile: ``azure``, or ``sagemaker``, whose own defaults go before.
        """
        if profile == "sagemaker" and self.sagemaker is not _UNSET:
            return self.sagemaker
        own = self.by_model.get(model, _UNSET)
        if isinstance(own, Mapping):
            own = own.get(task, _UNSET)
        return self.by_task.get(task, self.default) if own is _UNSET else own

    def range_text(self) -> str:
        """Return the allowed values in words, such as ``at least 1`` or ``0 to 1``."""
        if self.choices:
            return "one of " + ", ".join(str(c) for c in self.choices)
        if self.type in _FORMS:
            return _FORMS[self.type]
        if self.high is None:
            return f"at least {self.low:g}" if self.low is not None else "any number"
        return f"{self.low:g} to {self.high:g}"

    def check(self, value: Any) -> Any:
        """Return ``value`` as this hyperparameter's type; None stays None where that is the default.

        Raises:
            UserError: the type is wrong or the value is out of range; the line names the hyperparameter and the range.
        """
        if value is None and (self.default is None or self.sagemaker is None):
            return None
        try:
            checked = self._typed(value)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.name}: {value!r} is not {_ARTICLE[self.type]}; allowed: {self.range_text()}"
            ) from None
        too_low = self.low is not None and isinstance(checked, int | float) and checked < self.low
        too_high = self.high is not None and isinstance(checked, int | float) and checked > self.high
        if too_low or too_high or (self.choices and checked not in self.choices):
            hint = f"; {nearest(str(value), map(str, self.choices))}" if self.choices else ""
            raise UserError(f"{self.name}: {value!r} is out of range; allowed: {self.range_text()}{hint}")
        return checked

    def _typed(self, value: Any) -> Any:
        if self.type == "choice":
            return self._choice(value)
        if self.type == "flag":
            flags = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
            if str(value).lower() not in flags:
                raise ValueError
            return flags[str(value).lower()]
        if self.type == "text":
            if not isinstance(value, str) or not value:
                raise TypeError
            return value
        if self.type in ("epochs", "shape"):
            return _numbers(value, self.type)
        found = number(value)
        if self.type == "int":
            if found != int(found):
                raise ValueError
            return int(found)
        return found

    def _choice(self, value: Any) -> Any:
        if isinstance(value, str):
            value = _CHOICE_SPELLINGS.get(value, value)
            return next((c for c in self.choices if str(c) == value), value)
        return next((c for c in self.choices if c == value and not isinstance(value, bool)), value)


_ARTICLE = {
    "int": "a whole number",
    "float": "a number",
    "flag": "a flag",
    "choice": "a known value",
    "text": "text",
    "epochs": "a list of epochs",
    "shape": "an image's shape",
}
_FORMS = {
    "flag": "0 or 1",
    "text": "any text",
    "epochs": 'rising epochs from 1 on, such as "10,20"',
    "shape": '"channels,height,width" with 1 or 3 channels, such as "3,224,224"',
}
_CHOICE_SPELLINGS = {"extra_large": "xlarge", "cocovoc": "coco_voc"}


def _numbers(value: Any, kind: str) -> str:
    """Return comma-separated whole numbers as they are written in a settings file."""
    if isinstance(value, bool | float):
        raise TypeError
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise ValueError
    numbers = [int(n) for n in text.split(",")]
    rising = all(a < b for a, b in zip([0, *numbers], numbers, strict=False))
    shape = len(numbers) == 3 and numbers[0] in (1, 3) and min(numbers) > 0
    if not (rising if kind == "epochs" else shape):
        raise ValueError
    return ",".join(map(str, numbers))
