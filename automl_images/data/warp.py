"""Images and their boxes moved together: resized, four joined, objects pasted, and all through one projective map.

A point is in pixels from the image's top left corner, so that the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from automl_images.data.tiles import GREY
from automl_images.metrics.arrays import Sample, box_area

cv2.setNumThreads(0)  # loaders' processes fill the cores, and one forked from a process with such threads would hang

SHOWN = 0.1  # of an object of which a smaller part is left nothing is
THIN = 2.0  # pixels; what is narrower or lower goes
LONG = 100.0  # what is so many times longer than wide goes
COVERED = 0.3  # of an object no pasted one covers so much, or brings so much along
_NEAREST = 0.2  # how much smaller the far side of a projected image may become, at most, than its centre is


class Scene(NamedTuple):
    """A sample under way: ``image``, ``boxes`` [n, 4] and ``labels`` [n] as in `Sample`, boxes float64.

    ``shown`` [n] is the share of each object that is still in the image.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    shown: np.ndarray


def shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    """Return an image whose longer side is at most so many pixels; it is not enlarged."""
    return image if max(image.shape[:2]) <= longest else _resized(image, longest)


def fitted(sample: Sample, longest: int) -> Scene:
    """Return a sample whose longer side is so many pixels; its image may be the sample's own."""
    assert sample.masks is None, "masks are not moved along"
    image = sample.image if max(sample.image.shape[:2]) == longest else _resized(sample.image, longest)
    (height, width), (before_height, before_width) = image.shape[:2], sample.image.shape[:2]
    times = np.array([width / before_width, height / before_height] * 2)
    return Scene(image, sample.boxes * times, sample.labels, np.ones(len(sample.boxes)))


def _resized(image: np.ndarray, longest: int) -> np.ndarray:
    scale = longest / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def joined(four: Sequence[Scene], size: int, centre: tuple[int, int]) -> Scene:
    """Return four scenes on a grey canvas of twice ``size`` a side; each has a corner at ``centre`` (x, y).

    They are in the order top left, top right, bottom left, bottom right. What reaches beyond the canvas is cut off.
    """
    side = 2 * size
    canvas = np.full((side, side, 3), GREY, np.uint8)
    boxes: list[np.ndarray] = []
    for place, scene in enumerate(four):
        height, width = scene.image.shape[:2]
        left, top = centre[0] - width * (place % 2 == 0), centre[1] - height * (place < 2)
        first, last = max(0, top), min(side, top + height)
        begin, end = max(0, left), min(side, left + width)
        canvas[first:last, begin:end] = scene.image[first - top : last - top, begin - left : end - left]
        boxes.append(scene.boxes + np.array([left, top, left, top]))
    whole = np.concatenate(boxes)
    inside = np.clip(whole, 0, side)
    shown = np.concatenate([scene.shown for scene in four]) * box_area(inside) / np.maximum(box_area(whole), 1e-9)
    return Scene(canvas, inside, np.concatenate([scene.labels for scene in four]), shown)


def with_pasted(scene: Scene, chance: float, rng: np.random.Generator) -> Scene:
    """Return a scene with rectangles of its objects a second time: mirrored, at the mirrored place, each by chance.

    One is not pasted if it would cover :data:`COVERED` or more of an object, or if it shows so much of another one,
    which would be there a second time without a box.
    """
    width, image = scene.image.shape[1], scene.image.copy()
    boxes, added = scene.boxes, []
    mirrored = scene.boxes.copy()
    mirrored[:, [0, 2]] = width - mirrored[:, [2, 0]]
    for n in np.flatnonzero(rng.random(len(boxes)) < chance):
        brought = _covered(scene.boxes, scene.boxes[n])
        brought[n] = 0
        if (brought >= COVERED).any() or (_covered(boxes, mirrored[n]) >= COVERED).any():
            continue
        left, top = np.floor(scene.boxes[n, :2]).astype(int)
        right, bottom = np.ceil(scene.boxes[n, 2:]).astype(int)
        image[top:bottom, width - right : width - left] = scene.image[top:bottom, left:right][:, ::-1]
        boxes = np.concatenate([boxes, mirrored[n : n + 1]])
        added.append(n)
    return Scene(image, boxes, np.append(scene.labels, scene.labels[added]), np.append(scene.shown, scene.shown[added]))


