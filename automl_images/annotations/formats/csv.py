"""CSV with a header: a column of images and a column of classes.

The image's column is called ``image``, ``filename``, ``image_url`` or ``path``, the classes' ``label`` or ``labels``,
in any case; the others of a file of classes are the images' metadata. Fields end at a comma, or at a semicolon or tab
where the header does.

Several classes of one image are separated by ``|``, or are a list, ``['cat', 'dog']``; an empty field is none of them.
A file without either may separate them by ``;``, a comma or blanks: that is found from all its fields, and said. Where
every class is a whole number, as ``1``, ``1.0`` and ``1.000000`` are, they are class ids, which are read as "1".

Boxes have a row each; see :mod:`automl_images.annotations.csv_boxes`.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from automl_images import storage
from automl_images.annotations import csv_boxes
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Boxes, Classes, Label, OneClass
from automl_images.annotations.lines import first_line, opened
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_list, class_name
from automl_images.errors import UserError

IMAGE = ("image", "filename", "image_url", "path")
LABEL = ("label", "labels")
_ENDS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_SEPARATORS = {"|": "a |", ";": "a semicolon", ",": "a comma"}
_WORD = re.compile(r"[\w.+-]+")
_ID = re.compile(r"[0-9]+(\.0*)?")


def candidates(source: Source) -> list[str]:
    """Return the ``.csv`` file that a source is, or those it holds, at any depth, with a header that fits."""
    found = source.files(".csv")
    return [file for file in found if _fits(first_line(file))] if source.is_folder else found


def _fits(line: str, kind: type[Label] | None = None) -> bool:
    """Return whether a header is of a kind of label, or of any."""
    try:
        boxes = csv_boxes.columns_of(line) is not None
    except UserError:  # which reading the file says
        return True
    return boxes if kind is Boxes else (boxes and kind is None) or (_end(line) is not None and not boxes)


def _end(line: str) -> str | None:
    """Return what ends the fields of a header, if it has the columns."""
    for end in _ENDS:
        names = {name.strip().strip('"').strip().lower() for name in line.split(end)}
        if not names.isdisjoint(IMAGE) and not names.isdisjoint(LABEL):
            return end
    return None


class _Table(NamedTuple):
    """A CSV file past its header: (place, fields or the error that stands for them), and where its columns are."""

    rows: Iterator[tuple[str, Any]]
    width: int
    image: int
    label: int
    end: str
    others: list[tuple[str, int]]

    def holds(self, row: Any) -> bool:
        """Return whether a row has as many fields as the header."""
        return isinstance(row, list) and len(row) == self.width


@contextlib.contextmanager
def _table(file: str) -> Iterator[_Table]:
    """Open a CSV file.

    Raises:
        UserError: it has no header, or one without the columns, or as :func:`opened`.
    """
    shown, end = storage.redact(file), _end(first_line(file)) or ","
    with opened(file) as lines:
        rows = _rows(csv.reader(lines, strict=True, delimiter=end, skipinitialspace=True), shown)
        where, header = next(rows, (shown, None))
        if header is None:
            raise UserError(f"{shown}: is empty; it needs a header with the columns image and label")
        if isinstance(header, csv.Error):
            raise UserError(f"{where}: is not CSV: {header}")
        image, label = (_column(header, known, where) for known in (IMAGE, LABEL))
        others = [(name, i) for i, field in enumerate(header) if i not in (image, label) and (name := field.strip())]
        if len({name for name, _ in others}) < len(others):
            others = []  # of two columns of one name neither is meant
        yield _Table(rows, len(header), image, label, end, others)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record a row; the file is read twice."""
    files = candidates(source) if source.is_folder else [source.url]
    file = source.only(files, "labels (.csv with the columns image and label)")
    places, shown = source.places(file), storage.redact(file)
    try:
        boxes = csv_boxes.columns_of(first_line(file))
    except UserError as error:
        raise UserError(f"{shown}, line 1: {error}") from None
    if kind is Boxes:
        if boxes is None:
            raise UserError(f"{shown}: has no boxes; they need the columns filename, class, xmin, ymin, xmax and ymax")
        yield from csv_boxes.read(source, file, boxes, broken)
        return
    if boxes:
        raise UserError(f"{shown}: has a box a row; use task {Boxes.task()}")
    with _table(file) as table:
        labels = _Labels((row[table.label] for _, row in table.rows if table.holds(row)), kind is Classes, shown)
        if table.end != ",":
            print(f"{shown}: its fields are taken to end at {_ENDS[table.end]}", file=sys.stderr)
    label_of = labels.several if kind is Classes else labels.one
    with _table(file) as table:

        def record(row: list[str] | csv.Error, where: str) -> Record:
            if isinstance(row, csv.Error):
                raise UserError(f"is not CSV: {row}")
            if not table.holds(row):
                how = f"quote a field that has {_ENDS[table.end]}"
                raise UserError(f"has {len(row)} fields, and the header has {table.width}; {how}")
            url = source.image(row[table.image].strip(), "image", places)
            with labelling(url):
                known = {name: text for name, i in table.others if (text := row[i].strip())}
                return Record(url, label_of(row[table.label].strip()), where=where, metadata=known or None)

        yield from records_of(table.rows, record, broken)


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


