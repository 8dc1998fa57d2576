"""The augmentation of the R-CNN family, as Azure describes it: expand, random crop around boxes, horizontal flip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from automl_images.data.tiles import Window, cut
from automl_images.metrics.arrays import Sample

EXPAND, CROP, FLIP = 0.3, 0.5, 0.5  # how often each is done
_LARGEST = 2.0  # sides of an expanded image, of the image's own
_SMALLEST = 0.3  # sides of a crop, of the image's, expanded or not


Augment = Callable[[int, int, int], Sample]  # of a sample's index, a seed and the epoch, from 0


def rcnn_augmentation(samples: Callable[[int], Sample]) -> Augment:
    """Return a function that gives an augmented sample and draws from its own generator alone; all epochs are alike.

    An image is put on a grey canvas of up to twice its sides, cropped in its own proportions around one of its objects,
    which stays whole, and mirrored, each by chance. Of objects that a crop cuts :func:`automl_images.data.tiles.cut`
    tells what is left: with masks a box is always that of its mask's pixels, and what loses its box loses its mask.
    Images without objects are mirrored only. Pixels may be a view of the sample's.
    """

    def augment(i: int, seed: int, epoch: int = 0) -> Sample:
        sample, rng = samples(i), np.random.default_rng(seed)
        height, width = sample.image.shape[:2]
        window = whole = Window(0, 0, width, height)
        if len(sample.boxes) and rng.random() < EXPAND:
            window = _expanded(width, height, rng)
        if len(sample.boxes) and rng.random() < CROP:
            window = _around(sample.boxes[rng.integers(len(sample.boxes))], window, rng)
        if window != whole:
            seen = cut(sample, window)
            sample = seen if len(seen.boxes) else sample  # an object of less than a pixel is none after a cut
        return mirrored(sample) if rng.random() < FLIP else sample

    return augment


def mirrored(sample: Sample) -> Sample:
    """Return a sample with left and right exchanged; its pixels are a view."""
    image, boxes, labels, masks = sample
    boxes = boxes.copy()
    boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    return Sample(image[:, ::-1], boxes, labels, None if masks is None else masks[..., ::-1])


def _expanded(width: int, height: int, rng: np.random.Generator) -> Window:
    """Return a window of an image's proportions that has it somewhere within."""
    times = rng.uniform(1, _LARGEST)
    across, down = (max(side, round(times * side)) for side in (width, height))
    left, top = -int(rng.integers(across - width + 1)), -int(rng.integers(down - height + 1))
    return Window(left, top, left + across, top + down)


def _around(box: np.ndarray, window: Window, rng: np.random.Generator) -> Window:
    """Return a part of a window, of its proportions, that holds a box, or as much of it as the window does.

    With other proportions each batch would be of another shape once it is padded, for which a GPU has to choose its
    convolutions anew: a step takes three times as long.
    """
    spans = []
    for axis in (0, 1):
        low, high = window[axis], window[axis + 2]
        spans.append((low, high, max(low, int(np.floor(box[axis]))), min(high, int(np.ceil(box[axis + 2])))))
    scale = max(rng.uniform(_SMALLEST, 1), *((last - first) / (high - low) for low, high, first, last in spans))
    edges = []
    for low, high, first, last in spans:
        side = min(high - low, max(last - first, round(scale * (high - low)), 1))
        start = int(rng.integers(max(low, last - side), min(first, high - side) + 1))
        edges.append((start, start + side))
    (left, right), (top, bottom) = edges
    return Window(left, top, right, bottom)
