"""What a set of records holds, in figures: images, objects, classes, sizes; and records that show it."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from automl_images.annotations.labels import Box, Boxes, Instance, Mask, Polygons
from automl_images.annotations.masks import flat, pixels_of
from automl_images.annotations.records import Record
from automl_images.annotations.shapes import box_of
from automl_images.errors import UserError

_KEPT, _A_CLASS, _MASKS, _THREADS = 256, 2, 100, 8
_SHAPES = (("below 1:2", 0.5), ("1:2 to 4:5", 0.8), ("about square", 1.25), ("5:4 to 2:1", 2.0))
_WIDEST = "above 2:1"
_SMALL, _LARGE = 32**2, 96**2  # pixels, COCO's


class Overview:
    """The figures of a set of records, which are added one by one.

    What it keeps grows with the number of classes, and with one number an object and an image at most.
    """

    def __init__(self, records: Iterable[Record] = ()):
        self.images = self.empty = self.crowds = 0
        self.objects: Counter[str] = Counter()
        self.holding: Counter[str] = Counter()
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._formats: Counter[str] = Counter()
        self._per_image: Counter[int] = Counter()
        self._areas: Counter[str] = Counter()
        self._sides: Counter[float] = Counter()
        self._kind: type | None = None
        self._random = random.Random(0)
        self._some: list[Record] = []
        self._of_class: dict[str, list[Record]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Count a checked record."""
        self._kind = type(record.label)
        names = record.label.names()
        classes = list(dict.fromkeys(names))
        self.images += 1
        self.empty += not names
        self.objects.update(names)
        self.holding.update(classes)
        self._formats[record.format or "unknown"] += 1
        self._per_image[len(names)] += 1
        if record.width and record.height:
            self._sizes[record.width, record.height] += 1
        self._measure(record)
        _reservoir(self._some, record, self.images, _KEPT, self._random)
        for name in classes:
            _reservoir(self._of_class.setdefault(name, []), record, self.holding[name], _A_CLASS, self._random)

    def figures(self) -> dict[str, Any]:
        """Return the figures, plain values for JSON.

        Returns:
            ``images``; ``counted`` (what objects are called) and ``objects``; ``classes``, the most frequent first,
            each with its ``images``, ``objects`` and share of all objects; ``imbalance``, how many times
            the most frequent class has the objects, of masks the pixels, of the least frequent (None with one class);
            ``without_objects`` (images); ``formats``; ``sizes`` (width, height in pixels: least, median, greatest, and
            the most frequent); ``shapes`` (images by width : height); ``per_image`` (objects an image). Boxes and
            polygons have ``object_sizes``, by the pixels of their boxes as COCO cuts them, ``object_sides`` (the
            square root of a box's share of its image) and ``crowds``; masks have ``pixels``: each class's share of the
            pixels of so many ``masks``, drawn at random.
        """
        total = self.objects.total()
        ordered = self.objects.most_common()
        classes = {
            name: {"images": self.holding[name], "objects": count, "share": round(count / total, 6)}
            for name, count in ordered
        }
        found: dict[str, Any] = {
            "images": self.images,
            "counted": getattr(self._kind, "counted", "labels"),
            "objects": total,
            "classes": classes,
            "imbalance": _ratio(self.objects.values()),
            "without_objects": self.empty,
            "formats": dict(self._formats.most_common()),
            "sizes": self._shown_sizes(),
            "shapes": self._shapes(),
            "per_image": {**_spread(self._per_image), "images": _powers(self._per_image)},
        }
        if self._kind in (Boxes, Polygons):
            found["object_sizes"] = {name: self._areas[name] for name in ("small", "medium", "large")}
            found["object_sides"] = _spread(self._sides)
            found["crowds"] = self.crowds
        if self._kind is Mask:
            found["pixels"] = self._pixels()
            found["imbalance"] = _ratio([share for share in found["pixels"]["classes"].values() if share])
        return found

    def examples(self, count: int) -> list[Record]:
        """Return at most so many different records, chosen so that as many classes as can be are among them."""
        chosen: dict[str, Record] = {}
        seen: set[str] = set()
        for name, _ in reversed(self.objects.most_common()):
            if len(chosen) == count:
                break
            if name not in seen:
                record = max(self._of_class[name], key=lambda r: len(set(r.label.names()) - seen))
                chosen[record.image_url] = record
                seen.update(record.label.names())
        for record in self._shuffled():
            if len(chosen) == count:
                break
            chosen.setdefault(record.image_url, record)
        return list(chosen.values())

    def _shuffled(self) -> list[Record]:
        """Return the records kept, of any class, in an order that is the same each time."""
        return random.Random(0).sample(self._some, len(self._some))

    def _measure(self, record: Record) -> None:
        """Count the sizes of a record's objects."""
        for item in _objects(record):
            left, top, right, bottom = (
                box_of(item) if isinstance(item, Instance) else (item.topX, item.topY, item.bottomX, item.bottomY)
            )
            share = max(0.0, right - left) * max(0.0, bottom - top)
            self.crowds += item.isCrowd
            self._sides[round(share**0.5, 3)] += 1
            if record.width and record.height:
                pixels = share * record.width * record.height
                self._areas["small" if pixels < _SMALL else "medium" if pixels < _LARGE else "large"] += 1

    def _shown_sizes(self) -> dict[str, Any]:
        sides: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        for size, count in self._sizes.items():
            for side, value in zip(sides, size, strict=True):
                side[value] += count
        most = [[*size, count] for size, count in self._sizes.most_common(5)]
        return {"width": _spread(sides[0]), "height": _spread(sides[1]), "different": len(self._sizes), "most": most}

    def _shapes(self) -> dict[str, int]:
        found = dict.fromkeys([*(name for name, _ in _SHAPES), _WIDEST], 0)
        for (width, height), count in self._sizes.items():
            found[next((name for name, most in _SHAPES if width / height <= most), _WIDEST)] += count
        return found

    def _pixels(self) -> dict[str, Any]:
        chosen = [record.label for record in self._shuffled()[:_MASKS]]
        with ThreadPoolExecutor(_THREADS) as pool:
            counted = list(pool.map(pixels_by_class, chosen))
        sums = sum(counted, Counter())
        total = sums.total()
        shares = {name: round(sums[name] / total, 6) for name in self.objects} if total else {}
        return {"masks": len(chosen), "classes": shares, "ignored": round(sums[""] / total, 6) if total else None}


