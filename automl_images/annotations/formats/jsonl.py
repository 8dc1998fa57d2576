"""JSON lines in Azure's schema, from anywhere: read leniently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from automl_images.annotations import record_file
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.labels import KINDS, Label
from automl_images.annotations.lines import json_object, parsed
from automl_images.annotations.records import Record, labelling
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, pixels

SUFFIXES = (".jsonl", ".ndjson")


def candidates(source: Source) -> list[str]:
    """Return the JSONL files that a source is or holds, at any depth."""
    return source.files(*SUFFIXES)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a JSONL file, line by line.

    A class given as a number is taken as text, a list of classes has one given twice once, and one box serves for a
    list. Numbers may be text, ``isCrowd`` may be ``"true"``, a size ``"400px"``, and commas may trail; unknown keys are
    ignored. Empty lines are passed over.
    """
    file = source.only(candidates(source), "annotations (.jsonl)")
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
            return Record(url, label, width, height, format or None, where)

    return parsed(file, record, broken)


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write records in Azure's schema, which holds all that they have."""
    return Written(record_file.write(records, url))


FORMAT = Format("jsonl", "JSONL (.jsonl)", tuple(KINDS.values()), candidates, read, write)
