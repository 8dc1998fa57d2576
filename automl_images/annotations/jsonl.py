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
from automl_images.annotations.records import Box, Record
from automl_images.annotations.values import Broken, flag, number, pixels, refuse
from automl_images.errors import UserError

_CORNERS = ("topX", "topY", "bottomX", "bottomY")
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*(?:[}\]]|$))')


def candidates(source: str) -> list[str]:
    """Return the JSONL files that ``source`` is or holds, below it at any depth."""
    if not storage.is_dir(source):
        return [source] if source.lower().endswith((".jsonl", ".ndjson")) else []
    return [storage.join(source, f) for f in storage.files_below(source) if f.lower().endswith((".jsonl", ".ndjson"))]


def the_only(found: list[str], source: str, what: str) -> str:
    """Return the one file found.

    Raises:
        UserError: none or several were found; the line names them.
    """
    if len(found) == 1:
        return found[0]
    where = storage.redact(source)
    if not found:
        raise UserError(f"{where}: holds no {what}")
    names = ", ".join(storage.redact(f).rsplit("/", 1)[-1] if i else storage.redact(f) for i, f in enumerate(found[:4]))
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    raise UserError(f"{where}: holds {len(found)} files that may be the {what}: {names}{more}; name one of them")


def read(source: str, images: str | None = None, broken: Broken = refuse) -> Iterator[Record]:
    """Yield the records of a JSONL file in Azure's schema for object detection, line by line.

    A label may be one object instead of a list, numbers may be text, ``isCrowd`` may be ``"true"``, a size ``"400px"``,
    and commas may trail; unknown keys are ignored. Empty lines are passed over.

    Args:
        source: the file, or a folder that holds one; local or any fsspec URL.
        images: the image root (default: the folder of the source), or ``PREFIX=URL``.
        broken: is called with the error of each line that cannot be read; the default raises it.

    Raises:
        UserError: there is no such file, or, by ``broken``, a line has no image or no usable label.
    """
    file = the_only(candidates(source), source, "annotations (.jsonl)")
    root = ImageRoot(source if storage.is_dir(source) else folder_of(file), images)
    beside = None if root.given else ImageRoot(folder_of(file))
    try:
        with storage.open_text(file) as lines:
            for count, line in enumerate(lines, 1):
                if line.isspace():
                    continue
                where = f"{storage.redact(file)}, line {count}"
                try:
                    record = _record(line, root, beside, where)
                except UserError as error:
                    broken(UserError(f"{where}: {error}"))
                    continue
                yield record
    except FileNotFoundError:
        raise UserError(f"{storage.redact(file)}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{storage.redact(file)}: is not UTF-8 text: {error}") from None


def _record(line: str, root: ImageRoot, beside: ImageRoot | None, where: str) -> Record:
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
    url = item.get("image_url")
    if not isinstance(url, str) or not url:
        raise UserError("has no image_url")
    details = item.get("image_details")
    details = details if isinstance(details, dict) else {}
    relative = beside is not None and "://" not in url and not url.startswith("/")
    return Record(
        (beside if relative and beside else root).resolve(url),
        [_box(value, i) for i, value in enumerate(_boxes(item), 1)],
        pixels(details.get("width"), "image_details.width"),
        pixels(details.get("height"), "image_details.height"),
        str(details["format"]).lower() if details.get("format") else None,
        where,
    )


def _boxes(item: dict[str, Any]) -> list[Any]:
    label = item.get("label")
    if isinstance(label, dict):
        return [label]
    if not isinstance(label, list):
        said = "has no label" if label is None else f"the label is {str(label)[:40]!r}"
        raise UserError(f"{said}; object detection needs a list of boxes (an empty one where there is nothing)")
    return label


def _box(value: Any, index: int) -> Box:
    what = f"box {index}"
    if not isinstance(value, dict):
        raise UserError(f"{what} is {str(value)[:40]!r}, not an object with label, topX, topY, bottomX and bottomY")
    name = value.get("label")
    if not isinstance(name, str | int) or isinstance(name, bool) or str(name).strip() == "":
        raise UserError(f"{what} has no label")
    left, top, right, bottom = (number(value.get(key), f"{what}: {key}") for key in _CORNERS)
    return Box(str(name), left, top, right, bottom, flag(value.get("isCrowd"), f"{what}: isCrowd"))


def line_of(record: Record) -> str:
    """Return a record as one line of JSON, with the line's end."""
    item: dict[str, Any] = {"image_url": record.image_url}
    details = {"format": record.format, "width": record.width, "height": record.height}
    if any(v is not None for v in details.values()):
        item["image_details"] = {k: v for k, v in details.items() if v is not None}
    item["label"] = [
        {
            "label": box.label,
            "topX": box.topX,
            "topY": box.topY,
            "bottomX": box.bottomX,
            "bottomY": box.bottomY,
            "isCrowd": int(box.isCrowd),
        }
        for box in record.label
    ]
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


def read_records(url: str) -> Iterator[Record]:
    """Yield the records of a JSONL file that ``convert`` or ``split`` wrote; its image addresses are absolute.

    Raises:
        UserError: there is no such file, or a line is not as ``convert`` writes it.
    """
    try:
        with storage.open_text(url) as lines:
            for count, line in enumerate(lines, 1):
                try:
                    item = json.loads(line)
                    details = item.get("image_details") or {}
                    boxes = [
                        Box(b["label"], b["topX"], b["topY"], b["bottomX"], b["bottomY"], bool(b["isCrowd"]))
                        for b in item["label"]
                    ]
                    image = item["image_url"]
                    if not (image.startswith("/") or "://" in image):
                        raise ValueError(image)
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise UserError(
                        f"{storage.redact(url)}, line {count}: is not as `automl-images convert` writes; convert first"
                    ) from None
                where = f"{storage.redact(url)}, line {count}"
                size = details.get("width"), details.get("height")
                yield Record(image, boxes, *size, details.get("format"), where)
    except FileNotFoundError:
        raise UserError(f"{storage.redact(url)}: no such file") from None
