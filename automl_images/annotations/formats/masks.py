"""Folders of images and of their masks, matched by name.

For semantic segmentation a mask an image: ``images/`` beside ``masks/`` (or ``annotations``, ``labels``, ``gt``), a
folder beside that of its masks (``train`` and ``trainannot``, ``train_annotation``, ``train_masks``), or ``a.jpg``
beside ``a_mask.png``. A label map in the folder, above it, or in ``label_map`` beside it names the classes (see
:func:`automl_images.annotations.labelmaps.beside`); without one a class is named by its index, 255 is ignored, and
masks of 0 and 255 alone have ``background`` and ``foreground``.

For instance segmentation a mask an object: ``<name>/images/<image>`` with ``<name>/masks/*``, or ``images/<name>.png``
with ``masks/<name>/*``. A folder in between names the class, else the one name in ``classes.txt``, else it is
``object``, and that is said. An image whose only mask is empty has nothing on it.
"""

from __future__ import annotations

import json
import posixpath
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from automl_images import storage
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import Folder
from automl_images.annotations.labelmaps import LISTS, LabelMap, beside, names_of
from automl_images.annotations.labels import Instance, Label, Mask, Polygons
from automl_images.annotations.mask_layout import MASKS, Pair, pairs_of
from automl_images.annotations.masks import instance_of, is_empty, png_of, values_in
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.shapes import mask_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name
from automl_images.errors import UserError

_SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_annotation", "_L", "_P")
_PEEKED, _THREADS = 8, 16
_CHANNEL = "label_map"  # SageMaker's, beside those of images and masks
_LONGEST = 200  # bytes of a folder's name
UNNAMED = "object"


def candidates(source: Source) -> list[str]:
    """Return the folder itself if it, or a folder beside it, holds masks by its name."""
    return [source.url] if source.is_folder and pairs_of(source) else []


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the order of their paths; an image without a mask is refused.

    ``images`` may name the folder of images, where the source is the folder of masks.

    Raises:
        UserError: there are no masks, or masks of the other kind; or several sets of images and masks.
    """
    if not source.is_folder:
        raise UserError(f"{source.shown}: is a file; name the folder that holds images and masks")
    pairs = pairs_of(source)
    if source.images and not storage.is_dir(source.root.root):
        raise UserError(f"images: {storage.redact(source.root.root)[:200]}: no such folder")
    if not pairs:
        raise UserError(
            f"{source.shown}: holds no folder of masks beside one of images, such as images and masks, or train and "
            "train_annotation; the masks alone may be the source, and images: FOLDER their images"
        )
    by_object = _by_object(pairs)
    if by_object is not None and kind is Mask:
        raise UserError(f"{source.shown}: has a mask an object; use task {Polygons.task()}")
    if kind is Polygons:
        if by_object is None:
            raise UserError(
                f"{source.shown}: has a mask an image, which shows no single objects; use task {Mask.task()}"
            )
        return _instances(source, by_object, broken)
    if len(pairs) > 1:
        named = [storage.redact(pair.images).rpartition("/")[2] for pair in pairs]
        raise UserError(
            f"{source.shown}: has masks of {len(pairs)} folders of images ({', '.join(named[:4])}); name one of them, "
            f"such as {storage.redact(pairs[0].images)}"
        )
    return _masks(source, pairs[0], broken)


def _masks(source: Source, pair: Pair, broken: Broken) -> Iterator[Record]:
    """Yield the records of a mask an image."""
    folder = Folder(pair.masks)
    map_ = _map(pair, [folder.join(file) for file in pair.mask_files[:_PEEKED]], _above(pair, source))
    images: dict[str, list[str]] = {}
    for file in pair.image_files:
        images.setdefault(posixpath.splitext(file)[0], []).append(file)
    masks: dict[str, list[str]] = {}
    lonely = []
    for file in pair.mask_files:
        key = image_of(posixpath.splitext(file)[0], images)
        if key is None:
            lonely.append(file)
        else:
            masks.setdefault(key, []).append(file)
    if lonely:
        print(f"{source.shown}: {len(lonely)} masks have no image, such as {lonely[0]!a}", file=sys.stderr)
    below = Folder(pair.images)

    def record(key: str, where: str) -> Record:
        url = below.join(images[key][0])
        if len(images[key]) > 1:
            raise UserError(f"{images[key][1]} has the same mask by its name; images need names of their own")
        with labelling(url):
            found = masks.get(key, [])
            if len(found) != 1:
                held = f"has two masks: {found[0]} and {found[1]}" if found else "has no mask of its name"
                raise UserError(f"{held} in {storage.redact(pair.masks)}")
            return Record(url, Mask(folder.join(found[0]), map_.classes, map_.ignore), where=where)

    return records_of(
        ((storage.redact(storage.join(pair.images, images[key][0])), key) for key in images), record, broken
    )


def _above(pair: Pair, source: Source) -> list[str]:
    """Return the folders in which a label map may lie, the nearest first."""
    above = pair.masks.rpartition("/")[0]
    named = posixpath.basename(above).lower() in MASKS  # masks/train, of which the map is beside masks
    folders = [storage.join(above, _CHANNEL), above, *([above.rpartition("/")[0]] if named else [])]
    outside = [] if pair.masks == source.url else folders
    return [pair.images, pair.masks, *outside, source.url]


def _map(pair: Pair, first: Sequence[str], folders: Sequence[str]) -> LabelMap:
    """Return the label map beside masks; where there is none, what the first masks' values tell."""
    name = pair.images.rpartition("/")[2]
    found = beside(dict.fromkeys(folders), f"{name}_label_map.json")
    if found.file:
        return found
    values: set[int | str] = set()
    for mask in first:
        try:
            values.update(values_in(mask)[0])
        except UserError:  # which the check of its record says
            continue
    where = storage.redact(pair.masks)
    if any(isinstance(value, str) for value in values):
        raise UserError(
            f"{where}: the masks are in colours, and nothing names them; write labelmap.txt beside them, a line "
            "name:red,green,blue:: a class"
        )
    if values == {0, 255}:
        print(f"{where}: the masks have 0 and 255 alone, read as background and foreground", file=sys.stderr)
        return LabelMap((("background", 0), ("foreground", 255)), ())
    print(
        f"{where}: no label map names the classes, indices do; 255 is ignored, and what ignore lists",
        file=sys.stderr,
    )
    return LabelMap()


