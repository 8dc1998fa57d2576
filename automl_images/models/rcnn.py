"""torchvision's detectors with a ResNet FPN backbone, as our detectors are used: uint8 images in, pixels out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.ops.poolers import initLevelMapper

from automl_images.architectures import architecture
from automl_images.models.detector import SCORE_FLOOR, Detector
from automl_images.models.folding import fold
from automl_images.models.pasting import pasted

STRIDES = (4, 8, 16, 32)  # of the maps that objects are pooled from


class TorchvisionDetector(Detector):
    """A detector of torchvision's; class i of the data is class i + ``first`` of the network.

    ``heads`` are the network's modules whose outputs become boxes, scores and masks, ``anchors`` that which makes
    anchors. These are float32: in the bfloat16 of autocast a coordinate of 1000 pixels would be off by up to 4.
    """

    def __init__(
        self, network: Any, first: int, anchors: str, heads: Sequence[str], mask_threshold: float | None = None
    ):
        super().__init__()
        self.network, self.first, self.mask_threshold = network, first, mask_threshold
        network.get_submodule(anchors).register_forward_pre_hook(_shapes_in_full)
        for name in heads:
            network.get_submodule(name).register_forward_hook(_in_full)

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:  # noqa: D102
        taken = []
        for image, target in zip(images, targets, strict=True):
            taken.append({"boxes": target["boxes"], "labels": target["labels"] + self.first})
            if self.mask_threshold is not None:
                taken[-1]["masks"] = F.pad(target["masks"], self._padding(image))
        given = [self._input(image) for image in images]
        return _rcnn_losses(self.network, given, taken) if self.first else self.network(given, taken)

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:  # noqa: D102
        # those of one size together: others would be padded, which changes what is found at their edges
        groups = defaultdict(list)
        for i, image in enumerate(images):
            groups[image.shape].append(i)
        found: dict[int, dict[str, Any]] = {}
        for places in groups.values():
            outputs = self.network([self._input(images[i]) for i in places])
            found |= {i: self._inside(one, images[i]) for i, one in zip(places, outputs, strict=True)}
        return [found[i] for i in range(len(images))]

    def _inside(self, found: Mapping[str, Tensor], image: Tensor) -> dict[str, Any]:
        """Return what was found on an image with our labels, without what lies in a thin one's padding."""
        height, width = image.shape[1:]
        boxes = clip_boxes_to_image(found["boxes"], (height, width))
        keep = (boxes[:, 2:] > boxes[:, :2]).all(1)
        kept = {"boxes": boxes[keep], "scores": found["scores"][keep], "labels": found["labels"][keep] - self.first}
        if self.mask_threshold is None:
            return kept
        masks = pasted(found["masks"][keep], found["boxes"][keep], (height, width), self.mask_threshold)
        return {**kept, "masks": masks}

    def _input(self, image: Tensor) -> Tensor:
        """Return the image in [0, 1], padded if scaling would leave nothing of it."""
        return F.pad(image.float() / 255, self._padding(image))

    def _padding(self, image: Tensor) -> tuple[int, int, int, int]:
        """Return what a thin image lacks at its right and bottom, as torch pads."""
        least = math.ceil(max(image.shape[1:]) / self.network.transform.max_size)
        height, width = (max(0, least - side) for side in image.shape[1:])
        return 0, width, 0, height


class _BoxesAlone(GeneralizedRCNNTransform):
    """torchvision's transform that leaves masks as the network has them: pasted, all of an image fill memory."""

    def postprocess(
        self, result: list[dict[str, Tensor]], image_shapes: list[Any], original_image_sizes: list[Any]
    ) -> list[dict[str, Tensor]]:
        """Return boxes in the pixels of the images as they came, in training nothing."""
        if not self.training:
            for found, before, after in zip(result, image_shapes, original_image_sizes, strict=True):
                found["boxes"] = resize_boxes(found["boxes"], before, after)
        return result


