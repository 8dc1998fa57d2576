"""The small masks of Mask R-CNN as masks of whole images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from automl_images.annotations.shapes import encoded


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float) -> list[dict[str, Any]]:
    """Return masks as COCO's run lengths of the whole image, ``{"size": [height, width], "counts": bytes}``.

    Each is scaled into its box as torchvision's ``paste_masks_in_image`` does, one by one, so that memory holds one.

    Args:
        masks: [n, 1, m, m], each pixel's score in [0, 1].
        boxes: [n, 4] in pixels.
        size: the image's height and width.
        threshold: a pixel that scores more is inside.
    """
    height, width = size
    wide, scale = expand_masks(masks.float(), padding=1)
    corners = expand_boxes(boxes.float(), scale).to("cpu").long().tolist()
    canvas = np.zeros((height, width), np.uint8, order="F")
    found = []
    for mask, (left, top, right, bottom) in zip(wide, corners, strict=True):
        sides = max(bottom - top + 1, 1), max(right - left + 1, 1)
        inside = F.interpolate(mask[None], sides, mode="bilinear", align_corners=False)[0, 0] > threshold
        x, y = max(left, 0), max(top, 0)
        part = inside[y - top : height - top, x - left : width - left].to("cpu").numpy()
        rows, columns = slice(y, y + part.shape[0]), slice(x, x + part.shape[1])
        canvas[rows, columns] = part
        found.append({"size": [height, width], "counts": encoded(canvas).counts.encode()})
        canvas[rows, columns] = 0
    return found
