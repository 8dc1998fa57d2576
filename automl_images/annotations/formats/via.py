"""VGG Image Annotator (VIA 1 and 2): polygons, rectangles, circles and ellipses, in its JSON or CSV.

The class is the value of the one attribute that regions have; where they have several, of the one that is named
``label``, ``class``, ``name``, ``type`` or ``category``. Without any attribute all are ``object``, and that is said.
Points and polylines are no areas: they are passed over, counted and named.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from automl_images import storage
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Boxes, Label, Polygons
from automl_images.annotations.lines import first_line, head_of, json_value
from automl_images.annotations.outlines import (
    Outline,
    corners_in,
    ellipse,
    held,
    label_of,
    length,
    points_in,
    points_of,
    rectangle,
    say_passed_over,
)
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, number, shown
from automl_images.errors import UserError

_NAMED = ("label", "class", "name", "type", "category")
_NO_AREAS = ("point", "polyline", "line")
_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
UNNAMED = "object"


class Image(NamedTuple):
    """An image as VIA has it: its name, and (place, shape, attributes) of each region."""

    name: Any
    regions: list[tuple[str, Any, Any]]


def candidates(source: Source) -> list[str]:
    """Return the JSON and CSV files that look like VIA's: the source itself, or those below it."""
    found = [f for f in source.files(".json") if _is_via(head_of(f))]
    return found + [f for f in source.files(".csv") if _COLUMNS[1] in first_line(f)]