def faster_rcnn(classes: Sequence[str], settings: Mapping[str, Any], *, frozen_norms: bool = False) -> Detector:
    """Return a Faster R-CNN over ``classes``; the network's class 0 is the background.

    Of the settings it uses ``model_name``, ``min_size``, ``max_size``, ``nms_iou_thresh`` and
    ``box_detections_per_img``. With ``frozen_norms`` batch norms keep the statistics of the weights that will be
    loaded; without weights they must learn, or nothing would normalise.
    """
    network = FasterRCNN(
        _backbone(settings, frozen_norms), num_classes=len(classes) + 1, **_sizes(settings), **_boxes(settings)
    )
    _know_scales(network.roi_heads.box_roi_pool)
    return TorchvisionDetector(network, 1, "rpn.anchor_generator", ("rpn.head", "roi_heads.box_predictor"))


def mask_rcnn(classes: Sequence[str], settings: Mapping[str, Any], *, frozen_norms: bool = False) -> Detector:
    """Return a Mask R-CNN over ``classes``: :func:`faster_rcnn` with masks.

    It uses ``mask_pixel_score_threshold`` too: what a pixel of a mask scores above.
    """
    network = MaskRCNN(
        _backbone(settings, frozen_norms), num_classes=len(classes) + 1, **_sizes(settings), **_boxes(settings)
    )
    _know_scales(network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool)
    plain = network.transform
    network.transform = _BoxesAlone(plain.min_size, plain.max_size, plain.image_mean, plain.image_std)
    heads = ("rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor")
    return TorchvisionDetector(network, 1, "rpn.anchor_generator", heads, settings["mask_pixel_score_threshold"])


def _rcnn_losses(network: Any, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return what the network returns in training, without its look at each image's boxes, which waits for the GPU."""
    batch, targets = network.transform(images, targets)
    features = network.backbone(batch.tensors)
    proposals, of_proposals = network.rpn(batch, features, targets)
    _, of_boxes = network.roi_heads(features, proposals, batch.image_sizes, targets)
    return {**of_boxes, **of_proposals}


def retinanet(classes: Sequence[str], settings: Mapping[str, Any], *, frozen_norms: bool = False) -> Detector:
    """Return a RetinaNet over ``classes``, which has no background; settings are those of :func:`faster_rcnn`."""
    extra = LastLevelP6P7(256, 256)
    network = RetinaNet(
        _backbone(settings, frozen_norms, returned_layers=[2, 3, 4], extra_blocks=extra),
        num_classes=len(classes),
        **_sizes(settings),
        score_thresh=SCORE_FLOOR,
        nms_thresh=settings["nms_iou_thresh"],
        detections_per_img=settings["box_detections_per_img"],
    )
    heads = ("head.classification_head", "head.regression_head")
    return TorchvisionDetector(network, 0, "anchor_generator", heads)


def _backbone(settings: Mapping[str, Any], frozen_norms: bool, **more: Any) -> nn.Module:
    backbone = resnet_fpn_backbone(
        backbone_name=architecture(settings).network,
        weights=None,
        norm_layer=FrozenBatchNorm2d if frozen_norms else nn.BatchNorm2d,
        trainable_layers=5,
        **more,
    )
    fold(backbone.body)
    return backbone


def _know_scales(*pools: Any) -> None:
    """Tell pools the scales of the maps that they pool from.

    Else they infer them from the first image that they see, once and for all, and wrongly where that is thin: its maps
    are those of a padded image.
    """
    for pool in pools:
        pool.scales = [1 / stride for stride in STRIDES]
        levels = (int(math.log2(stride)) for stride in (STRIDES[0], STRIDES[-1]))
        pool.map_levels = initLevelMapper(*levels, pool.canonical_scale, pool.canonical_level)


def _sizes(settings: Mapping[str, Any]) -> dict[str, int]:
    return {"min_size": settings["min_size"], "max_size": settings["max_size"]}


def _boxes(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "box_score_thresh": SCORE_FLOOR,
        "box_nms_thresh": settings["nms_iou_thresh"],
        "box_detections_per_img": settings["box_detections_per_img"],
    }


def _in_full(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Return a module's outputs in float32: tensors, or lists and tuples of them."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    return type(outputs)(_in_full(module, inputs, one) for one in outputs)


def _shapes_in_full(module: nn.Module, inputs: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """Return what an anchor generator takes, with float32 in place of the maps, of which it reads shape and type."""
    images, maps = inputs
    return images, [torch.zeros((), device=one.device).expand(one.shape) for one in maps]
