"""What labelling tools draw, made into labels: rectangles, turned or not, ellipses, polygons and masks."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automl_images.annotations.labels import Box, Boxes, Classes, Instance, Label, OneClass, Polygons, Rle
from automl_images.annotations.shapes import box_of
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


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0, about: Point | None = None) -> tuple:
    """Return the corners of a rectangle, turned clockwise by ``degrees`` about a point, by default its centre."""
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return turned(corners, degrees, about or (x + width / 2, y + height / 2))


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
