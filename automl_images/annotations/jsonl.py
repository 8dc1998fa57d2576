"""JSON lines in Azure's schema: read leniently from anywhere, written strictly, read back fast."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.annotations.labels import label_json, read_label, restored, task_of
from automl_images.annotations.records import Box, Record
from automl_images.annotations.sources import files, parsed, the_only
from automl_images.annotations.values import Broken, pixels, refuse
from automl_images.errors import UserError

SUFFIXES = (".jsonl", ".ndjson")
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*(?:[}\]]|$))')


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the JSONL files that ``source`` is or holds, at any depth; ``listed`` as for ``sources.files``."""
    return files(source, SUFFIXES, listed)


def read(source: str, images: str | None = None, broken: Broken = refuse, *, label: str = "boxes") -> Iterator[Record]:
    """Yield the records of a JSONL file in Azure's schema, line by line.

    The label is a class (text; a number is taken as text), a list of classes (one given twice counts once), or a list
    of boxes, where one object serves for a list. Numbers may be text, ``isCrowd`` may be ``"true"``, a size
    ``"400px"``, and commas may trail; unknown keys are ignored. Empty lines are passed over.

    Args:
        source: the file, or a folder that holds one; local or any fsspec URL.
        images: the image root (default: the folder of the source), or ``PREFIX=URL``.
        broken: is called with the error of each line that cannot be read; the default raises it.
        label: the task's kind of label: ``class``, ``classes`` or ``boxes``.

    Raises:
        UserError: there is no such file, or, by ``broken``, a line has no image or no usable label.
    """
    file = the_only(candidates(source), source, "annotations (.jsonl)")
    root = ImageRoot(source if storage.is_dir(source) else folder_of(file), images)
    beside = None if root.given else ImageRoot(folder_of(file))

    def record(line: str, count: int, where: str) -> Record:
        item = json_object(line)
        details = item.get("image_details")
        details = details if isinstance(details, dict) else {}
        return Record(
            image_address(item.get("image_url"), "image_url", root, beside),
            read_label(item.get("label"), label),
            pixels(details.get("width"), "image_details.width"),
            pixels(details.get("height"), "image_details.height"),
            str(details["format"]).lower() if details.get("format") else None,
            where,
        )

    return parsed(file, record, broken)


def json_object(line: str) -> dict[str, Any]:
    """Return the JSON object on a line, in which commas may trail.

    Raises:
        UserError: the line holds none.
    """
    try:
        item = json.loads(line)
    except ValueError:
        try:
            item = json.loads(_TRAILING_COMMA.sub(lambda m: m.group(1) or "", line))
        except (ValueError, RecursionError) as error:
            raise UserError(f"is not JSON: {error}") from None
    except RecursionError:
        raise UserError("is not JSON: nested too deeply") from None
    if not isinstance(item, dict):
        raise UserError("is not a JSON object")
    return item


def image_address(url: Any, key: str, root: ImageRoot, beside: ImageRoot | None) -> str:
    """Return the address of an image that a line names: a relative one is below ``beside`` or, without it, ``root``.

    Raises:
        UserError: there is none, or it leaves the root; the line names the ``key``.
    """
    if not isinstance(url, str) or not url:
        raise UserError(f"has no {key}")
    relative = beside is not None and "://" not in url and not url.startswith("/")
    return (beside if relative and beside else root).resolve(url)


def line_of(record: Record) -> str:
    """Return a record as one line of JSON, with the line's end.

    Raises:
        TypeError: its label is of no kind.
    """
    item: dict[str, Any] = {"image_url": record.image_url}
    details = {"format": record.format, "width": record.width, "height": record.height}
    if any(v is not None for v in details.values()):
        item["image_details"] = {k: v for k, v in details.items() if v is not None}
    item["label"] = label_json(record.label)
    return json.dumps(item, ensure_ascii=False) + "\n"


def write(records: Iterable[Record], url: str) -> int:
    """Write records to a JSONL file and return how many; the file is replaced whole, when all is written."""
    count = 0
    with replacing(url) as file:
        for record in records:
            file.write(line_of(record))
            count += 1
    return count


@contextlib.contextmanager
def replacing(url: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of ``url`` when the block ends well; an error leaves ``url`` as it was."""
    if storage.is_local(url):
        target = storage.local_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            with fresh.open("x", encoding="utf-8", newline="\n") as file:
                yield file
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "staged.jsonl")
        with fresh.open("x", encoding="utf-8", newline="\n") as file:
            yield file
        fs, path = storage.filesystem(url)
        fs.put_file(str(fresh), path)


def copy(source: str, target: str) -> None:
    """Copy a file, replacing ``target`` whole."""
    with storage.open_text(source) as lines, replacing(target) as file:
        shutil.copyfileobj(lines, file)


def read_records(url: str, label: str | None = None) -> Iterator[Record]:
    """Yield the records of a JSONL file that ``convert`` or ``split`` wrote; its image addresses are absolute.

    Args:
        url: the file.
        label: the kind of label that the records must have: ``class``, ``classes`` or ``boxes``; None for any.

    Raises:
        UserError: there is no such file, a line is not as ``convert`` writes it, or its label is of another kind.
    """
    try:
        with storage.open_text(url) as lines:
            for count, line in enumerate(lines, 1):
                where = f"{storage.redact(url)}, line {count}"
                try:
                    item = json.loads(line)
                    details = item.get("image_details") or {}
                    found = restored(item["label"])
                    image = item["image_url"]
                    if not (image.startswith("/") or "://" in image):
                        raise ValueError(image)
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise UserError(f"{where}: is not as `automl-images convert` writes; convert first") from None
                if label is not None and not _is_of_kind(found, label):
                    raise UserError(f"{where}: the label does not suit {task_of(label)}; convert for that task first")
                yield Record(image, found, details.get("width"), details.get("height"), details.get("format"), where)
    except FileNotFoundError:
        raise UserError(f"{storage.redact(url)}: no such file") from None


def _is_of_kind(label: Any, kind: str) -> bool:
    if kind == "class" or isinstance(label, str):
        return kind == "class" and isinstance(label, str)
    return not label or isinstance(label[0], Box) == (kind == "boxes")
