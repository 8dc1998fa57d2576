"""Outlines and masks: their boxes, areas and pixels.

Masks are arrays of height x width, true inside. Polygons become pixels as COCO's reference implementation does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from automl_images.annotations.labels.polygons import Instance, Rle
from automl_images.annotations.values import shown
from automl_images.errors import UserError

_MOST = 178_956_970  # pixels of a mask: as many as Pillow opens an image with


def rle(value: Any) -> Rle:
    """Return a mask in COCO's form, ``{"size": [height, width], "counts": ...}``, compressed (text) or not (list).

    Raises:
        UserError: it has another form, or its runs do not fill its size.
    """
    if not isinstance(value, dict):
        raise UserError(f"rle is {shown(value)}, not an object with size and counts")
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 < v <= 1 << 20 for v in size)):
        raise UserError(f"the size of its rle is {shown(size)}, not a height and a width in pixels")
    height, width = size
    if height * width > _MOST:
        raise UserError(f"the size of its rle is {shown(size)}, more pixels than an image may have")
    if isinstance(counts, list):
        if not all(type(v) is int and v >= 0 for v in counts) or sum(counts) != height * width:
            raise UserError(f"the counts of its rle are not runs that fill {height} x {width} pixels")
        return Rle(height, width, _compressed(counts))
    if not isinstance(counts, str) or _filled(counts) != height * width:
        raise UserError(f"the counts of its rle are not runs that fill {height} x {width} pixels")
    return Rle(height, width, counts)


def blank(width: int, height: int) -> np.ndarray:
    """Return a mask without anything inside, a bool array of height x width.

    Raises:
        UserError: it has more pixels than an image may have.
    """
    if width * height > _MOST:
        raise UserError(f"a mask of {width} x {height} has more pixels than an image may have")
    return np.zeros((height, width), bool)


def encoded(mask: np.ndarray) -> Rle:
    """Return a mask, an array of height x width in which what is not 0 is inside, as run lengths."""
    inside = np.asfortranarray(mask != 0).ravel(order="F")
    changes = np.flatnonzero(np.diff(inside)) + 1
    runs = np.diff(np.concatenate(([0], changes, [inside.size])))
    counts = ([0] if inside.size and inside[0] else []) + runs.tolist()
    return Rle(mask.shape[0], mask.shape[1], _compressed(counts))


def decoded(mask: Rle, left: int = 0, right: int | None = None) -> np.ndarray:
    """Return the pixels of a mask, a bool array of height x width; of the columns from ``left`` to before ``right``."""
    first, last = left * mask.height, (mask.width if right is None else right) * mask.height
    runs = np.diff(np.cumsum(_runs(mask.counts)).clip(first, last), prepend=first)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape((mask.height, -1), order="F")


def mask_of(instance: Instance, width: int, height: int) -> np.ndarray:
    """Return the pixels of an object on an image of a size, a bool array of height x width."""
    if instance.rle:
        return decoded(instance.rle)
    from faster_coco_eval.core import mask

    return mask.decode(coco_rle(instance, width, height)).astype(bool)


def coco_rle(instance: Instance, width: int, height: int) -> dict[str, Any]:
    """Return an object's pixels on an image of a size as COCO's ``{"size": [height, width], "counts": bytes}``."""
    if instance.rle:
        return {"size": [instance.rle.height, instance.rle.width], "counts": instance.rle.counts.encode()}
    from faster_coco_eval.core import mask

    # in the pixels that were annotated: the last bit of a corner may decide on a pixel
    parts = [in_pixels(list(part), width, height).ravel().tolist() for part in instance.polygon]
    return mask.merge(mask.frPyObjects(parts, height, width))


def area_of(instance: Instance, width: int, height: int) -> float:
    """Return the area of an object in pixels: as annotated, else that of its pixels."""
    return instance.area if instance.area is not None else float(np.count_nonzero(mask_of(instance, width, height)))


def box_of(instance: Instance) -> tuple[float, float, float, float]:
    """Return the left, top, right and bottom of an object as fractions of its image; zeros where a mask is empty."""
    if instance.rle is None:
        x = [v for part in instance.polygon for v in part[::2]]
        y = [v for part in instance.polygon for v in part[1::2]]
        return min(x), min(y), max(x), max(y)
    inside = decoded(instance.rle)
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not len(columns):
        return 0.0, 0.0, 0.0, 0.0
    width, height = instance.rle.width, instance.rle.height
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def in_pixels(fractions: list[float], width: int | np.ndarray, height: int | np.ndarray) -> np.ndarray:
    """Return x, y, x, y, ... as points in pixels, n x 2, with three decimals where these give the fraction back.

    The width and the height are one for all points, or one a point.
    """
    wanted, sides = np.fromiter(fractions, float, len(fractions)), np.empty(len(fractions))
    sides[::2], sides[1::2] = width, height
    exact = wanted * sides
    short = np.rint(exact * 1000) / 1000
    other = np.flatnonzero(short / sides != wanted)
    short[other] = exact[other]
    return short.reshape(-1, 2)


def _compressed(counts: Sequence[int]) -> str:
    """Return runs in COCO's text: the difference to the run two before, in digits of five bits from the lowest."""
    text = []
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        while True:
            digit, left = left & 31, left >> 5
            done = left == (-1 if digit & 16 else 0)
            text.append(chr((digit if done else digit | 32) + 48))
            if done:
                break
    return "".join(text)


def _runs(text: str) -> list[int]:
    """Return the runs of COCO's text.

    Raises:
        ValueError: the text is none.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError(text)
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (1 << shift) if digit & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError(text)
    return counts


def _filled(text: str) -> int | None:
    """Return how many pixels the runs of a text fill, or None where they are no runs."""
    try:
        counts = _runs(text)
    except ValueError:
        return None
    return None if any(count < 0 for count in counts) else sum(counts)
