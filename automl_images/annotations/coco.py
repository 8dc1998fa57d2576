"""COCO's ``instances.json``: boxes as x, y, width and height in pixels. Images without annotation are kept, empty."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.annotations.records import Box, Record
from automl_images.annotations.sources import files, the_only
from automl_images.annotations.values import Broken, flag, number, pixels, refuse
from automl_images.errors import UserError

_HEAD = 4096
_KEYS = re.compile(rb'^\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the files that look like COCO annotations: ``source`` itself, or those below it, at any depth.

    ``listed`` as for :func:`sources.files`.
    """
    return [f for f in files(source, (".json",), listed) if _looks(f)]


def _looks(file: str) -> bool:
    fs, path = storage.filesystem(file)
    try:
        return bool(_KEYS.match(fs.cat_file(path, start=0, end=_HEAD).removeprefix(b"\xef\xbb\xbf")))
    except FileNotFoundError:
        return False


def read(source: str, images: str | None = None, broken: Broken = refuse) -> Iterator[Record]:
    """Yield one record an image, in the file's order. The whole file is held in memory: its form forces it.

    An image is looked for beside the file, in the image root, in ``images`` below it, and then by its name anywhere
    below the root, if only one has it.

    Args:
        source: the JSON file, or a folder that holds one; local or any fsspec URL.
        images: the image root (default: the folder of the source), or ``PREFIX=URL``.
        broken: is called with the error of each image or annotation that cannot be read; the default raises it.

    Raises:
        UserError: there is no such file, there are several, it is not COCO, or, by ``broken``, an entry is not usable.
    """
    folder = source if storage.is_dir(source) else folder_of(source)
    file = the_only(candidates(source), source, "COCO annotations (.json)") if folder == source else source
    said = storage.redact(file)
    listed, boxes = _load(file, said, broken)
    root = ImageRoot(folder, images)
    beside = "" if root.given else posixpath.relpath(folder_of(file), storage.absolute(folder))
    seen: set[Any] = set()
    for position, image in enumerate(listed):
        where = f"{said}, image {position + 1}"
        try:
            where, key = _image(image, said, position)
            if key in seen:
                raise UserError("another image has the same id")
            seen.add(key)
            record = _record(image, boxes.pop(key, []), root, beside, where)
        except UserError as error:
            broken(UserError(f"{where}: {error}"))
            continue
        yield record
    for key, left in boxes.items():
        if key not in seen:
            broken(UserError(f"{said}, annotation {left[0][0]}: its image {key!r} is not among the images"))


def _image(image: Any, said: str, position: int) -> tuple[str, Any]:
    if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
        raise UserError("is not an object with an id")
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        raise UserError("has no file_name")
    return f"{said}, image {image['id']} ({image['file_name']})", image["id"]


def _record(image: dict, found: list[tuple[str, str, Any]], root: ImageRoot, beside: str, where: str) -> Record:
    url = root.find(image["file_name"], [beside, "", "images"])
    width, height = pixels(image.get("width"), "width"), pixels(image.get("height"), "height")
    if found and (width is None or height is None):
        from automl_images.annotations.imaging import shown_size

        width, height = shown_size(url)
    return Record(url, [_box(*item, width or 1, height or 1) for item in found], width, height, None, where)


def _box(name: str, label: str, annotation: dict, width: int, height: int) -> Box:
    what = f"annotation {name}"
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise UserError(f"{what} has no bbox of four numbers")
    x, y, w, h = (number(v, f"{what}: bbox[{i}]") for i, v in enumerate(bbox))
    crowd = flag(annotation.get("iscrowd"), f"{what}: iscrowd")
    return Box(label, x / width, y / height, (x + w) / width, (y + h) / height, crowd)


def _load(file: str, said: str, broken: Broken) -> tuple[list, dict[Any, list[tuple[str, str, Any]]]]:
    """Return the images, and by image id each annotation's name, label and content."""
    try:
        content = json.loads(storage.read_bytes(file))
    except FileNotFoundError:
        raise UserError(f"{said}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{said}: is not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "categories")):
        raise UserError(f"{said}: is not COCO's format: it needs the lists 'images', 'annotations' and 'categories'")
    try:
        labels = {c["id"]: str(c["name"]) for c in content["categories"]}
    except (TypeError, KeyError):
        raise UserError(f"{said}: each of the categories needs an id and a name") from None
    boxes: dict[Any, list[tuple[str, str, Any]]] = {}
    for position, annotation in enumerate(content.get("annotations") or []):
        try:
            name = str(annotation.get("id", f"at position {position + 1}"))
            label = labels[annotation["category_id"]]
            boxes.setdefault(annotation["image_id"], []).append((name, label, annotation))
        except (TypeError, KeyError, AttributeError):
            what = annotation.get("id", position + 1) if isinstance(annotation, dict) else position + 1
            broken(UserError(f"{said}, annotation {what}: has no image_id, or a category_id that no category has"))
    return content["images"], boxes
