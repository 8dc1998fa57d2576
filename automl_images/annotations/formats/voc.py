"""Pascal VOC: a folder of XML files, one an image, or one of its lists, ``ImageSets/Main/train.txt``.

Coordinates are used as they stand, divided by the annotated size: like Azure's converter, and unlike VOC's own
development kit, nothing is subtracted for counting from 1. ``difficult`` becomes ``isCrowd``: neither rewarded nor
punished by metrics.

Polygons are the objects of ``SegmentationObject``, each the pixels of one value, exact. Their classes are those of the
same pixels in ``SegmentationClass``, where a label map or VOC's own palette and names tell these; else those of the
XML's objects, whose order is that of the values. ``SegmentationClass`` alone serves semantic segmentation.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from automl_images import storage
from automl_images.annotations import voc_masks, voc_write
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import Folder, ImageRoot, is_image
from automl_images.annotations.labels import Box, Boxes, Label, Mask, Polygons
from automl_images.annotations.lines import lines_of, xml_element
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name, flag, number, pixels
from automl_images.errors import UserError

_AT_ONCE, _PEEKED = 256, 8
_LIST = re.compile(r"(?:^|.*/)ImageSets/(Main|Layout|Segmentation)/[^/]+\.txt")
_MASKS = re.compile(r"((?:.*/)?)(SegmentationObject|SegmentationClass)/([^/]+)\.png", re.IGNORECASE)


def candidates(source: Source) -> list[str]:
    """Return the XML files below a folder, at any depth, or where it has none VOC's masks; of files, VOC's lists."""
    if not source.is_folder:
        return [source.url] if _LIST.fullmatch(source.url) else []
    return source.files(".xml") or [f for f in source.files(".png") if "/SegmentationClass/" in f]


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an XML file, in the order of their paths; of a list, one a line.

    An image is looked for next to its XML, in a ``JPEGImages`` folder beside the XML's folder, and then by its name
    anywhere below the image root, if only one has it. Where the source holds no image and no root is given, the root is
    the ``JPEGImages`` beside it. For polygons and masks there is one record an image that has a mask; of a list, each
    image needs one.
    """
    listed: list[tuple[str, str]] | None = None
    if not source.is_folder:
        if not _LIST.fullmatch(source.url):
            raise UserError(f"{source.shown}: no such folder, nor a list as ImageSets/Main/train.txt")
        listed = _names(source)
        source = Source(source.url.rpartition("/ImageSets/")[0], source.images)
    root = source.root_beside(["JPEGImages", "images"])
    if kind is not Boxes:
        yield from _masks(source, kind, listed, root, broken)
        return
    if listed is None:
        files = [(f, storage.redact(storage.join(source.url, f))) for f in source.listed if f.lower().endswith(".xml")]
        if not files:
            raise UserError(f"{source.shown}: holds no XML file")
    else:
        files = [(f"Annotations/{name}.xml", where) for name, where in listed]
    items = ((where, (file, text)) for file, where, text in _texts(source.url, files))
    yield from records_of(items, lambda item, where: _record(*item, root, where), broken)


def _names(source: Source) -> list[tuple[str, str]]:
    """Return the images' names in a list, without suffixes, each with its place."""
    rows = [(line.split(), f"{source.shown}, line {count}") for count, line in lines_of(source.url)]
    if rows and all(len(row) == 2 and row[1] in ("-1", "0", "1") for row, _ in rows) and "/Main/" in source.url:
        raise UserError(
            f"{source.shown}: says of each image whether a class is on it; name the list of the whole set, such as "
            "train.txt"
        )
    if not rows:
        raise UserError(f"{source.shown}: is empty; it lists the names of images, one a line")
    layout = "/Layout/" in source.url  # a person's number follows
    names = [(row[0] if layout else " ".join(row), where) for row, where in rows]
    return [(posixpath.splitext(name)[0] if is_image(name) else name, where) for name, where in names]


def _texts(folder: str, files: list[tuple[str, str]]) -> Iterator[tuple[str, str, bytes | None]]:
    below = Folder(folder)
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        for file, where in some:
            try:
                below.join(file)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        texts = storage.read_many([storage.join(folder, file) for file, _ in some])
        yield from ((file, where, text) for (file, where), text in zip(some, texts, strict=True))


