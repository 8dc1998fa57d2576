"""Records as Pascal VOC: XML files, masks in its palette, a label map, and the list ``default`` of all images."""

from __future__ import annotations

import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from automl_images import storage
from automl_images.annotations.formats.base import Written
from automl_images.annotations.imageroot import written_name
from automl_images.annotations.labels import Box, Boxes, Instance, Label, Mask, Polygons
from automl_images.annotations.masks import pixels_of
from automl_images.annotations.records import Record
from automl_images.annotations.shapes import box_of, in_pixels, mask_of
from automl_images.annotations.voc_masks import VOID, palette
from automl_images.errors import UserError

_LIST = "default"


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write a folder: ``Annotations``, of polygons and masks ``SegmentationClass`` too, of polygons
    ``SegmentationObject``.

    Outlines become pixels, of which each has one object: the last that is drawn there. A pixel's class is its index,
    named in ``label_map.json`` and, by colour, in ``labelmap.txt``.

    Raises:
        UserError: an image has more than 254 objects, there are more than 254 classes, or masks of other classes.
    """
    writer = _Writer(url)
    names: list[str] = []
    for record in records:
        name = writer.name_of(record.image_url)
        names.append(name)
        try:
            writer.add(record, name)
        except UserError as error:
            raise UserError(f"{record.where or record.image_url}: {error}") from None
    if kind is not Boxes:
        writer.write_classes()
    group = "Main" if kind is Boxes else "Segmentation"
    storage.write(storage.join(url, "ImageSets", group, f"{_LIST}.txt"), "".join(f"{name}\n" for name in names))
    return Written(len(names), {what: count for what, count in writer.lost.items() if count})


class _Writer:
    def __init__(self, url: str):
        self.url, self.lost = url, Counter[str]()
        self.classes: dict[str, int] = {}
        self.ignore: tuple[int, ...] = (VOID,)
        self._mapped: tuple[Any, Any] | None = None
        self._taken: set[str] = set()
        self._palette = [v for colour in palette() for v in colour]

    def name_of(self, image: str) -> str:
        """Return a name for an image's files, that no other has whatever its case."""
        stem = posixpath.splitext(image.rstrip("/").rpartition("/")[2])[0].strip().lstrip(".") or "image"
        count, free = 1, stem
        while free.casefold() in self._taken:
            count += 1
            free = f"{stem}-{count}"
        self._taken.add(free.casefold())
        return free

    def add(self, record: Record, name: str) -> None:
        """Write what is said of an image."""
        width, height = record.width, record.height
        if width is None or height is None:
            from automl_images.annotations.imaging import open_image

            width, height = open_image(record.image_url, decode=False).shown
        objects: Sequence[Box] = ()
        if isinstance(record.label, Boxes):
            objects = record.label.boxes
            self.lost["area"] += sum(box.area is not None for box in objects)
        elif isinstance(record.label, Polygons):
            objects = self._drawn(record.label.instances, name, width, height)
        elif isinstance(record.label, Mask):
            self._mask(record.label, name)
        rows = self._rows(objects, width, height)
        file = escape(written_name(record.image_url, self.url))
        text = (
            f"<annotation>\n<filename>{file}</filename>\n<size><width>{width}</width><height>{height}</height>"
            f"<depth>3</depth></size>\n<segmented>{int(not isinstance(record.label, Boxes))}</segmented>\n"
            f"{''.join(rows)}</annotation>\n"
        )
        storage.write(storage.join(self.url, "Annotations", f"{name}.xml"), text)

    def _rows(self, boxes: Sequence[Box], width: int, height: int) -> list[str]:
        rows = []
        corners = in_pixels([v for b in boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY)], width, height)
        for box, values in zip(boxes, corners.reshape(-1, 4).tolist(), strict=True):
            if any(v % 1 for v in values) and max(map(abs, values)) <= 1:  # which reads as fractions
                self.lost["boxes inside the first pixel"] += 1
                continue
            sides = "".join(
                f"<{side}>{int(v) if v == int(v) else repr(v)}</{side}>"
                for side, v in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True)
            )
            rows.append(
                f"<object><name>{escape(box.label)}</name><difficult>{int(box.isCrowd)}</difficult>"
                f"<bndbox>{sides}</bndbox></object>\n"
            )
        return rows

    def _drawn(self, instances: Sequence[Instance], name: str, width: int, height: int) -> list[Box]:
        """Write the masks of an image's objects and return their boxes."""
        owner = np.zeros((height, width), np.int64)
        areas = []
        for i, one in enumerate(instances, 1):
            mask = mask_of(one, width, height) if one.rle or any(one.polygon) else np.zeros((height, width), bool)
            if mask.shape != owner.shape:
                raise UserError(f"object {i} has a mask of another size than its image")
            owner[mask] = i
            areas.append(int(mask.sum()))
        visible = np.bincount(owner.ravel(), minlength=len(instances) + 1)[1:].tolist()
        kept = [i for i, count in enumerate(visible) if count]
        if len(kept) >= VOID:
            raise UserError(f"has {len(kept)} objects; a mask of Pascal VOC holds {VOID - 1}")
        self.lost["objects without a pixel of their own"] += len(instances) - len(kept)
        self.lost["objects that lose pixels to others"] += sum(visible[i] < areas[i] for i in kept)
        self.lost["outlines (pixels are kept)"] += sum(not instances[i].rle for i in kept)
        self.lost["area"] += sum(instances[i].area is not None for i in kept)
        numbers = np.zeros(len(instances) + 1, np.uint8)
        classes = numbers.copy()
        for number, i in enumerate(kept, 1):
            numbers[i + 1], classes[i + 1] = number, self._class(instances[i].label)
        self._save("SegmentationObject", name, numbers[owner])
        self._save("SegmentationClass", name, classes[owner])
        boxes = []
        for i in kept:
            left, top, right, bottom = map(float, box_of(instances[i]))
            boxes.append(Box(instances[i].label, left, top, right, bottom, instances[i].isCrowd))
        return boxes

    def _class(self, name: str) -> int:
        number = self.classes.setdefault(name, len(self.classes) + 1)
        if number >= VOID:
            raise UserError(f"'{name}' is class {number}; a mask of Pascal VOC holds {VOID - 1}")
        return number

    def _mask(self, label: Mask, name: str) -> None:
        """Write the mask of an image; colours and values above 255 get indices in the order of the classes."""
        mapped = (label.classes, label.ignore)
        if self._mapped not in (None, mapped):
            raise UserError("its mask has other classes than those before, and Pascal VOC has one list of them")
        first, self._mapped = self._mapped is None, mapped
        pixels = pixels_of(label.mask_url, label.coloured)
        if not label.classes:
            raise UserError("nothing names the classes of its mask, which Pascal VOC needs")
        values = [value for _, value in label.classes]
        plain = all(isinstance(v, int) and v <= VOID for v in [*values, *label.ignore])
        if plain:
            self.classes, self.ignore = {n: int(v) for n, v in label.classes}, tuple(map(int, label.ignore))
            found = pixels
        else:
            if len(values) >= VOID:
                raise UserError(f"has {len(values)} classes; a mask of Pascal VOC holds {VOID - 1}")
            self.classes = {n: i for i, (n, _) in enumerate(label.classes)}
            self.lost["values of pixels (indices are kept)"] += len(values) if first else 0
            found = np.full(pixels.shape[:2], VOID, np.int64)
            for i, value in enumerate(values):
                found[_has(pixels, value)] = i
            passed = found == VOID
            for value in label.ignore:
                passed &= ~_has(pixels, value)
            if passed.any():
                raise UserError("its mask has a pixel value that is of no class")
        if found.max(initial=0) > VOID:
            raise UserError(f"its mask has the pixel value {found.max()}, and Pascal VOC has indices up to {VOID}")
        self._save("SegmentationClass", name, found.astype(np.uint8))

    def _save(self, folder: str, name: str, pixels: np.ndarray) -> None:
        file = io.BytesIO()
        image = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
        image.putpalette(self._palette)
        image.save(file, "PNG")
        storage.write(storage.join(self.url, folder, f"{name}.png"), file.getvalue())

    def write_classes(self) -> None:
        """Write what the indices are called."""
        classes = dict(self.classes)
        if 0 not in classes.values():
            ground = next(n for n in ("background", "_background_", "__background__") if n not in classes)
            classes = {ground: 0, **classes} if self._mapped is None else classes
        content = {"classes": classes, "ignore": list(self.ignore)}
        storage.write(storage.join(self.url, "label_map.json"), json.dumps(content, ensure_ascii=False) + "\n")
        if not any(":" in name or name.startswith("#") for name in classes):
            colours = palette()
            lines = [f"{name}:{','.join(map(str, colours[index]))}::\n" for name, index in classes.items()]
            storage.write(storage.join(self.url, "labelmap.txt"), "".join(lines))


def _has(pixels: np.ndarray, value: int | str) -> np.ndarray:
    """Return where a mask has a value."""
    if pixels.ndim == 3:
        return (pixels == list(bytes.fromhex(str(value)[1:]))).all(-1)
    return pixels == value
