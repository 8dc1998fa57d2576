"""Pascal VOC: an XML an image; for masks ``SegmentationClass`` and ``SegmentationObject``.

A source is a folder, or one of its lists, ``ImageSets/Main/train.txt``, which names the images. Coordinates are used as
they stand, divided by the annotated size: like Azure's converter, and unlike VOC's own development kit, nothing is
subtracted for counting from 1. ``difficult`` becomes ``isCrowd``: neither rewarded nor punished by metrics.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element

from automl_images import storage
from automl_images.annotations import voc_masks, voc_write
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import IMAGE_SUFFIXES, ImageRoot, check_name, is_image
from automl_images.annotations.labels import Box, Boxes, Label, Mask, Polygons
from automl_images.annotations.lines import lines_of, xml_element
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, number, pixels
from automl_images.errors import UserError

_AT_ONCE = 256
_FOLDERS: dict[type[Label], str] = {Mask: voc_masks.CLASSES, Polygons: voc_masks.OBJECTS}
_LIST = re.compile(r"(.*)/ImageSets/[^/]+/[^/]+\.txt")


def candidates(source: Source) -> list[str]:
    """Return the XML files and masks below a folder, at any depth, or the list that the source is."""
    if not source.is_folder:
        return [source.url] if _LIST.fullmatch(source.url) else []
    masks = [f for folder in _FOLDERS.values() for f in voc_masks.files_in(source, folder).values()]
    return [*source.files(".xml"), *(storage.join(source.url, file) for file in masks)]


def _fits(file: str, kind: type[Label]) -> bool:
    """Return whether a candidate has labels of a kind: boxes are in XML, masks in their folders; lists have any."""
    if kind in _FOLDERS:
        return f"/{_FOLDERS[kind]}/" in file or file.endswith(".txt")
    return not file.lower().endswith(IMAGE_SUFFIXES)


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an XML file or a mask, in the order of their paths, or of the list.

    An image is looked for next to its XML, in a ``JPEGImages`` folder beside the XML's folder, and then by its name
    anywhere below the image root, if only one has it. Where the source holds no image and no root is given, the root is
    the ``JPEGImages`` beside it.

    Raises:
        UserError: the source holds nothing of the kind, or is a list of one class's images.
    """
    named = None if source.is_folder else _listed(source)
    if named is not None:
        source = Source(_LIST.fullmatch(source.url)[1], source.images)  # type: ignore[index]
    xml = {posixpath.splitext(posixpath.basename(f))[0]: f for f in source.listed if f.lower().endswith(".xml")}
    if kind is Mask:
        if not voc_masks.files_in(source, voc_masks.CLASSES):
            raise UserError(f"{source.shown}: holds no mask in {voc_masks.CLASSES}")
        known = {name for name, _ in _all_objects(source, list(xml.values())[:64])}
        return voc_masks.read_masks(source, named, known, broken)
    if kind is Polygons:
        masks = voc_masks.files_in(source, voc_masks.OBJECTS)
        if not masks:
            raise UserError(f"{source.shown}: holds no mask in {voc_masks.OBJECTS}, which has the objects' outlines")
        if named is None and (lacking := len(xml.keys() - masks.keys())):
            where = f"no mask in {voc_masks.OBJECTS}: they are left out"
            print(f"{source.shown}: {lacking} annotated images have {where}", file=sys.stderr)

        def objects(name: str) -> Sequence[tuple[str, bool]] | None:
            return _all_objects(source, [xml[name]]) if name in xml else None

        return voc_masks.read_instances(source, named, objects, broken)
    return _read_boxes(source, named, xml, broken)


def _listed(source: Source) -> list[voc_masks.Named]:
    """Return the place and the name of each image of a list.

    Raises:
        UserError: the source is no list, or one that says which images have a class.
    """
    if not _LIST.fullmatch(source.url):
        raise UserError(f"{source.shown}: is neither a folder nor one of its lists, such as ImageSets/Main/train.txt")
    found = []
    for count, line in lines_of(source.url):
        words = line.split()
        if len(words) > 1:
            raise UserError(
                f"{source.shown}, line {count}: has '{words[1][:20]}' after the name, as the lists of one class have; "
                "name one of names alone, such as train.txt"
            )
        check_name(words[0], f"{source.shown}, line {count}")
        name = posixpath.splitext(words[0])[0] if is_image(words[0]) else words[0]
        found.append((f"{source.shown}, line {count}", name.rpartition("/")[2]))
    return found


def _read_boxes(
    source: Source, named: Sequence[voc_masks.Named] | None, xml: dict[str, str], broken: Broken
) -> Iterator[Record]:
    if named is None:
        found = [file for file in source.listed if file.lower().endswith(".xml")]
    else:
        found = [xml[name] for _, name in named if name in xml]
        for place, name in named:
            if name not in xml:
                broken(UserError(f"{place}: there is no annotation {name}.xml below {source.shown}"))
    if not found:
        raise UserError(f"{source.shown}: {'holds no XML file' if source.is_folder else 'no such folder'}")
    root = source.root_beside(["JPEGImages", "images"])
    items = ((storage.redact(storage.join(source.url, file)), (file, text)) for file, text in _texts(source.url, found))
    yield from records_of(items, lambda item, where: _record(*item, root, where), broken)


def _all_objects(source: Source, files: Sequence[str]) -> list[tuple[str, bool]]:
    """Return the class, and whether it is difficult, of each object that annotations have."""
    found = []
    for file, text in _texts(source.url, list(files)):
        try:
            tree = xml_element(text)
            found += [
                (class_name(_text(o, "name"), "name"), flag(_text(o, "difficult"), "difficult"))
                for o in tree.iterfind("object")
            ]
        except UserError as error:
            raise UserError(f"{storage.redact(storage.join(source.url, file))}: {error}") from None
    return found


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
    width, height = size_of(url, width, height)
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


def write(records: Iterable[Record], out: str, kind: type[Label]) -> Written:
    """Write ``Annotations``, for masks ``SegmentationObject`` and ``SegmentationClass`` too, into a folder."""
    lost: Counter[str] = Counter()
    images = voc_write.write(records, out, kind, lost)
    return Written(images, {name: count for name, count in lost.items() if count})


FORMAT = Format("voc", "Pascal VOC (.xml)", (Boxes, Polygons, Mask), candidates, read, write, folder=True, fits=_fits)
