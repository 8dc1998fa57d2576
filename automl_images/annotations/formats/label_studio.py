"""Label Studio's JSON export: rectangles, ellipses, polygons and brush strokes; choices are classes of the image.

A task that nobody has annotated is left out and counted; an annotation with nothing in it is an image with nothing on
it. A task with several annotations that count is refused: whose counts is not told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from automl_images import storage
from automl_images.annotations import record_file, shapes
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, is_image, written_name
from automl_images.annotations.labels import Boxes, Classes, Instance, Label, OneClass, Polygons, Rle
from automl_images.annotations.lines import head_of, json_value
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
from automl_images.annotations.values import Broken, class_name, number, pixels
from automl_images.errors import UserError

_AREAS = {"rectanglelabels", "ellipselabels", "polygonlabels", "brushlabels"}
_RUNS = (3, 4, 8, 16)  # bits in which a brush stroke's runs are counted
_CONTROLS = {"choices": "choice", "rectanglelabels": "label", "polygonlabels": "label", "brushlabels": "brush"}
_UPLOAD = re.compile(r"^/?data/upload/(?:\d+/)?([0-9a-f]{8}-)?(.+)$")


def candidates(source: Source) -> list[str]:
    """Return the JSON files that look like Label Studio's: the source itself, or those below it."""
    return [file for file in source.files(".json") if _looks(head_of(file))]


