"""Windows of images: tiles, which show small objects larger, and what is left of a sample in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from automl_images.metrics.arrays import Sample, box_area

VISIBLE = 0.5  # share of an object that a window must show, or the object is none of its
GREY = 114  # of what a window shows beyond its image


class Window(NamedTuple):
    """A rectangle of whole pixels, which may reach beyond its image; right and bottom are the first outside it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Tiling:
    """How images are tiled, and what is found on their tiles put together.

    Attributes:
        columns, rows: tiles along the width and along the height.
        overlap: in [0, 1); neighbours share this part of a tile's width, or height.
        nms: in [0, 1]; what two tiles find is one object if its boxes overlap (IoU) by more.
        most: detections that an image may have.
    """

    columns: int
    rows: int
    overlap: float
    nms: float
    most: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Tiling | None:
        """Return what a detector's settings ask for; None is no tiling, as a grid of 1 x 1 is."""
        grid = settings.get("tile_grid_size")
        if grid in (None, "1,1"):
            return None
        columns, rows = map(int, grid.split(","))
        most = settings.get("box_detections_per_img", 300)  # YOLOv5 has no setting for it
        return cls(columns, rows, settings["tile_overlap_ratio"], settings["tile_predictions_nms_thresh"], most)

    def windows(self, width: int, height: int) -> list[Window]:
        """Return an image's tiles, row by row: as many as the grid has, which together show every pixel.

        All are of one size, rounded up to whole pixels, and lie within the image. Where it has fewer pixels than the
        grid has tiles, or the overlap leaves no room for a step, some are alike.
        """
        across, down = (_steps(side, n, self.overlap) for side, n in ((width, self.columns), (height, self.rows)))
        return [Window(left, top, right, bottom) for top, bottom in down for left, right in across]

    def pieces(self, width: int, height: int) -> list[Window]:
        """Return the whole image, which is first, and those of its tiles that show less, each once."""
        return list(dict.fromkeys([Window(0, 0, width, height), *self.windows(width, height)]))


def _steps(side: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Return the first pixel of each of ``count`` tiles along a side, and the one after its last.

    Of tiles of a length t that share r t with the next, n reach over t (n - (n - 1) r).
    """
    length = min(side, int(np.ceil(round(side / (count - (count - 1) * overlap), 6))))
    # rounded down, two neighbours are never further apart than before
    starts = [i * (side - length) // max(1, count - 1) for i in range(count)]
    return [(start, start + length) for start in starts]


def cut(sample: Sample, window: Window, share: float = VISIBLE) -> Sample:
    """Return what a window shows of a sample, in the window's pixels; its image may be a view of the sample's.

    An object is kept if the window shows at least ``share`` of its mask or, where it has none, of its box. With masks
    its box becomes that of the mask's pixels in the window; without, the box is clipped. Objects of which less than a
    pixel's width or height is left go. Beyond the image a window is grey, and no mask reaches there.
    """
    left, top, right, bottom = window
    height, width = sample.image.shape[:2]
    inner = tuple(
        slice(max(0, low), max(0, low, min(side, high)))
        for low, high, side in ((top, bottom, height), (left, right, width))
    )
    placed = tuple(slice(s.start - start, s.stop - start) for s, start in zip(inner, (top, left), strict=True))
    shape, whole = (bottom - top, right - left), (right - left, bottom - top) * 2
    moved = sample.boxes - np.array([left, top, left, top], np.float32)
    boxes = np.clip(moved, 0, np.array(whole, np.float32))
    clipped = (boxes != moved).any(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        visible = box_area(boxes) / box_area(sample.boxes)
    masks = None
    if sample.masks is not None:
        for n in np.flatnonzero(clipped & (visible > 0)):
            boxes[n], visible[n] = _left_of(sample.masks[n], inner, placed)
    kept = np.flatnonzero((visible >= share) & ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1))
    if sample.masks is not None:
        masks = _padded(sample.masks[kept, inner[0], inner[1]], placed, (len(kept), *shape), 0, 1)
    image = _padded(sample.image[inner], placed, (*shape, 3), GREY, 0)
    return Sample(image, boxes[kept], sample.labels[kept], masks)


def _left_of(mask: np.ndarray, inner: tuple[slice, ...], placed: tuple[slice, ...]) -> tuple[np.ndarray, float]:
    """Return the box of a mask's pixels in a window, in its pixels, and their share of the mask."""
    part = mask[inner]
    columns, rows = np.flatnonzero(part.any(0)), np.flatnonzero(part.any(1))
    if not len(columns):
        return np.zeros(4, np.float32), 0.0
    corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    corners += np.array([placed[1].start, placed[0].start] * 2, np.float32)
    return corners, np.count_nonzero(part) / np.count_nonzero(mask)


def _padded(part: np.ndarray, placed: tuple[slice, ...], shape: tuple[int, ...], value: int, axis: int) -> np.ndarray:
    """Return an array of a shape that has a part at its place and a value elsewhere; the part itself if it fills it."""
    if part.shape == shape:
        return part
    full = np.full(shape, value, part.dtype)
    full[(slice(None),) * axis + placed] = part
    return full


class Samples(Protocol):
    """What can be learned from, by index."""

    def __len__(self) -> int: ...

    def training(self, i: int) -> Sample:
        """Return sample ``i``."""

    def aspects(self) -> list[float]:
        """Return the width by the height of each sample's image."""


class TiledSamples:
    """Samples and their tiles, each a sample: image by image the whole image, then its tiles.

    An object is learned in each tile that shows at least :data:`VISIBLE` of it; of a smaller part a detector should
    say nothing, since another tile, or the whole image, shows the object better. Tiles without an object are kept: most
    tiles that a detector later sees are empty, and one that never learned from such finds objects in them. Crowds are
    in no sample.
    """

    def __init__(self, samples: Samples, tiling: Tiling):
        self.samples, self.tiling = samples, tiling
        self.each = 1 + tiling.columns * tiling.rows

    def __len__(self) -> int:
        return len(self.samples) * self.each

    def training(self, i: int) -> Sample:
        """Return sample ``i``."""
        image, tile = divmod(i, self.each)
        sample = self.samples.training(image)
        if not tile:
            return sample
        height, width = sample.image.shape[:2]
        return cut(sample, self.tiling.windows(width, height)[tile - 1])

    def aspects(self) -> list[float]:
        """Return the width by the height of each image and, after it, of its tiles."""
        across, down = (n - (n - 1) * self.tiling.overlap for n in (self.tiling.columns, self.tiling.rows))
        tile = down / across
        return [a * scale for a in self.samples.aspects() for scale in (1.0, *[tile] * (self.each - 1))]


def tiled(samples: Samples, settings: Mapping[str, Any]) -> Samples:
    """Return samples as a detector with these settings learns from them: with their tiles, if it is to have any."""
    tiling = Tiling.of(settings)
    return TiledSamples(samples, tiling) if tiling else samples
