"""SageMaker's augmented manifest: JSON lines with ``source-ref`` and a label attribute, as Ground Truth writes them.

The label attribute is the one that has a ``<name>-metadata`` beside it; in a manifest without metadata, the only key
that is left. A name comes from the metadata (``class-name``, ``class-map``), else the class id as text is the name.

Several classes are a list, or a list as text, which holds class ids (``[0, 2]``) or is multi-hot (``[1, 0, 1]``). What
the content type tells SageMaker is found from the whole file here: it is multi-hot if only 0 and 1 occur in lists of
one length, and class ids if no list repeats a value. Where both hold, a ``class-map`` decides for class ids (Ground
Truth's form), and its absence for multi-hot (SageMaker's default); which was taken is said on standard error.

Boxes are an object with ``annotations`` (``class_id``, and ``left``, ``top``, ``width`` and ``height`` in pixels) and
``image_size``. Masks have an attribute that ends with ``-ref``; ``internal-color-map`` in its metadata names their
indices, or their colours where the masks are in colours; without it, a label map beside the manifest does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from automl_images import storage
from automl_images.annotations import record_file
from automl_images.annotations.formats import jsonl
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import folder_of, written_name
from automl_images.annotations.labels import Boxes, Classes, Label, Mask, OneClass
from automl_images.annotations.lines import first_line, json_object, parsed
from automl_images.annotations.manifests import SIDES, SOURCE, TYPES, Known
from automl_images.annotations.records import Record, labelling
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken
from automl_images.errors import UserError

_ATTRIBUTES: dict[type[Label], str] = {OneClass: "label", Classes: "labels", Boxes: "bounding-box", Mask: "mask-ref"}


def candidates(source: Source) -> list[str]:
    """Return the ``.manifest`` files, and the JSONL files whose first line has ``source-ref``; at any depth."""
    found = source.files(".manifest", *jsonl.SUFFIXES)
    return [f for f in found if f.lower().endswith(".manifest") or f'"{SOURCE}"' in first_line(f)]


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a manifest, line by line; it is read twice.

    An image root may map addresses, such as ``s3://bucket/=FOLDER``.
    """
    found = candidates(source) if source.is_folder else [source.url]
    file = source.only(found, "manifest (.manifest, or .jsonl with source-ref)")
    places = source.places(file)
    known = Known(file, kind)
    if kind is Classes:
        known.say_what_lists_are()

    def label_of(item: dict[str, Any], url: str) -> tuple[Label, int | None, int | None]:
        if kind is Boxes:
            return known.boxes(item, url)
        if kind is Mask:
            return known.mask(source.image(known.value(item), known.attribute, places)), None, None
        return known.one(item) if kind is OneClass else known.several(item), None, None

    def record(line: str, where: str) -> Record:
        item = json_object(line)
        url = source.image(item.get(SOURCE), SOURCE, places)
        with labelling(url):
            return Record(url, *label_of(item, url), where=where)

    return parsed(file, record, broken)


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write records as Ground Truth does; class ids count from 0 in the order in which the classes occur.

    What is not held: ``isCrowd`` and ``area`` of boxes, and which values of masks are ignored, unless that is 255.
    """
    attribute, folder = _ATTRIBUTES[kind], folder_of(url)
    ids: dict[str, int] = {}
    lost: Counter[str] = Counter()
    images = 0
    with record_file.replacing(url) as fresh, fresh.open("x", encoding="utf-8", newline="\n") as file:
        for record in records:
            value, names = _written(record, ids, lost, folder)
            metadata = {**names, "type": TYPES[kind]}
            item = {SOURCE: written_name(record.image_url, folder), attribute: value}
            file.write(json.dumps({**item, f"{attribute}-metadata": metadata}, ensure_ascii=False) + "\n")
            images += 1
    return Written(images, +lost)


def _written(record: Record, ids: dict[str, int], lost: Counter[str], folder: str) -> tuple[Any, dict[str, Any]]:
    """Return what stands for a label, and the names in its metadata."""
    label = record.label
    if isinstance(label, Mask):
        colours: dict[str, dict[str, str]] = {}
        for i, (name, value) in enumerate(label.classes):
            named = {"class-name": name}
            colours[str(i if label.coloured else value)] = named | ({"hex-color": str(value)} if label.coloured else {})
        usual = () if label.coloured or 255 in dict(label.classes).values() else (255,)
        lost["ignore"] += label.ignore != usual
        if label.mask_url.startswith(storage.INLINE):
            where = record.where or record.image_url
            raise UserError(
                f"{where}: has its mask in itself, and a manifest names files; export to masks, and that to it"
            )
        return written_name(label.mask_url, folder), {"internal-color-map": colours} if colours else {}
    for name in label.names():
        ids.setdefault(name, len(ids))
    if isinstance(label, OneClass):
        return ids[label.name], {"class-name": label.name}
    if isinstance(label, Classes):
        return [ids[name] for name in label.classes], {"class-map": {str(ids[name]): name for name in label.classes}}
    if not isinstance(label, Boxes):
        raise TypeError(f"{record.where}: no label of a manifest: {label!r:.60}")
    if record.width is None or record.height is None:
        raise UserError(
            f"{record.where or record.image_url}: has no size, which boxes in pixels need; convert it first"
        )
    width, height, found = record.width, record.height, []
    for box in label.boxes:
        lost.update(isCrowd=box.isCrowd, area=box.area is not None)
        sides = (
            box.topX * width,
            box.topY * height,
            (box.bottomX - box.topX) * width,
            (box.bottomY - box.topY) * height,
        )
        whole = [round(v) if abs(v - round(v)) < 1e-9 else v for v in sides]
        found.append({"class_id": ids[box.label], **dict(zip(SIDES, whole, strict=True))})
    names = {"class-map": {str(ids[name]): name for name in dict.fromkeys(label.names())}}
    return {"image_size": [{"width": width, "height": height, "depth": 3}], "annotations": found}, names


FORMAT = Format(
    "manifest", "an augmented manifest (.manifest)", tuple(TYPES), candidates, read, write, before=(jsonl.FORMAT.name,)
)
