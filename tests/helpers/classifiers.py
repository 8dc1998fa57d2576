"""Small classifiers, and images for them."""

import numpy as np
import torch

from automl_images.models.catalogue import build

TASK = "image-classification"
CLASSES = ["ant", "bee", "cat"]
CPU = torch.device("cpu")


def settings_of(name, size=32, **given):
    sizes = {"train_crop_size": size, "valid_crop_size": size, "valid_resize_size": size}
    return {"model_name": name, "image_shape": None, **sizes, **given}


def made(name, size=32, classes=CLASSES, **given):
    torch.manual_seed(0)
    return build(TASK, settings_of(name, size, **given), classes)


def noise(count=2, height=32, width=None, seed=0):
    shape = (count, 3, height, width or height)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
