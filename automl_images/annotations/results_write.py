"""Predictions as COCO's results, which `automl_images.annotations.results` reads: how images and classes are called."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from automl_images import storage
from automl_images.annotations.coco_file import Content, id_of
from automl_images.annotations.values import refuse, shown
from automl_images.errors import UserError, nearest


@dataclass(frozen=True)
class Ids:
    """What results call each image, by its address, and each class, by its place among the model's."""

    images: Mapping[str, int | str]
    classes: Sequence[int | str]

    @classmethod
    def of_names(cls, urls: Sequence[str], classes: Sequence[str]) -> Ids:
        """Return an image's file name, with as much of its path as tells it from the others, and a class's name."""
        names: dict[str, int | str] = {}
        left, parts = list(urls), 1
        while left:
            ends = defaultdict(list)
            for url in left:
                ends["/".join(url.split("/")[-parts:])].append(url)
            names |= {same[0]: end for end, same in ends.items() if len(same) == 1}
            left, parts = [url for same in ends.values() if len(same) > 1 for url in same], parts + 1
        return cls(names, list(classes))

    @classmethod
    def of_coco(cls, file: str, urls: Sequence[str], classes: Sequence[str]) -> Ids:
        """Return the ids of a COCO file: of an image by its ``file_name``, or by the end of it that no other has.

        Raises:
            UserError: the file is no COCO's; it has no such image or class, or several; two images are the same one.
        """
        content = Content(file, refuse)
        categories: dict[str, list[int | str]] = defaultdict(list)
        for key, name in content.classes.items():
            categories[name].append(int(key) if key.isdecimal() else key)
        for name in classes:
            if len(categories.get(name, ())) != 1:
                what = f"several categories called '{name}'" if name in categories else f"no category '{name}'"
                raise UserError(f"{content.shown}: has {what}, a class of the model; {nearest(name, categories)}")
        ends = _by_end((image.file_name, image.id) for image in content.images if id_of(image.id) is not None)
        images: dict[str, int | str] = {}
        taken: dict[int | str, str] = {}
        for url in urls:
            found = _longest(ends, url)
            if len(found) != 1:
                what = f"several images like it, of ids {shown(found[:2])}" if found else "no image of this file name"
                raise UserError(f"{storage.redact(url)}: {content.shown} has {what}; its image_id is not known")
            if (other := taken.setdefault(found[0], url)) != url:
                raise UserError(
                    f"{storage.redact(url)}: is image {found[0]} of {content.shown}, and so is {storage.redact(other)}"
                )
            images[url] = found[0]
        return cls(images, [categories[name][0] for name in classes])

    def rows(self, url: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what is found on an image as results.

        ``found`` has ``boxes`` [n, 4] in pixels (x1, y1, x2, y2), ``labels`` int [n], ``scores`` [n], and of a model
        with masks ``masks``, COCO's run lengths with ``counts`` in bytes.
        """
        for place, (box, label, score) in enumerate(zip(found["boxes"], found["labels"], found["scores"], strict=True)):
            corner, sides = box[:2], box[2:] - box[:2]
            row: dict[str, Any] = {
                "image_id": self.images[url],
                "category_id": self.classes[int(label)],
                "bbox": [_short(v) for v in (*corner, *sides)],
                "score": _short(score),
            }
            if "masks" in found:
                mask = found["masks"][place]
                row["segmentation"] = {"size": list(mask["size"]), "counts": mask["counts"].decode()}
            yield row


def _short(value: Any) -> float:
    """Return a number in the fewest digits that single precision tells apart, which is what networks compute in."""
    return float(str(np.float32(value)))


def _by_end(images: Iterable[tuple[Any, Any]]) -> dict[str, list[Any]]:
    """Return ids by file names and all ends of them: ``a/b.png`` is found as ``b.png`` too."""
    ends: dict[str, list[Any]] = defaultdict(list)
    for name, key in images:
        parts = posixpath.normpath(str(name).replace("\\", "/")).strip("/").split("/")
        for first in range(len(parts)):
            ends["/".join(parts[first:])].append(key)
    return ends


def _longest(ends: Mapping[str, list[Any]], url: str) -> list[Any]:
    """Return the ids of the images with which an address has the longest end in common."""
    parts = url.split("/")
    return next((found for n in range(len(parts)) if (found := ends.get("/".join(parts[n:])))), [])
