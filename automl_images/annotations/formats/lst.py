"""SageMaker's ``.lst``: tab-separated lines of an index, the classes, and the image's path.

One class: ``index  class-id  path``. Several: ``index  y0  y1 ... path``, with a 1 for each class that the image has.
Class ids count from 0 and become the names "0", "1", ...; a ``classes.txt`` beside the file names them line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automl_images import storage
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import folder_of
from automl_images.annotations.labels import Classes, Label, OneClass
from automl_images.annotations.lines import lines_of, parsed
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, number
from automl_images.errors import UserError

NAMES = "classes.txt"


def candidates(source: Source) -> list[str]:
    """Return the ``.lst`` files that a source is or holds, at any depth."""
    return source.files(".lst")


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a ``.lst`` file, line by line."""
    file = source.only(candidates(source), "list (.lst)")
    places = source.places(file)
    label_of = _LABELS[kind](_names(storage.join(folder_of(file), NAMES)))

    def record(line: str, where: str) -> Record:
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 3:
            raise UserError(f"has {len(fields)} columns; it needs index, class and path, separated by tabs")
        _whole(fields[0], "the index")
        if not fields[-1]:
            raise UserError("has no path in its last column")
        label = label_of(fields[1:-1])
        return Record(source.root.find(fields[-1], places), label, where=where)

    return parsed(file, record, broken)


def _one(names: list[str]) -> Callable[[list[str]], OneClass]:
    """Return what makes a label of the column between index and path; ``names`` are the classes' by id, or none."""

    def label_of(values: list[str]) -> OneClass:
        if len(values) > 1:
            raise UserError(
                f"has {len(values)} columns of classes, and {OneClass.task()} takes one; use task {Classes.task()}"
            )
        return OneClass(_name(_whole(values[0], "the class id"), names))

    return label_of


def _several(names: list[str]) -> Callable[[list[str]], Classes]:
    """Return what makes a label of the columns between index and path, as many in each line; ``names`` as above."""
    columns = len(names)

    def label_of(values: list[str]) -> Classes:
        nonlocal columns
        if len(values) == 1:
            raise UserError(
                f"has one column of classes, which is a class id, and {Classes.task()} takes a column of 0 or 1 for "
                f"each class; use task {OneClass.task()}"
            )
        if columns and len(values) != columns:
            raise UserError(
                f"has {len(values)} columns of classes, and "
                + (f"{NAMES} has {columns} names" if names else f"the lines before have {columns}")
            )
        label = Classes(tuple(_name(i, names) for i, value in enumerate(values) if _marked(value, i)))
        columns = len(values)
        return label

    return label_of


def _whole(text: str, what: str) -> int:
    """Return a count from 0, as ``3`` or, as MXNet's im2rec writes, ``3.000000``."""
    found = number(text, what)
    if found < 0 or found != int(found):
        raise UserError(f"{what} is {text!r}, which is not a whole number from 0")
    return int(found)


def _marked(text: str, index: int) -> bool:
    if text in ("0", "1"):
        return text == "1"
    found = _whole(text, f"the column of class {index}")
    if found > 1:
        raise UserError(f"the column of class {index} is {text!r}; write 0 or 1")
    return found == 1


def _name(index: int, names: list[str]) -> str:
    if names and index >= len(names):
        raise UserError(f"the class id {index} has no name: {NAMES} has {len(names)} lines, for 0 to {len(names) - 1}")
    return names[index] if names else str(index)


def _names(file: str) -> list[str]:
    """Return the classes' names by id, or none where there is no such file."""
    if not storage.exists(file):
        return []
    shown = storage.redact(file)
    names: list[str] = []
    for count, line in lines_of(file):
        if count != len(names) + 1:
            raise UserError(f"{shown}, line {len(names) + 1}: is empty; each line names the class of its id")
        names.append(class_name(line, f"{shown}, line {count}:"))
        if names[-1] in names[:-1]:
            raise UserError(
                f"{shown}, line {count}: the name '{names[-1]}' stands on line {names.index(names[-1]) + 1} too"
            )
    if not names:
        raise UserError(f"{shown}: is empty; write a class name a line, or remove it")
    return names


_LABELS: dict[type[Label], Callable[[list[str]], Callable[[list[str]], Label]]] = {OneClass: _one, Classes: _several}
FORMAT = Format("lst", "a list (.lst)", tuple(_LABELS), candidates, read)
