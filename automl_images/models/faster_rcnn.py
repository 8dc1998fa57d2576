"""Faster R-CNN with a ResNet FPN backbone, torchvision's, as our detectors are used: uint8 images in, pixels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
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
            [image.float() / 255 for image in images],
            [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in targets],
        )

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:  # noqa: D102
        # one by one: of a batch the smaller ones would be padded, which changes what is found at their edges
        found = [self.network([image.float() / 255])[0] for image in images]
        return [{"boxes": f["boxes"], "scores": f["scores"], "labels": f["labels"] - 1} for f in found]
