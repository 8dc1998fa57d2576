"""Pascal VOC: a folder of XML files, one an image.

Coordinates are used as they stand, divided by the annotated size: like Azure's converter, and unlike VOC's own
development kit, nothing is subtracted for counting from 1. ``difficult`` becomes ``isCrowd``: neither rewarded nor
punished by metrics.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from automl_images import storage
from automl_images.annotations.imageroot import IMAGE_SUFFIXES, ImageRoot
from automl_images.annotations.records import Box, Record
from automl_images.annotations.sources import files
from automl_images.annotations.values import Broken, flag, number, pixels, refuse
from automl_images.errors import UserError

_AT_ONCE = 256


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the XML files below a folder, at any depth; a file alone is none. ``listed`` as for ``sources.files``."""
    return files(source, (".xml",), listed) if listed is not None or storage.is_dir(source) else []


def read(source: str, images: str | None = None, broken: Broken = refuse) -> Iterator[Record]:
    """Yield one record an XML file, in the order of their paths.

    An image is looked for next to its XML, in a ``JPEGImages`` folder beside the XML's folder, and then by its name
    anywhere below the image root, if only one has it.

    Args:
        source: the folder with the XML files, at any depth; local or any fsspec URL.
        images: the image root (default: ``source``; where that holds no image, the ``JPEGImages`` beside it), or
            ``PREFIX=URL``.
        broken: is called with the error of each file that cannot be read; the default raises it.

    Raises:
        UserError: there is no such folder or no XML in it, or, by ``broken``, a file is not a VOC annotation.
    """
    if not storage.is_dir(source):
        raise UserError(f"{storage.redact(source)}: no such folder")
    listed = storage.files_below(source)
    found = [f for f in listed if f.lower().endswith(".xml")]
    if not found:
        raise UserError(f"{storage.redact(source)}: holds no XML file")
    if images is None and not any(f.lower().endswith(IMAGE_SUFFIXES) for f in listed):
        beside = storage.join(posixpath.dirname(storage.absolute(source)), "JPEGImages")
        images = beside if storage.is_dir(beside) else None
    root = ImageRoot(source, images)
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        texts = storage.read_many([storage.join(source, f) for f in some])
        for file, text in zip(some, texts, strict=True):
            where = storage.redact(storage.join(source, file))
            try:
                record = _record(text or b"", file, root, where)
            except UserError as error:
                broken(UserError(f"{where}: {error}"))
                continue
            yield record


def _record(text: bytes, file: str, root: ImageRoot, where: str) -> Record:
    tree = _parse(text)
    if tree.tag != "annotation":
        raise UserError(f"is not a Pascal VOC annotation: its first element is <{tree.tag}>, not <annotation>")
    folder = posixpath.dirname(file)
    name = _text(tree, "filename") or posixpath.splitext(posixpath.basename(file))[0]
    places = [folder, posixpath.join(posixpath.dirname(folder), "JPEGImages")]
    url = root.find(name, [*(["", posixpath.dirname(folder)] if root.given else []), *places])
    width, height = (pixels(_text(tree, f"size/{side}"), f"size/{side}") for side in ("width", "height"))
    if width is None or height is None:
        from automl_images.annotations.imaging import shown_size

        width, height = shown_size(url)
    boxes = [_box(obj, i, width, height) for i, obj in enumerate(tree.iterfind("object"), 1)]
    return Record(url, boxes, width, height, None, where)


def _parse(text: bytes) -> Element:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(text)
    except ParseError as error:
        raise UserError(f"is not XML: {error}") from None
    except (ValueError, LookupError) as error:  # a forbidden entity, or an unknown encoding
        said = "has entities or a DTD, which are refused" if isinstance(error, DefusedXmlException) else str(error)
        raise UserError(f"is not XML that can be read: {said}") from None


def _box(obj: Any, index: int, width: int, height: int) -> Box:
    what = f"object {index}"
    name = _text(obj, "name")
    if not name:
        raise UserError(f"{what} has no name")
    if obj.find("bndbox") is None:
        raise UserError(f"{what} has no bndbox")
    left, top, right, bottom = (
        number(_text(obj, f"bndbox/{side}"), f"{what}: {side}") for side in ("xmin", "ymin", "xmax", "ymax")
    )
    crowd = flag(_text(obj, "difficult"), f"{what}: difficult")
    return Box(name, left / width, top / height, right / width, bottom / height, crowd)


def _text(element: Any, path: str) -> str | None:
    text = element.findtext(path)
    return text.strip() if text and text.strip() else None