def _looks(head: bytes) -> bool:
    return head.lstrip().startswith(b"[") and b'"annotations"' in head and b'"data"' in head


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record a task, in the file's order.

    ``/data/upload/3/1a2b3c4d-photo.jpg`` is looked for by that name, and as ``photo.jpg``;
    ``/data/local-files/?d=folder/photo.jpg`` below the root.
    """
    file = source.only(candidates(source), "Label Studio's export (.json)") if source.is_folder else source.url
    place = storage.redact(file)
    try:
        tasks = json_value(storage.read_bytes(file))
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if not isinstance(tasks, list):
        raise UserError(f"{place}: is not Label Studio's JSON: it needs a list of tasks")
    passed: Counter[str] = Counter()
    places = source.places(file)
    items = [(f"{place}, task {_key(task, i)}", task) for i, task in enumerate(tasks, 1)]
    open_tasks = [task for _, task in items if isinstance(task, dict) and not _counting(task)]
    items = [(where, task) for where, task in items if not isinstance(task, dict) or _counting(task)]

    def record(task: Any, where: str) -> Record:
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise UserError("is not an object with data and annotations")
        url = _image(task["data"], source, places)
        with labelling(url):
            found = _counting(task)
            if len(found) > 1:
                raise UserError(f"has {len(found)} annotations, and whose counts is not told; cancel the others")
            return _record(found[0], kind, url, where, passed)

    yield from records_of(items, record, broken)
    if open_tasks:
        print(f"{place}: {len(open_tasks)} tasks have no annotation that counts: they are left out", file=sys.stderr)
    say_passed_over(place, passed)


def _key(task: Any, position: int) -> str:
    return (
        str(task["id"])[:40] if isinstance(task, dict) and isinstance(task.get("id"), int | str) else f"at {position}"
    )


def _counting(task: dict[str, Any]) -> list[Any]:
    """Return the annotations that are not cancelled."""
    found = task.get("annotations", task.get("completions"))
    if not isinstance(found, list):
        raise UserError(f"the task {_key(task, 0)} has no list of annotations; export it as JSON, not as JSON-MIN")
    return [one for one in found if not (isinstance(one, dict) and one.get("was_cancelled"))]


def _path(address: str) -> str:
    """Return the path in an address, or all of what is none."""
    with contextlib.suppress(ValueError):
        return urlsplit(address).path or address
    return address


def _image(data: dict[str, Any], source: Source, places: list[str]) -> str:
    """Return the address of the image among a task's data.

    Raises:
        UserError: there is none, or several, or it is not there.
    """
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    names = [key for key, value in texts.items() if is_image(value) or is_image(_path(value))]
    names = names or [key for key, value in texts.items() if "?d=" in value] or [key for key in texts if key == "image"]
    if len(names) != 1:
        held = f"{' and '.join(names[:3])} may be its image" if names else "names no image"
        raise UserError(f"{held}; a task's data needs one")
    value = data[names[0]]
    if "/data/local-files/" in value:
        given = parse_qs(value.partition("?")[2]).get("d") or [""]
        return source.image(given[0], "image", places)
    if upload := _UPLOAD.match(unquote(value)):
        prefix, name = upload.groups()
        try:
            return source.image((prefix or "") + name, "image", places)
        except UserError:
            if not prefix:
                raise
        return source.image(name, "image", places)
    return source.image(value, "image", places)


def _record(annotation: Any, kind: type[Label], url: str, where: str, passed: Counter[str]) -> Record:
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise UserError("its annotation has no list of results")
    sides = [(one.get("original_width"), one.get("original_height")) for one in results]
    sizes = {tuple(pixels(v, "original_width or original_height") for v in pair) for pair in sides if all(pair)}
    if len(sizes) > 1:
        raise UserError("its results are of images of several sizes")
    if sizes:
        width, height = (side or 1 for side in sizes.pop())
    else:
        width, height = size_of(url)
    outlines, classes = [], []
    for i, one in enumerate(results, 1):
        type_, value = str(one.get("type")), one.get("value")
        try:
            if type_ == "choices":
                classes += _labels(value, "choices")
            elif type_ in _AREAS:
                if number(one.get("image_rotation", 0), "image_rotation"):
                    raise UserError("its image was turned while it was annotated, which is not read")
                outlines.append(_outline(type_, value, width, height))
            else:
                passed[str(type_)[:40]] += 1
        except UserError as error:
            raise UserError(f"result {i}: {error}") from None
    return Record(url, label_of(kind, outlines, classes, width, height), width, height, None, where)


def _labels(value: Any, key: str) -> list[Any]:
    labels = value.get(key) if isinstance(value, dict) else None
    if not isinstance(labels, list) or not labels:
        raise UserError(f"has no {key}")
    return labels


def _outline(type_: str, value: Any, width: int, height: int) -> Outline:
    labels = _labels(value, type_)
    if len(labels) != 1:
        raise UserError(f"has the classes {', '.join(map(str, labels[:5]))[:80]}; an object takes one")
    label = class_name(labels[0])
    if type_ == "brushlabels":
        return Outline(label, rle=shapes.encoded(_brush(value.get("rle"), width, height)))
    if type_ == "polygonlabels":
        points = points_of(value.get("points"), "its polygon")
        return Outline(label, (tuple((x * width / 100, y * height / 100) for x, y in points),))
    degrees = number(value.get("rotation") or 0, "rotation")
    if type_ == "rectanglelabels":  # turned about its first corner
        x, y, across, down = (number(value.get(key), key) for key in ("x", "y", "width", "height"))
        left, top = x * width / 100, y * height / 100
        right, bottom = (x + across) * width / 100, (y + down) * height / 100
        return Outline(label, (rectangle(left, top, right, bottom, degrees, (left, top)),))
    x, y, across, down = (
        number(value.get(key), key) * side / 100
        for key, side in zip(("x", "y", "radiusX", "radiusY"), (width, height) * 2, strict=True)
    )
    return Outline(label, (ellipse(x, y, across, down, degrees),))


def _brush(values: Any, width: int, height: int) -> np.ndarray:
    """Return the pixels of a brush stroke: where the opacity, the fourth of each pixel's bytes, is not 0.

    The bytes are packed by thi.ng's rle-pack: their number in 32 bits, the bits of a byte less one in 5, four lengths
    of counts less one in 4 bits each; then, for each run, a bit (whether one byte is repeated), two that choose a
    length, the count less one, and the byte or bytes.
    """
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v <= 255 for v in values):
        raise UserError("its rle is not a list of bytes")
    whole = shapes.blank(width, height)
    bits = np.unpackbits(np.array(values, np.uint8))
    at = 0

    def take(count: int) -> int:
        nonlocal at
        found = bits[at : at + count]
        if len(found) < count:
            raise UserError("its rle ends too early")
        at += count
        return int("".join(map(str, found.tolist())) or "0", 2)

    total, size = take(32), take(5) + 1
    if total != whole.size * 4 or size > 8:
        raise UserError(f"its rle is of {total} bytes, and {width} x {height} pixels have {whole.size * 4}")
    lengths = [take(4) + 1 for _ in range(4)]
    found = np.empty(total, np.uint8)
    filled = 0
    while filled < total:
        repeated, length = take(1), lengths[take(2)]
        count = take(length) + 1
        if filled + count > total:
            raise UserError("its rle is longer than it says")
        if repeated:
            found[filled : filled + count] = take(size)
        else:
            some = bits[at : at + count * size]
            if len(some) < count * size:
                raise UserError("its rle ends too early")
            at += count * size
            found[filled : filled + count] = some.reshape(count, size) @ (1 << np.arange(size)[::-1])
        filled += count
    return found.reshape(height, width, 4)[..., 3] != 0


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write the JSON export, a task an image. An object of several parts is a brush stroke, which keeps its pixels.

    Local images have the addresses that Label Studio's local storage serves, ``/data/local-files/?d=folder/photo.jpg``;
    the controls are called as in its templates, ``label``, ``brush`` and ``choice``.
    """
    folder, lost, images = folder_of(url), Counter[str](), 0
    with record_file.replacing(url) as fresh, fresh.open("x", encoding="utf-8") as file:
        file.write("[")
        for record in records:
            images += 1
            name, size = record.image_url, size_of(record.image_url, record.width, record.height)
            if storage.is_local(name):
                name = f"/data/local-files/?d={quote(written_name(name, folder))}"
            results = [
                {
                    "id": f"{images}-{i}",
                    "type": type_,
                    "from_name": _CONTROLS[type_],
                    "to_name": "image",
                    "original_width": size[0],
                    "original_height": size[1],
                    "image_rotation": 0,
                    "value": value,
                }
                for i, (type_, value) in enumerate(_values(record.label, *size, lost), 1)
            ]
            annotation = {"id": images, "was_cancelled": False, "ground_truth": False, "result": results}
            task = {"id": images, "data": {"image": name}, "annotations": [annotation], "predictions": []}
            file.write(("\n" if images == 1 else ",\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")
    return Written(images, +lost)


def _values(label: Any, width: int, height: int, lost: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the type and the value of each result, whose numbers are hundredths of the image."""
    if isinstance(label, Boxes):
        corners = corners_in(label.boxes, lost, 100, 100)
        for box, (left, top, right, bottom) in zip(label.boxes, corners, strict=True):
            place = {"x": left, "y": top, "width": length(left, right), "height": length(top, bottom), "rotation": 0}
            yield "rectanglelabels", place | {"rectanglelabels": [box.label]}
    elif isinstance(label, Polygons):
        whole = list(_whole(held(label.instances, lost), width, height, lost))
        for one, parts in zip(whole, points_in(whole, 100, 100), strict=True):
            if one.rle is not None:
                yield "brushlabels", {"format": "rle", "rle": _packed(one.rle), "brushlabels": [one.label]}
            for points in parts:
                yield "polygonlabels", {"points": points, "closed": True, "polygonlabels": [one.label]}
    elif names := label.names():
        yield "choices", {"choices": names}


def _whole(instances: Iterable[Instance], width: int, height: int, lost: Counter[str]) -> Iterator[Instance]:
    """Yield objects, those of several parts as their pixels: Label Studio has no polygon of parts."""
    for one in instances:
        if len(one.polygon) < 2:
            yield one
            continue
        inside = shapes.mask_of(one, width, height)
        lost["outlines of several parts (pixels are kept)"] += 1
        lost["objects without a pixel"] += not inside.any()
        if inside.any():
            yield dataclasses.replace(one, polygon=(), rle=shapes.encoded(inside))


def _packed(mask: Rle) -> list[int]:
    """Return a mask as :func:`_brush` reads it: each run is one byte repeated, 255 inside and 0 outside."""
    flat = shapes.decoded(mask).ravel()
    starts = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist()]
    bits = [f"{flat.size * 4:032b}{7:05b}", *(f"{size - 1:04b}" for size in _RUNS)]
    for start, end in zip(starts, [*starts[1:], flat.size], strict=True):
        left = (end - start) * 4
        while left:
            count = min(left, 1 << _RUNS[-1])
            which = next(i for i, size in enumerate(_RUNS) if count <= 1 << size)
            bits.append(f"1{which:02b}{count - 1:0{_RUNS[which]}b}{255 * int(flat[start]):08b}")
            left -= count
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) == ord("1")).tolist()


FORMAT = Format(
    "label_studio",
    "Label Studio's JSON (.json)",
    (Boxes, Polygons, OneClass, Classes),
    candidates,
    read,
    write,
)
