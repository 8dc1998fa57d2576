"""Any number of classes an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from automl_images.annotations.labels.base import ONCE, UNKNOWN, Label, Rules, Size, task_of
from automl_images.annotations.labels.boxes import holds_boxes
from automl_images.annotations.values import class_list, shown
from automl_images.errors import UserError


@dataclass(frozen=True, slots=True)
class Classes(Label):
    """The classes of an image, in their order, without repetition; none is an image with none of them."""

    classes: tuple[str, ...]

    kind = "classes"
    title = "a list of classes an image"
    least = 1
    counts = (
        "unlabelled_images",
        "dropped_labels",
        "fixed_sizes",
        "repeated_images",
        "contradicted_images",
        "skipped_images",
    )
    hint = "; the classes of one image belong together, in one record"
    flaws = (
        ("an image without a class", "kept", "kept", "kept"),
        ("training with one class alone", "said", "said", "said"),
        ("training without a class", "refused", "refused", "refused"),
        (UNKNOWN, "refused", "image left out", "class dropped"),
        *(row for row in ONCE if row[0] != UNKNOWN),
    )

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the classes that a JSON list has; one given twice counts once."""
        if isinstance(value, list) and not holds_boxes(value):
            return cls(class_list(value))
        takes = f"{cls.task()} takes a list of classes"
        if value is None:
            raise UserError(f"has no label; {takes}, [] where there is none")
        if holds_boxes(value):
            raise UserError(f"label: is a list of boxes, and {takes}; use task {task_of('boxes')}")
        raise UserError(
            f"label: is {shown(value)}, and {takes}; write [{shown(value)}], or use task {task_of('class')}"
        )

    def to_json(self) -> list[str]:
        """Return the classes."""
        return self.names()

    def names(self) -> list[str]:
        """Return the classes."""
        return list(self.classes)

    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label with the classes that training has."""
        kept = tuple(name for name in self.classes if rules.knows(name))
        if kept != self.classes and not rules.fix:
            raise rules.unknown(next(name for name in self.classes if name not in kept))
        for name in self.classes:
            if name not in kept:
                rules.add(UNKNOWN, name)
        if not kept:
            rules.add("an image without a class")
        rules.found["dropped_labels"] += len(self.classes) - len(kept)
        rules.found["unlabelled_images"] += not kept
        return type(self)(kept)
