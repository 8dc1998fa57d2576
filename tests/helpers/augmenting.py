"""Painted rectangles, and YOLOv5's augmentation of them with settings that leave out what is not named."""

import functools

import numpy as np

from automl_images.data.augment_yolo import yolo_augmentation
from automl_images.hyperparameters import resolve
from automl_images.metrics.arrays import Sample
from tests.helpers.detectors import TASK

SIZE = 96


HSV = ("hsv_h", "hsv_s", "hsv_v")


NONE = {
    **dict.fromkeys((*HSV, "degrees", "translate", "scale", "shear", "perspective"), 0),
    **dict.fromkeys(("flipud", "fliplr", "mosaic", "mixup", "copy_paste", "close_mosaic"), 0),
}


GREEN = (0, 255, 0)


def painted(width, height, *objects, back=(0, 0, 0)):
    """Return an image of green rectangles (left, top, right, bottom) with their boxes; its arrays are read only."""
    image = np.full((height, width, 3), back, np.uint8)
    for left, top, right, bottom in objects:
        image[top:bottom, left:right] = GREEN
    arrays = image, np.float32(objects).reshape(-1, 4), np.arange(len(objects))
    for array in arrays:
        array.setflags(write=False)
    return Sample(*arrays)


@functools.cache
def settings_with(*given):
    return resolve(TASK, {"model_name": "yolov5", **NONE, **dict(given)})


def augmented(samples, seed=0, epoch=0, size=SIZE, i=0, **given):
    return yolo_augmentation(samples.__getitem__, len(samples), size, settings_with(*given.items()))(i, seed, epoch)


MAPS = {"degrees": 180.0, "translate": 0.9, "scale": 0.9, "shear": 10.0, "perspective": 0.001}
