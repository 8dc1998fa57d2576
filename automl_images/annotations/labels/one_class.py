"""One class an image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from automl_images.annotations.labels.base import ONCE, Label, Rules, Size, task_of
from automl_images.annotations.labels.boxes import holds_boxes
from automl_images.annotations.values import FlawError, class_name
from automl_images.errors import UserError


@dataclass(frozen=True, slots=True)
class OneClass(Label):
    """The class of an image."""

    name: str

    kind = "class"
    title = "one class an image"
    least = 2
    counts = ("fixed_sizes", "repeated_images", "contradicted_images", "skipped_images")
    flaws = (
        ("an image without a class", "refused", "image left out", "image left out"),
        ("training with fewer than two classes", "refused", "refused", "refused"),
        *ONCE,
    )

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the class that a JSON value is: text, or a number, which is taken as text."""
        takes = f"{cls.task()} takes one class"
        if holds_boxes(value):
            raise UserError(f"label: is a list of boxes, and {takes}; use task {task_of('boxes')}")
        if isinstance(value, list):
            raise UserError(f"label: is a list, and {takes}; use task {task_of('classes')}")
        if value is None:
            such = json.dumps({"label": "cat"})[1:-1]
            raise FlawError(f"has no label; {takes}, such as {such}", "an image without a class")
        return cls(class_name(value))

    def to_json(self) -> str:
        """Return the class."""
        return self.name

    def names(self) -> list[str]:
        """Return a list of the class."""
        return [self.name]

    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label itself."""
        if not rules.knows(self.name):
            raise rules.unknown(self.name)
        return self