class _Objects(NamedTuple):
    """An image and the masks of its objects, as addresses with the class that a folder names, if one does."""

    image: str
    masks: list[tuple[str, str]]


def _by_object(pairs: list[Pair]) -> list[_Objects] | None:
    """Return the images with the masks of their objects; None where a mask is not one of an object."""
    if any(map(_is_an_image_each, pairs)):
        return None
    if len(pairs) == 1:
        (pair,) = pairs
        stems = _stems(pair.image_files)
        if all("/" in file and file.split("/")[0] in stems for file in pair.mask_files):
            by_image: dict[str, list[str]] = {}
            for file in pair.mask_files:
                by_image.setdefault(file.split("/")[0], []).append(file)
            return [_objects(pair, file, by_image.get(posixpath.splitext(file)[0], []), 1) for file in pair.image_files]
    if all(len(pair.image_files) == 1 for pair in pairs):
        return [_objects(pair, pair.image_files[0], pair.mask_files, 0) for pair in pairs]
    return None


def _is_an_image_each(pair: Pair) -> bool:
    """Return whether a mask bears an image's name."""
    stems = _stems(pair.image_files)
    return any(image_of(posixpath.splitext(file)[0], stems) is not None for file in pair.mask_files)


def image_of(stem: str, images: Collection[str]) -> str | None:
    """Return the image that a mask belongs to, both as paths without a suffix; None if there is none."""
    ends = ("", *(end for end in _SUFFIXES if stem.endswith(end)))
    return next((stem.removesuffix(end) for end in ends if stem.removesuffix(end) in images), None)


def _objects(pair: Pair, image: str, masks: list[str], depth: int) -> _Objects:
    below = Folder(pair.masks)
    classes = ["/".join(mask.split("/")[depth:-1]) for mask in masks]
    return _Objects(Folder(pair.images).join(image), list(zip(map(below.join, masks), classes, strict=True)))


def _stems(files: Sequence[str]) -> set[str]:
    return {posixpath.splitext(file)[0] for file in files}


