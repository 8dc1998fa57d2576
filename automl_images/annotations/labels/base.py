"""What every kind of label has, and what labels are checked against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from automl_images import storage
from automl_images.errors import UserError, nearest
from automl_images.tasks import TASKS

Size = tuple[int, int]


@dataclass(frozen=True)
class Flaw:
    """A row of the flaw table: what is wrong, and what comes of it under each policy."""

    flaw: str
    fail: str
    skip: str
    fix: str


def task_of(kind: str) -> str:
    """Return the name of the task whose records have labels of a kind, such as ``boxes``."""
    return next(task.name for task in TASKS.values() if task.label == kind)


class Rules:
    """What the labels of one set are checked against, and what was found.

    Attributes:
        fix: mend what would be refused.
        classes: the classes that may occur; None for any.
        found: how often each flaw was met.
    """

    def __init__(self, fix: bool = False, classes: Collection[str] | None = None):
        self.fix, self.classes = fix, classes
        self.found: Counter[str] = Counter()
        self._numbers: dict[tuple[str, ...], int] = {}
        self._labelled: dict[int, int] = {}  # by the hash of an address, so that a million images take 100 MB at most

    def knows(self, name: str) -> bool:
        """Return whether a class may occur."""
        return self.classes is None or name in self.classes

    def unknown(self, name: str) -> str:
        """Return what is wrong with a class that may not occur."""
        return f"the class '{name}', which the training data does not have; {nearest(name, self.classes or ())}"

    def same_as_before(self, url: str, names: Collection[str], hint: str = "") -> None:
        """Remember an image's classes.

        Raises:
            UserError: the image had others in a record before; the line ends with the hint.
        """
        number = self._numbers.setdefault(tuple(sorted(names)), len(self._numbers))
        if self._labelled.setdefault(hash(url), number) != number:
            raise UserError(f"the image has other classes in a record before: {storage.redact(url)}{hint}")

    def same_size(self, url: str, annotated: Size, size: Size) -> None:
        """Compare the size in pixels that an image is annotated with to its own.

        Raises:
            UserError: they differ, and nothing is mended.
        """
        if annotated != size and not self.fix:
            turned = " before its EXIF orientation turns it" if annotated == size[::-1] else ""
            raise UserError(
                f"the image is annotated as {annotated[0]} x {annotated[1]} pixels{turned}, and is {size[0]} x "
                f"{size[1]}: {storage.redact(url)}"
            )


class Label(ABC):
    """What a record says of its image.

    Attributes:
        kind: the name of the kind, as ``tasks.Task.label`` has it.
        title: what an image is given, for error lines: ``one class an image``.
        counted: what a summary calls the number of them: ``labels`` or ``boxes``.
        counts: the flaws that a summary counts.
        flaws: the kind's rows of the flaw table.
        says_missing: whether it is worth a line that a set to score on has no image of a class.
    """

    __slots__ = ()
    kind: ClassVar[str]
    title: ClassVar[str]
    counted: ClassVar[str] = "labels"
    counts: ClassVar[tuple[str, ...]]
    flaws: ClassVar[tuple[Flaw, ...]]
    says_missing: ClassVar[bool] = True

    @classmethod
    def task(cls) -> str:
        """Return the name of the task whose records have labels of this kind."""
        return task_of(cls.kind)

    @classmethod
    @abstractmethod
    def of_json(cls, value: Any) -> Self:
        """Return the label that a JSON value from anywhere is, by Azure's schema; None where there is no label.

        Raises:
            UserError: the value is of another kind, or wrong.
        """

    @abstractmethod
    def to_json(self) -> Any:
        """Return the label as records have it in JSON."""

    @classmethod
    @abstractmethod
    def restored(cls, value: Any) -> Self:
        """Return the label that :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it never wrote that.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Return the class of each thing that is labelled, so that one may occur more than once."""

    @abstractmethod
    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label as it is kept.

        Args:
            url: the image's address.
            annotated: the width and height that the image is annotated with, in pixels.
            size: those that it has.
            rules: what the label is checked against; what is found is counted there.

        Raises:
            UserError: a flaw is refused.
        """

    @classmethod
    @abstractmethod
    def check_training(cls, classes: Collection[str]) -> None:
        """Refuse the classes of a training set from which nothing can be learnt.

        Raises:
            UserError: they are too few.
        """
