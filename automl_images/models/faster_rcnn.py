"""Faster R-CNN with a ResNet FPN backbone, torchvision's, as our detectors are used: uint8 images in, pixels out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import clip_boxes_to_image
from torchvision.ops.misc import FrozenBatchNorm2d

from automl_images.architectures import ARCHITECTURES
from automl_images.models.detector import SCORE_FLOOR, Detector


class FasterRcnn(Detector):
    """A detector over ``classes``; class i of the data is class i + 1 of the network, whose 0 is the background.

    Of the settings it uses ``model_name``, ``min_size``, ``max_size``, ``nms_iou_thresh`` and
    ``box_detections_per_img``. With ``frozen_norms`` batch norms keep the statistics of the weights that will be
    loaded; without weights they must learn, or nothing would normalise.
    """

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any], *, frozen_norms: bool = False):
        super().__init__()
        backbone = resnet_fpn_backbone(
            backbone_name=ARCHITECTURES[settings["model_name"]].network,
            weights=None,
            norm_layer=FrozenBatchNorm2d if frozen_norms else nn.BatchNorm2d,
            trainable_layers=5,
        )
        self.network = FasterRCNN(
            backbone,
            num_classes=len(classes) + 1,
            min_size=settings["min_size"],
            max_size=settings["max_size"],
            box_score_thresh=SCORE_FLOOR,
            box_nms_thresh=settings["nms_iou_thresh"],
            box_detections_per_img=settings["box_detections_per_img"],
        )

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:  # noqa: D102
        return self.network(
            [self._input(image) for image in images],
            [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in targets],
        )

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:  # noqa: D102
        # one by one: of a batch the smaller ones would be padded, which changes what is found at their edges
        found = [self.network([self._input(image)])[0] for image in images]
        return [self._inside(one, image) for one, image in zip(found, images, strict=True)]

    @staticmethod
    def _inside(found: Mapping[str, Tensor], image: Tensor) -> dict[str, Tensor]:
        """Return what was found on an image with our labels, without what lies in a thin one's padding."""
        height, width = image.shape[1:]
        boxes = clip_boxes_to_image(found["boxes"], (height, width))
        keep = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return {"boxes": boxes[keep], "scores": found["scores"][keep], "labels": found["labels"][keep] - 1}

    def _input(self, image: Tensor) -> Tensor:
        """Return the image in [0, 1], padded at its right or bottom if scaling would leave nothing of it."""
        least = math.ceil(max(image.shape[1:]) / self.network.transform.max_size)
        height, width = (max(0, least - side) for side in image.shape[1:])
        return F.pad(image.float() / 255, (0, width, 0, height))