def pixels_by_class(mask: Mask) -> Counter[str]:
    """Return how many pixels of a mask each class has; an empty name has those of no class, or ignored."""
    found: Counter[str] = Counter()
    try:
        values, names = classified(mask)
    except UserError:  # gone since it was checked
        return found
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        found[names.get(int(value), "")] += int(count)
    return found


def classified(mask: Mask) -> tuple[np.ndarray, dict[int, str]]:
    """Return the pixels of a mask, one number each (a colour as 0xrrggbb), and the class of each number that has one.

    Raises:
        UserError: as :func:`automl_images.annotations.masks.pixels_of`.
    """
    pixels = pixels_of(mask.mask_url, mask.coloured)
    coloured, values = pixels.ndim == 3, flat(pixels)
    ignored = {_number(value) for value in mask.ignore}
    if mask.classes:
        names = {_number(value): name for name, value in mask.classes}
    else:  # each value is a class, named by its digits
        names = {value: f"#{value:06x}" if coloured else str(value) for value in np.unique(values).tolist()}
    return values, {value: name for value, name in names.items() if value not in ignored}


def _number(value: int | str) -> int:
    return int(value[1:], 16) if isinstance(value, str) else value


def _objects(record: Record) -> Sequence[Box | Instance]:
    label = record.label
    return label.boxes if isinstance(label, Boxes) else label.instances if isinstance(label, Polygons) else ()


def _reservoir(kept: list[Record], record: Record, seen: int, most: int, draw: random.Random) -> None:
    """Keep ``most`` of the records seen so far, each as likely as any other; equal records draw equally."""
    if len(kept) < most:
        kept.append(record)
    elif (place := draw.randrange(seen)) < most:
        kept[place] = record


def _spread(counts: Counter[Any]) -> dict[str, Any]:
    """Return the least, median, mean and greatest of counted numbers; None each where there is none."""
    total = counts.total()
    if not total:
        return dict.fromkeys(("least", "median", "mean", "greatest"))
    values, seen = sorted(counts), 0
    middle = []
    for value in values:
        before, seen = seen, seen + counts[value]
        middle += [value for place in ((total - 1) // 2, total // 2) if before <= place < seen]
    mean = sum(value * count for value, count in counts.items()) / total
    return {"least": values[0], "median": statistics.mean(middle), "mean": round(mean, 4), "greatest": values[-1]}


def _ratio(counts: Collection[float]) -> float | None:
    """Return how many times the least of several counts the greatest is."""
    return round(max(counts) / min(counts), 2) if len(counts) > 1 else None


def _powers(counts: Counter[int]) -> dict[str, int]:
    """Return how often a number was in each of the ranges 0, 1, 2 to 3, 4 to 7, ..."""
    found: Counter[int] = Counter()
    for value, count in counts.items():
        found[value.bit_length()] += count
    names = {0: "0", 1: "1"}
    return {
        names.get(bits, f"{1 << bits >> 1} to {(1 << bits) - 1}"): found[bits]
        for bits in range(min(found, default=0), max(found, default=-1) + 1)
    }