def _covered(boxes: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return the share of each of some boxes that lies in one."""
    inside = np.maximum(0, np.minimum(boxes[:, 2:], by[2:]) - np.maximum(boxes[:, :2], by[:2])).prod(axis=1)
    return inside / np.maximum(box_area(boxes), 1e-9)


def drawn_map(side: int, size: int, settings: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Return a random map [3, 3] of points of a square of ``side`` pixels to those of one of ``size``.

    The square's centre comes to that of the other, shifted by up to ``translate`` of ``size`` along both axes; about it
    the square is turned by up to ``degrees``, scaled by 1 - ``scale`` to 1 + ``scale``, sheared by up to ``shear``
    degrees along both axes, and shrinks towards a side by up to ``perspective`` a pixel; all are drawn evenly. A
    perspective that would bring a corner to the horizon is weakened.
    """
    tilt = rng.uniform(-1, 1, 2) * settings["perspective"]
    tilt *= min(1.0, (1 - _NEAREST) / max(np.abs(tilt).sum() * side / 2, 1e-9))
    angle = np.radians(rng.uniform(-1, 1) * settings["degrees"])
    scale = 1 + rng.uniform(-1, 1) * settings["scale"]
    across, down = np.tan(np.radians(rng.uniform(-1, 1, 2) * settings["shear"]))
    x, y = size * (0.5 + rng.uniform(-1, 1, 2) * settings["translate"])
    turned = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = np.eye(3)
    linear[:2, :2] = np.array([[1, across], [down, 1]]) @ turned
    projected = np.eye(3)
    projected[2, :2] = tilt
    return moved(x, y) @ linear @ projected @ moved(-side / 2, -side / 2)


def moved(x: float, y: float) -> np.ndarray:
    """Return the map that shifts points."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def warped(scene: Scene, points: np.ndarray, size: int) -> Scene:
    """Return what a square of ``size`` pixels shows of a scene through a map of its points; grey where that is nothing.

    An object's box is that of what the square shows of its own box's four corners and what lies between. One goes of
    which less than :data:`SHOWN` is left, or which is thinner than :data:`THIN` pixels or more than :data:`LONG` times
    longer than wide.
    """
    centres = moved(-0.5, -0.5) @ points @ moved(0.5, 0.5)  # OpenCV counts from the centre of the first pixel
    grey = (GREY,) * 3
    if points[2, :2].any():
        image = cv2.warpPerspective(scene.image, centres, (size, size), borderValue=grey)
    else:
        image = cv2.warpAffine(scene.image, centres[:2], (size, size), borderValue=grey)
    x, y = scene.boxes[:, [0, 2, 2, 0]], scene.boxes[:, [1, 1, 3, 3]]
    corners = np.einsum("ij,jnk->nki", points, np.stack([x, y, np.ones_like(x)]))
    corners = corners[..., :2] / corners[..., 2:]
    boxes, shown = np.zeros((len(corners), 4)), scene.shown.copy()
    for n, outline in enumerate(corners.tolist()):
        if inside := _inside(outline, size):
            boxes[n] = [*np.min(inside, 0), *np.max(inside, 0)]
        shown[n] *= _area(inside) / max(_area(outline), 1e-9)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (shown >= SHOWN) & (sides.min(1) >= THIN) & (sides.max(1) <= LONG * sides.min(1))
    return Scene(image, boxes[kept], scene.labels[kept], shown[kept])


def _inside(outline: list[list[float]], size: int) -> list[list[float]]:
    """Return the part of a convex outline that lies in a square, side by side (Sutherland and Hodgman 1974)."""
    for axis, edge, sign in ((0, 0, 1), (1, 0, 1), (0, size, -1), (1, size, -1)):
        found = []
        for before, point in zip([*outline[-1:], *outline[:-1]], outline, strict=True):
            was, now = sign * (before[axis] - edge), sign * (point[axis] - edge)
            if (was < 0) != (now < 0):
                passed = was / (was - now)
                found.append([a + passed * (b - a) for a, b in zip(before, point, strict=True)])
            if now >= 0:
                found.append(point)
        outline = found
    return outline


def _area(outline: list[list[float]]) -> float:
    """Return the area of an outline; of none it is 0."""
    pairs = zip(outline, [*outline[1:], *outline[:1]], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
