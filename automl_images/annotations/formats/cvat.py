"""CVAT's XML for images: boxes, turned ones too, polygons, ellipses and masks; tags are classes of the image.

Polylines, points, skeletons and cuboids are no areas: they are passed over, counted and named. Polygons of one group
and class are parts of one object, and what else is grouped is an object each: that is said.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from automl_images import storage
from automl_images.annotations import record_file, shapes
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Boxes, Classes, Label, OneClass, Polygons, Rle
from automl_images.annotations.lines import head_of, xml_element
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
from automl_images.annotations.values import Broken, class_name, number, pixels
from automl_images.errors import UserError

_AREAS = ("box", "polygon", "ellipse", "mask")
_NOT_OF_XML = re.compile("[^\\t\\n\\r\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HAND = {"source": "manual", "occluded": "0"}


def candidates(source: Source) -> list[str]:
    """Return the XML files that look like CVAT's: the source itself, or those below it."""
    files = source.files(".xml")
    if len(files) > 64 and not any(posixpath.basename(file) == "annotations.xml" for file in files):
        return []  # a folder of an XML an image is Pascal VOC's, and each would be read to tell
    return [file for file in files if b"<annotations" in head_of(file)[:4096]]


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order; an image without annotations has nothing on it.

    An image is looked for beside the file and in ``images``.
    """
    file = source.only(candidates(source), "CVAT annotations (.xml)") if source.is_folder else source.url
    shown = storage.redact(file)
    try:
        tree = xml_element(storage.read_bytes(file))
    except UserError as error:
        raise UserError(f"{shown}: {error}") from None
    if tree.tag != "annotations":
        raise UserError(f"{shown}: is not CVAT's XML for images: its first element is <{tree.tag}>, not <annotations>")
    if tree.find("track") is not None:
        raise UserError(f"{shown}: holds tracks, as CVAT's XML for video does; export it as 'CVAT for images'")
    passed: Counter[str] = Counter()
    places = source.places(file)
    images = [
        (f"{shown}, image {i} ({image.get('name', '')[:200]})", image) for i, image in enumerate(tree.iter("image"))
    ]
    if any(_group(shape) for _, image in images for shape in image):
        print(f"{shown}: polygons of one group and class are taken as one object, other shapes not", file=sys.stderr)

    def record(image: Element, where: str) -> Record:
        url = source.image(image.get("name"), "name", places)
        with labelling(url):
            return _record(image, kind, url, where, passed)

    yield from records_of(images, record, broken)
    say_passed_over(shown, passed)


def _record(image: Element, kind: type[Label], url: str, where: str, passed: Counter[str]) -> Record:
    width, height = pixels(image.get("width"), "width"), pixels(image.get("height"), "height")
    width, height = size_of(url, width, height)
    outlines, tags = [], []
    for i, shape in enumerate(image, 1):
        try:
            if shape.tag == "tag":
                tags.append(class_name(shape.get("label")))
            elif shape.tag in _AREAS:
                outlines.append(_outline(shape, width, height))
            else:
                passed[shape.tag[:40]] += 1
        except UserError as error:
            raise UserError(f"{shape.tag[:40]} at position {i}: {error}") from None
    return Record(url, label_of(kind, outlines, tags, width, height), width, height, None, where)


def _outline(shape: Element, width: int, height: int) -> Outline:
    label, degrees = class_name(shape.get("label")), number(shape.get("rotation", 0), "rotation")
    if shape.tag == "box":
        left, top, right, bottom = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        return Outline(label, (rectangle(left, top, right, bottom, degrees),))
    if shape.tag == "ellipse":
        x, y, across, down = _numbers(shape, "cx", "cy", "rx", "ry")
        return Outline(label, (ellipse(x, y, across, down, degrees),))
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        points = points_of([[*map(str.strip, pair)] for pair in pairs], "points")
        return Outline(label, (points,), group=_group(shape))
    return Outline(label, rle=shapes.encoded(_mask(shape, width, height)))


def _group(shape: Element) -> str | None:
    """Return the group of a shape; 0 is none."""
    return None if (group := shape.get("group_id", "0").strip()) in ("", "0") else group


def _numbers(shape: Element, *names: str) -> list[float]:
    return [number(shape.get(name), name) for name in names]


def _mask(shape: Element, width: int, height: int) -> np.ndarray:
    """Return the pixels of a mask: runs along the rows of its rectangle, of which the first is outside."""
    left, top, across, down = (int(v) for v in _numbers(shape, "left", "top", "width", "height"))
    if left < 0 or top < 0 or across < 1 or down < 1 or left + across > width or top + down > height:
        raise UserError(f"its rectangle of {across} x {down} at ({left}, {top}) leaves its image of {width} x {height}")
    runs = [int(number(run.strip(), "rle")) for run in (shape.get("rle") or "").split(",")]
    if min(runs) < 0 or sum(runs) != across * down:
        raise UserError(f"the runs of its rle do not fill {across} x {down} pixels")
    whole = shapes.blank(width, height)
    whole[top : top + down, left : left + across] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(down, across)
    return whole


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write CVAT's XML for images 1.1; parts of one object are polygons of one group, and masks keep each pixel.

    Raises:
        UserError: a name or a class has a character that XML does not hold.
    """
    folder, lost, classes = folder_of(url), Counter[str](), dict[str, None]()
    images = groups = 0
    with record_file.replacing(url) as fresh:
        body = fresh.with_name("images")
        with body.open("w", encoding="utf-8") as file:
            for record in records:
                width, height = size_of(record.image_url, record.width, record.height)
                name = written_name(record.image_url, folder)
                sides = {"width": str(width), "height": str(height)}
                image = Element("image", {"id": str(images), "name": name, **sides})
                groups = _draw(image, record.label, width, height, groups, lost)
                classes |= dict.fromkeys(record.label.names())
                text = tostring(image, encoding="unicode")
                if wrong := _NOT_OF_XML.search(text):
                    raise UserError(f"{record.where}: has the character {wrong.group()!a}, which no XML holds")
                file.write(text + "\n")
                images += 1
        head = Element("meta")
        labels = SubElement(SubElement(head, "task"), "labels")
        for name in classes:
            SubElement(SubElement(labels, "label"), "name").text = name
        with fresh.open("x", encoding="utf-8") as file, body.open(encoding="utf-8") as rest:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
            file.write(tostring(head, encoding="unicode") + "\n")
            shutil.copyfileobj(rest, file)
            file.write("</annotations>\n")
    return Written(images, +lost)


