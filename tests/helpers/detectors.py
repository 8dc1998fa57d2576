"""Small detectors, and images for them."""

import numpy as np
import torch

from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import build

TASK, MASKS = "image-object-detection", "image-instance-segmentation"
CLASSES = ["blue", "red"]
RCNN, MASK = "fasterrcnn_resnet18_fpn", "maskrcnn_resnet18_fpn"


def task_of(name):
    return MASKS if name.startswith("mask") else TASK


def settings_of(name, **given):
    """Return complete settings of a small model; a head may stand after its name, as in "yolov5 anchor"."""
    name, _, head = name.partition(" ")
    given |= {"head": head} if head else {}
    sizes = {"img_size": 64} if name == "yolov5" else {"min_size": 64, "max_size": 64}
    settings = resolve(task_of(name), {"model_name": name, **sizes, **given})
    return settings | ({"model_size": "nano"} if name == "yolov5" and "model_size" not in given else {})


def made(name, classes=CLASSES, **given):
    torch.manual_seed(0)
    return build(task_of(name), settings_of(name, **given), classes).eval()


def noise(height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 255, (3, height, width), dtype=np.uint8))
