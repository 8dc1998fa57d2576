"""COCO's ``instances.json``: boxes as x, y, width and height in pixels, and outlines as polygons or run lengths.

Images without annotation are kept, empty. Boxes or polygons as fractions of the image, as Azure's labelling tool
exports them, are known by the whole file: none of its numbers is above 1, and some are no whole numbers.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from automl_images import store
from automl_images.annotations import record_file
from automl_images.annotations.coco_file import Annotation, Content, Image, id_of
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Box, Boxes, Instance, Label, Polygons
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.shapes import area_of, box_of, rle
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, flag, number, pixels, shown
from automl_images.errors import UserError

_HEAD = 64 * 1024
_KEYS = re.compile(rb'^\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')
_LISTS = re.compile(rb'^\s*\{[\s\S]*"(images|annotations|categories)"\s*:\s*\[')
_NUMBERS = msgspec.json.Decoder(list[list[float]])
_FOUR = msgspec.json.Decoder(tuple[float, float, float, float])
_ENCODE = msgspec.json.Encoder().encode


def candidates(source: Source) -> list[str]:
    """Return the files that look like COCO annotations: the source itself, or those below it, at any depth."""
    return [f for f in source.files(".json") if _looks(f)]


def _looks(file: str) -> bool:
    fs, path = store.filesystem(file)
    try:
        head = fs.cat_file(path, start=0, end=_HEAD).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        return False
    return bool(_KEYS.match(head) or _LISTS.match(head))


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order. The whole file is held in memory: its form forces it.

    An image is looked for beside the file, in the root, in ``images``, and in the folder that the file's name ends
    with, as ``instances_train2017.json`` does; where the source holds no image and no root is given, in those beside.
    For boxes, outlines are passed over, and that is said; for polygons, each annotation needs its outline.
    """
    file = source.only(candidates(source), "COCO annotations (.json)") if source.is_folder else source.url
    subset = posixpath.splitext(posixpath.basename(file))[0].rpartition("_")[2]
    usual = [subset, f"images/{subset}", "images"]
    root = source.root_beside(usual)
    content = Content(file, broken)
    places = [*source.places(file), *usual]
    fractions = content.fractions("segmentation" if kind is Polygons else "bbox")
    if kind is Boxes and any(len(bytes(a.segmentation)) > len("null") for a in content.annotations[:1]):
        print(f"{content.shown}: its outlines are passed over; task {Polygons.task()} takes them", file=sys.stderr)

    def record(image: Image, where: str) -> Record:
        key = id_of(image.id)
        if key is None or not isinstance(image.file_name, str):
            raise UserError("is not an object with an id and a file_name")
        found = content.found.pop(key, [])
        if len(content.names[key]) > 1:
            raise UserError(f"other images have the same id: {', '.join(sorted(content.names[key])[:3])}")
        url = root.find(image.file_name, places)
        with labelling(url):
            return _record(image, found, url, where, content, kind, fractions)

    items = ((content.place(image, i), image) for i, image in enumerate(content.images, 1))
    yield from records_of(items, record, broken)
    for key, left in content.found.items():
        if key not in content.names:
            broken(UserError(f"{content.shown}, {content.named(left[0])}: its image {key} is not among the images"))


def _record(
    image: Image, found: Sequence[int], url: str, where: str, content: Content, kind: type[Label], fractions: bool
) -> Record:
    width, height = pixels(image.width, "width"), pixels(image.height, "height")
    if found and (width is None or height is None) and not fractions:
        from automl_images.annotations.imaging import open_image

        width, height = open_image(url, decode=False).shown
    size = (1, 1) if fractions else (width or 1, height or 1)
    make: Any = _box if kind is Boxes else _instance
    objects = []
    for position in found:
        annotation = content.annotations[position]
        try:
            name = content.classes.get(id_of(annotation.category_id) or "")
            if name is None:
                raise UserError(f"its category_id {shown(annotation.category_id)} is that of no category")
            crowd = flag(annotation.iscrowd, "iscrowd")
            area = None if annotation.area is None else number(annotation.area, "area")
            objects.append(make(annotation, name, crowd, None if fractions else area, *size))  # no area in pixels
        except UserError as error:
            raise UserError(f"{content.named(position)}: {error}") from None
    label = Boxes(tuple(objects)) if kind is Boxes else Polygons(tuple(objects))
    return Record(url, label, width, height, None, where)


def _box(annotation: Annotation, label: str, crowd: bool, area: float | None, width: int, height: int) -> Box:
    try:
        x, y, w, h = _FOUR.decode(annotation.bbox)
    except msgspec.DecodeError:  # numbers as text, or something wrong
        bbox = msgspec.json.decode(annotation.bbox)
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise UserError("has no bbox of four numbers") from None
        x, y, w, h = map(number, bbox, ("bbox[0]", "bbox[1]", "bbox[2]", "bbox[3]"))
    area = None if area == w * h else area  # the box's own
    return Box(label, x / width, y / height, (x + w) / width, (y + h) / height, crowd, area)


