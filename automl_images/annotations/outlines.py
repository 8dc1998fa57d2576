"""What labelling tools draw, made into labels, and back: rectangles, turned or not, ellipses, polygons and masks."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from automl_images.annotations.labels import Box, Boxes, Classes, Instance, Label, OneClass, Polygons, Rle
from automl_images.annotations.shapes import box_of, decoded, in_pixels
from automl_images.annotations.tracing import traced
from automl_images.annotations.values import class_list, number, shown
from automl_images.errors import UserError

_CORNERS_OF_ELLIPSE = 64
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Outline:
    """An object as a tool has it, in pixels of its image.

    Attributes:
        label: the class.
        parts: its polygons, each of at least three points; empty where ``rle`` is given.
        rle: its mask, of the image's size.
        group: outlines of one image with an equal group are one object; None stands alone.
    """

    label: str
    parts: tuple[tuple[Point, ...], ...] = ()
    rle: Rle | None = None
    group: Any = None


def rectangle(
    left: float, top: float, right: float, bottom: float, degrees: float = 0, about: Point | None = None
) -> tuple[Point, ...]:
    """Return the corners of a rectangle, turned clockwise by ``degrees`` about a point, by default its centre."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return turned(corners, degrees, about or ((left + right) / 2, (top + bottom) / 2))


def ellipse(x: float, y: float, across: float, down: float, degrees: float = 0) -> tuple[Point, ...]:
    """Return 64 points of an ellipse about (x, y) with two radii, turned clockwise by ``degrees`` about its centre."""
    angles = [2 * math.pi * i / _CORNERS_OF_ELLIPSE for i in range(_CORNERS_OF_ELLIPSE)]
    return turned(tuple((x + across * math.cos(a), y + down * math.sin(a)) for a in angles), degrees, (x, y))


def turned(points: tuple[Point, ...], degrees: float, about: Point) -> tuple[Point, ...]:
    """Return points turned clockwise, as an image is seen, about another."""
    if not degrees % 360:
        return points
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    (x0, y0) = about
    return tuple(
        (x0 + (x - x0) * cosine - (y - y0) * sine, y0 + (x - x0) * sine + (y - y0) * cosine) for x, y in points
    )


def points_of(values: Any, what: str, least: int = 3) -> tuple[Point, ...]:
    """Return points given as a list of pairs.

    Raises:
        UserError: they are no such list, or fewer than ``least``; the line says ``what``.
    """
    if not isinstance(values, list) or not all(isinstance(p, list) and len(p) == 2 for p in values):
        raise UserError(f"{what} is {shown(values)}, not a list of points x, y")
    if len(values) < least:
        raise UserError(f"{what} has {len(values)} points; it needs at least {least}")
    return tuple((number(x, what), number(y, what)) for x, y in values)


def label_of(kind: type[Label], outlines: Sequence[Outline], classes: Sequence[Any], width: int, height: int) -> Label:
    """Return the label of an image of a size in pixels, of any kind but a mask.

    Args:
        kind: of label.
        outlines: the objects drawn on it.
        classes: the classes that it is given as a whole.
        width, height: the image's.

    Raises:
        UserError: the kind is one class, and it has none or several.
    """
    if kind is OneClass:
        names = class_list(classes)
        if len(names) != 1:
            given = f"the classes {', '.join(names[:5])}" if names else "no class"
            raise UserError(f"has {given}; {kind.task()} takes one")
        return OneClass(names[0])
    if kind is Classes:
        return Classes(class_list(classes))
    size = (width, height)
    instances = [
        Instance(one.label, tuple(tuple(v / size[i] for p in part for i, v in enumerate(p)) for part in one.parts))
        if one.rle is None
        else Instance(one.label, rle=one.rle)
        for one in _grouped(outlines)
    ]
    if kind is Polygons:
        return Polygons(tuple(instances))
    return Boxes(tuple(Box(one.label, *box_of(one)) for one in instances))


def _grouped(outlines: Iterable[Outline]) -> list[Outline]:
    """Return outlines with those of one class and group as one; masks stand alone."""
    found: dict[Any, Outline] = {}
    for i, one in enumerate(outlines):
        key = (one.label, str(one.group)) if one.group is not None and one.rle is None else i
        before = found[key].parts if key in found else ()
        found[key] = Outline(one.label, (*before, *one.parts), one.rle)
    return list(found.values())


def say_passed_over(place: str, passed: Mapping[str, int]) -> None:
    """Say on standard error which kinds of thing, that are no areas, were passed over, and how many of each."""
    if passed:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(Counter(passed).items()))
        print(f"{place}: passed over, as no area or class of an image: {kinds}", file=sys.stderr)


def held(instances: Sequence[Instance], lost: Counter[str], masks: bool = True) -> list[Instance]:
    """Return the objects that a tool can hold, each with a mask or with parts of three points or more.

    Args:
        instances: the objects of an image.
        lost: counts what no tool holds, and what is left out.
        masks: whether the tool holds masks; else they are traced, without their holes.
    """
    found = []
    for one in instances:
        lost.update({"isCrowd": one.isCrowd, "area": one.area is not None})
        if one.rle is not None and not decoded(one.rle).any():
            lost["objects without a pixel"] += 1
            continue
        if one.rle is not None and masks:
            found.append(one)
            continue
        parts, holes = traced(one.rle) if one.rle is not None else (one.polygon, 0)
        whole = tuple(part for part in parts if len(part) >= 6)
        lost.update({"holes": holes, "parts of fewer than three points": len(parts) - len(whole)})
        lost["objects without outline"] += not whole
        if whole:
            found.append(replace(one, polygon=whole, rle=None))
    return found


def points_in(instances: Sequence[Instance], width: int, height: int) -> list[list[list[list[float]]]]:
    """Return the points x, y of each part of each object, where an image has the size, as :func:`in_pixels`."""
    points = in_pixels([v for one in instances for part in one.polygon for v in part], width, height).tolist()
    found, start = [], 0
    for one in instances:
        parts = []
        for part in one.polygon:
            parts.append(points[start : start + len(part) // 2])
            start += len(part) // 2
        found.append(parts)
    return found


def corners_in(boxes: Sequence[Box], lost: Counter[str], width: int, height: int) -> list[list[float]]:
    """Return the left, top, right and bottom of boxes, as :func:`points_in`; ``lost`` counts what no tool holds."""
    for box in boxes:
        lost.update({"isCrowd": box.isCrowd, "area": box.area is not None})
    flat = [v for box in boxes for v in (box.topX, box.topY, box.bottomX, box.bottomY)]
    return in_pixels(flat, width, height).reshape(-1, 4).tolist()


def cut_out(mask: Rle) -> tuple[int, int, np.ndarray]:
    """Return the left and the top of a mask that has a pixel, and its rectangle, a bool array of height x width."""
    inside = decoded(mask)
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    left, top = int(columns[0]), int(rows[0])
    return left, top, inside[top : rows[-1] + 1, left : columns[-1] + 1]


def length(start: float, end: float) -> float:
    """Return the length of what begins and ends there: at most so long that the beginning and it are not beyond."""
    found = end - start
    while start + found > end:
        found = math.nextafter(found, -math.inf)
    return found