def _is_via(head: bytes) -> bool:
    return b'"_via_' in head or (b'"shape_attributes"' in head and b'"filename"' in head)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order; an image without regions has nothing on it."""
    file = source.only(candidates(source), "VIA annotations (.json or .csv)") if source.is_folder else source.url
    place = storage.redact(file)
    try:
        text = storage.read_bytes(file)
        images = _of_csv(text) if file.lower().endswith(".csv") else _of_json(json_value(text))
        attribute = _attribute(images)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if attribute is None and any(image.regions for image in images):
        print(f"{place}: its regions have no attribute: each is of the class '{UNNAMED}'", file=sys.stderr)
    passed: Counter[str] = Counter()
    places = source.places(file)

    def record(image: Image, where: str) -> Record:
        url = source.image(image.name, "filename", places)
        with labelling(url):
            width, height = size_of(url)
            outlines = []
            for region, shape, attributes in image.regions:
                try:
                    if not isinstance(shape, dict) or not isinstance(attributes, dict):
                        raise UserError("needs objects as its shape and its attributes")
                    if shape.get("name") in _NO_AREAS:
                        passed[shape["name"]] += 1
                    else:
                        outlines.append(Outline(_class(attributes, attribute), (_points(shape),)))
                except UserError as error:
                    raise UserError(f"{region}: {error}") from None
            return Record(url, label_of(kind, outlines, (), width, height), width, height, None, where)

    items = ((f"{place}, image {i} ({str(image.name)[:200]})", image) for i, image in enumerate(images, 1))
    yield from records_of(items, record, broken)
    say_passed_over(place, passed)


def _of_json(content: Any) -> list[Image]:
    """Return the images of a project or of exported annotations."""
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(e, dict) and "regions" in e for e in entries.values()):
        raise UserError("is not VIA's format: it needs an object of images, each with filename and regions")
    images = []
    for entry in entries.values():
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise UserError(f"the regions of {shown(entry.get('filename'))} are no list of objects")
        found = [
            (f"region {i}", r.get("shape_attributes"), r.get("region_attributes") or {})
            for i, r in enumerate(regions, 1)
        ]
        images.append(Image(entry.get("filename"), found))
    return images


def _of_csv(text: bytes) -> list[Image]:
    """Return the images of an exported CSV, which has a row a region."""
    try:
        lines = io.StringIO(text.decode("utf-8-sig").removeprefix("#"), newline="")
        rows = list(csv.DictReader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"is no CSV in UTF-8: {error}") from None
    images: dict[str, Image] = {}
    for i, row in enumerate(rows, 2):
        if any(row.get(column) is None for column in _COLUMNS):
            raise UserError(f"row {i}: lacks one of the columns {', '.join(_COLUMNS)}")
        image = images.setdefault(row["filename"], Image(row["filename"], []))
        try:
            shape, attributes = json_value(row[_COLUMNS[1]] or "{}"), json_value(row[_COLUMNS[2]] or "{}")
        except UserError as error:
            raise UserError(f"row {i}: {error}") from None
        if shape:
            image.regions.append((f"row {i}", shape, attributes))
    return list(images.values())


def _attribute(images: list[Image]) -> str | None:
    """Return the attribute of regions that holds their class; None where none has any.

    Raises:
        UserError: several may.
    """
    names = list(
        dict.fromkeys(n for i in images for _, _, found in i.regions if isinstance(found, dict) for n in found)
    )
    usual = [name for name in names if name.strip().lower() in _NAMED]
    if len(names) > 1 and len(usual) != 1:
        raise UserError(
            f"its regions have the attributes {', '.join(names[:5])}, and which of them holds the class is not told; "
            "name one of them 'label'"
        )
    return (usual or names or [None])[0]


def _class(attributes: dict[str, Any], attribute: str | None) -> str:
    """Return the class of a region; a checkbox has its value as an object of one name that is true."""
    if attribute is None:
        return UNNAMED
    value = attributes.get(attribute)
    if isinstance(value, dict):
        names = [name for name, chosen in value.items() if flag(chosen, name[:60])]
        if len(names) != 1:
            raise UserError(f"its attribute '{attribute[:60]}' has {len(names)} classes; a region takes one")
        value = names[0]
    return class_name(value, f"its attribute '{attribute[:60]}'")


def _points(shape: dict[str, Any]) -> tuple:
    name = shape.get("name")

    def numbers(*keys: str) -> list[float]:
        return [number(shape.get(key), key) for key in keys]

    if name == "rect":
        left, top, width, height = numbers("x", "y", "width", "height")
        return rectangle(left, top, left + width, top + height)
    if name == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        return ellipse(x, y, radius, radius)
    if name == "ellipse":  # its angle, theta, is in radians
        x, y, across, down = numbers("cx", "cy", "rx", "ry")
        return ellipse(x, y, across, down, math.degrees(number(shape.get("theta", 0), "theta")))
    if name == "polygon":
        all_x, all_y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(all_x, list) or not isinstance(all_y, list) or len(all_x) != len(all_y):
            raise UserError("its all_points_x and all_points_y are not two lists of one length")
        return points_of([list(pair) for pair in zip(all_x, all_y, strict=True)], "its polygon")
    raise UserError(f"its shape is {shown(name)}; known are rect, circle, ellipse and polygon")


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write a project of VIA 2, in which the attribute ``label`` is the class; masks are traced.

    Raises:
        UserError: an image is in two records.
    """
    folder, lost = folder_of(url), Counter[str]()
    images: dict[str, dict[str, Any]] = {}
    classes: dict[str, str] = {}
    for record in records:
        name = written_name(record.image_url, folder)
        key = f"{name}-1"  # -1 is VIA's size of a file that it has not opened yet
        if key in images:
            raise UserError(f"{record.where}: the image {shown(name)} is in another record too; VIA has it once")
        width, height = size_of(record.image_url, record.width, record.height)
        regions = [
            {"shape_attributes": shape, "region_attributes": {"label": label}}
            for label, shape in _shapes(record.label, width, height, lost)
        ]
        classes |= {region["region_attributes"]["label"]: "" for region in regions}
        images[key] = {"filename": name, "size": -1, "regions": regions, "file_attributes": {}}
    kinds = {"label": {"type": "dropdown", "description": "", "options": classes, "default_options": {}}}
    project = {
        "_via_settings": {"project": {"name": "annotations"}},
        "_via_img_metadata": images,
        "_via_attributes": {"region": kinds, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(images),
    }
    storage.write(url, json.dumps(project, ensure_ascii=False))
    return Written(len(images), +lost)


def _shapes(label: Any, width: int, height: int, lost: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the class and the shape of each region; VIA has no object of several parts."""
    if isinstance(label, Boxes):
        for box, (left, top, right, bottom) in zip(
            label.boxes, corners_in(label.boxes, lost, width, height), strict=True
        ):
            across, down = length(left, right), length(top, bottom)
            yield box.label, {"name": "rect", "x": left, "y": top, "width": across, "height": down}
        return
    instances = held(label.instances, lost, masks=False)
    for one, parts in zip(instances, points_in(instances, width, height), strict=True):
        lost["parts (each is an object)"] += len(parts) - 1
        for points in parts:
            all_x, all_y = map(list, zip(*points, strict=True))
            yield one.label, {"name": "polygon", "all_points_x": all_x, "all_points_y": all_y}


FORMAT = Format("via", "VIA (.json or .csv)", (Boxes, Polygons), candidates, read, write, before=("csv",))
