"""COCO's ``instances.json``: boxes as x, y, width and height in pixels, and outlines as polygons or run lengths.

Images without annotation are kept, empty. Boxes or polygons as fractions of the image, as Azure's labelling tool
exports them, are known by the whole file: none of its numbers is above 1, and some are no whole numbers.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from automl_images.annotations import record_file
from automl_images.annotations.coco_file import Annotation, Content, Image, id_of
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Box, Boxes, Instance, Label, Polygons, Rle
from automl_images.annotations.lines import head_of
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.shapes import area_of, box_of, in_pixels, rle
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, flag, number, pixels, shown
from automl_images.errors import DiskFullError, StoreError, UserError

_KEYS = re.compile(rb'^\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')
_LISTS = re.compile(rb'^\s*\{[\s\S]*"(images|annotations|categories)"\s*:\s*\[')
_AT_ONCE = 32  # images: more are more for the garbage collector to look through
_MOST = 1 << 31  # pixels a side, beyond which a number is looked at more closely
_NUMBERS = msgspec.json.Decoder(list[list[float]])
_FOUR = msgspec.json.Decoder(tuple[float, float, float, float])
_ENCODE = msgspec.json.Encoder().encode
# of an annotation: its class, whether it is crowd, its area, its outline in pixels
Said = tuple[str, bool, float | None, list[list[float]] | Rle]


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    """An annotation as it is written."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    segmentation: Any = None


def candidates(source: Source) -> list[str]:
    """Return the files that look like COCO annotations: the source itself, or those below it, at any depth."""
    return [f for f in source.files(".json") if _looks(f)]


def _looks(file: str) -> bool:
    head = head_of(file)
    return bool(_KEYS.match(head) or _LISTS.match(head))


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the file's order. The whole file is held in memory: its form forces it.

    An image is looked for beside the file, in the root, in ``images``, and in the folder that the file's name ends
    with, as ``instances_train2017.json`` does; where the source holds no image and no root is given, in those beside.
    For boxes, outlines are passed over, and that is said; for polygons, each annotation needs its outline.
    """
    content, find = _opened(source, broken, kind)
    source.named.update(content.classes.values())
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
        url = find(image.file_name)
        with labelling(url):
            return _record(image, found, url, where, content, kind, fractions)

    items = ((content.place(image, i), image) for i, image in enumerate(content.images, 1))
    yield from records_of(items, record, broken)
    for key, left in content.found.items():
        if key not in content.names:
            broken(UserError(f"{content.shown}, {content.named(left[0])}: its image {key} is not among the images"))


def ids(source: Source) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the addresses of images by their ids, and the names of classes by those of categories, ids as text.

    An address is None where :func:`read` makes no record of the image, and tells why.
    """
    content, find = _opened(source, lambda error: None, Boxes)
    images: dict[str, str | None] = {}
    for image in content.images:
        if (key := id_of(image.id)) is None:
            continue
        images[key] = None
        if isinstance(image.file_name, str) and len(content.names[key]) == 1:
            try:
                images[key] = find(image.file_name)
            except (StoreError, DiskFullError):
                raise
            except UserError:
                continue
    return images, content.classes


def _opened(source: Source, broken: Broken, kind: type[Label]) -> tuple[Content, Callable[[str], str]]:
    """Return the file, and what gives the address of an image by its name."""
    file = source.only(candidates(source), "COCO annotations (.json)") if source.is_folder else source.url
    subset = posixpath.splitext(posixpath.basename(file))[0].rpartition("_")[2]
    usual = [subset, f"images/{subset}", "images"]
    root, places = source.root_beside(usual), [*source.places(file), *usual]
    return Content(file, broken, boxes=kind is Boxes), lambda name: root.find(name, places)


def _record(
    image: Image, found: Sequence[int], url: str, where: str, content: Content, kind: type[Label], fractions: bool
) -> Record:
    width, height = image.width, image.height
    if not (type(width) is type(height) is int and 0 < width < _MOST and 0 < height < _MOST):
        width, height = pixels(width, "width"), pixels(height, "height")
    if found and (width is None or height is None) and not fractions:
        width, height = size_of(url, width, height)
    across, down = (1, 1) if fractions else (width or 1, height or 1)
    boxes, rows = list[Box](), list[Said]()
    for position in found:
        annotation = content.annotations[position]
        try:
            name, crowd, area = content.name_of(annotation.category_id), annotation.iscrowd, annotation.area
            if type(crowd) is not int or crowd not in (0, 1):
                crowd = flag(crowd, "iscrowd")
            if type(area) is not float:
                area = None if area is None else number(area, "area")
            if fractions:  # which tell of no area in pixels
                area = None
            if kind is Boxes:
                x, y, w, h = _four(annotation)
                own = None if area == w * h else area
                corners = x / across, y / down, (x + w) / across, (y + h) / down
                boxes.append(Box(name, *corners, bool(crowd), own))
            else:
                rows.append((name, bool(crowd), area, _outline(annotation)))
        except UserError as error:
            raise UserError(f"{content.named(position)}: {error}") from None
    label = Boxes(tuple(boxes)) if kind is Boxes else _polygons(rows, across, down)
    return Record(url, label, width, height, None, where)


def _polygons(rows: list[Said], width: int, height: int) -> Polygons:
    flat: list[float] = []
    for *_, parts in rows:
        if isinstance(parts, list):
            for part in parts:
                flat += part
    numbers = np.fromiter(flat, float, len(flat))
    numbers[::2] /= width
    numbers[1::2] /= height
    values, start = numbers.tolist(), 0
    instances = []
    for name, crowd, area, parts in rows:
        if isinstance(parts, Rle):
            instances.append(Instance(name, (), crowd, parts, area))
            continue
        polygon = []
        for part in parts:
            polygon.append(tuple(values[start : start + len(part)]))
            start += len(part)
        instances.append(Instance(name, tuple(polygon), crowd, None, area))
    return Polygons(tuple(instances))


