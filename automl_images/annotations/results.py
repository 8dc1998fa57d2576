"""Predictions made elsewhere, as COCO has them: a JSON list of results.

A result is ``{image_id, category_id, score}`` with a ``bbox`` (left, top, width, height in pixels), a ``segmentation``
(polygons in pixels, or run lengths), or both.
"""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from automl_images import storage
from automl_images.annotations.coco_file import id_of
from automl_images.annotations.shapes import rle
from automl_images.annotations.values import number, placed, shown
from automl_images.errors import UserError, nearest


class _Result(msgspec.Struct, gc=False):
    """A result as it stands; what is not there is None."""

    image_id: Any = None
    category_id: Any = None
    score: Any = None
    bbox: Any = None
    segmentation: Any = None


_RESULTS = msgspec.json.Decoder(list[_Result])
_FOUR = ("bbox[0]", "bbox[1]", "bbox[2]", "bbox[3]")


@dataclass(frozen=True)
class Names:
    """What results call images and classes.

    Attributes:
        images: the addresses of an image by what it is called, in tables that are asked in turn: its id in a COCO file;
            elsewhere its file's name, the name without suffix, the number that this is. No address: it was left out.
        classes: the names of classes by what they are called: a category's id in a COCO file, elsewhere the name.
        by_id: whether images and classes are called by a COCO file's ids.
    """

    images: Sequence[Mapping[str, Sequence[str]]]
    classes: Mapping[str, str]
    by_id: bool

    @classmethod
    def of_ids(cls, images: Mapping[str, str | None], classes: Mapping[str, str], usable: Iterable[str]) -> Names:
        """Return the names in a COCO file, of what `automl_images.annotations.formats.coco.ids` returns."""
        there = set(usable)
        return cls([{key: [url] if url and url in there else [] for key, url in images.items()}], classes, True)

    @classmethod
    def of_files(cls, urls: Sequence[str], classes: Iterable[str]) -> Names:
        """Return the names of images by their files, of classes by themselves."""
        tables: list[dict[str, list[str]]] = []
        for name_of in (posixpath.basename, _stem, _number):
            table = defaultdict(list)
            for url in urls:
                table[name_of(url)].append(url)
            table.pop("", None)
            tables.append(dict(table))
        return cls(tables, {name: name for name in classes}, False)

    def image(self, value: Any) -> str | None:
        """Return the address of an image, None if it is known and was left out.

        Raises:
            UserError: there is none, or there are several.
        """
        key = id_of(value)
        if key is None:
            raise UserError(f"its image_id is {shown(value)}, neither a number nor text")
        found = next((table[key] for table in self.images if key in table), None)
        if found is None and "/" in key and not self.by_id:  # more of a path
            found = [u for u in self.images[0].get(posixpath.basename(key), ()) if f"/{u}".endswith(f"/{key}")] or None
        if found is None:
            what = "ids are those of its images" if self.by_id else "images are called by their files' names"
            raise UserError(f"its image_id {shown(value)} is that of no image of the data, where {what}")
        if len(found) > 1:
            names = " or ".join(storage.redact(url) for url in found[:2])
            raise UserError(f"its image_id {shown(value)} may be {names}; write more of the path")
        return found[0] if found else None

    def class_name(self, value: Any) -> str:
        """Return the name of a class.

        Raises:
            UserError: there is none.
        """
        name = self.classes.get(id_of(value) or "")
        if name is not None:
            return name
        if self.by_id:
            raise UserError(f"its category_id {shown(value)} is that of no category of the data")
        near = nearest(str(value), self.classes)
        raise UserError(f"its category_id {shown(value)} is no class of the data, where it is a class's name; {near}")


def _stem(url: str) -> str:
    return posixpath.splitext(posixpath.basename(url))[0]


def _number(url: str) -> str:
    stem = _stem(url)
    return str(int(stem)) if stem.isascii() and stem.isdigit() and len(stem) < 4000 else ""


