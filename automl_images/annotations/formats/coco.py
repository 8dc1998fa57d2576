"""COCO's ``instances.json``: boxes as x, y, width and height in pixels. Images without annotation are kept, empty."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from automl_images import storage
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Box, Boxes, Label
from automl_images.annotations.records import Record, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, flag, number, pixels
from automl_images.errors import UserError

Annotation = tuple[int, dict, str]  # its position from 1, its content, its class
_HEAD = 4096
_KEYS = re.compile(rb'^\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')


def candidates(source: Source) -> list[str]:
    """Return the files that look like COCO annotations: the source itself, or those below it, at any depth."""
    return [f for f in source.files(".json") if _looks(f)]


def _looks(file: str) -> bool:
    fs, path = storage.filesystem(file)
    try:
        return bool(_KEYS.match(fs.cat_file(path, start=0, end=_HEAD).removeprefix(b"\xef\xbb\xbf")))
    except FileNotFoundError:
        return False


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order. The whole file is held in memory: its form forces it."""
    file = source.only(candidates(source), "COCO annotations (.json)") if source.is_folder else source.url
    shown, places = storage.redact(file), source.places(file)
    images, found = _load(file, shown, broken)
    seen: set[Any] = set()

    def record(image: Any, where: str) -> Record:
        if not _is_whole(image):
            raise UserError("is not an object with an id and a file_name")
        key = image["id"]
        if key in seen:
            raise UserError("another image has the same id")
        seen.add(key)
        return _record(image, found.pop(key, ()), source, places, where)

    yield from records_of(((_place(image, shown, i), image) for i, image in enumerate(images, 1)), record, broken)
    for key, left in found.items():
        if key not in seen:
            name = left[0][1].get("id", f"at position {left[0][0]}")
            broken(UserError(f"{shown}, annotation {name}: its image {key!r} is not among the images"))


def _is_whole(image: Any) -> bool:
    return (
        isinstance(image, dict) and isinstance(image.get("id"), int | str) and isinstance(image.get("file_name"), str)
    )


def _place(image: Any, shown: str, position: int) -> str:
    name = f"{image['id']} ({image['file_name']})" if _is_whole(image) else position
    return f"{shown}, image {name}"


def _record(image: dict, found: Sequence[Annotation], source: Source, places: list[str], where: str) -> Record:
    url = source.image(image["file_name"], "file_name", places)
    width, height = pixels(image.get("width"), "width"), pixels(image.get("height"), "height")
    if found and (width is None or height is None):
        from automl_images.annotations.imaging import open_image

        width, height = open_image(url, decode=False).shown
    boxes = []
    for position, annotation, label in found:
        try:
            boxes.append(_box(annotation, label, width or 1, height or 1))
        except UserError as error:
            name = annotation.get("id", f"at position {position}")
            raise UserError(f"annotation {name}: {error}") from None
    return Record(url, Boxes(tuple(boxes)), width, height, None, where)


def _box(annotation: dict, label: str, width: int, height: int) -> Box:
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise UserError("has no bbox of four numbers")
    x, y, w, h = map(number, bbox, ("bbox[0]", "bbox[1]", "bbox[2]", "bbox[3]"))
    crowd = flag(annotation.get("iscrowd"), "iscrowd")
    area = None if annotation.get("area") is None else number(annotation["area"], "area")
    return Box(label, x / width, y / height, (x + w) / width, (y + h) / height, crowd, area)


def _load(file: str, shown: str, broken: Broken) -> tuple[list, dict[Any, list[Annotation]]]:
    """Return the images, and their annotations by image id."""
    try:
        content = json.loads(storage.read_bytes(file))
    except FileNotFoundError:
        raise UserError(f"{shown}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shown}: is not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "categories")):
        raise UserError(f"{shown}: is not COCO's format: it needs the lists 'images', 'annotations' and 'categories'")
    try:
        labels = {c["id"]: str(c["name"]) for c in content["categories"]}
    except (TypeError, KeyError):
        raise UserError(f"{shown}: each of the categories needs an id and a name") from None
    found: dict[Any, list[Annotation]] = {}
    for position, annotation in enumerate(content.get("annotations") or [], 1):
        try:
            label = labels[annotation["category_id"]]
            found.setdefault(annotation["image_id"], []).append((position, annotation, label))
        except (TypeError, KeyError, AttributeError):
            name = annotation.get("id", position) if isinstance(annotation, dict) else position
            broken(UserError(f"{shown}, annotation {name}: has no image_id, or a category_id that no category has"))
    return content["images"], found


FORMAT = Format("coco", "COCO (.json)", (Boxes,), candidates, read)
