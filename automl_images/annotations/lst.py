"""SageMaker's ``.lst``: tab-separated lines of an index, the classes, and the image's path.

One class: ``index  class-id  path``. Several: ``index  y0  y1 ... path``, with a 1 for each class that the image has.
Class ids count from 0 and become the names "0", "1", ...; a ``classes.txt`` beside the file names them line by line.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.annotations.labels import class_name, task_of
from automl_images.annotations.records import Record
from automl_images.annotations.sources import files, lines_of, parsed, the_only
from automl_images.annotations.values import Broken, number, refuse
from automl_images.errors import UserError

NAMES = "classes.txt"


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the ``.lst`` files that ``source`` is or holds, at any depth; ``listed`` as for ``sources.files``."""
    return files(source, (".lst",), listed)


def read(source: str, images: str | None = None, broken: Broken = refuse, *, label: str = "class") -> Iterator[Record]:
    """Yield the records of a ``.lst`` file, line by line.

    An image is looked for beside the file, in the image root, in ``images`` below it, and then by its path's end
    anywhere below the root, if only one fits.

    Args:
        source: the file, or a folder that holds one; local or any fsspec URL.
        images: the image root (SageMaker's image channel; default: the folder of the source), or ``PREFIX=URL``.
        broken: is called with the error of each line that cannot be read; the default raises it.
        label: the task's kind of label: ``class`` or ``classes``.

    Raises:
        UserError: there is no such file, ``classes.txt`` is wrong, or, by ``broken``, a line is not usable.
    """
    folder = source if storage.is_dir(source) else folder_of(source)
    file = the_only(candidates(source), source, "list (.lst)")
    root = ImageRoot(folder, images)
    beside = "" if root.given else posixpath.relpath(folder_of(file), storage.absolute(folder))
    names = _names(storage.join(folder_of(file), NAMES))
    columns = len(names) if names and label == "classes" else 0

    def record(line: str, count: int, where: str) -> Record:
        nonlocal columns
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < 3:
            raise UserError(f"has {len(fields)} columns; it needs index, class and path, separated by tabs")
        _whole(fields[0], "the index")
        if not fields[-1]:
            raise UserError("has no path in its last column")
        values = fields[1:-1]
        found: str | list[str]
        if label == "class":
            if len(values) > 1:
                raise UserError(
                    f"has {len(values)} columns of classes, and {task_of(label)} takes one; use task "
                    f"{task_of('classes')}"
                )
            found = _name(_whole(values[0], "the class id"), names)
        else:
            if len(values) == 1:
                raise UserError(
                    f"has one column of classes, which is a class id, and {task_of(label)} takes a column of 0 or 1 "
                    f"for each class; use task {task_of('class')}"
                )
            if columns and len(values) != columns:
                raise UserError(
                    f"has {len(values)} columns of classes, and "
                    + (f"{NAMES} has {columns} names" if names else f"the lines before have {columns}")
                )
            found = [_name(i, names) for i, value in enumerate(values) if _hot(value, i)]
            columns = len(values)
        return Record(root.find(fields[-1], [beside, "", "images"]), found, where=where)

    return parsed(file, record, broken)


def _whole(text: str, what: str) -> int:
    """Return a count from 0, as ``3`` or, as MXNet's im2rec writes, ``3.000000``."""
    found = number(text, what)
    if found < 0 or found != int(found):
        raise UserError(f"{what} is {text!r}, which is not a whole number from 0")
    return int(found)


def _hot(text: str, index: int) -> bool:
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
    said = storage.redact(file)
    names: list[str] = []
    for count, line in lines_of(file):
        if count != len(names) + 1:
            raise UserError(f"{said}, line {len(names) + 1}: is empty; each line names the class of its id")
        names.append(class_name(line, f"{said}, line {count}:"))
        if names[-1] in names[:-1]:
            raise UserError(
                f"{said}, line {count}: the name '{names[-1]}' stands on line {names.index(names[-1]) + 1} too"
            )
    if not names:
        raise UserError(f"{said}: is empty; write a class name a line, or remove it")
    return names
