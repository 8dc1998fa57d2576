"""The augmentation of YOLOv5: mosaic, pasted objects, a projective map, mixup, colour and flips.

Mosaic is of YOLOv4 (Bochkovskiy et al. 2020), mixup of Zhang et al. 2017, pasting after Ghiasi et al. 2020, with
rectangles in place of outlines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from automl_images.data.augment import Augment
from automl_images.data.warp import Scene, drawn_map, fitted, joined, moved, warped, with_pasted
from automl_images.metrics.arrays import Sample

_MIXED = 32.0  # both parameters of the beta distribution of mixup's weights: they are near one half


def yolo_augmentation(samples: Callable[[int], Sample], count: int, size: int, settings: Mapping[str, Any]) -> Augment:
    """Return a function that gives an augmented sample and draws from its own generator alone.

    Its image is a square of ``size`` pixels. An image is scaled so that its longer side is that long. Then, by the
    settings of the same names:

    - ``mosaic``: with that probability it is joined with three others around a random point; else it is padded with
      grey. In the last ``close_mosaic`` of ``number_of_epochs`` there is none.
    - ``copy_paste``: each object's rectangle is pasted with that probability; see `warp.with_pasted`.
    - ``degrees``, ``translate``, ``scale``, ``shear``, ``perspective``: the map of `warp.drawn_map`; of an object that
      the square cuts `warp.warped` tells what is left. Of a mosaic, twice as wide, the square shows about a quarter.
    - ``mixup``: with that probability it is blended with another image that has come so far, and has the objects of
      both.
    - ``hsv_h``, ``hsv_s``, ``hsv_v``: the hue turns by up to that share of the circle, saturation and brightness are
      multiplied by 1 - share to 1 + share.
    - ``flipud``, ``fliplr``: with that probability it is turned upside down, mirrored.

    Args:
        samples: gives one of ``count`` samples by index, without masks; its arrays are not written to.
        count: how many there are.
        size: the side of the square in pixels.
        settings: complete settings of a yolov5.
    """
    last = settings["number_of_epochs"] - settings["close_mosaic"]

    def scene(i: int, epoch: int, rng: np.random.Generator) -> Scene:
        if epoch < last and rng.random() < settings["mosaic"]:
            four = rng.permutation([i, *rng.integers(count, size=3)])
            x, y = rng.integers(size - size // 2, size + size // 2 + 1, 2)
            found, side = joined([fitted(samples(int(j)), size) for j in four], size, (int(x), int(y))), 2 * size
            start = moved(0, 0)
        else:
            found, side = fitted(samples(i), size), size
            height, width = found.image.shape[:2]
            start = moved((size - width) // 2, (size - height) // 2)
        if settings["copy_paste"]:
            found = with_pasted(found, settings["copy_paste"], rng)
        return warped(found, drawn_map(side, size, settings, rng) @ start, size)

    def augment(i: int, seed: int, epoch: int = 0) -> Sample:
        rng = np.random.default_rng(seed)
        image, boxes, labels, _ = scene(i, epoch, rng)
        if rng.random() < settings["mixup"]:
            other, weight = scene(int(rng.integers(count)), epoch, rng), rng.beta(_MIXED, _MIXED)
            image = cv2.addWeighted(image, weight, other.image, 1 - weight, 0)
            boxes, labels = np.concatenate([boxes, other.boxes]), np.append(labels, other.labels)
        image = coloured(image, *rng.uniform(-1, 1, 3) * [settings[f"hsv_{c}"] for c in "hsv"])
        for axis, chance in enumerate((settings["fliplr"], settings["flipud"])):
            if rng.random() < chance:
                image = cv2.flip(image, 1 - axis)
                boxes[:, [axis, axis + 2]] = size - boxes[:, [axis + 2, axis]]
        return Sample(image, boxes.astype(np.float32), labels)

    return augment


def coloured(image: np.ndarray, hue: float, saturation: float, brightness: float) -> np.ndarray:
    """Return an image whose hue is turned by a share of the circle, and the other two are multiplied by 1 + their own.

    Greys stay grey; what would be above the most is the most. Nothing to change changes nothing.
    """
    if not (hue or saturation or brightness):
        return image
    values = np.arange(256)
    table = np.stack(
        [(values + round(256 * hue)) % 256, *(np.clip(values * (1 + by), 0, 255) for by in (saturation, brightness))], 1
    )
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    return cv2.cvtColor(cv2.LUT(hsv, table.round().astype(np.uint8)[None]), cv2.COLOR_HSV2RGB_FULL)
