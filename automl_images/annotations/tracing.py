"""Masks as polygons, along the edges of their pixels: for formats that hold no mask."""

from __future__ import annotations

import numpy as np

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.shapes import decoded


def traced(mask: Rle) -> tuple[tuple[tuple[float, ...], ...], int]:
    """Return the parts of a mask as polygons, x, y, x, y, ... as fractions of its size, and how many holes they lose.

    COCO's reference makes of the polygons the pixels of the mask again, its holes filled.
    """
    from shapely import box, union_all

    inside = decoded(mask)
    columns, lines = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not len(columns):
        return (), 0
    left, top = columns[0], lines[0]
    cut = inside[top : lines[-1] + 1, left : columns[-1] + 1].astype(np.int8)
    steps = np.diff(np.pad(cut, ((0, 0), (1, 1))), axis=1)
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)  # runs of pixels, row by row
    area = union_all(box(starts + left, rows + top, ends + left, rows + top + 1))
    parts: list[tuple[float, ...]] = []
    holes = 0
    for part in getattr(area, "geoms", [area]):
        holes += len(part.interiors)
        corners = _corners(np.array(part.exterior.coords)[:-1])
        parts.append(tuple((corners / (mask.width, mask.height)).ravel().tolist()))
    return tuple(parts), holes


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the points of a closed line (N x 2) at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[turns != 0]
