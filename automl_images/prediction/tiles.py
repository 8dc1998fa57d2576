"""What a detector finds on an image and on its tiles, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.shapes import decoded, encoded
from automl_images.data.tiles import Tiling, Window
from automl_images.metrics.arrays import box_area

CONTAINED = 0.7  # share of a part's own box that lies in the box of the whole object
AS_SURE = 0.5  # the whole's score is at least this much of the part's
_EDGE = 0.05  # share of its side by which a box may miss the edge that cuts its object


def merged(found: Sequence[Mapping[str, Any]], windows: Sequence[Window], tiling: Tiling) -> dict[str, Any]:
    """Return the detections of a whole image out of those on its windows, best score first, at most ``tiling.most``.

    Of one class, and of different windows:

    1. The part of an object that a tile's edge within the image cuts goes, if another window shows more of the object:
       its box is larger, holds 0.7 of the part's, and has at least half of its score.
    2. Of two boxes that overlap by more than ``tiling.nms`` the lower score goes, if in the other's window none
       overlaps it more. So neighbours that both windows see stay two.

    What one window finds alone has passed the detector's own suppression. Other classes never suppress.

    Args:
        found: for each window ``boxes`` float64 [n, 4] in its own pixels, ``scores`` [n], ``labels`` [n] and, of a
            model with masks, ``masks``, COCO's run lengths of the window.
        windows: the whole image first.
        tiling: how they were made.
    """
    place = np.repeat(np.arange(len(found)), [len(f["scores"]) for f in found])
    corners = np.array(windows, dtype=np.float64)
    boxes = np.concatenate([f["boxes"] for f in found]) + np.tile(corners[place, :2], 2)
    scores, labels = (np.concatenate([f[name] for f in found]) for name in ("scores", "labels"))
    cut_off = _is_cut(boxes, corners[place], windows[0])
    kept = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")]
        overlap = _intersections(boxes[own])
        whole = _without_parts(overlap, box_area(boxes[own]), scores[own], place[own], cut_off[own])
        kept.append(own[_suppressed(overlap, box_area(boxes[own]), place[own], whole, tiling.nms)])
    order = np.concatenate([*kept, np.zeros(0, dtype=np.int64)])
    order = order[np.argsort(-scores[order], kind="stable")][: tiling.most]
    result: dict[str, Any] = {"boxes": boxes[order], "scores": scores[order], "labels": labels[order]}
    if "masks" in found[0]:
        masks = [mask for f in found for mask in f["masks"]]
        result["masks"] = [_in_frame(masks[n], windows[place[n]], windows[0]) for n in order]
    return result


def _is_cut(boxes: np.ndarray, windows: np.ndarray, image: Window) -> np.ndarray:
    """Return which boxes [n, 4] end at an edge of their window [n, 4] that is none of the image's."""
    near = np.maximum(1, _EDGE * np.tile(boxes[:, 2:] - boxes[:, :2], 2))
    return ((np.abs(boxes - windows) <= near) & (windows != np.array(image))).any(1)


def _intersections(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [n, n] that each two of boxes [n, 4] share."""
    shared = np.ones((len(boxes), len(boxes)))
    for low, high in ((boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3])):
        side = np.minimum.outer(high, high)
        side -= np.maximum.outer(low, low)
        shared *= side.clip(0, out=side)
    return shared


def _without_parts(
    overlap: np.ndarray, area: np.ndarray, scores: np.ndarray, place: np.ndarray, cut_off: np.ndarray
) -> np.ndarray:
    """Return which detections of a class are no part of one that another window shows more of."""
    kept = np.ones(len(area), dtype=bool)
    for n in sorted(np.flatnonzero(cut_off), key=lambda n: -area[n]):  # the larger first: it may be a part itself
        held = np.flatnonzero(overlap[n] >= CONTAINED * area[n])
        holds = kept[held] & (area[held] > area[n]) & (place[held] != place[n])
        kept[n] = not (holds & (scores[held] >= AS_SURE * scores[n])).any()
    return kept


def _suppressed(overlap: np.ndarray, area: np.ndarray, place: np.ndarray, kept: np.ndarray, nms: float) -> np.ndarray:
    """Return the places of those detections of a class, best first, that are left of the ones that are ``kept``."""
    iou = np.add.outer(area, area)
    iou -= overlap
    np.divide(overlap, iou, out=iou, where=iou > 0)
    closest = np.full((len(area), int(place.max()) + 1), -1)  # of each window, to each detection
    for window in np.unique(place):
        own = np.flatnonzero(place == window)
        closest[:, window] = own[iou[:, own].argmax(1)]
    kept = kept.copy()
    for n in range(len(area)):
        if kept[n]:
            others = n + 1 + np.flatnonzero(iou[n, n + 1 :] > nms)
            kept[others[(place[others] != place[n]) & (closest[others, place[n]] == n)]] = False
    return np.flatnonzero(kept)


def _in_frame(mask: Mapping[str, Any], window: Window, image: Window) -> dict[str, Any]:
    """Return the run lengths of a mask of a window as those of the whole image."""
    if window == image:
        return dict(mask)
    frame = np.zeros((image.bottom, image.right), bool, order="F")
    own = Rle(window.bottom - window.top, window.right - window.left, mask["counts"].decode())
    frame[window.top : window.bottom, window.left : window.right] = decoded(own)
    return {"size": [image.bottom, image.right], "counts": encoded(frame).counts.encode()}
