"""CSV with a header: a column of images and a column of classes.

The image's column is called ``image``, ``filename``, ``image_url`` or ``path``, the classes' ``label`` or ``labels``,
in any case; others are ignored. Several classes of one image are separated by ``|``.
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.annotations.labels import class_list, class_name, task_of
from automl_images.annotations.records import Record
from automl_images.annotations.sources import files, first_line, opened, the_only
from automl_images.annotations.values import Broken, refuse
from automl_images.errors import UserError

IMAGE = ("image", "filename", "image_url", "path")
LABEL = ("label", "labels")


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the ``.csv`` file that ``source`` is, or those it holds, at any depth, with a header that fits.

    ``listed`` as for :func:`sources.files`.
    """
    found = files(source, (".csv",), listed)
    return found if found == [source] else [file for file in found if _fits(first_line(file))]


def _fits(line: str) -> bool:
    names = {name.strip().strip('"').strip().lower() for name in line.split(",")}
    return not names.isdisjoint(IMAGE) and not names.isdisjoint(LABEL)


def read(source: str, images: str | None = None, broken: Broken = refuse, *, label: str = "class") -> Iterator[Record]:
    """Yield one record a row.

    An image is looked for beside the file, in the image root, in ``images`` below it, and then by its path's end
    anywhere below the root, if only one fits.

    Args:
        source: the file, or a folder that holds one; local or any fsspec URL.
        images: the image root (default: the folder of the source), or ``PREFIX=URL``.
        broken: is called with the error of each row that cannot be read; the default raises it.
        label: the task's kind of label: ``class``, or ``classes``, where an empty field is an image with none.

    Raises:
        UserError: there is no such file, its header does not fit, or, by ``broken``, a row is not usable.
    """
    folder = source if storage.is_dir(source) else folder_of(source)
    file = the_only(candidates(source), source, "labels (.csv with the columns image and label)")
    root = ImageRoot(folder, images)
    beside = "" if root.given else posixpath.relpath(folder_of(file), storage.absolute(folder))
    said = storage.redact(file)
    with opened(file) as lines:
        table = csv.reader(lines, strict=True)
        width: int | None = None
        image = classes = 0
        while True:
            where = f"{said}, line {table.line_num + 1}"
            try:
                row = next(table, None)
                if row is None:
                    break
                if not any(field.strip() for field in row):
                    continue
                if width is None:
                    image, classes = _columns(row, where)
                    width = len(row)
                    continue
                if len(row) != width:
                    raise UserError(
                        f"has {len(row)} fields, and the header has {width}; quote a field that has a comma"
                    )
                if not (path := row[image].strip()):
                    raise UserError("has no image")
                found = _classes(row[classes], label)
                record = Record(root.find(path, [beside, "", "images"]), found, where=where)
            except csv.Error as error:
                broken(UserError(f"{where}: is not CSV: {error}"))
                continue
            except UserError as error:
                if width is None:
                    raise
                broken(UserError(f"{where}: {error}"))
                continue
            yield record
        if width is None:
            raise UserError(f"{said}: is empty; it needs a header with the columns image and label")


def _columns(header: list[str], where: str) -> tuple[int, int]:
    """Return the places of the image's and the classes' columns."""
    names = [name.strip().lower() for name in header]
    places = []
    for known in (IMAGE, LABEL):
        fitting = [i for i, name in enumerate(names) if name in known]
        if len(fitting) != 1:
            several = " and ".join(f"'{header[i]}'" for i in fitting)
            held = f"the columns {several} compete" if fitting else f"no column is called {' or '.join(known)}"
            raise UserError(f"{where}: in the header '{','.join(header)[:80]}' {held}; it needs one")
        places.append(fitting[0])
    return places[0], places[1]


def _classes(text: str, label: str) -> str | list[str]:
    if label == "classes":
        return class_list(text.split("|")) if text.strip() else []
    if "|" in text:
        raise UserError(
            f"label: '{text.strip()[:60]}' is several classes, and {task_of(label)} takes one; use task "
            f"{task_of('classes')}"
        )
    return class_name(text)
