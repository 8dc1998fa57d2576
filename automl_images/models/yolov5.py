"""YOLOv5, from the optional package ultralytics (AGPL-3.0): its module, its loss and its augmentation.

This is the only file that imports ultralytics, and it does so inside functions. Its trainer and its pickled
checkpoints are not used. The package is kept offline, silent and out of the user's home folder.
"""

from __future__ import annotations

import atexit
import importlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms

from automl_images.errors import UserError, nearest
from automl_images.metrics.arrays import Sample
from automl_images.models.detector import SCORE_FLOOR, Detector

SCALES = {"nano": "n", "small": "s", "medium": "m", "large": "l", "xlarge": "x"}
STRIDE = 32  # the coarsest of the three grids
GREY = 114
BOXES_BEFORE_NMS = 30_000
PARTS = ("box_loss", "cls_loss", "dfl_loss")


class YoloV5(Detector):
    """YOLOv5 with the anchor-free head of ultralytics' ``yolov5{s,m,l,x}.yaml``, from random weights."""

    sums_batches = True
    gradient_clip = 10.0  # the gradient's norm is cut to it, as YOLOv5's recipe does: from scratch it would explode

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Build the network.

        Of the settings it uses ``img_size`` (side of the square input in pixels, rounded up to a multiple of 32),
        ``model_size`` (nano, for tests, to xlarge), ``multi_scale``, ``nms_iou_thresh`` and ``box_detections_per_img``
        (absent: 300).

        Raises:
            UserError: ultralytics is not installed, or ``model_size`` is not known.
        """
        super().__init__()
        scale = SCALES.get(settings["model_size"])
        if scale is None:
            raise UserError(
                f"model_size: {settings['model_size']!r} is unknown; {nearest(settings['model_size'], SCALES)}"
            )
        self.size = -(-int(settings["img_size"]) // STRIDE) * STRIDE
        self.multi_scale = bool(settings["multi_scale"])
        self.nms_iou_thresh = float(settings["nms_iou_thresh"])
        self.max_boxes = int(settings.get("box_detections_per_img", 300))
        network = _ultralytics("nn.tasks").DetectionModel(f"yolov5{scale}.yaml", nc=len(classes), verbose=False)
        network.args = _ultralytics("cfg").get_cfg()  # the loss reads its gains (box, cls, dfl) there
        # A tenth faster than the default layout on CPUs, and what tensor cores want.
        self.network = network.to(memory_format=torch.channels_last)
        self._criterion: tuple[torch.device, Any] | None = None

    def losses(self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the parts of the loss; see :class:`Detector`.

        As in YOLOv5, each part is the mean over the batch **times the number of images in it**, so the gradient, and
        with it what a learning rate means under SGD, grows with the images between two steps of the optimiser,
        accumulated batches and other processes' shares included (adaptive optimisers do not notice). YOLOv5's own
        learning rates are for 64.

        A part is divided by how well the objects of its own batch are found, summed, and by at least 1. So of batches
        that are accumulated or halved, those with few objects weigh more than in one large batch, and those that sum
        to less than 1, as one or two images do early in training, weigh less. They are not weighed by the sum of all:
        it is known only after the last batch, so that whole gradients would have to be scaled at each step, over all
        processes. At the first step of eight images, against one batch: two of four have the same gradient, four of
        two have 0.98 times its norm (cosine 0.99), eight of one have 0.87 times (cosine 0.99).

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
        outputs = self.network(batch.contiguous(memory_format=torch.channels_last))
        values, _ = self._loss(device)(
            outputs,
            {
                "batch_idx": torch.cat([torch.full((len(b),), float(i), device=device) for i, b in enumerate(boxes)]),
                "cls": torch.cat([t["labels"] for t in targets]).to(device, torch.float32).view(-1, 1),
                "bboxes": torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1),
            },
        )
        return dict(zip(PARTS, values.unbind(), strict=True))

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:
        """Return the boxes in each image; see :class:`Detector`. One place may carry several classes."""
        batch, scales, shifts = self._batch(images)
        # [images, 4 + classes, places]: centre x, centre y, width, height in input pixels, then class probabilities
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

    def augmentation(
        self, samples: Callable[[int], Sample], count: int, mosaic: float = 1.0
    ) -> Callable[[int, int], Sample]:
        """Return YOLOv5's training augmentation: mosaic, random scale and shift, colour, horizontal flip.

        A mosaic joins four samples, with the probability ``mosaic``; else the image alone is scaled and padded. Images
        become squares of the input size. Boxes of which little is left are dropped. See :class:`Detector`.
        """
        augment = _ultralytics("data.augment")
        instances = _ultralytics("utils.instance").Instances
        size = self.size

        def labelled(index: int) -> dict[str, Any]:
            image, boxes, labels, _ = samples(index)
            scale = size / max(image.shape[:2])
            if scale != 1:
                pixels = _resize(torch.from_numpy(np.array(image)).permute(2, 0, 1), scale)
                image = pixels.permute(1, 2, 0).numpy()
            return {
                "img": np.ascontiguousarray(image[..., ::-1]),  # OpenCV's order of channels
                "cls": labels.reshape(-1, 1).astype(np.float32),
                "instances": instances(
                    (boxes * scale).astype(np.float32).reshape(-1, 4),
                    segments=np.zeros((0, 1000, 2), np.float32),
                    bbox_format="xyxy",
                    normalized=False,
                ),
                "ori_shape": image.shape[:2],
                "resized_shape": image.shape[:2],
                "ratio_pad": (1.0, 1.0),
                "im_file": "",
            }

        join = augment.Mosaic(_Samples(labelled, count), imgsz=size, p=1.0)
        alone = augment.LetterBox((size, size))
        then = augment.Compose(
            [
                augment.RandomPerspective(translate=0.1, scale=0.5, size=(size, size)),
                augment.RandomHSV(hgain=0.015, sgain=0.7, vgain=0.4),
                augment.RandomFlip(p=0.5, direction="horizontal"),
            ]
        )

        def augmented(index: int, seed: int) -> Sample:
            with _seeded(seed):
                labels = labelled(index)
                labels = then(join(labels) if random.random() < mosaic else alone(labels))
            found = labels["instances"]
            found.convert_bbox("xyxy")
            return Sample(
                np.ascontiguousarray(labels["img"][..., ::-1]),
                found.bboxes.astype(np.float32).reshape(-1, 4),
                labels["cls"].reshape(-1).astype(np.int64),
            )

        return augmented

    def _batch(self, images: Sequence[Tensor]) -> tuple[Tensor, list[float], list[Tensor]]:
        """Return the input [n, 3, size, size] in 0..1 and, for each image, the scale and shift of its coordinates."""
        device = next(self.parameters()).device
        squares, scales, shifts = [], [], []
        for image in images:
            scale = self.size / max(image.shape[1:])
            square = _resize(image.to(device), scale) if scale != 1 else image.to(device)
            height, width = square.shape[1:]
            left, top = (self.size - width) // 2, (self.size - height) // 2
            if (height, width) != (self.size, self.size):
                square = F.pad(square, (left, self.size - width - left, top, self.size - height - top), value=GREY)
            squares.append(square)
            scales.append(scale)
            shifts.append(torch.tensor([left, top, left, top], dtype=torch.float32, device=device))
        return torch.stack(squares).float() / 255, scales, shifts

    def _loss(self, device: torch.device) -> Callable[..., Any]:
        """Return ultralytics' loss, made again when the module has moved: it keeps tensors of its own."""
        if self._criterion is None or self._criterion[0] != device:
            self._criterion = (device, self.network.init_criterion())
        return self._criterion[1]


