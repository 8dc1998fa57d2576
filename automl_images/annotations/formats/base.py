"""What every format of annotations has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from automl_images.annotations.labels import Label
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken


@dataclass(frozen=True)
class Written:
    """What a format's ``write`` has written.

    Attributes:
        images: how many.
        lost: what the records have and the format cannot hold, and how often: ``{"isCrowd": 3}``.
    """

    images: int
    lost: Mapping[str, int] = field(default_factory=dict)


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
        write: writes records of one of ``kinds`` to a file, or into a folder that is empty or not there (``folder``),
            and says what the format cannot hold; None: the format is only read. What is written names images by their
            addresses, relative to it where they lie below it.
        folder: whether ``write`` makes a folder, not a file.
        beside: the files that ``write`` makes beside its file, or keeps to where they are there already.
        fits: whether one of the candidates may hold labels of a kind, where not each holds all of ``kinds``.
        before: formats whose files are this one's where both may claim them.
        last: whether it gives way to any other format that a source may be in.
    """

    name: str
    title: str
    kinds: Sequence[type[Label]]
    candidates: Callable[[Source], list[str]]
    read: Callable[[Source, type[Label], Broken], Iterator[Record]]
    write: Callable[[Iterable[Record], str, type[Label]], Written] | None = None
    folder: bool = False
    beside: Sequence[str] = ()
    before: Sequence[str] = ()
    last: bool = False
    fits: Callable[[str, type[Label]], bool] | None = None

    def found(self, source: Source, kind: type[Label]) -> list[str]:
        """Return the files in a source that may hold labels of a kind in the format; a file that is named is one."""
        files = self.candidates(source)
        return files if self.fits is None or not source.is_folder else [file for file in files if self.fits(file, kind)]
