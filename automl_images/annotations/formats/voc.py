"""Pascal VOC: a folder of XML files, one an image.

Coordinates are used as they stand, divided by the annotated size: like Azure's converter, and unlike VOC's own
development kit, nothing is subtracted for counting from 1. ``difficult`` becomes ``isCrowd``: neither rewarded nor
punished by metrics.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from automl_images import storage
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import ImageRoot
from automl_images.annotations.labels import Box, Boxes, Label
from automl_images.annotations.lines import xml_element
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, number, pixels
from automl_images.errors import UserError

_AT_ONCE = 256


def candidates(source: Source) -> list[str]:
    """Return the XML files below a folder, at any depth; a file alone is none."""
    return source.files(".xml") if source.is_folder else []


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an XML file, in the order of their paths.

    An image is looked for next to its XML, in a ``JPEGImages`` folder beside the XML's folder, and then by its name
    anywhere below the image root, if only one has it. Where the source holds no image and no root is given, the root is
    the ``JPEGImages`` beside it.
    """
    found = [f for f in source.listed if f.lower().endswith(".xml")]
    if not source.is_folder or not found:
        raise UserError(f"{source.shown}: {'holds no XML file' if source.is_folder else 'no such folder'}")
    root = source.root_beside(["JPEGImages", "images"])
    items = ((storage.redact(storage.join(source.url, file)), (file, text)) for file, text in _texts(source.url, found))
    yield from records_of(items, lambda item, where: _record(*item, root, where), broken)


def _texts(folder: str, files: list[str]) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        texts = storage.read_many([storage.join(folder, file) for file in some])
        yield from ((file, text or b"") for file, text in zip(some, texts, strict=True))


def _record(file: str, text: bytes, root: ImageRoot, where: str) -> Record:
    tree = xml_element(text)
    if tree.tag != "annotation":
        raise UserError(f"is not a Pascal VOC annotation: its first element is <{tree.tag}>, not <annotation>")
    folder = posixpath.dirname(file)
    name = _text(tree, "filename") or posixpath.splitext(posixpath.basename(file))[0]
    places = [folder, posixpath.join(posixpath.dirname(folder), "JPEGImages")]
    url = root.find(name, [*(["", posixpath.dirname(folder)] if root.given else []), *places, ""])
    with labelling(url):
        return Record(url, *_labels(tree, url), None, where)


def _labels(tree: Element, url: str) -> tuple[Boxes, int, int]:
    width, height = (pixels(_text(tree, f"size/{side}"), f"size/{side}") for side in ("width", "height"))
    if width is None or height is None:
        from automl_images.annotations.imaging import open_image

        width, height = open_image(url, decode=False).shown
    boxes: list[Box] = []
    for i, found in enumerate(tree.iterfind("object"), 1):
        try:
            boxes += _boxes(found, width, height)
        except UserError as error:
            raise UserError(f"object {i}: {error}") from None
    return Boxes(tuple(boxes)), width, height


def _boxes(found: Element, width: int, height: int) -> list[Box]:
    """Return the boxes of an object; some tools write several into one."""
    name, crowd = class_name(_text(found, "name"), "name"), flag(_text(found, "difficult"), "difficult")
    boxes = []
    for corners in found.iterfind("bndbox"):
        left, top, right, bottom = (number(_text(corners, side), side) for side in ("xmin", "ymin", "xmax", "ymax"))
        if any(v % 1 for v in (left, top, right, bottom)) and max(abs(left), abs(top), abs(right), abs(bottom)) <= 1:
            raise UserError("its bndbox has no number above 1: fractions of the image, where VOC has pixels")
        boxes.append(Box(name, left / width, top / height, right / width, bottom / height, crowd))
    if not boxes:
        raise UserError("has no bndbox")
    return boxes


def _text(element: Element, path: str) -> str | None:
    texts = {(found.text or "").strip() for found in element.iterfind(path)} or {""}
    if len(texts) > 1:
        raise UserError(f"has <{path.rpartition('/')[2]}> twice, with other texts")
    return texts.pop() or None


FORMAT = Format("voc", "Pascal VOC (.xml)", (Boxes,), candidates, read)
