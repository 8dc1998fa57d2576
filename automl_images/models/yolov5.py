"""YOLOv5 with either of two heads: from anchors, ours, or without, which needs the optional package ultralytics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters.yolov5 import ANCHOR
from automl_images.models.detector import SCORE_FLOOR, Detector
from automl_images.models.letterbox import letterboxed
from automl_images.models.yolov5_anchor_free import AnchorFreeLoss, anchor_free_network
from automl_images.models.yolov5_anchors import fitted
from automl_images.models.yolov5_loss import AnchorLoss
from automl_images.models.yolov5_network import SCALES, AnchorNetwork

STRIDE = 32  # the coarsest of the three grids
BOXES_BEFORE_NMS = 30_000


class YoloV5(Detector):
    """YOLOv5 from random weights.

    Its ``network`` gives, in training mode, what its loss takes; in evaluation mode a tuple whose first is [images,
    4 + classes, places]: centre x and y, width and height in the input's pixels, then the score of each class.
    """

    size: int
    sums_batches = True
    gradient_clip = 10.0  # the gradient's norm is cut to it, as YOLOv5's recipe does: from scratch it would explode

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Build the network.

        Of the settings it uses ``head`` (absent: anchor_free), ``img_size`` (side of the square input in pixels,
        rounded up to a multiple of 32), ``model_size`` (nano, for tests, to xlarge), ``multi_scale``,
        ``nms_iou_thresh``, ``box_detections_per_img`` (absent: 300), and the head's own: those of `AnchorLoss` and
        ``anchors``, or ``box``, ``cls`` and ``dfl``.

        Raises:
            UserError: ``model_size`` is not known, or the head's package is not installed.
        """
        super().__init__()
        if settings["model_size"] not in SCALES:
            raise UserError(
                f"model_size: {settings['model_size']!r} is unknown; {nearest(settings['model_size'], SCALES)}"
            )
        self.size = -(-int(settings["img_size"]) // STRIDE) * STRIDE
        self.multi_scale = bool(settings["multi_scale"])
        self.nms_iou_thresh = float(settings["nms_iou_thresh"])
        self.max_boxes = int(settings.get("box_detections_per_img", 300))
        self.settings = settings
        self.has_anchors = settings.get("head") == ANCHOR
        network: Any
        self._loss: AnchorLoss | AnchorFreeLoss
        if self.has_anchors:
            network = AnchorNetwork(len(classes), settings["model_size"], settings["anchors"] or 3)
            self._loss = AnchorLoss(settings, self.size)
        else:
            network, self._loss = anchor_free_network(len(classes), settings), AnchorFreeLoss()
        # A tenth faster than the default layout on CPUs, and what tensor cores want.
        self.network = network.to(memory_format=torch.channels_last)

    def adapt(self, shapes: Callable[[], np.ndarray]) -> str:
        """Fit the anchors to the training objects where that is asked for or needed; see :class:`Detector`."""
        if not self.has_anchors:
            return ""
        anchors, note = fitted(self.network.head, shapes() * self.size, self.settings)
        self.network.head.anchors.copy_(anchors)
        return note

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the parts of the loss; see :class:`Detector`.

        As in YOLOv5, each part is the mean over the batch **times the number of images in it**, so the gradient, and
        with it what a learning rate means under SGD, grows with the images between two steps of the optimiser,
        accumulated batches and other processes' shares included (adaptive optimisers do not notice). YOLOv5's own
        learning rates are for 64.

        Each image is scaled and padded to the input size. With ``multi_scale``, in training mode the batch is resized
        to a multiple of 32 within half to one and a half times the input size, drawn from torch's default generator.
        """
        batch, scales, shifts = self._batch(images)
        device = batch.device
        boxes = [t["boxes"].to(device, torch.float32) * k + s for t, k, s in zip(targets, scales, shifts, strict=True)]
        if self.multi_scale and self.training:
            low, high = max(1, self.size // 2 // STRIDE), self.size * 3 // 2 // STRIDE
            side = STRIDE * int(torch.randint(low, high + 1, ()))
            batch = F.interpolate(batch, (side, side), mode="bilinear", align_corners=False)
        xyxy = torch.cat(boxes) / self.size
        return self._loss(
            self.network,
            self.network(batch.contiguous(memory_format=torch.channels_last)),
            torch.cat([torch.full((len(b),), i, device=device) for i, b in enumerate(boxes)]),
            torch.cat([t["labels"] for t in targets]).to(device),
            torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1),
        )

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:
        """Return the boxes in each image; see :class:`Detector`. One place may carry several classes."""
        batch, scales, shifts = self._batch(images)
        outputs = self.network(batch.contiguous(memory_format=torch.channels_last))[0].float()
        found = []
        for image, output, scale, shift in zip(images, outputs, scales, shifts, strict=True):
            place, label = (output[4:].T > SCORE_FLOOR).nonzero(as_tuple=True)
            score = output[4:].T[place, label]
            top = score.argsort(descending=True, stable=True)[:BOXES_BEFORE_NMS]
            place, label, score = place[top], label[top], score[top]
            centre, half = output[:2].T[place], output[2:4].T[place] / 2
            boxes = (torch.cat([centre - half, centre + half], 1) - shift) / scale
            height, width = image.shape[1:]
            boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
            inside = (boxes[:, 2:] > boxes[:, :2]).all(1)  # not wholly in the padding
            boxes, score, label = boxes[inside], score[inside], label[inside]
            keep = batched_nms(boxes, score, label, self.nms_iou_thresh)[: self.max_boxes]
            found.append({"boxes": boxes[keep], "scores": score[keep], "labels": label[keep]})
        return found

    def _batch(self, images: Sequence[Tensor]) -> tuple[Tensor, list[float], list[Tensor]]:
        return letterboxed(images, self.size, next(self.parameters()).device)