def _instance(annotation: Annotation, label: str, crowd: bool, area: float | None, width: int, height: int) -> Instance:
    try:
        parts = _NUMBERS.decode(annotation.segmentation)
    except msgspec.DecodeError:  # a mask, numbers as text, or something wrong
        found = msgspec.json.decode(annotation.segmentation)
        if isinstance(found, dict):
            return Instance(label, (), crowd, rle(found), area)
        parts = _parts(found)
    polygon = []
    for part in parts:
        if len(part) % 2:
            raise UserError(f"part {len(polygon) + 1} of its segmentation has {len(part)} numbers; x and y alternate")
        part[::2] = [x / width for x in part[::2]]
        part[1::2] = [y / height for y in part[1::2]]
        polygon.append(tuple(part))
    if not polygon:
        raise UserError(f"has no segmentation, which {Polygons.task()} needs; for boxes alone use {Boxes.task()}")
    return Instance(label, tuple(polygon), crowd, None, area)


def _parts(value: Any) -> list[list[float]]:
    """Return the parts of a polygon: a list of lists, or one list of numbers for the only part."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"its segmentation is {shown(value)}, neither polygons nor run lengths")
    parts = value if all(isinstance(part, list) for part in value) else [value]
    return [[number(v, "segmentation") for v in part] for part in parts]


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write one file; ids count from 1, categories in the order in which their names occur.

    Pixels are written with three decimals where these give the fraction back, else with all digits, from which it comes
    back but for its last bit. An area that is not stated is written as that of the pixels, or the box's own.
    """
    folder, images, classes, annotations = folder_of(url), list[bytes](), dict[str, int](), 0
    lost: dict[str, int] = {}
    with record_file.replacing(url) as fresh, fresh.open("xb") as file:
        file.write(b'{"annotations": [')
        for record in records:
            width, height = record.width, record.height
            if width is None or height is None:
                from automl_images.annotations.imaging import open_image

                width, height = open_image(record.image_url, decode=False).shown
            name = written_name(record.image_url, folder)
            images.append(_ENCODE({"id": len(images) + 1, "file_name": name, "width": width, "height": height}))
            objects = record.label.boxes if isinstance(record.label, Boxes) else _drawn(record.label.instances, lost)
            shapes = (_boxed if kind is Boxes else _outlined)(objects, width, height)
            lines = []
            for found, shape in zip(objects, shapes, strict=True):
                annotations += 1
                ids = {"id": annotations, "image_id": len(images)}
                category = classes.setdefault(found.label, len(classes) + 1)
                lines.append(_ENCODE({**ids, "category_id": category, **shape, "iscrowd": int(found.isCrowd)}))
            if lines:
                file.write((b"\n" if annotations == len(lines) else b",\n") + b",\n".join(lines))
        file.write(b'\n], "images": [\n' + b",\n".join(images) + b'\n], "categories": ')
        file.write(_ENCODE([{"id": key, "name": name} for name, key in classes.items()]) + b"}\n")
    return Written(len(images), lost)


def _drawn(instances: Sequence[Instance], lost: dict[str, int]) -> list[Instance]:
    """Return the objects that have an outline."""
    drawn = [one for one in instances if one.rle or any(one.polygon)]
    if len(drawn) < len(instances):
        lost["objects without outline"] = lost.get("objects without outline", 0) + len(instances) - len(drawn)
    return drawn


def _boxed(boxes: Sequence[Box], width: int, height: int) -> Iterator[dict[str, Any]]:
    corners = _in_pixels([v for b in boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY)], width, height)
    for i, box in enumerate(boxes):
        left, top, right, bottom = corners[4 * i : 4 * i + 4]
        w, h = _length(left, right), _length(top, bottom)
        yield {"bbox": [left, top, w, h], "area": w * h if box.area is None else box.area}


def _length(start: float, end: float) -> float:
    """Return a length that, added to its start, gives the end: with few digits where these do."""
    short = round(end - start, 3)
    return short if start + short == end else end - start


def _outlined(instances: Sequence[Instance], width: int, height: int) -> Iterator[dict[str, Any]]:
    flat = [v for one in instances for part in one.polygon for v in part]
    values, start = _in_pixels(flat, width, height), 0
    for one in instances:
        parts = []
        for part in filter(None, one.polygon):
            parts.append(values[start : start + len(part)])
            start += len(part)
        if one.rle:
            left, top, right, bottom = (
                float(v) * side for v, side in zip(box_of(one), (width, height) * 2, strict=True)
            )
        else:
            left, right = min(map(min, [p[::2] for p in parts])), max(map(max, [p[::2] for p in parts]))
            top, bottom = min(map(min, [p[1::2] for p in parts])), max(map(max, [p[1::2] for p in parts]))
        yield {
            "bbox": [left, top, _length(left, right), _length(top, bottom)],
            "area": area_of(one, width, height) if one.area is None else one.area,
            "segmentation": one.rle.to_json() if one.rle else parts,
        }


def _in_pixels(fractions: list[float], width: int, height: int) -> list[float]:
    """Return x, y, x, y, ... in pixels, with three decimals where these give the fraction back."""
    wanted = np.array(fractions).reshape(-1, 2)
    exact = wanted * (width, height)
    short = np.rint(exact * 1000) / 1000
    return np.where(short / (width, height) == wanted, short, exact).ravel().tolist()


FORMAT = Format("coco", "COCO (.json)", (Boxes, Polygons), candidates, read, write)
