"""What every format of annotations has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from automl_images.annotations.labels import Label
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Attributes:
        name: what an experiment calls it.
        title: what an error line calls it.
        kinds: the kinds of label that it may hold.
        candidates: returns the files in a source that may be in the format.
        read: yields the records of a source, with labels of one of ``kinds``. It calls ``broken`` with the error of
            each record that cannot be read, and raises UserError where the source itself cannot be.
        write: writes records to a file and returns how many, or None: the format is only read.
        before: formats whose files are this one's where both may claim them.
        last: whether it gives way to any other format that a source may be in.
    """

    name: str
    title: str
    kinds: Sequence[type[Label]]
    candidates: Callable[[Source], list[str]]
    read: Callable[[Source, type[Label], Broken], Iterator[Record]]
    write: Callable[[Iterable[Record], str], int] | None = None
    before: Sequence[str] = ()
    last: bool = False
