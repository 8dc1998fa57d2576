"""Pascal VOC, written: an XML an image, and masks as PNGs of indices."""

from __future__ import annotations

import io
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from automl_images import storage
from automl_images.annotations.labels import Boxes, Instance, Label, Mask, Polygons
from automl_images.annotations.masks import flat, pixels_of
from automl_images.annotations.records import Record
from automl_images.annotations.shapes import box_of, mask_of
from automl_images.annotations.voc_masks import CLASSES, OBJECTS
from automl_images.errors import UserError

_MOST = 254


def write(records: Iterable[Record], out: str, kind: type[Label], lost: Counter[str]) -> int:
    """Write records into a folder and return how many; what cannot be held is counted in ``lost``.

    Raises:
        UserError: a record has no size, two images have one name, or there are more classes or objects than indices.
    """
    images = 0
    names: dict[str, str] = {}
    ids: dict[str, int] = {} if kind is Mask else {"background": 0}
    for record in records:
        file = posixpath.basename(record.image_url)
        name = posixpath.splitext(file)[0]
        if name in names:
            raise UserError(f"{record.where}: two images are called {name}; VOC's files are named by them")
        names[name] = file
        label = record.label
        if isinstance(label, Mask):
            _write_mask(out, name, label, ids, lost)
        else:
            _write_xml(out, name, file, record, lost)
            if isinstance(label, Polygons):
                _write_instances(out, name, record, ids, lost)
        images += 1
    if kind in (Mask, Polygons):
        listed = sorted(ids, key=lambda name: ids[name])
        storage.write(storage.join(out, "classes.txt"), "".join(f"{name}\n" for name in listed))
    lists = "Main" if kind is Boxes else "Segmentation"
    storage.write(storage.join(out, "ImageSets", lists, "default.txt"), "".join(f"{name}\n" for name in names))
    return images


def _write_xml(out: str, name: str, file: str, record: Record, lost: Counter[str]) -> None:
    width, height = _size(record)
    tree = Element("annotation")
    SubElement(tree, "filename").text = file
    size = SubElement(tree, "size")
    for side, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, side).text = str(value)
    for one in _drawn(record.label):
        found = SubElement(tree, "object")
        SubElement(found, "name").text = one.label
        SubElement(found, "difficult").text = str(int(one.isCrowd))
        corners = box_of(one) if isinstance(one, Instance) else (one.topX, one.topY, one.bottomX, one.bottomY)
        lost["area"] += one.area is not None
        box = SubElement(found, "bndbox")
        for side, value, scale in zip(("xmin", "ymin", "xmax", "ymax"), corners, (width, height) * 2, strict=True):
            SubElement(box, side).text = _number(float(value) * scale)
    indent(tree)
    storage.write(storage.join(out, "Annotations", f"{name}.xml"), tostring(tree, encoding="unicode") + "\n")


def _write_instances(out: str, name: str, record: Record, ids: dict[str, int], lost: Counter[str]) -> None:
    """Write the masks of objects and of their classes; of two objects at a pixel the later one has it."""
    width, height = _size(record)
    instances = record.label.instances
    if len(instances) > _MOST:
        raise UserError(f"{record.where}: has {len(instances)} objects; VOC's masks hold {_MOST}")
    objects, classes = (np.zeros((height, width), np.uint8) for _ in range(2))
    for i, one in enumerate(instances, 1):
        inside = mask_of(one, width, height)
        lost["pixels of two objects"] += int(np.count_nonzero(objects[inside]))
        lost["points of outlines (pixels are kept)"] += one.rle is None
        objects[inside], classes[inside] = i, _id(one.label, ids)
    if len(np.unique(objects)) <= len(instances):
        raise UserError(f"{record.where}: an object has no pixel of its own; VOC's masks cannot hold it")
    for folder, found in ((OBJECTS, objects), (CLASSES, classes)):
        _write_png(out, folder, name, found)


def _write_mask(out: str, name: str, label: Mask, ids: dict[str, int], lost: Counter[str]) -> None:
    """Write a mask with the indices that all masks of the set share; what is ignored is 255."""
    pixels = flat(pixels_of(label.mask_url, label.coloured))
    names = label.classes or tuple((str(value), value) for value in np.unique(pixels).tolist())
    found = np.full(pixels.shape, 255, np.uint8)
    for named, value in names:
        index = _id(named, ids)
        if value not in label.ignore:
            found[pixels == (int(value[1:], 16) if isinstance(value, str) else value)] = index
    lost["values of classes (indices are new)"] += any(ids[named] != value for named, value in names)
    _write_png(out, CLASSES, name, found)


def _id(name: str, ids: dict[str, int]) -> int:
    index = ids.setdefault(name, len(ids))
    if index > _MOST:
        raise UserError(f"the records have more than {_MOST} classes; VOC's masks hold no more")
    return index


def _write_png(out: str, folder: str, name: str, pixels: np.ndarray) -> None:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    storage.write(storage.join(out, folder, f"{name}.png"), file.getvalue())


def _drawn(label: Label) -> Sequence[Any]:
    return label.boxes if isinstance(label, Boxes) else label.instances if isinstance(label, Polygons) else ()


def _size(record: Record) -> tuple[int, int]:
    if not record.width or not record.height:
        raise UserError(f"{record.where}: has no size, which VOC's boxes need; convert the annotations first")
    return record.width, record.height


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
