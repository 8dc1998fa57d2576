"""CSV with a header: a column of images and a column of classes.

The image's column is called ``image``, ``filename``, ``image_url`` or ``path``, the classes' ``label`` or ``labels``,
in any case; others are ignored. Several classes of one image are separated by ``|``; an empty field is none of them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any

from automl_images import storage
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Classes, Label, OneClass
from automl_images.annotations.lines import first_line, opened
from automl_images.annotations.records import Record, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_list, class_name
from automl_images.errors import UserError

IMAGE = ("image", "filename", "image_url", "path")
LABEL = ("label", "labels")


def candidates(source: Source) -> list[str]:
    """Return the ``.csv`` file that a source is, or those it holds, at any depth, with a header that fits."""
    found = source.files(".csv")
    return [file for file in found if _fits(first_line(file))] if source.is_folder else found


def _fits(line: str) -> bool:
    names = {name.strip().strip('"').strip().lower() for name in line.split(",")}
    return not names.isdisjoint(IMAGE) and not names.isdisjoint(LABEL)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record a row."""
    file = source.only(candidates(source), "labels (.csv with the columns image and label)")
    shown, places, label_of = storage.redact(file), source.places(file), _LABELS[kind]
    with opened(file) as lines:
        rows = _rows(csv.reader(lines, strict=True), shown)
        place, header = next(rows, (shown, None))
        if header is None:
            raise UserError(f"{shown}: is empty; it needs a header with the columns image and label")
        image, classes = (_column(header, known, place) for known in (IMAGE, LABEL))

        def record(row: list[str] | csv.Error, where: str) -> Record:
            if isinstance(row, csv.Error):
                raise UserError(f"is not CSV: {row}")
            if len(row) != len(header):
                raise UserError(
                    f"has {len(row)} fields, and the header has {len(header)}; quote a field that has a comma"
                )
            url = source.image(row[image].strip(), "image", places)
            return Record(url, label_of(row[classes]), where=where)

        yield from records_of(rows, record, broken)


def _rows(table: Any, shown: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the fields of each row that is not empty, or the error that stands for it."""
    while True:
        where = f"{shown}, line {table.line_num + 1}"
        try:
            row = next(table, None)
        except csv.Error as error:
            yield where, error
            continue
        if row is None:
            return
        if any(field.strip() for field in row):
            yield where, row


def _column(header: list[str] | csv.Error, known: tuple[str, ...], where: str) -> int:
    """Return the place of the one column that has a known name."""
    if isinstance(header, csv.Error):
        raise UserError(f"{where}: is not CSV: {header}")
    fitting = [i for i, name in enumerate(header) if name.strip().lower() in known]
    if len(fitting) != 1:
        several = " and ".join(f"'{header[i]}'" for i in fitting)
        held = f"the columns {several} compete" if fitting else f"no column is called {' or '.join(known)}"
        raise UserError(f"{where}: in the header '{','.join(header)[:80]}' {held}; it needs one")
    return fitting[0]


def _one(text: str) -> OneClass:
    if "|" in text:
        raise UserError(
            f"label: '{text.strip()[:60]}' is several classes, and {OneClass.task()} takes one; use task "
            f"{Classes.task()}"
        )
    return OneClass(class_name(text))


def _several(text: str) -> Classes:
    return Classes(class_list(text.split("|")) if text.strip() else ())


_LABELS: dict[type[Label], Callable[[str], Label]] = {OneClass: _one, Classes: _several}
FORMAT = Format("csv", "CSV with the columns image and label (.csv)", tuple(_LABELS), candidates, read)
