"""YOLOv5 with the anchor-free head: the network and the loss of the optional package ultralytics (AGPL-3.0).

This is the only file that imports ultralytics, and it does so inside functions. Its trainer and its pickled
checkpoints are not used. The package is kept offline, silent and out of the user's home folder.
"""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from automl_images.errors import UserError

SCALES = {"nano": "n", "small": "s", "medium": "m", "large": "l", "xlarge": "x"}
PARTS = ("box_loss", "cls_loss", "dfl_loss")


def anchor_free_network(classes: int, settings: Mapping[str, Any]) -> Any:
    """Return the network of ultralytics' ``yolov5{n,s,m,l,x}.yaml`` with random weights.

    Of the settings it uses ``model_size``, ``box``, ``cls`` and ``dfl``.

    Raises:
        UserError: ultralytics is not installed.
    """
    scale = SCALES[settings["model_size"]]
    network = _ultralytics("nn.tasks").DetectionModel(f"yolov5{scale}.yaml", nc=classes, verbose=False)
    network.args = _ultralytics("cfg").get_cfg()  # the loss reads its gains there
    for name in ("box", "cls", "dfl"):
        setattr(network.args, name, float(settings[name]))
    return network


class AnchorFreeLoss:
    """ultralytics' loss of its network, whose gains are among the network's ``args``.

    A part is divided by how well the objects of its own batch are found, summed, and by at least 1. So of batches
    that are accumulated or halved, those with few objects weigh more than in one large batch, and those that sum
    to less than 1, as one or two images do early in training, weigh less. They are not weighed by the sum of all:
    it is known only after the last batch, so that whole gradients would have to be scaled at each step, over all
    processes. At the first step of eight images, against one batch: two of four have the same gradient, four of
    two have 0.98 times its norm (cosine 0.99), eight of one have 0.87 times (cosine 0.99).
    """

    def __init__(self) -> None:
        self._made: tuple[torch.device, Callable[..., Any]] | None = None

    def __call__(self, network: Any, outputs: Any, image: Tensor, labels: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Return the parts, each times the images of the batch; the arguments are those of `AnchorLoss`."""
        if self._made is None or self._made[0] != boxes.device:  # it keeps tensors of its own
            self._made = (boxes.device, network.init_criterion())
        values, _ = self._made[1](
            outputs, {"batch_idx": image.float(), "cls": labels.float().view(-1, 1), "bboxes": boxes}
        )
        return dict(zip(PARTS, values.unbind(), strict=True))


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
                for name in ("cfg", "nn.tasks"):
                    importlib.import_module(f"ultralytics.{name}")
            except ModuleNotFoundError as error:
                raise UserError(
                    "head: anchor_free needs the package ultralytics (AGPL-3.0), which is not installed: "
                    "pip install 'automl-images[yolo]', or set head: anchor, which does without it"
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
