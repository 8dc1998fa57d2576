"""The augmentation of the R-CNN family, as Azure describes it: expand, random crop around boxes, horizontal flip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from automl_images.metrics.arrays import Sample

_GREY = 114


def rcnn_augmentation(samples: Callable[[int], Sample]) -> Callable[[int, int], Sample]:
    """Return a function of (index, seed) that gives an augmented sample and leaves torch's generator as it was.

    A crop keeps at least one box (SSD's IoU crop, Liu et al. 2016); images without boxes are flipped only.
    """
    around_boxes = v2.Compose(
        [
            v2.RandomZoomOut(fill={tv_tensors.Image: _GREY, "others": 0}, side_range=(1.0, 2.0), p=0.3),
            v2.RandomIoUCrop(),
            v2.SanitizeBoundingBoxes(min_size=1),
        ]
    )
    flip = v2.RandomHorizontalFlip()

    def augment(i: int, seed: int) -> Sample:
        image, boxes, labels, masks = samples(i)
        corners = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=image.shape[:2])
        target = {"boxes": corners, "labels": torch.from_numpy(labels)}
        if masks is not None:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(masks))
        picture = tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if len(boxes):
                picture, target = around_boxes(picture, target)
            picture, target = flip(picture, target)
        return Sample(
            np.ascontiguousarray(picture.numpy().transpose(1, 2, 0)),
            target["boxes"].numpy().astype(np.float32).reshape(-1, 4),
            target["labels"].numpy(),
            None if masks is None else target["masks"].numpy(),
        )

    return augment
