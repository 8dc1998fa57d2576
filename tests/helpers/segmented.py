"""Masks for records of boxes, and a small segmentation network."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from automl_images.annotations.labels import Mask
from automl_images.hyperparameters import resolve

TASK = "image-semantic-segmentation"
CLASSES = (("background", 0), ("blue", 1), ("red", 2))
SMALL = {"base_size": 64, "crop_size": 40, "training_batch_size": 2, "number_of_epochs": 1}


def segmented(record, folder, ignored=0):
    """Return a record of boxes as one of a mask of 64 x 64 pixels, of which the first rows are ignored."""
    values, pixels = dict(CLASSES), np.zeros((64, 64), np.uint8)
    for box in record.label.boxes:
        left, top, right, bottom = (round(64 * v) for v in (box.topX, box.topY, box.bottomX, box.bottomY))
        pixels[top:bottom, left:right] = values[box.label]
    pixels[:ignored] = 255
    path = Path(folder, f"{Path(record.image_url).stem}_mask.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    present = tuple(name for name, value in CLASSES if (pixels == value).any())
    return dataclasses.replace(record, label=Mask(str(path), CLASSES, present=present))


def settings_of(name="fcn_resnet50", **given):
    """Return complete settings of a network that is small."""
    return resolve(TASK, {"model_name": name, **SMALL, **given}) | {"model_size": "nano"}
