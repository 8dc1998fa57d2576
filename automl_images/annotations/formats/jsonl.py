"""JSON lines in Azure's schema, from anywhere: read leniently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from automl_images import storage
from automl_images.annotations import record_file
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.labels import KINDS, Label
from automl_images.annotations.lines import json_object, lines_of
from automl_images.annotations.records import Record, labelling, metadata_of, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, pixels

SUFFIXES = (".jsonl", ".ndjson")
_MOST_LINES = 100_000  # of one object; a brace that nothing closes does not take the rest of a large file with it
_KEY = '"image_url"'
_TEXTS = re.compile(r'"(?:\\.|[^"\\])*"')


def candidates(source: Source) -> list[str]:
    """Return the JSONL files that a source is or holds, at any depth."""
    return source.files(*SUFFIXES)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a JSONL file, line by line; an object may go over several lines.

    A class given as a number is taken as text, a list of classes has one given twice once, and one box serves for a
    list. Numbers may be text, ``isCrowd`` may be ``"true"``, a size ``"400px"``, and commas may trail; ``metadata``
    is what else is known of the image, as text and numbers; unknown keys are ignored. Empty lines are passed over.
    """
    file = source.only(candidates(source) if source.is_folder else [source.url], "annotations (.jsonl)")
    places = source.places(file)

    def record(line: str, where: str) -> Record:
        item = json_object(line)
        details = item.get("image_details")
        details = details if isinstance(details, dict) else {}
        url = source.image(item.get("image_url"), "image_url", places)
        with labelling(url):
            label = kind.of_json(item.get("label")).placed(lambda mask: source.image(mask, "mask_url", places))
            width, height = (pixels(details.get(side), f"image_details.{side}") for side in ("width", "height"))
            format = str(details["format"]).lower() if isinstance(details.get("format"), str) else None
            return Record(url, label, width, height, format or None, where, metadata=metadata_of(item.get("metadata")))

    shown = storage.redact(file)
    return records_of(((f"{shown}, line {count}", text) for count, text in _objects(file)), record, broken)


def _objects(file: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line and the text of each object.

    An object that is not closed ends where the next one begins: at a second ``image_url``, or at a whole object.
    """
    held: list[tuple[int, str]] = []
    depth, keyed = 0, False
    for count, line in lines_of(file):
        if not held and line.startswith("{") and line.endswith("}") and line.count("{") == line.count("}"):
            yield count, line  # most files have nothing else
            continue
        if _KEY in line and (keyed or (held and line.startswith("{") and not _opened(line))):
            start = next((i for i in range(len(held) - 1, 0, -1) if held[i][1].lstrip().startswith("{")), len(held))
            start = len(held) if line.lstrip().startswith("{") else start
            yield held[0][0], "\n".join(text for _, text in held[:start])
            held, keyed = held[start:], False
            depth = sum(map(_opened, (text for _, text in held)))
        held.append((count, line))
        depth, keyed = depth + _opened(line), keyed or _KEY in line
        if depth <= 0 or len(held) >= _MOST_LINES:
            yield held[0][0], "\n".join(text for _, text in held)
            held, depth, keyed = [], 0, False
    if held:
        yield held[0][0], "\n".join(text for _, text in held)


def _opened(line: str) -> int:
    """Return how many more braces and brackets a line opens than it closes, outside its texts."""
    plain = _TEXTS.sub("", line)
    return sum(map(plain.count, "{[")) - sum(map(plain.count, "}]"))


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write records in Azure's schema, which holds all that they have."""
    return Written(record_file.write(records, url))


FORMAT = Format("jsonl", "JSONL (.jsonl)", tuple(KINDS.values()), candidates, read, write)
