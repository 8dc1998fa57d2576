"""The file of records that ``convert`` and ``split`` write and all later steps read: JSON lines in Azure's schema.

It is written strictly, with absolute addresses, and read back fast. JSON lines from elsewhere are read by
:mod:`automl_images.annotations.formats.jsonl`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from automl_images import storage, store
from automl_images.annotations.labels import Box, Boxes, Polygons, kind_of, restored
from automl_images.annotations.lines import opened
from automl_images.annotations.records import Record, metadata_of
from automl_images.errors import UserError

_ENCODE, _DECODE = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
_EXPONENT = re.compile(rb"e(?<=\de)[-\d]")


def line_of(record: Record) -> str:
    """Return a record as one line of JSON, with the line's end."""
    details = (("format", record.format), ("width", record.width), ("height", record.height), ("digest", record.digest))
    known = {key: value for key, value in details if value is not None}
    item = {"image_url": record.image_url, **({"image_details": known} if known else {})}
    if record.metadata:
        item["metadata"] = record.metadata
    if isinstance(record.label, Polygons):  # without blanks, and several times as fast
        return _ENCODE(item | {"label": record.label.to_json()}).decode() + "\n"
    fast = _line(item, record.label.boxes) if isinstance(record.label, Boxes) else None
    return fast or json.dumps(item | {"label": record.label.to_json()}, ensure_ascii=False) + "\n"


def _line(item: dict[str, Any], boxes: Sequence[Box]) -> str | None:
    """Return a line of boxes as json.dumps writes it, in a third of the time; None where its numbers may differ."""
    line = msgspec.json.format(_ENCODE(item | {"label": boxes}), indent=0)
    line = line.replace(b', "area": null', b"").replace(b'"isCrowd": false', b'"isCrowd": 0')
    if any(box.isCrowd for box in boxes):
        line = line.replace(b'"isCrowd": true', b'"isCrowd": 1')
    # numbers that Python writes with exponents, or that are not finite
    if b"0.0000" in line or _EXPONENT.search(line) or b": null" in line:
        return None
    return line.decode() + "\n"


def write(records: Iterable[Record], url: str) -> int:
    """Write records to a file and return how many; the file is replaced whole, when all is written."""
    with replacing(url) as fresh:
        return write_here(records, fresh)


def write_here(records: Iterable[Record], path: Path) -> int:
    """Write records to a local file that is not there yet, and return how many."""
    with path.open("x", encoding="utf-8", newline="\n") as file:
        return sum(bool(file.write(line_of(record))) for record in records)


@contextlib.contextmanager
def replacing(url: str) -> Iterator[Path]:
    """Yield the path of a file to write, which takes the place of ``url`` when the block ends well, and only then."""
    target = storage.local_path(url) if storage.is_local(url) else None
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=target and target.parent) as folder:
        fresh = Path(folder, "records.jsonl")
        yield fresh
        if target:
            fresh.replace(target)
        else:
            fs, path = store.filesystem(url)
            fs.put_file(str(fresh), path)


def is_same(first: str, second: str) -> bool:
    """Return whether two addresses are of one file, through whatever links."""
    one, other = (os.path.realpath(storage.absolute(a)) if storage.is_local(a) else a for a in (first, second))
    return one == other


def read_records(url: str, kind: str | None = None) -> Iterator[Record]:
    """Yield the records of a file that ``convert`` or ``split`` wrote; its image addresses are absolute.

    ``kind`` is the kind of label that they must have, such as ``boxes``. None: any, told line by line, where the label
    of an image with nothing on it is of any kind that may be empty.

    Raises:
        UserError: there is no such kind or file, a line is not as ``convert`` writes it, or its label is of another
            kind.
    """
    label_of = restored if kind is None else kind_of(kind).restored
    task = f" --task {kind_of(kind).task()}" if kind else ""
    shown = storage.redact(url)
    with opened(url) as lines:
        for count, line in enumerate(lines, 1):
            where = f"{shown}, line {count}"
            try:
                item = _DECODE(line)
                details = item.get("image_details") or {}
                image, label = item["image_url"], label_of(item["label"])
                if not (image.startswith("/") or "://" in image):
                    raise ValueError(image)
            except (ValueError, KeyError, TypeError, AttributeError):  # msgspec's errors are ValueErrors
                raise UserError(f"{where}: is not as `automl-images convert{task}` writes; convert first") from None
            width, height, format = (details.get(name) for name in ("width", "height", "format"))
            metadata = metadata_of(item["metadata"]) if "metadata" in item else None
            yield Record(image, label, width, height, format, where, details.get("digest"), metadata)