@dataclass
class Found:
    """What results say of one image; ``masks`` is empty where none are asked for.

    Attributes:
        boxes: of each, left, top, right and bottom in pixels.
        labels: the classes' names.
        scores: in [0, 1].
        masks: COCO's run lengths of the whole image, ``{"size": [height, width], "counts": bytes}``.
    """

    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    masks: list[dict[str, Any]] = field(default_factory=list)

    def arrays(self, classes: Sequence[str], size: tuple[int, int], masks: bool) -> dict[str, Any]:
        """Return this as arrays, the highest score first; a label becomes its place in ``classes``."""
        index = {name: i for i, name in enumerate(classes)}
        scores = np.array(self.scores, dtype=np.float64)
        order = np.argsort(-scores, kind="stable")
        return {
            "boxes": np.array(self.boxes, dtype=np.float64).reshape(-1, 4)[order],
            "labels": np.array([index[name] for name in self.labels], dtype=np.int64)[order],
            "scores": scores[order],
            "size": size,
            **({"masks": [self.masks[i] for i in order]} if masks else {}),
        }


def read(url: str, names: Names, sizes: Mapping[str, tuple[int, int]], masks: bool) -> tuple[dict[str, Found], int]:
    """Return what a file of results says of each image, by its address, and how many results are of images left out.

    Args:
        url: the file, local or any fsspec URL.
        names: what images and classes are called.
        sizes: the width and height of each usable image, by its address.
        masks: whether each result must have a ``segmentation``; else one without ``bbox`` may have it, for its box.

    Raises:
        UserError: the file is not there or is no list of results; a result is of an image or class that is not in the
            data; its score is not in [0, 1], a number is not finite, a width or height is below 0, or its mask is none
            or of another size. The line names the first such result.
    """
    found: dict[str, Found] = defaultdict(Found)
    left_out, where = 0, storage.redact(url)
    for place, result in enumerate(_results(url), 1):
        try:
            image = names.image(result.image_id)
            label, score = names.class_name(result.category_id), number(result.score, "its score")
            if not 0 <= score <= 1:
                raise UserError(f"its score is {score:g}; scores are from 0 to 1")
            box = None if result.bbox is None else _box(result.bbox)
            if image is None:
                left_out += 1
                continue
            mask = None
            if masks or box is None:
                mask = _mask(result.segmentation, *sizes[image])
        except UserError as error:
            raise placed(error, f"{where}, result {place}") from None
        one = found[image]
        one.labels.append(label)
        one.scores.append(score)
        one.boxes.append(box or _box_of(mask))
        if masks and mask is not None:
            one.masks.append(mask)
    return dict(found), left_out


def _results(url: str) -> Iterator[_Result]:
    where = storage.redact(url)
    try:
        data = storage.read_bytes(url).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    try:
        return iter(_RESULTS.decode(data))
    except msgspec.DecodeError:  # NaN, which Python writes, or something else
        pass
    try:
        content = json.loads(data, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON: {error}") from None
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise UserError(f"{where}: is not COCO's results, a list of objects with image_id, category_id, bbox and score")
    names = _Result.__struct_fields__
    return (_Result(**{name: one.get(name) for name in names}) for one in content)


def _box(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise UserError(f"its bbox is {shown(value)}, not left, top, width and height")
    x, y, width, height = map(number, value, _FOUR)
    if width < 0 or height < 0:
        raise UserError(f"its bbox has a width of {width:g} and a height of {height:g}; neither may be below 0")
    return x, y, x + width, y + height


def _box_of(mask: Any) -> tuple[float, float, float, float]:
    from faster_coco_eval import mask as coco

    x, y, width, height = (float(v) for v in coco.toBbox(mask))
    return x, y, x + width, y + height


def _mask(value: Any, width: int, height: int) -> dict[str, Any]:
    """Return a polygon's parts in pixels, or run lengths, as compressed run lengths of an image."""
    from faster_coco_eval import mask as coco

    if value is None:
        raise UserError("has no segmentation")
    if isinstance(value, dict):
        found = rle(value)
        if (found.width, found.height) != (width, height):
            raise UserError(
                f"its segmentation is of {found.width} x {found.height} pixels, and its image of {width} x {height}"
            )
        return {"size": [height, width], "counts": found.counts.encode()}
    if not isinstance(value, list) or not value or not all(isinstance(part, list) for part in value):
        raise UserError(f"its segmentation is {shown(value)}, neither polygons nor run lengths")
    parts = [[number(v, "segmentation") for v in part] for part in value]
    for i, part in enumerate(parts, 1):
        if len(part) % 2 or len(part) < 6:
            raise UserError(f"part {i} of its segmentation has {len(part)} numbers; three points or more have x and y")
    merged: dict[str, Any] = coco.merge(coco.frPyObjects(parts, height, width))
    return merged