class _Samples:
    """What ultralytics' mosaic asks of a data set."""

    cache = "ram"  # else it draws only from images that it has seen lately
    buffer: tuple[()] = ()

    def __init__(self, get: Callable[[int], dict[str, Any]], count: int) -> None:
        self.get_image_and_label = get
        self.count = count

    def __len__(self) -> int:
        return self.count


def _resize(image: Tensor, scale: float) -> Tensor:
    """Return a uint8 image [3, H, W] resized without aliasing; training and prediction both use this."""
    height, width = (max(1, round(side * scale)) for side in image.shape[1:])
    resized = F.interpolate(image[None].float(), (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the three generators that an augmentation may draw from, and put their states back at the end."""
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.random.default_generator.manual_seed(seed % 2**63)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)


def _ultralytics(module: str) -> Any:
    """Import a module of ultralytics: offline, silent, its settings in a temporary folder.

    Importing it replaces ``torch.save`` and Pillow's ``Image.open``, sets the number of OpenMP threads of child
    processes to one and changes how arrays print; all of that is put back.

    Raises:
        UserError: the package is missing.
    """
    if "ultralytics" not in sys.modules:
        folder = tempfile.mkdtemp(prefix="automl-images-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        arrays, save, opening = np.get_printoptions(), torch.save, Image.open
        tensors = {k: v for k, v in vars(torch._tensor_str.PRINT_OPTS).items() if k != "sci_mode"}
        with _environment(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=folder):
            try:
                importlib.import_module("ultralytics").settings.update({"sync": False})  # no usage statistics
                for name in ("cfg", "data.augment", "nn.tasks", "utils.instance"):
                    importlib.import_module(f"ultralytics.{name}")
            except ModuleNotFoundError as error:
                raise UserError(
                    "model_name: yolov5 needs the package ultralytics (AGPL-3.0): pip install 'automl-images[yolo]'"
                ) from error
            finally:
                torch.save, Image.open = save, opening
                np.set_printoptions(**arrays)
                torch.set_printoptions(**tensors)
    return importlib.import_module(f"ultralytics.{module}")


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while; afterwards the environment is as it was, whatever was changed in it."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
