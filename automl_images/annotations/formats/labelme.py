"""LabelMe's JSON: a file an image, with polygons, rectangles, circles and masks; its flags are classes of the image.

Shapes with an equal ``group_id`` and class are parts of one object. Points, lines and line strips are no areas: they
are passed over, counted and named.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from automl_images import storage
from automl_images.annotations import shapes
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Boxes, Classes, Label, OneClass, Polygons, Rle
from automl_images.annotations.lines import head_of, json_value
from automl_images.annotations.masks import png_of
from automl_images.annotations.outlines import (
    Outline,
    corners_in,
    cut_out,
    ellipse,
    held,
    label_of,
    points_in,
    points_of,
    rectangle,
    say_passed_over,
)
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, pixels, shown
from automl_images.errors import UserError

_LOOKED_AT, _AT_ONCE = 8, 256
_NO_AREAS = ("point", "points", "line", "linestrip")


def candidates(source: Source) -> list[str]:
    """Return the JSON files of a source, if one of the first looks like LabelMe's."""
    files = source.files(".json")
    return files if any(map(_looks, files[:_LOOKED_AT])) else []


def _looks(file: str) -> bool:
    head = head_of(file)
    return b'"shapes"' in head and b'"_via' not in head


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record a file, in the order of their paths.

    The image is that of ``imagePath``, looked for beside the file and below the root, else the one with the file's
    name.
    """
    files = source.files(".json")
    if not files:
        raise UserError(f"{source.shown}: holds no LabelMe file (.json)")
    passed: Counter[str] = Counter()
    items = ((storage.redact(file), (file, text)) for file, text in _texts(files))
    yield from records_of(items, lambda item, where: _record(*item, source, kind, where, passed), broken)
    say_passed_over(source.shown, passed)


def _texts(files: list[str]) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        yield from ((file, text or b"") for file, text in zip(some, storage.read_many(some), strict=True))


def _record(file: str, text: bytes, source: Source, kind: type[Label], where: str, passed: Counter[str]) -> Record:
    content = json_value(text)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise UserError("is not LabelMe's format: it needs the list 'shapes'")
    name = content.get("imagePath") or posixpath.splitext(posixpath.basename(file))[0]
    url = source.image(name, "imagePath", source.places(file))
    with labelling(url):
        width, height = (pixels(content.get(f"image{side}"), f"image{side}") for side in ("Width", "Height"))
        width, height = size_of(url, width, height)
        outlines = []
        for i, shape in enumerate(content["shapes"], 1):
            try:
                if not isinstance(shape, dict):
                    raise UserError(f"is {shown(shape)}, not an object")
                if (type_ := shape.get("shape_type") or "polygon") in _NO_AREAS:
                    passed[type_] += 1
                else:
                    outlines.append(_outline(shape, type_, width, height))
            except UserError as error:
                raise UserError(f"shape {i}: {error}") from None
        return Record(url, label_of(kind, outlines, _flags(content), width, height), width, height, None, where)


def _flags(content: dict[str, Any]) -> list[str]:
    """Return the flags of the image that are set."""
    flags = content.get("flags") or {}
    if not isinstance(flags, dict):
        raise UserError(f"flags is {shown(flags)}, not an object of names and truths")
    return [name for name, value in flags.items() if flag(value, f"the flag {name[:60]}")]


def _outline(shape: dict[str, Any], type_: Any, width: int, height: int) -> Outline:
    label, group = class_name(shape.get("label")), shape.get("group_id")
    points = points_of(shape.get("points"), "points", 1)
    if type_ == "polygon":
        return Outline(label, (points_of(shape.get("points"), "its polygon"),), group=group)
    if type_ in ("rectangle", "circle", "mask") and len(points) != 2:
        raise UserError(f"a {type_} has two points, and this one {len(points)}")
    (left, top), (right, bottom) = points[0], points[-1]
    if type_ == "rectangle":
        left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
        return Outline(label, (rectangle(left, top, right, bottom),), group=group)
    if type_ == "circle":  # its centre, and a point on it
        radius = math.dist(points[0], points[1])
        return Outline(label, (ellipse(left, top, radius, radius),), group=group)
    if type_ == "mask":
        return Outline(label, rle=shapes.encoded(_pasted(shape.get("mask"), round(left), round(top), width, height)))
    raise UserError(f"its shape_type is {shown(type_)}; known are polygon, rectangle, circle and mask")


def _pasted(mask: Any, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Return the pixels of an image of a size in which a PNG's are not 0 at (left, top)."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(mask, validate=True))) as image:
            if image.width > 2 * width + 2 or image.height > 2 * height + 2:
                raise ValueError(f"it has {image.width} x {image.height} pixels")
            inside = np.asarray(image.convert("L")) != 0
    except (TypeError, ValueError, binascii.Error, OSError, SyntaxError) as error:
        raise UserError(f"its mask is no PNG in base64: {str(error)[:80]}") from None
    whole = shapes.blank(width, height)
    if left < 0 or top < 0 or left >= width or top >= height:
        raise UserError(f"its mask begins at ({left}, {top}), outside its image of {width} x {height} pixels")
    part = inside[: height - top, : width - left]
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def write(records: Iterable[Record], out: str, kind: type[Label]) -> Written:
    """Write a file an image: beside it where it lies in ``out``, else in ``out`` itself. Classes are its flags.

    Parts of one object have a ``group_id``. LabelMe opens the images by their names, which are relative where they lie
    beside their files.

    Raises:
        UserError: two images would have one file.
    """
    lost: Counter[str] = Counter()
    files: set[str] = set()
    for record in records:
        url = record.image_url
        beside = url if url.startswith(f"{out.rstrip('/')}/") else storage.join(out, posixpath.basename(url))
        file = f"{posixpath.splitext(beside)[0]}.json"
        if file in files:
            raise UserError(
                f"{record.where}: two images are called {posixpath.basename(file)[:-5]}, and LabelMe's files are named "
                "by them; write with links or copies of the images"
            )
        files.add(file)
        width, height = size_of(url, record.width, record.height)
        drawn = kind in (Boxes, Polygons)
        content = {
            "version": "5.4.1",
            "flags": {} if drawn else dict.fromkeys(record.label.names(), True),
            "shapes": _shapes(record.label, width, height, lost) if drawn else [],
            "imagePath": written_name(url, folder_of(file)),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        storage.write(file, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    return Written(len(files), +lost)


def _shapes(label: Any, width: int, height: int, lost: Counter[str]) -> list[dict[str, Any]]:
    if isinstance(label, Boxes):
        corners = corners_in(label.boxes, lost, width, height)
        return [
            _shape(box.label, "rectangle", [found[:2], found[2:]])
            for box, found in zip(label.boxes, corners, strict=True)
        ]
    shapes_, instances = [], held(label.instances, lost)
    for i, (one, parts) in enumerate(zip(instances, points_in(instances, width, height), strict=True), 1):
        if one.rle is not None:
            shapes_.append(_mask_shape(one.label, one.rle))
        group = i if len(parts) > 1 else None
        shapes_ += [_shape(one.label, "polygon", points, group_id=group) for points in parts]
    return shapes_


def _mask_shape(label: str, rle: Rle) -> dict[str, Any]:
    """Return a mask as LabelMe has it: the pixels of its rectangle, whose last corner is inside."""
    left, top, inside = cut_out(rle)
    height, width = inside.shape
    points = [[left, top], [left + width - 1, top + height - 1]]
    return _shape(label, "mask", points, mask=base64.b64encode(png_of(inside)).decode())


def _shape(label: str, type_: str, points: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": type_, "flags": {}} | more


FORMAT = Format(
    "labelme", "LabelMe (.json)", (Boxes, Polygons, OneClass, Classes), candidates, read, write, folder=True
)
