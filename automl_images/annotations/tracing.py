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

    inside = np.pad(decoded(mask).astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(inside, axis=1)  # by rows: 1 where a run begins, -1 behind its end
    (rows, starts), (_, ends) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    area = union_all(box(starts, rows, ends, rows + 1))
    parts, holes = [], 0
    for part in getattr(area, "geoms", [area]):
        if part.is_empty:
            continue
        holes += len(part.interiors)
        corners = _corners(np.array(part.exterior.coords)[:-1])
        parts.append(tuple((corners / (mask.width, mask.height)).ravel().tolist()))
    return tuple(parts), holes


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the points of a closed line (N x 2) at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[turns != 0]
