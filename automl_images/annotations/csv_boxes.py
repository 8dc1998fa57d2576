"""CSV of boxes: a row a box, as TensorFlow, Roboflow and keras-retinanet write it.

Columns are the image (``filename``, ``image``, ``image_path``, ...), the class (``class``, ``label``, ...) and
``xmin``, ``ymin``, ``xmax``, ``ymax`` (or ``x1``, ...), in pixels, or as fractions where no number is above 1 and some
are no whole numbers; ``width`` and ``height`` are the image's. A file of six fields a row without a header is read as
image, x1, y1, x2, y2, class. A row with an image alone is an image with nothing on it.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from automl_images import storage
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.labels import Box, Boxes
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, number, pixels
from automl_images.errors import UserError

IMAGE = ("filename", "image", "image_path", "image_url", "path", "file", "image_name", "img_path")
LABEL = ("class", "label", "class_name", "category", "name", "labels")
CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("x_min", "y_min", "x_max", "y_max"))
_PLAIN = ("image", "x1", "y1", "x2", "y2", "class")
_ENDS = ",;\t"


class Columns(NamedTuple):
    """Where the fields of a row are, by their places from 0; -1: there is no such column."""

    image: int
    label: int
    corners: tuple[int, ...]
    width: int
    height: int
    fields: int
    end: str
    header: bool


def columns_of(line: str) -> Columns | None:
    """Return where the fields are, by the first line of a file; None where it is not of boxes.

    Raises:
        UserError: two columns may be the image's, or the class's.
    """
    for end in _ENDS:
        fields = [field.strip().strip('"').strip() for field in line.split(end)]
        names = [field.lower() for field in fields]
        corners = next((found for found in CORNERS if set(found) <= set(names)), None)
        if corners and any(name in IMAGE for name in names) and any(name in LABEL for name in names):
            image, label = (_one(names, known) for known in (IMAGE, LABEL))
            width, height = (names.index(name) if name in names else -1 for name in ("width", "height"))
            return Columns(image, label, tuple(map(names.index, corners)), width, height, len(names), end, True)
        if len(fields) == 6 and is_image(fields[0]) and (not any(fields[1:]) or all(map(_is_number, fields[1:5]))):
            return Columns(0, 5, (1, 2, 3, 4), -1, -1, 6, end, False)
    return None


def _one(names: Sequence[str], known: Sequence[str]) -> int:
    found = [i for i, name in enumerate(names) if name in known]
    if len(found) > 1:
        raise UserError(f"the columns '{names[found[0]]}' and '{names[found[1]]}' compete; it needs one")
    return found[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read(source: Source, file: str, columns: Columns, broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the order in which the file names them first; the whole file is held in memory."""
    place = storage.redact(file)
    try:
        text = io.StringIO(storage.read_bytes(file).decode("utf-8-sig"), newline="")
        table = csv.reader(text, strict=True, delimiter=columns.end, skipinitialspace=True)
        rows = [(table.line_num, [field.strip() for field in row]) for row in table if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{place}: is no CSV in UTF-8: {error}") from None
    images: dict[str, list[tuple[int, list[str]]]] = {}
    for line, row in rows[columns.header :]:
        if len(row) != columns.fields:
            broken(UserError(f"{place}, line {line}: has {len(row)} fields, and the first line has {columns.fields}"))
        else:
            images.setdefault(row[columns.image], []).append((line, row))
    numbers = [
        float(row[i]) for found in images.values() for _, row in found for i in columns.corners if _is_number(row[i])
    ]
    fractions = any(v % 1 for v in numbers) and all(-1 <= v <= 1 for v in numbers)
    if fractions:
        print(f"{place}: no number of its boxes is above 1: they are read as fractions", file=sys.stderr)
    if not columns.header:
        print(f"{place}: has no header: its columns are read as {', '.join(_PLAIN)}", file=sys.stderr)
    places = source.places(file)

    def record(item: tuple[str, list[tuple[int, list[str]]]], where: str) -> Record:
        name, found = item
        url = source.image(name, "image", places)
        with labelling(url):
            width, height = _size(found, columns)
            if (width is None or height is None) and not fractions:
                width, height = size_of(url, width, height)
            size = (1, 1) if fractions else (width or 1, height or 1)
            boxes = []
            for line, row in found:
                try:
                    boxes += _box(row, columns, *size)
                except UserError as error:
                    raise UserError(f"line {line}: {error}") from None
            return Record(url, Boxes(tuple(boxes)), width, height, None, where)

    yield from records_of(((f"{place}, line {found[0][0]}", (n, found)) for n, found in images.items()), record, broken)


def _size(rows: Iterable[tuple[int, list[str]]], columns: Columns) -> tuple[int | None, int | None]:
    if min(columns.width, columns.height) < 0:
        return None, None
    sizes = {(pixels(row[columns.width], "width"), pixels(row[columns.height], "height")) for _, row in rows}
    if len(sizes) > 1:
        raise UserError("its rows give it several sizes")
    return sizes.pop()


def _box(row: Sequence[str], columns: Columns, width: int, height: int) -> list[Box]:
    values = [row[i] for i in columns.corners]
    if not any(values) and not row[columns.label]:
        return []
    names = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (number(value or None, name) for value, name in zip(values, names, strict=True))
    name = class_name(row[columns.label] or None, "class")
    return [Box(name, left / width, top / height, right / width, bottom / height)]
