"""LabelMe's JSON: a file an image, with polygons, rectangles, circles and masks; its flags are classes of the image.

Shapes with an equal ``group_id`` and class are parts of one object. Points, lines and line strips are no areas: they
are passed over, counted and named.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from automl_images import storage
from automl_images.annotations import shapes
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Boxes, Classes, Label, OneClass, Polygons
from automl_images.annotations.lines import head_of, json_value
from automl_images.annotations.outlines import Outline, ellipse, label_of, points_of, rectangle, say_passed_over
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
        return Outline(label, (rectangle(left, top, right - left, bottom - top),), group=group)
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


FORMAT = Format("labelme", "LabelMe (.json)", (Boxes, Polygons, OneClass, Classes), candidates, read)