def _four(annotation: Annotation) -> tuple[float, float, float, float]:
    """Return x, y, width and height."""
    if type(annotation.bbox) is tuple:
        return annotation.bbox
    text = b"null" if annotation.bbox is None else annotation.bbox
    try:
        return _FOUR.decode(text)
    except msgspec.DecodeError:  # numbers as text, or something wrong
        bbox = msgspec.json.decode(text)
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise UserError("has no bbox of four numbers") from None
        x, y, w, h = map(number, bbox, ("bbox[0]", "bbox[1]", "bbox[2]", "bbox[3]"))
        return x, y, w, h


def _outline(annotation: Annotation) -> list[list[float]] | Rle:
    """Return the parts of a polygon as they stand, or a mask."""
    try:
        parts = _NUMBERS.decode(annotation.segmentation)
    except msgspec.DecodeError:  # a mask, numbers as text, or something wrong
        found = msgspec.json.decode(annotation.segmentation)
        if isinstance(found, dict):
            return rle(found)
        parts = _parts(found)
    for i, part in enumerate(parts, 1):
        if len(part) % 2:
            raise UserError(f"part {i} of its segmentation has {len(part)} numbers; x and y alternate")
    if not parts:
        raise UserError(f"has no segmentation, which {Polygons.task()} needs; for boxes alone use {Boxes.task()}")
    return parts


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
        rest = iter(records)
        while batch := list(itertools.islice(rest, _AT_ONCE)):
            objects: list[Any] = []
            sizes, owners = list[tuple[int, int]](), list[int]()
            for record in batch:
                width, height = size_of(record.image_url, record.width, record.height)
                name = written_name(record.image_url, folder)
                images.append(_ENCODE({"id": len(images) + 1, "file_name": name, "width": width, "height": height}))
                found = record.label.boxes if kind is Boxes else _drawn(record.label.instances, lost)
                objects += found
                sizes += [(width, height)] * len(found)
                owners += [len(images)] * len(found)
            shapes = _boxed(objects, sizes) if kind is Boxes else _outlined(objects, sizes)
            rows = []
            for one, owner, (bbox, area, *outline) in zip(objects, owners, shapes, strict=True):
                annotations += 1
                category = classes.setdefault(one.label, len(classes) + 1)
                rows.append(_Row(annotations, owner, category, bbox, area, int(one.isCrowd), *outline))
            if rows:
                file.write((b"\n" if annotations == len(rows) else b",\n") + _ENCODE(rows)[1:-1])
        file.write(b'\n], "images": [\n' + b",\n".join(images) + b'\n], "categories": ')
        file.write(_ENCODE([{"id": key, "name": name} for name, key in classes.items()]) + b"}\n")
    return Written(len(images), lost)


def _drawn(instances: Sequence[Instance], lost: dict[str, int]) -> list[Instance]:
    """Return the objects that have an outline."""
    drawn = [one for one in instances if one.rle or any(one.polygon)]
    if len(drawn) < len(instances):
        lost["objects without outline"] = lost.get("objects without outline", 0) + len(instances) - len(drawn)
    return drawn


def _boxed(boxes: Sequence[Box], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[Any, ...]]:
    corners = _pixels([v for b in boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY)], sizes, [2] * len(boxes))
    for box, bbox in zip(boxes, _bboxes(corners[::2], corners[1::2]), strict=True):
        yield bbox, bbox[2] * bbox[3] if box.area is None else box.area


def _outlined(instances: Sequence[Instance], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[Any, ...]]:
    drawn = [list(filter(None, one.polygon)) for one in instances]
    flat: list[float] = []
    for parts in drawn:
        for part in parts:
            flat += part
    counts = [sum(map(len, parts)) // 2 for parts in drawn]
    points = _pixels(flat, sizes, counts)
    starts = [start for start, count in zip(itertools.accumulate(counts, initial=0), counts, strict=False) if count]
    bboxes: Iterator[list[float]] = iter(())
    if starts:
        bboxes = iter(_bboxes(np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)))
    values, start = points.ravel().tolist(), 0
    for one, parts, (width, height) in zip(instances, drawn, sizes, strict=True):
        segmentation: Any = []
        for part in parts:
            segmentation.append(values[start : start + len(part)])
            start += len(part)
        if one.rle:
            left, top, right, bottom = (v * side for v, side in zip(box_of(one), (width, height) * 2, strict=True))
            bbox, segmentation = [float(v) for v in (left, top, right - left, bottom - top)], one.rle.to_json()
        else:
            bbox = next(bboxes)
        area = area_of(one, width, height) if one.area is None else one.area
        yield bbox, area, segmentation


def _pixels(flat: list[float], sizes: Sequence[tuple[int, int]], counts: Sequence[int]) -> np.ndarray:
    """Return points as :func:`in_pixels`, where each of ``sizes`` is that of the next so many points."""
    sides = np.repeat(np.array(sizes, float).reshape(-1, 2), counts, axis=0)
    return in_pixels(flat, sides[:, 0], sides[:, 1])


def _bboxes(starts: np.ndarray, ends: np.ndarray) -> list[list[float]]:
    """Return x, y, width and height of boxes, each width such that x + width is the end: with few digits if these do.

    ``starts`` and ``ends`` are their corners, an array of n x 2 each.
    """
    lengths = ends - starts
    short = np.rint(lengths * 1000) / 1000
    return np.hstack((starts, np.where(starts + short == ends, short, lengths))).tolist()


FORMAT = Format("coco", "COCO (.json)", (Boxes, Polygons), candidates, read, write)
