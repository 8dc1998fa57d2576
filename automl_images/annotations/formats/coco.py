"""COCO's ``instances.json``: boxes as x, y, width and height in pixels. Images without annotation are kept, empty.

Boxes as fractions of the image, as Azure's labelling tool exports them, are known by the whole file: none of its
numbers is above 1, and some are no whole numbers.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from automl_images import storage
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Box, Boxes, Label
from automl_images.annotations.lines import json_value
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, number, pixels, shown
from automl_images.errors import UserError

_HEAD = 64 * 1024
_KEYS = re.compile(rb'^\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')
_LISTS = re.compile(rb'^\s*\{[\s\S]*"(images|annotations|categories)"\s*:\s*\[')


def candidates(source: Source) -> list[str]:
    """Return the files that look like COCO annotations: the source itself, or those below it, at any depth."""
    return [f for f in source.files(".json") if _looks(f)]


def _looks(file: str) -> bool:
    fs, path = storage.filesystem(file)
    try:
        head = fs.cat_file(path, start=0, end=_HEAD).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        return False
    return bool(_KEYS.match(head) or _LISTS.match(head))


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order. The whole file is held in memory: its form forces it.

    An image is looked for beside the file, in the root, in ``images``, and in the folder that the file's name ends
    with, as ``instances_train2017.json`` does; where the source holds no image and no root is given, in those beside.
    """
    file = source.only(candidates(source), "COCO annotations (.json)") if source.is_folder else source.url
    subset = posixpath.splitext(posixpath.basename(file))[0].rpartition("_")[2]
    usual = [subset, f"images/{subset}", "images"]
    root = source.root_beside(usual)
    content = _Content(file, broken)
    places = [*source.places(file), *usual]

    def record(image: Any, where: str) -> Record:
        key = _id(image.get("id")) if isinstance(image, dict) else None
        if key is None or not isinstance(image.get("file_name"), str):
            raise UserError("is not an object with an id and a file_name")
        found = content.annotations.pop(key, [])
        if len(content.names[key]) > 1:
            raise UserError(f"other images have the same id: {', '.join(sorted(content.names[key])[:3])}")
        url = root.find(image["file_name"], places)
        with labelling(url):
            return _record(image, found, url, where, content)

    items = ((_place(image, content.shown, i), image) for i, image in enumerate(content.images, 1))
    yield from records_of(items, record, broken)
    for key, left in content.annotations.items():
        if key not in content.names:
            broken(UserError(f"{content.shown}, {_named(*left[0])}: its image {key} is not among the images"))


Annotation = tuple[int, dict]  # its position from 1, and its content


class _Content:
    """A whole file.

    Attributes:
        images: as they stand.
        names: the names of the images' files by their ids; ambiguous where there are several.
        classes: their names, by the categories' ids.
        annotations: by the id of their image.
        fractions: whether boxes are fractions of the image rather than pixels.
    """

    def __init__(self, file: str, broken: Broken):
        self.shown = storage.redact(file)
        try:
            content = json_value(storage.read_bytes(file))
        except FileNotFoundError:
            raise UserError(f"{self.shown}: no such file") from None
        except UserError as error:
            raise UserError(f"{self.shown}: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "categories")):
            raise UserError(
                f"{self.shown}: is not COCO's format: it needs the lists 'images', 'annotations' and 'categories'"
            )
        annotations = content.get("annotations") or []
        if not isinstance(annotations, list):
            raise UserError(f"{self.shown}: 'annotations' is {shown(annotations)}, which is no list")
        self.images = content["images"]
        self.names: dict[str, set[str]] = {}
        for image in self.images:
            if isinstance(image, dict) and (key := _id(image.get("id"))) is not None:
                self.names.setdefault(key, set()).add(str(image.get("file_name"))[:200])
        self.classes = self._classes(content["categories"])
        self.annotations: dict[str, list[Annotation]] = {}
        for position, annotation in enumerate(annotations, 1):
            key = _id(annotation.get("image_id")) if isinstance(annotation, dict) else None
            if key is None:
                broken(UserError(f"{self.shown}, {_named(position, annotation)}: has no image_id"))
            else:
                self.annotations.setdefault(key, []).append((position, annotation))
        self.fractions = _are_fractions(annotations)
        if self.fractions:
            print(f"{self.shown}: no number of its boxes is above 1: they are read as fractions", file=sys.stderr)

    def _classes(self, categories: list) -> dict[str, str]:
        """Return the classes' names by the categories' ids."""
        classes: dict[str, str] = {}
        for position, category in enumerate(categories, 1):
            key = _id(category.get("id")) if isinstance(category, dict) else None
            if key is None:
                raise UserError(f"{self.shown}, category {position}: is not an object with an id and a name")
            name = class_name(category.get("name"), f"{self.shown}, category {key}: its name")
            if classes.setdefault(key, name) != name:
                raise UserError(
                    f"{self.shown}: the category id {key} is '{classes[key]}' and '{name}'; give each its own"
                )
        return classes


def _id(value: Any) -> str | None:
    """Return an id as text, as some tools write numbers so; None where there is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)[:200] if isinstance(value, str | int) and not isinstance(value, bool) else None


def _are_fractions(annotations: list) -> bool:
    """Return whether all boxes that can be read are fractions of an image."""
    boxes = [a["bbox"] for a in annotations if isinstance(a, dict) and isinstance(a.get("bbox"), list)]
    numbers = [v for bbox in boxes for v in bbox if isinstance(v, int | float)]
    return any(v % 1 for v in numbers if abs(v) <= 1) and all(-1 <= v <= 1 for v in numbers)


def _place(image: Any, shown: str, position: int) -> str:
    known = isinstance(image, dict) and _id(image.get("id")) is not None and isinstance(image.get("file_name"), str)
    return f"{shown}, image {_id(image['id'])} ({image['file_name'][:200]})" if known else f"{shown}, image {position}"


def _named(position: int, annotation: Any) -> str:
    key = _id(annotation.get("id")) if isinstance(annotation, dict) else None
    return f"annotation at position {position}" if key is None else f"annotation {key}"


def _record(image: dict, found: Sequence[Annotation], url: str, where: str, content: _Content) -> Record:
    width, height = pixels(image.get("width"), "width"), pixels(image.get("height"), "height")
    if found and (width is None or height is None) and not content.fractions:
        from automl_images.annotations.imaging import open_image

        width, height = open_image(url, decode=False).shown
    size = (1, 1) if content.fractions else (width or 1, height or 1)
    boxes = []
    for position, annotation in found:
        try:
            category = annotation.get("category_id")
            if (key := _id(category)) not in content.classes:
                raise UserError(f"its category_id {shown(category)} is that of no category")
            box = _box(annotation, content.classes[str(key)], *size)
            boxes.append(dataclasses.replace(box, area=None) if content.fractions else box)  # none in pixels
        except UserError as error:
            raise UserError(f"{_named(position, annotation)}: {error}") from None
    return Record(url, Boxes(tuple(boxes)), width, height, None, where)


def _box(annotation: dict, label: str, width: int, height: int) -> Box:
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise UserError("has no bbox of four numbers")
    x, y, w, h = map(number, bbox, ("bbox[0]", "bbox[1]", "bbox[2]", "bbox[3]"))
    crowd = flag(annotation.get("iscrowd"), "iscrowd")
    area = None if annotation.get("area") is None else number(annotation["area"], "area")
    return Box(label, x / width, y / height, (x + w) / width, (y + h) / height, crowd, area)


FORMAT = Format("coco", "COCO (.json)", (Boxes,), candidates, read)
