"""Pascal VOC's masks: of classes (``SegmentationClass``) and of objects (``SegmentationObject``)."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from automl_images import storage
from automl_images.annotations import shapes
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.labelmaps import LabelMap, beside
from automl_images.annotations.labels import Instance, Mask, Polygons
from automl_images.annotations.masks import flat, pixels_of
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken
from automl_images.errors import UserError

CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
# the order of Pascal VOC's own indices; 0 is the background
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_BORDER = 255
Named = tuple[str, str]  # a place for error lines, and the name of an image without its suffix
Objects = Callable[[str], Sequence[tuple[str, bool]] | None]  # class and difficult of each, by an image's name


def files_in(source: Source, folder: str) -> dict[str, str]:
    """Return the masks in a folder of the source, by their names without suffix, as paths relative to it."""
    found = [f for f in source.listed if posixpath.basename(posixpath.dirname(f)) == folder and is_image(f)]
    return {posixpath.splitext(posixpath.basename(file))[0]: file for file in found}


def read_masks(source: Source, named: Sequence[Named] | None, known: set[str], broken: Broken) -> Iterator[Record]:
    """Yield a record for each image with a mask of classes; ``known`` are classes that annotations of objects have.

    A label map in the folder names the classes. Without one they are VOC's own 20 where the annotations have no others,
    else each is called by its index, and that is said.
    """
    files = files_in(source, CLASSES)
    classes = _classes(source)
    if not classes.classes and known and known <= set(NAMES):
        classes = LabelMap(tuple((name, value) for value, name in enumerate(NAMES)))
    elif not classes.classes:
        print(f"{source.shown}: nothing names the classes of its masks: each is called by its index", file=sys.stderr)

    def record(name: str, where: str) -> Record:
        url = _image(source, name)
        with labelling(url):
            file = storage.join(source.url, _one(files, name, CLASSES))
            return Record(url, Mask(file, classes.classes, classes.ignore), None, None, None, where)

    yield from records_of(_named(source, named, files), record, broken)


def read_instances(source: Source, named: Sequence[Named] | None, objects: Objects, broken: Broken) -> Iterator[Record]:
    """Yield a record for each image with a mask of objects.

    Each value but 0 and 255 is an object. Its class is that of its pixels in the mask of classes, where a label map
    names them, else of the object at its place in the annotation, which has as many.
    """
    files, of_classes, classes = files_in(source, OBJECTS), files_in(source, CLASSES), _classes(source)

    def record(name: str, where: str) -> Record:
        url = _image(source, name)
        with labelling(url):
            pixels = flat(pixels_of(storage.join(source.url, _one(files, name, OBJECTS))))
            values = [value for value in np.unique(pixels).tolist() if value not in (0, _BORDER, _WHITE)]
            annotated = objects(name)
            if classes.classes and name in of_classes:
                labels = _by_pixels(storage.join(source.url, of_classes[name]), classes, pixels, values)
                found = [(label, False) for label in labels]
            elif annotated is not None and len(annotated) == len(values) and pixels.max(initial=0) <= _BORDER:
                found = list(annotated)
            else:
                there = "no annotation" if annotated is None else f"{len(annotated)} objects in its annotation"
                raise UserError(
                    f"its mask has {len(values)} objects, and there is {there} and no label map to name them"
                )
            instances = [
                Instance(label, isCrowd=difficult, rle=shapes.encoded(pixels == value))
                for value, (label, difficult) in zip(values, found, strict=True)
            ]
            height, width = pixels.shape
            return Record(url, Polygons(tuple(instances)), width, height, None, where)

    yield from records_of(_named(source, named, files), record, broken)


_WHITE = 0xE0E0C0  # VOC's colour of borders


def _by_pixels(url: str, classes: LabelMap, pixels: np.ndarray, values: Sequence[int]) -> list[str]:
    """Return the class of each object: that of most of its pixels."""
    coloured = any(isinstance(value, str) for _, value in classes.classes)
    found = flat(pixels_of(url, coloured))
    if found.shape != pixels.shape:
        raise UserError(f"its masks of objects and of classes have other sizes: {pixels.shape} and {found.shape}")
    names = {int(str(v)[1:], 16) if isinstance(v, str) else v: name for name, v in classes.classes}
    labels = []
    for value in values:
        inside, counts = np.unique(found[pixels == value], return_counts=True)
        most = int(inside[counts.argmax()])
        if most not in names:
            raise UserError(f"an object has pixels of the value {most}, which is of no class in {classes.file}")
        labels.append(names[most])
    return labels


def _classes(source: Source) -> LabelMap:
    return beside([source.url], "class_names.txt") if source.is_folder else LabelMap()


def _named(source: Source, named: Sequence[Named] | None, files: dict[str, str]) -> list[Named]:
    if named is not None:
        return list(named)
    return [(storage.redact(storage.join(source.url, file)), name) for name, file in sorted(files.items())]


def _image(source: Source, name: str) -> str:
    return source.root.find(name, ["JPEGImages", "images", ""])


def _one(files: dict[str, str], name: str, folder: str) -> str:
    if name not in files:
        raise UserError(f"has no mask in {folder}")
    return files[name]