def _column(header: list[str], known: tuple[str, ...], where: str) -> int:
    """Return the place of the one column that has a known name."""
    fitting = [i for i, name in enumerate(header) if name.strip().lower() in known]
    if len(fitting) != 1:
        several = " and ".join(f"'{header[i]}'" for i in fitting)
        held = f"the columns {several} compete" if fitting else f"no column is called {' or '.join(known)}"
        raise UserError(f"{where}: in the header '{','.join(header)[:80]}' {held}; it needs one")
    return fitting[0]


class _Labels:
    """How the fields of a file's classes are read: by what separates classes, and whether all are class ids."""

    def __init__(self, fields: Iterable[str], several: bool, shown: str):
        distinct = {field.strip() for field in fields} - {""}
        plain = {field for field in distinct if _listed(field) is None}
        self.separator: str | None = "|"
        if several:
            self.separator = next((s for s in _SEPARATORS if any(s in field for field in plain)), "|")
            if self.separator != "|":
                what = f"classes are taken to be separated by {_SEPARATORS[self.separator]}"
                print(f"{shown}: {what}, as there is no |", file=sys.stderr)
            elif plain == distinct and not any("|" in field for field in plain):
                self.separator = _blank(plain, shown)
        names = {name.strip() for field in distinct for name in (self._split(field) if several else [field])}
        self.ids = all(_ID.fullmatch(name) for name in names)

    def one(self, field: str) -> OneClass:
        """Return the label of a field of one class."""
        found = _listed(field)
        if (found is None and "|" in field) or len(found or ()) > 1:
            raise UserError(
                f"label: '{field[:60]}' is several classes, and {OneClass.task()} takes one; use task {Classes.task()}"
            )
        return OneClass(self._name(field if found is None else "".join(found), "label"))

    def several(self, field: str) -> Classes:
        """Return the label of a field of any number of classes."""
        names = [self._name(name, f"label {i}") for i, name in enumerate(self._split(field), 1)] if field else []
        return Classes(class_list(names))

    def _split(self, field: str) -> list[str]:
        listed = _listed(field)
        return field.split(self.separator) if listed is None else listed

    def _name(self, text: str, what: str) -> str:
        name = class_name(text, what)
        return name.partition(".")[0] if self.ids else name


def _listed(field: str) -> list[str] | None:
    """Return the classes of a field that is a list of Python or JSON; None for another."""
    if not (field.startswith("[") and field.endswith("]")):
        return None
    try:
        found = ast.literal_eval(field)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    names = found if isinstance(found, list) else [None]
    return [str(name) for name in names] if all(isinstance(name, str | int | float) for name in names) else None


def _blank(fields: set[str], shown: str) -> str | None:
    """Return None, which separates at blanks, where fields are made of words that occur in others too; else ``|``.

    Raises:
        UserError: some words occur in others, and some do not.
    """
    worded = [field for field in sorted(fields) if len(field.split()) > 1]
    count = Counter(word for field in fields for word in set(field.split()))
    words = {word for field in worded for word in field.split()}
    shared = {word for word in words if count[word] > 1}
    if not worded:
        return "|"
    if shared and shared != words:
        how = "separate classes by |, or write a list such as ['cat', 'dog']"
        raise UserError(f"{shown}: the label '{worded[0][:60]}' may be one class or several; {how}")
    taken = "classes are taken to be separated by blanks" if shared else f"'{worded[0][:60]}' is taken as one class"
    print(f"{shown}: {taken}, as there is no |", file=sys.stderr)
    return None if shared else "|"


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write the columns image and label, a row an image; for boxes TensorFlow's, a row a box.

    Several classes are separated by ``|``, or are a list where a name is not one word; of boxes ``isCrowd`` and
    ``area`` are lost.

    Raises:
        UserError: a record of boxes has no size.
    """
    folder, lost = folder_of(url), Counter[str]()
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    boxes = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    table.writerow(boxes if kind is Boxes else ["image", "label"])
    images = 0
    for record in records:
        name, label = written_name(record.image_url, folder), record.label
        if isinstance(label, Boxes):
            table.writerows(_rows_of(record, name, lost))
        else:
            names = label.names()
            plain = kind is OneClass and not names[0].startswith("[") and "|" not in names[0]
            plain = plain or all(map(_WORD.fullmatch, names))
            table.writerow([name, "|".join(names) if plain else json.dumps(names, ensure_ascii=False)])
        images += 1
    storage.write(url, text.getvalue())
    return Written(images, dict(lost))


def _rows_of(record: Record, name: str, lost: Counter[str]) -> Iterator[list[Any]]:
    width, height = record.width, record.height
    if not width or not height:
        raise UserError(f"{record.where}: has no size, which boxes in pixels need; convert the annotations first")
    if not record.label.boxes:
        yield [name, width, height, "", "", "", "", ""]
    for box in record.label.boxes:
        lost.update(["isCrowd"] * box.isCrowd + ["area"] * (box.area is not None))
        corners = (box.topX * width, box.topY * height, box.bottomX * width, box.bottomY * height)
        yield [name, width, height, box.label, *(int(v) if v == int(v) else v for v in corners)]


FORMAT = Format(
    "csv",
    "CSV with the columns image and label (.csv)",
    (OneClass, Classes, Boxes),
    candidates,
    read,
    write,
    fits=lambda file, kind: _fits(first_line(file), kind),
)
