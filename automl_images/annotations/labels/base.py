"""What every kind of label has, and what labels are checked against."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Self

from automl_images import storage
from automl_images.annotations.findings import Findings
from automl_images.annotations.values import FlawError
from automl_images.errors import UserError, nearest
from automl_images.tasks import TASKS

Size = tuple[int, int]
Flaw = tuple[str, str, str, str]  # what is wrong, and what comes of it under fail, skip and fix
SIZE = "an image of another size than annotated"
EXCHANGED = "an image annotated with its width and height exchanged"
UNKNOWN = "a class that training does not have"
SEVERAL = "an image in several records"
SAME, OTHER = "an image once more, with the same label", "an image once more, with another label"
CONTRADICTED = "the bytes of another image, with another label"
CROWD = "a set in which every object is crowd"
UNSCORED = "a class without an image to score on"
ONCE: tuple[Flaw, ...] = (  # of kinds of which an image has one
    (SIZE, "its own taken", "its own taken", "its own taken"),
    (UNKNOWN, "refused", "image left out", "image left out"),
    (SAME, "counted once", "counted once", "counted once"),
    (OTHER, "refused", "image left out", "image left out"),
    (CONTRADICTED, "kept", "kept", "kept"),
    (UNSCORED, "said", "said", "said"),
)
MANY: tuple[Flaw, ...] = (  # of kinds of which an image has any number, in places
    (SIZE, "refused", "image left out", "its own taken"),
    (EXCHANGED, "refused", "image left out", "image left out"),
    (UNKNOWN, "refused", "image left out", "dropped"),
    (SEVERAL, "joined", "joined", "joined"),
    (CROWD, "kept", "kept", "taken as objects"),
)


class Rules:
    """What the labels of one set are checked against, and in ``found`` how often each flaw was met.

    With ``fix`` what would be refused is mended; only ``classes`` may occur, unless they are None. Of the record at
    hand, ``where`` is its place, ``turned`` says whether the EXIF orientation of its image exchanges width and height,
    and ``read`` is what its label's ``read`` returned.
    """

    def __init__(self, fix: bool, classes: Collection[str] | None, findings: Findings):
        self.fix, self.classes, self.findings = fix, classes, findings
        self.found: Counter[str] = Counter()
        self.where, self.turned = "", False
        self.read: Any = None

    def add(self, flaw: str, text: str = "") -> None:
        """Count a flaw of the record at hand that is not refused."""
        self.findings.add(flaw, f"{self.where}: {text}" if text else self.where)

    def knows(self, name: str) -> bool:
        """Return whether a class may occur."""
        return self.classes is None or name in self.classes

    def unknown(self, name: str, what: str = "") -> FlawError:
        """Return the error of a class that may not occur, which ``what`` has."""
        has = f"{what} has".strip()
        near = nearest(name, self.classes or ())
        return FlawError(f"{has} the class '{name}', which the training data does not have; {near}", UNKNOWN)

    def check_same_size(self, url: str, annotated: Size, size: Size) -> None:
        """Refuse an image whose size (pixels) is not the annotated one, unless its own can be taken.

        Raises:
            UserError: that is not to be mended, or width and height are exchanged: nothing tells which of the two the
                places are counted in.
        """
        if annotated == size:
            return
        exchanged = annotated == size[::-1]
        turned = " before its EXIF orientation turns it" if self.turned and exchanged else ""
        text = f"is annotated as {annotated[0]} x {annotated[1]} pixels{turned}, and is {size[0]} x {size[1]}"
        if exchanged and not turned:
            text += " (width and height are exchanged)"
        if exchanged or not self.fix:
            raise FlawError(f"the image {text}: {storage.redact(url)}", EXCHANGED if exchanged else SIZE)


class Label(ABC):
    """What a record says of its image.

    Attributes:
        kind: the name of the kind, as ``tasks.Task.label`` has it.
        title: what an image is given, for error lines: ``one class an image``.
        counted: what a summary calls the number of them: ``labels`` or ``boxes``.
        counts: the flaws that a summary counts.
        flaws: the kind's rows of the flaw table.
        other: what an image has in another record that does not agree.
        hint: what to do then.
        least: how many classes training needs.
        scored_if_any: whether metrics are undefined on a set in which no image has anything labelled.
        has_files: whether it names files of its own, which may lie outside the source.
        says_missing: whether it is worth a line that a set to score on has no image of a class.
    """

    __slots__ = ()
    kind: ClassVar[str]
    title: ClassVar[str]
    counted: ClassVar[str] = "labels"
    counts: ClassVar[tuple[str, ...]]
    flaws: ClassVar[tuple[Flaw, ...]]
    other: ClassVar[str] = "other classes"
    hint: ClassVar[str] = ""
    least: ClassVar[int] = 0
    says_missing: ClassVar[bool] = True
    has_files: ClassVar[bool] = False
    scored_if_any: ClassVar[bool] = False

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
    def restored(cls, value: Any) -> Self:
        """Return the label that :meth:`to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it never wrote that.
        """
        try:
            label = cls.of_json(value)
        except UserError as error:
            raise ValueError(value) from error
        if label.to_json() != value:
            raise ValueError(value)
        return label

    @abstractmethod
    def names(self) -> list[str]:
        """Return the class of each thing that is labelled, so that one may occur more than once."""

    def known(self) -> list[str]:
        """Return the classes that the label knows of, whether they occur or not."""
        return self.names()

    def key(self) -> tuple[str, ...]:
        """Return what is equal where two records say the same of an image."""
        return tuple(sorted(self.names()))

    def placed(self, find: Callable[[str], str]) -> Self:
        """Return the label with the addresses that it names, such as a mask's, as ``find`` resolves them."""
        return self

    def read(self) -> Any:
        """Return what checking the label takes from files, None where it takes nothing; many are read in parallel.

        Raises:
            UserError: a file is missing or does not open.
        """
        return None

    def crowds(self) -> int:
        """Return how many of the things that are labelled are crowd."""
        return 0

    def as_objects(self) -> Self:
        """Return the label with nothing taken as crowd."""
        return self

    @abstractmethod
    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label as it is kept, by ``rules``, where what is found is counted.

        The image at ``url`` is ``annotated`` with a width and height in pixels, and has ``size``.

        Raises:
            UserError: a flaw is refused.
        """

    @classmethod
    def joined(cls, labels: Sequence[Self], rules: Rules) -> Self | None:
        """Return the label of an image in several records, and count what they repeat; None: they must agree."""
        return None

    @classmethod
    def check_training(cls, classes: Collection[str]) -> None:
        """Refuse a training set with fewer classes than it needs; say it where one alone is enough.

        Raises:
            UserError: there are fewer than ``least``.
        """
        only = f"the training data has one class alone, '{next(iter(classes))}'" if classes else ""
        if len(classes) < cls.least:
            needs = ("one class", "two classes")[cls.least - 1]
            raise UserError(f"{only or 'the training data has no class'}; {cls.task()} needs at least {needs}")
        if len(classes) == cls.least == 1:
            print(f"{only}: each image is trained and scored on having it or not", file=sys.stderr)


def task_of(kind: str) -> str:
    """Return the name of the task whose records have labels of a kind, such as ``boxes``."""
    return next(task.name for task in TASKS.values() if task.label == kind)
