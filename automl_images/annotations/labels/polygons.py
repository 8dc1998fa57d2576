"""Any number of objects an image, each with its outline."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from automl_images.annotations.labels.base import MANY, UNKNOWN, Label, Rules, Size
from automl_images.annotations.values import FlawError, class_name, flag, number, shown
from automl_images.errors import UserError

FEW, EMPTY = "a polygon with fewer than three points", "a polygon without area"
CROSSED = "a polygon that crosses itself"
BEYOND, OUTSIDE = "a polygon outside the image by at most a pixel", "a polygon further outside"
RLE_SIZE, TWICE = "a mask of another size than its image", "an object that stands twice"
_PIXEL = 1 + 1e-6


class Rle(NamedTuple):
    """A mask as COCO's compressed run lengths, exact to the pixel."""

    height: int
    width: int
    counts: str

    def to_json(self) -> dict[str, Any]:
        """Return the mask in COCO's form."""
        return {"size": [self.height, self.width], "counts": self.counts}


@dataclass(frozen=True, slots=True)
class Instance:
    """An object and its outline: polygons, Azure's shape, or a mask where polygons do not hold it exactly.

    Attributes:
        label: the class.
        polygon: the parts that belong to the object, each x, y, x, y, ... as fractions of the image's width and height
            (in [0, 1] once checked); empty where ``rle`` is given.
        isCrowd: a region that metrics neither reward nor punish (COCO's iscrowd).
        rle: the mask, of the image's size as annotated; None where polygons are given.
        area: in pixels as COCO's annotation states it, or None: that of the outline.
    """

    label: str
    polygon: tuple[tuple[float, ...], ...] = ()
    isCrowd: bool = False
    rle: Rle | None = None
    area: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object as records have it in JSON; ``rle`` is what Azure's schema lacks."""
        area = {} if self.area is None else {"area": self.area}
        outline = {"rle": self.rle.to_json()} if self.rle else {"polygon": [list(part) for part in self.polygon]}
        return {"label": self.label, **outline, "isCrowd": int(self.isCrowd), **area}