def _instances(source: Source, found: list[_Objects], broken: Broken) -> Iterator[Record]:
    """Yield the records of a mask an object."""
    named = all(name for one in found for _, name in one.masks)
    only = "" if named else _only(source)

    def record(one: _Objects, where: str) -> Record:
        with labelling(one.image):
            if not one.masks:
                raise UserError("has no mask; whether nothing is on it, or nobody has looked, is not told")
            if len(one.masks) == 1 and is_empty(one.masks[0][0]):
                return Record(one.image, Polygons(()), where=where)
            objects = zip(one.masks, pool.map(instance_of, [mask for mask, _ in one.masks]), strict=True)
            made = [Instance(class_name(name or only, "the folder"), rle=rle) for (_, name), rle in objects]
            return Record(one.image, Polygons(tuple(made)), where=where)

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from records_of(((storage.redact(one.image), one) for one in found), record, broken)


def _only(source: Source) -> str:
    """Return the class of all objects."""
    file = next((storage.join(source.url, name) for name in LISTS if name in source.listed), "")
    names = names_of(file) if file else []
    if len(names) > 1:
        raise UserError(
            f"{storage.redact(file)}: has {len(names)} names, and nothing tells which a mask has; put masks in folders "
            "of their classes, or leave one name"
        )
    if not names:
        how = "a folder of masks for each class, or one name in classes.txt, names it otherwise"
        print(f"{source.shown}: nothing names the class of its masks; it is '{UNNAMED}' ({how})", file=sys.stderr)
    return names[0] if names else UNNAMED


def write(records: Iterable[Record], out: str, kind: type[Label]) -> Written:
    """Write the masks of the images in ``images/``: ``masks/<image>_mask.png``, or ``masks/<image>/<class>/<n>.png``.

    Raises:
        UserError: an image is not in ``images/``, two have one name but for their suffix, masks have other classes than
            others, or a class cannot name a folder.
    """
    lost: Counter[str] = Counter()
    stems: set[str] = set()
    label_map: dict[str, Any] | None = None
    for record in records:
        image = record.image_url.removeprefix(f"{storage.join(out, 'images')}/")
        stem, where = posixpath.splitext(image)[0], record.where or record.image_url
        if image == record.image_url or stem in stems:
            held = "is called like another" if stem in stems else "is not in images/"
            raise UserError(
                f"{where}: the image {held}, and masks are found by name; write links or copies of the images"
            )
        stems.add(stem)
        if isinstance(record.label, Mask):
            found = {"classes": dict(record.label.classes), "ignore": list(record.label.ignore)}
            if label_map not in (None, found):
                raise UserError(f"{where}: its mask has other classes than those before, and one label map names them")
            label_map = found
            inline = record.label.mask_url.startswith(storage.INLINE)
            suffix = ".png" if inline else posixpath.splitext(record.label.mask_url)[1]
            data = storage.read_bytes(record.label.mask_url)
            storage.write(storage.join(out, "masks", f"{stem}_mask{suffix}"), data)
        else:
            _write_objects(record, storage.join(out, "masks", stem), lost, where)
    if label_map is not None:
        storage.write(storage.join(out, "label_map.json"), json.dumps(label_map, ensure_ascii=False))
    return Written(len(stems), +lost)


def _write_objects(record: Record, folder: str, lost: Counter[str], where: str) -> None:
    """Write a mask an object, or an empty one where nothing is on an image."""
    width, height = record.width, record.height
    if width is None or height is None:
        raise UserError(f"{where}: has no size, which masks need; convert it first")
    written = 0
    for one in record.label.instances:
        if "/" in one.label or one.label.startswith(".") or len(one.label.encode()) > _LONGEST:
            raise UserError(f"{where}: the class {one.label!a} cannot name a folder, as a class of masks does")
        inside = mask_of(one, width, height)
        lost.update(isCrowd=one.isCrowd, area=one.area is not None, **{"outlines (pixels are kept)": one.rle is None})
        if inside.any():
            written += 1
            storage.write(storage.join(folder, one.label, f"{written:04d}.png"), png_of(inside))
        else:
            lost["objects without a pixel"] += 1
    if not written:
        storage.write(storage.join(folder, "none.png"), png_of(np.zeros((height, width), bool)))


FORMAT = Format(
    "masks",
    "folders of images and masks",
    (Mask, Polygons),
    candidates,
    read,
    write,
    folder=True,
    before=("folder",),
    last=True,
)
