"""Pascal VOC's masks: what the pixels of ``SegmentationClass`` and ``SegmentationObject`` are called and show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from automl_images import storage
from automl_images.annotations.imaging import opened
from automl_images.annotations.labelmaps import LabelMap, beside
from automl_images.annotations.labels import Instance
from automl_images.annotations.labels.mask import Value
from automl_images.annotations.masks import pixels_of
from automl_images.annotations.shapes import encoded
from automl_images.errors import UserError

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOID, VOID_COLOUR = 255, "#e0e0c0"


def palette() -> list[tuple[int, int, int]]:
    """Return VOC's 256 colours: each three bits of an index are one of red, green and blue, from the highest."""
    colours = []
    for index in range(256):
        channels = [0, 0, 0]
        for step in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * step + channel) & 1) << (7 - step)
        colours.append((channels[0], channels[1], channels[2]))
    return colours


class Named(NamedTuple):
    """An object as an image's XML has it."""

    name: str
    crowd: bool


def names_of(folder: str, masks: Sequence[str], named: Sequence[str]) -> LabelMap:
    """Return the classes of the masks in ``SegmentationClass``.

    They are those of a label map in VOC's folder or that of the masks. VOC's own 20 are taken where the palette is
    VOC's, and all names of objects in the XML files of these images (``named``) are among them: other tools use the
    palette too.

    Raises:
        UserError: the label map cannot be read.
    """
    found = beside([folder, storage.join(folder, "SegmentationClass")])
    if found.file:
        if (
            any(isinstance(value, str) for _, value in found.classes)
            and VOID_COLOUR not in dict(found.classes).values()
        ):
            found = found._replace(ignore=tuple(dict.fromkeys([*found.ignore, VOID_COLOUR])))
        return found
    if named and set(named) <= set(CLASSES[1:]) and all(map(_has_palette, masks)):
        print(f"{storage.redact(folder)}: its palette and names are VOC's: so are its classes", file=sys.stderr)
        return LabelMap(tuple((name, i) for i, name in enumerate(CLASSES)), (VOID,))
    return LabelMap()


def _has_palette(mask: str) -> bool:
    with opened(mask) as (image, _):
        colours = image.getpalette() if image.mode == "P" else None
    wanted = [v for colour in palette()[: len(CLASSES)] for v in colour]
    return colours is not None and colours[: len(wanted)] == wanted


def instances(objects: str, classes: str | None, known: LabelMap, named: Sequence[Named]) -> list[Instance]:
    """Return the objects of an image, each the pixels of one value, in the order of the values.

    Args:
        objects: the image's mask in ``SegmentationObject``; 0 and 255 are no object.
        classes: its mask in ``SegmentationClass``, or None.
        known: the names of the values in ``classes``; none: the objects' names are ``named``.
        named: the objects of its XML, in their order.

    Raises:
        UserError: a mask cannot be read, they differ in size, or the class of an object is not told.
    """
    pixels = _indices(objects)
    values = [int(value) for value in np.unique(pixels) if value not in (0, VOID)]
    where = storage.redact(objects)
    if known.classes and classes:
        by_value = {value: name for name, value in known.classes}
        coloured = isinstance(known.classes[0][1], str)
        of_pixels = pixels_of(classes, coloured)
        if of_pixels.shape[:2] != pixels.shape:
            raise UserError(f"the mask {storage.redact(classes)} has another size than {where}")
        names = [_named(of_pixels[pixels == value], by_value, known.ignore, value, where) for value in values]
    elif len(named) == len(values):
        names = [one.name for one in named]
    else:
        raise UserError(
            f"the mask {where} has {len(values)} objects, and its XML {len(named)}; a label map in VOC's folder "
            "(labelmap.txt) names the values of SegmentationClass"
        )
    crowds = [len(named) == len(values) and named[i].name == name and named[i].crowd for i, name in enumerate(names)]
    return [
        Instance(name, rle=encoded(pixels == value), isCrowd=crowd)
        for name, value, crowd in zip(names, values, crowds, strict=True)
    ]


def _indices(objects: str) -> np.ndarray:
    """Return the numbers of objects, height x width; colours are those of VOC's palette."""
    pixels = pixels_of(objects)
    if pixels.ndim == 2:
        return pixels
    weights = np.array([1 << 16, 1 << 8, 1], np.uint32)
    packed, numbers = pixels.astype(np.uint32) @ weights, {}
    for index, colour in enumerate(palette()):
        numbers[int(np.array(colour, np.uint32) @ weights)] = index
    found, places = np.unique(packed, return_inverse=True)
    unknown = [value for value in found.tolist() if value not in numbers]
    if unknown:
        raise UserError(
            f"the mask {storage.redact(objects)} has the colour #{unknown[0]:06x}, which VOC's palette lacks"
        )
    return np.array([numbers[value] for value in found.tolist()])[places].reshape(packed.shape)


def _named(pixels: np.ndarray, names: dict[Value, str], ignore: Sequence[Value], value: int, where: str) -> str:
    """Return the class that an object's pixels have, but for those that are ignored."""
    if pixels.ndim == 2:
        found, counts = np.unique(pixels, axis=0, return_counts=True)
        shown: list[Value] = ["#" + bytes(colour.tolist()).hex() for colour in found]
    else:
        found, counts = np.unique(pixels, return_counts=True)
        shown = found.tolist()
    most = sorted(zip(counts.tolist(), shown, strict=True), key=lambda one: -one[0])
    kept = [one for _, one in most if one not in ignore]
    if not kept or kept[0] not in names:
        held = f"the value {kept[0]}, which is of no class" if kept else "ignored pixels alone"
        raise UserError(f"object {value} of the mask {where} has in SegmentationClass {held}")
    return names[kept[0]]