@dataclass(frozen=True, slots=True)
class Polygons(Label):
    """The objects of an image with their outlines; none is an image with nothing on it."""

    instances: tuple[Instance, ...]

    kind = "polygons"
    title = "polygons"
    counted = "instances"
    counts = (
        "dropped_instances",
        "dropped_parts",
        "clipped_instances",
        "fixed_instances",
        "repeated_instances",
        "fixed_sizes",
        "repeated_images",
        "skipped_images",
    )
    flaws = (
        (FEW, "refused", "image left out", "dropped"),
        (EMPTY, "dropped", "dropped", "dropped"),
        (CROSSED, "kept", "kept", "kept"),
        (BEYOND, "clipped", "clipped", "clipped"),
        (OUTSIDE, "refused", "image left out", "clipped"),
        (RLE_SIZE, "refused", "image left out", "dropped"),
        (TWICE, "counted once", "counted once", "counted once"),
        *MANY,
    )
    says_missing = False
    scored_if_any = True

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the objects that a JSON list has; one object serves for a list of one, and numbers may be text."""
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            found = "has no label" if value is None else f"the label is {shown(value)}"
            raise UserError(f"{found}; {cls.task()} needs a list of polygons (an empty one where there is nothing)")
        return cls(tuple([_instance(one, i) for i, one in enumerate(value, 1)]))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the objects in Azure's schema, ``isCrowd`` as 0 or 1."""
        return [instance.to_json() for instance in self.instances]

    @classmethod
    def restored(cls, value: Any) -> Self:
        """Return the label that :meth:`to_json` wrote."""
        if not isinstance(value, list):
            raise ValueError(value)
        return cls(tuple([_restored(one) for one in value]))

    def names(self) -> list[str]:
        """Return the class of each object."""
        return [instance.label for instance in self.instances]

    def crowds(self) -> int:
        """Return how many objects are crowd."""
        return sum(instance.isCrowd for instance in self.instances)

    def as_objects(self) -> Self:
        """Return the label with no object taken as crowd."""
        return type(self)(tuple(replace(instance, isCrowd=False) for instance in self.instances))

    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label with the objects that are kept, each inside its image."""
        rules.check_same_size(url, annotated, size)
        kept = []
        for i, instance in enumerate(self.instances, 1):
            if not rules.knows(instance.label):
                if not rules.fix:
                    raise rules.unknown(instance.label, f"object {i}")
                rules.add(UNKNOWN, f"object {i} ({instance.label})")
                rules.found["dropped_instances"] += 1
            elif (checked := _checked(instance, i, annotated, size, rules)) is not None:
                kept.append((i, checked))
        for i, instance in _crossing(kept):
            rules.add(CROSSED, f"object {i} ({instance.label})")
        return self.joined([type(self)(tuple([instance for _, instance in kept]))], rules)

    @classmethod
    def joined(cls, labels: Sequence[Self], rules: Rules) -> Self:
        """Return all objects of an image, each that stands twice once."""
        instances = [instance for label in labels for instance in label.instances]
        once = tuple(dict.fromkeys(instances))
        if len(once) < len(instances):
            for instance, count in Counter(instances).items():
                rules.findings.add(TWICE, f"{rules.where}: {count} x {instance.label}", count - 1)
        rules.found["repeated_instances"] += len(instances) - len(once)
        return cls(once)


def _instance(value: Any, index: int) -> Instance:
    if not isinstance(value, dict):
        raise UserError(f"object {index} is {shown(value)}, not an object with label and polygon")
    try:
        rle = None if value.get("rle") is None else _rle(value["rle"])
        polygon = () if rle else _parts(value.get("polygon"))
        area = None if value.get("area") is None else number(value["area"], "area")
        crowd = flag(value.get("isCrowd"), "isCrowd")
        return Instance(class_name(value.get("label")), polygon, crowd, rle, area)
    except UserError as error:
        raise UserError(f"object {index}: {error}") from None


def _restored(value: dict[str, Any]) -> Instance:
    mask = value.get("rle")
    if mask is None:
        polygon = tuple([tuple(part) for part in value["polygon"]])
        return Instance(value["label"], polygon, bool(value["isCrowd"]), None, value.get("area"))
    height, width = mask["size"]
    rle = Rle(height, width, mask["counts"])
    return Instance(value["label"], (), bool(value["isCrowd"]), rle, value.get("area"))


def _parts(value: Any) -> tuple[tuple[float, ...], ...]:
    """Return the parts of a polygon: a list of lists, or one list of numbers for the only part."""
    if not isinstance(value, list) or not value:
        raise UserError("has no polygon" if not value else f"polygon is {shown(value)}, which is no list")
    parts = value if all(isinstance(part, list) for part in value) else [value]
    found = []
    for i, part in enumerate(parts, 1):
        if len(part) % 2:
            raise UserError(f"part {i} of its polygon has {len(part)} numbers; x and y alternate")
        found.append(tuple([number(v, "polygon") for v in part]))
    return tuple(found)


def _rle(value: Any) -> Rle:
    """Return the mask of COCO's form, compressed or not.

    Raises:
        UserError: it is none, or its runs do not fill its size.
    """
    from automl_images.annotations.shapes import rle

    return rle(value)


def _checked(instance: Instance, index: int, annotated: Size, size: Size, rules: Rules) -> Instance | None:
    """Return the object as it is kept; None where it is dropped."""
    what = f"object {index} ({instance.label})"
    if instance.rle:
        if (instance.rle.width, instance.rle.height) == size:
            return instance
        text = f"{what} has a mask of {instance.rle.width} x {instance.rle.height} pixels, and its image "
        text += f"{size[0]} x {size[1]}"
        if not rules.fix:
            raise FlawError(text, RLE_SIZE)
        rules.add(RLE_SIZE, text)
        rules.found["dropped_instances"] += 1
        return None
    parts: list[tuple[float, ...]] = []
    moved = 0.0
    for part in instance.polygon:
        if len(part) < 6:
            text = f"{what} has a polygon of {len(part) // 2} points; it needs at least three"
            if not rules.fix:
                raise FlawError(text, FEW)
            rules.add(FEW, text)
            continue
        inside = part
        if min(part) < 0 or max(part) > 1:
            inside = tuple([min(max(v, 0.0), 1.0) for v in part])
            moved = max(
                moved, *(abs(a - b) * annotated[i % 2] for i, (a, b) in enumerate(zip(part, inside, strict=True)))
            )
        if _has_area(inside):
            parts.append(inside)
        else:
            rules.add(EMPTY, what)
    if moved:
        text = f"{what} lies outside its image of {annotated[0]} x {annotated[1]} pixels by {moved:.4g} pixels"
        if moved > _PIXEL and not rules.fix:
            raise FlawError(text, OUTSIDE)
        rules.add(OUTSIDE if moved > _PIXEL else BEYOND, text)
        rules.found["fixed_instances" if moved > _PIXEL else "clipped_instances"] += 1
    if not parts:
        rules.found["dropped_instances"] += 1
        return None
    rules.found["dropped_parts"] += len(instance.polygon) - len(parts)
    if not moved and len(parts) == len(instance.polygon) and annotated == size:
        return instance
    area = None if moved or len(parts) < len(instance.polygon) else instance.area
    if area is not None:
        area *= (size[0] * size[1]) / (annotated[0] * annotated[1])
    return replace(instance, polygon=tuple(parts), area=area)


def _crossing(instances: Sequence[tuple[int, Instance]]) -> list[tuple[int, Instance]]:
    """Return the numbered objects of which a part crosses itself."""
    owners = [k for k, (_, instance) in enumerate(instances) for _ in instance.polygon]
    if not owners:
        return []
    import numpy as np
    import shapely

    parts = [part for _, instance in instances for part in instance.polygon]
    points = np.array(list(itertools.chain.from_iterable(parts))).reshape(-1, 2)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(parts)), [len(part) // 2 for part in parts]))
    crossed = np.flatnonzero(~shapely.is_valid(shapely.polygons(rings))).tolist()
    return [instances[k] for k in dict.fromkeys(owners[i] for i in crossed)]


def _has_area(part: tuple[float, ...]) -> bool:
    """Return whether three points of a polygon do not lie on one line."""
    x, y = part[::2], part[1::2]
    return any(
        (x[i] - x[0]) * (y[j] - y[0]) != (x[j] - x[0]) * (y[i] - y[0])
        for i, j in zip(range(1, len(x) - 1), range(2, len(x)), strict=True)
    )