def _draw(image: Element, label: Any, width: int, height: int, groups: int, lost: Counter[str]) -> int:
    """Put what a label says below an image; return how many groups there are, given how many there were."""
    if isinstance(label, Boxes):
        corners = corners_in(label.boxes, lost, width, height)
        for box, place in zip(label.boxes, corners, strict=True):
            sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, place), strict=True))
            SubElement(image, "box", {"label": box.label, **_HAND, **sides, "z_order": "0"})
    elif isinstance(label, Polygons):
        instances = held(label.instances, lost)
        for one, parts in zip(instances, points_in(instances, width, height), strict=True):
            if one.rle is not None:
                SubElement(image, "mask", {"label": one.label, **_HAND, **_runs(one.rle), "z_order": "0"})
            groups += len(parts) > 1
            group = {"group_id": str(groups)} if len(parts) > 1 else {}
            for part in parts:
                points = ";".join(f"{x!r},{y!r}" for x, y in part)
                SubElement(image, "polygon", {"label": one.label, **_HAND, "points": points, "z_order": "0", **group})
    else:
        for name in label.names():
            SubElement(image, "tag", {"label": name, "source": "manual"})
    return groups


def _runs(rle: Rle) -> dict[str, str]:
    """Return a mask as :func:`_mask` reads it."""
    left, top, inside = cut_out(rle)
    flat = inside.ravel()
    ends = [*(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    runs = np.diff([0, *([0] if flat[0] else []), *ends]).tolist()
    numbers = {"left": left, "top": top, "width": inside.shape[1], "height": inside.shape[0]}
    return {"rle": ", ".join(map(str, runs)), **{name: str(value) for name, value in numbers.items()}}


FORMAT = Format(
    "cvat", "CVAT for images (.xml)", (Boxes, Polygons, OneClass, Classes), candidates, read, write, before=("voc",)
)
