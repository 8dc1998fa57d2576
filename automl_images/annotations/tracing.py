"""Masks as polygons, along the edges of their pixels: for formats that hold no mask, and for answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.shapes import decoded

Part = tuple[float, ...]
_HALVINGS = 12  # of the distance by which a polygon is thinned: to a four-thousandth of its size


def traced(mask: Rle) -> tuple[tuple[Part, ...], int]:
    """Return the parts of a mask as polygons, x, y, x, y, ... as fractions of its size, and how many holes they lose.

    COCO's reference makes of the polygons the pixels of the mask again, and of its holes; one whose corners touch the
    outside twice is none, and stays empty.
    """
    parts = _parts(decoded(mask))
    holes = sum(len(part.interiors) for part in parts)
    return tuple(_fractions(_corners(_ring(part)), mask.width, mask.height) for part in parts), holes


def outlined(inside: np.ndarray, most: int) -> list[list[float]]:
    """Return a mask as polygons that hold its holes, each of at most ``most`` points.

    Around a hole a part is cut in two, so that the polygons together are the mask. One with too many points is
    thinned out (Douglas and Peucker 1973), by the least distance that does.

    Args:
        inside: bool [H, W].
        most: the points of a polygon; below three it has three.

    Returns:
        x, y, x, y, ... of each, as fractions of the image's width and height.
    """
    height, width = inside.shape
    whole = [piece for part in _parts(inside) for piece in _without_holes(part)]
    rings = [_thinned(_corners(_ring(piece)), max(3, most)) for piece in whole]
    return [list(_fractions(ring, width, height)) for ring in rings]


def _parts(inside: np.ndarray) -> list[Any]:
    """Return the parts of a mask, bool [H, W], as shapely's polygons along its pixels, with their holes."""
    from shapely import box, union_all

    columns, lines = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not len(columns):
        return []
    left, top = columns[0], lines[0]
    cut = inside[top : lines[-1] + 1, left : columns[-1] + 1].astype(np.int8)
    steps = np.diff(np.pad(cut, ((0, 0), (1, 1))), axis=1)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)  # runs of pixels, row by row
    area = union_all(box(starts + left, rows + top, ends + left, rows + top + 1))
    return list(getattr(area, "geoms", [area]))


def _without_holes(part: Any) -> list[Any]:
    """Return a polygon cut from top to bottom through each of its holes, along pixels."""
    from shapely import box

    if not part.interiors:
        return [part]
    left, top, right, bottom = part.bounds
    ring = part.interiors[0].bounds
    middle = min(max(round((ring[0] + ring[2]) / 2), ring[0] + 1), ring[2])
    halves = (part.intersection(box(*sides)) for sides in ((left, top, middle, bottom), (middle, top, right, bottom)))
    pieces = (piece for half in halves for piece in getattr(half, "geoms", [half]) if piece.geom_type == "Polygon")
    return [whole for piece in pieces for whole in _without_holes(piece)]


def _thinned(points: np.ndarray, most: int) -> np.ndarray:
    """Return a closed line's points, at most ``most`` of them, which is at least three."""
    from shapely import Polygon

    if len(points) <= most:
        return points
    shape, low, high = Polygon(points), 0.0, float(np.ptp(points, axis=0).max())
    found = points[np.linspace(0, len(points) - 1, 3).round().astype(int)]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        thin = _ring(shape.simplify(middle, preserve_topology=True))
        if len(thin) <= most:
            found, high = thin, middle
        else:
            low = middle
    return found


def _ring(part: Any) -> np.ndarray:
    return np.array(part.exterior.coords)[:-1]


def _fractions(points: np.ndarray, width: int, height: int) -> Part:
    return tuple((points / (width, height)).ravel().tolist())


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the points of a closed line (N x 2) at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[turns != 0]
