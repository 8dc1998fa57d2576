"""SageMaker's ``.lst``: tab-separated lines of an index, the classes, and the image's path.

One class: ``index  class-id  path``. Several: ``index  y0  y1 ... path``, with a 1 for each class that the image has.
Class ids count from 0 and become the names "0", "1", ...; a ``classes.txt`` beside the file names them line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from automl_images import storage
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labelmaps import names_of
from automl_images.annotations.labels import Classes, Label, OneClass
from automl_images.annotations.lines import parsed
from automl_images.annotations.records import Record, labelling
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, number
from automl_images.errors import UserError

NAMES = "classes.txt"


def candidates(source: Source) -> list[str]:
    """Return the ``.lst`` files that a source is or holds, at any depth."""
    return source.files(".lst")


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a ``.lst`` file, line by line."""
    file = source.only(candidates(source), "list (.lst)") if source.is_folder else source.url
    places = source.places(file)
    labels = Labels(names_of(storage.join(folder_of(file), NAMES)))
    source.named.update(labels.names)
    label_of = labels.one if kind is OneClass else labels.several

    def record(line: str, where: str) -> Record:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 3:
            raise UserError(f"has {len(fields)} columns; it needs index, class and path, separated by tabs")
        _whole(fields[0], "the index")
        url = source.image(fields[-1], "path in its last column", places)
        with labelling(url):
            return Record(url, label_of(fields[1:-1]), where=where)

    return parsed(file, record, broken)


class Labels:
    """Labels of the columns between index and path; ``names`` are the classes' by id, or none."""

    def __init__(self, names: list[str]):
        self.names, self.columns = names, len(names)

    def one(self, values: list[str]) -> OneClass:
        """Return the label of one column."""
        if len(values) > 1:
            raise UserError(
                f"has {len(values)} columns of classes, and {OneClass.task()} takes one; use task {Classes.task()}"
            )
        return OneClass(self.name(values[0]))

    def several(self, values: list[str]) -> Classes:
        """Return the label of a column for each class."""
        if len(values) == 1:
            raise UserError(
                f"has one column of classes, which is a class id, and {Classes.task()} takes a column of 0 or 1 for "
                f"each class; use task {OneClass.task()}"
            )
        if self.columns not in (0, len(values)):
            known = f"{NAMES} has {self.columns} names" if self.names else f"the lines before have {self.columns}"
            raise UserError(f"has {len(values)} columns of classes, and {known}")
        marks = [_whole(text, f"the column of class {i}") for i, text in enumerate(values)]
        if max(marks) > 1:
            i = next(i for i, mark in enumerate(marks) if mark > 1)
            raise UserError(f"the column of class {i} is {values[i]!r}; write 0 or 1")
        self.columns = len(values)
        return Classes(tuple(self._named(i) for i, mark in enumerate(marks) if mark))

    def name(self, text: str) -> str:
        """Return the name of a class id, given as text."""
        return self._named(_whole(text, "the class id"))

    def _named(self, index: int) -> str:
        if self.names and index >= len(self.names):
            last = len(self.names) - 1
            raise UserError(f"the class id {index} has no name: {NAMES} has {last + 1} lines, for 0 to {last}")
        return self.names[index] if self.names else str(index)


def _whole(text: str, what: str) -> int:
    """Return a count from 0, as ``3`` or, as MXNet's im2rec writes, ``3.000000``."""
    found = number(text, what)
    if found < 0 or found != int(found):
        raise UserError(f"{what} is {text!r}, which is not a whole number from 0")
    return int(found)


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write a list, and ``classes.txt`` beside it; where that is there already, its ids are taken.

    Raises:
        UserError: as :func:`numbered`, or an address cannot stand between tabs.
    """
    folder = folder_of(url)
    found = [(written_name(record.image_url, folder), record.label.names(), record.where) for record in records]
    ids = numbered(url, [(labels, where) for _, labels, where in found], kind)
    lines = []
    for index, (image, labels, where) in enumerate(found):
        if image != image.strip() or any(character in image for character in "\t\r\n"):
            raise UserError(f"{where}: the address {image!a} cannot stand in a list: it has tabs, line ends or blanks")
        lines.append("\t".join([str(index), *map(str, columns(labels, ids, kind)), image]) + "\n")
    write_names(url, ids)
    storage.write(url, "".join(lines))
    return Written(len(lines))


def numbered(url: str, labels: Iterable[tuple[Sequence[str], str]], kind: type[Label]) -> dict[str, int]:
    """Return the classes' ids of a file to write: those of the ``classes.txt`` beside it, else in the names' order.

    ``labels`` has each image's classes and its place.

    Raises:
        UserError: a class is not in the ``classes.txt`` that is there, or several classes an image are of one alone.
    """
    file = storage.join(folder_of(url), NAMES)
    labels = list(labels)
    ids = {name: i for i, name in enumerate(names_of(file))}
    ids = ids or {name: i for i, name in enumerate(sorted({name for names, _ in labels for name in names}))}
    for names, where in labels:
        unknown = next((name for name in names if name not in ids), None)
        if unknown is not None:
            raise UserError(f"{where}: the class '{unknown}' is not in {storage.redact(file)}; write to another folder")
    if kind is Classes and len(ids) < 2:
        raise UserError(f"{storage.redact(url)}: one column would be read as class ids; it needs two classes")
    return ids


def columns(labels: Sequence[str], ids: dict[str, int], kind: type[Label]) -> list[int]:
    """Return the columns of an image's classes: its class's id, or a 0 or 1 for each class."""
    return [ids[labels[0]]] if kind is OneClass else [int(name in labels) for name in ids]


def write_names(url: str, ids: dict[str, int]) -> None:
    """Write the ``classes.txt`` beside a file, unless it is there."""
    file = storage.join(folder_of(url), NAMES)
    if ids and not storage.exists(file):
        storage.write(file, "".join(f"{name}\n" for name in ids))


FORMAT = Format("lst", "a list (.lst)", (OneClass, Classes), candidates, read, write, beside=(NAMES,))