def _record(file: str, text: bytes | None, root: ImageRoot, where: str) -> Record:
    if text is None:
        raise UserError(f"the file {file} is not there")
    tree = _tree(text)
    url = _image(tree, file, root)
    with labelling(url):
        return Record(url, *_labels(tree, url), None, where)


def _tree(text: bytes) -> Element:
    tree = xml_element(text)
    if tree.tag != "annotation":
        raise UserError(f"is not a Pascal VOC annotation: its first element is <{tree.tag}>, not <annotation>")
    return tree


def _image(tree: Element | None, file: str, root: ImageRoot) -> str:
    """Return the address of the image of an XML file, which need not be there."""
    folder = posixpath.dirname(file)
    name = (None if tree is None else _text(tree, "filename")) or posixpath.splitext(posixpath.basename(file))[0]
    places = [folder, posixpath.join(posixpath.dirname(folder), "JPEGImages")]
    return root.find(name, [*(["", posixpath.dirname(folder)] if root.given else []), *places, ""])


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


class _Paths(NamedTuple):
    """The files of an image, relative to the source; the masks are empty where they are not there."""

    xml: str
    objects: str
    classes: str


def _masks(
    source: Source, kind: type[Label], listed: Sequence[tuple[str, str]] | None, root: ImageRoot, broken: Broken
) -> Iterator[Record]:
    """Yield the records of the images that have a mask in the folder that a kind of label needs."""
    needed = "SegmentationObject" if kind is Polygons else "SegmentationClass"
    there: dict[str, dict[str, str]] = {"SegmentationObject": {}, "SegmentationClass": {}}
    for file in source.listed:
        if match := _MASKS.fullmatch(file):
            there[next(name for name in there if name.lower() == match[2].lower())][match[1] + match[3]] = file
    if not there[needed]:
        raise UserError(f"{source.shown}: has no masks in {needed}, which {kind.task()} needs of Pascal VOC")
    if listed is None:
        keys = [(key, storage.redact(storage.join(source.url, file))) for key, file in sorted(there[needed].items())]
    else:
        keys = list(listed)
    files, below = set(source.listed), Folder(source.url)
    parents = {posixpath.dirname(key) for key, _ in keys}

    def paths(key: str) -> _Paths:
        parent, name = posixpath.split(key)
        return _Paths(
            posixpath.join(parent, "Annotations", f"{name}.xml"),
            there["SegmentationObject"].get(key, ""),
            there["SegmentationClass"].get(key, ""),
        )

    def tree_of(found: _Paths) -> Element | None:
        if found.xml not in files:
            return None
        try:
            return _tree(storage.read_bytes(below.join(found.xml)))
        except UserError as error:
            raise UserError(f"{found.xml}: {error}") from None

    known = {}
    for parent in parents:
        some = [paths(key) for key, _ in keys if posixpath.dirname(key) == parent][:_PEEKED]
        names: list[str] = []
        for found in some:
            try:
                names += [one.name for one in _named(tree_of(found))]
            except UserError:  # which its own record says
                continue
        masks = [below.join(found.classes) for found in some if found.classes]
        known[parent] = voc_masks.names_of(storage.join(source.url, parent) if parent else source.url, masks, names)

    def record(key: str, where: str) -> Record:
        found = paths(key)
        tree = tree_of(found)
        url = _image(tree, found.xml, root)
        map_ = known[posixpath.dirname(key)]
        with labelling(url):
            mask = found.objects if kind is Polygons else found.classes
            if not mask:
                raise UserError(f"has no mask {needed}/{posixpath.basename(key)}.png")
            if kind is Mask:
                return Record(url, Mask(below.join(mask), map_.classes, map_.ignore), where=where)
            classes = below.join(found.classes) if found.classes else None
            objects = voc_masks.instances(below.join(mask), classes, map_, _named(tree))
            mask_size = objects[0].rle if objects else None
            width, height = (mask_size.width, mask_size.height) if mask_size else (None, None)
            return Record(url, Polygons(tuple(objects)), width, height, where=where)

    yield from records_of(((where, key) for key, where in keys), record, broken)


def _named(tree: Element | None) -> list[voc_masks.Named]:
    """Return the objects of an XML."""
    objects = [] if tree is None else tree.iterfind("object")
    return [
        voc_masks.Named(class_name(_text(one, "name"), "name"), flag(_text(one, "difficult"), "difficult"))
        for one in objects
    ]


FORMAT = Format("voc", "Pascal VOC (.xml)", (Boxes, Polygons, Mask), candidates, read, voc_write.write, folder=True)
