"""CVAT's XML for images: boxes, turned ones too, polygons, ellipses and masks; tags are classes of the image.

Polylines, points, skeletons and cuboids are no areas: they are passed over, counted and named. Groups are ignored, and
that is said.
"""

from __future__ import annotations

import posixpath
import sys
from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from automl_images import storage
from automl_images.annotations import shapes
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Boxes, Classes, Label, OneClass, Polygons
from automl_images.annotations.lines import head_of, xml_element
from automl_images.annotations.outlines import Outline, ellipse, label_of, points_of, rectangle, say_passed_over
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, number, pixels
from automl_images.errors import UserError

_AREAS = ("box", "polygon", "ellipse", "mask")


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
    if any(one.get("group_id", "0") not in ("", "0") for _, image in images for one in image):
        print(f"{shown}: groups are ignored: each of their shapes is an object of its own", file=sys.stderr)

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
        return Outline(label, (rectangle(left, top, right - left, bottom - top, degrees),))
    if shape.tag == "ellipse":
        x, y, across, down = _numbers(shape, "cx", "cy", "rx", "ry")
        return Outline(label, (ellipse(x, y, across, down, degrees),))
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
        return Outline(label, (points_of([[*map(str.strip, pair)] for pair in pairs], "points"),))
    return Outline(label, rle=shapes.encoded(_mask(shape, width, height)))


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


FORMAT = Format(
    "cvat", "CVAT for images (.xml)", (Boxes, Polygons, OneClass, Classes), candidates, read, before=("voc",)
)
