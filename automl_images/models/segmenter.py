"""Segmentation networks on torchvision's dilated ResNets, as we use them: bytes in, the class of each pixel out.

FCN (Long et al. 2015) and DeepLabV3 (Chen et al. 2017) are torchvision's; the pyramid pooling of PSPNet (Zhao et al.
2017) is here. All have an auxiliary head on the backbone's third stage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from automl_images.annotations.masks import IGNORE
from automl_images.architectures import ARCHITECTURES, Architecture
from automl_images.errors import UserError
from automl_images.models.freeze import Freezable

AUXILIARY = 0.4  # the weight of the auxiliary head's loss (Zhao et al. 2017)
BINS = (1, 2, 3, 6)  # squares along each side that the pyramid pools to
_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
_PIXELS = 1 << 25  # scores of an answer that are held at once


class Segmenter(Freezable):
    """A network over ``classes``, which gives each pixel the scores of all, in their order.

    Of the settings it uses ``model_name`` and ``base_size``.

    Attributes:
        network: the modules, named as torchvision's segmentation models name them.
        architecture: its row in the table of models.
        mean, std: of the input, in [0, 1], shape [3, 1, 1]; not in the state_dict.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any]):
        super().__init__()
        self.architecture: Architecture = ARCHITECTURES[settings["model_name"]]
        self.base_size = settings["base_size"]
        backbone = _backbone(self.architecture.network, settings.get("model_size") == "nano")
        wide = backbone.layer4[-1].conv3.out_channels
        head = _HEADS[self.architecture.name.partition("_")[0]]
        self.network = nn.ModuleDict(
            {
                "backbone": IntermediateLayerGetter(backbone, {"layer4": "out", "layer3": "aux"}),
                "classifier": head(wide, len(classes)),
                "aux_classifier": FCNHead(wide // 2, len(classes)),
            }
        )
        for name, value in zip(("mean", "std"), self.architecture.normalisation, strict=True):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the parts, scalars, whose sum is minimised: the cross-entropies of both heads.

        Each is the mean over the batch's pixels that are not ignored, 0 where all are.

        Args:
            images: RGB, uint8 or float [n, 3, h, w] with values from 0 to 255.
            targets: int64 [n, h, w], indices of classes or ``IGNORE``.
        """
        if len(images) == 1 and max(images.shape[-2:]) <= self.architecture.doubled_to:
            images, targets = images.expand(2, -1, -1, -1), targets.expand(2, -1, -1)
        features = self.network["backbone"](self._input(images))
        size, counted = images.shape[-2:], (targets != IGNORE).sum().clamp(min=1)

        def entropy(head: str, of: str) -> Tensor:
            scores = F.interpolate(self.network[head](features[of]).float(), size, mode="bilinear")
            return F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="sum") / counted

        return {"loss": entropy("classifier", "out"), "auxiliary": AUXILIARY * entropy("aux_classifier", "aux")}

    def logits(self, images: Tensor) -> Tensor:
        """Return the scores of each class, float32 [n, classes, h, w], of images as :meth:`losses` takes them.

        Raises:
            UserError: the scores are not finite.
        """
        return F.interpolate(self._coarse(images), images.shape[-2:], mode="bilinear")

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the class of each pixel, uint8 [H, W], of uint8 [3, H, W] RGB images of any sizes.

        The module must be in evaluation mode. It sees each image scaled so that the longer side is ``base_size``.

        Raises:
            UserError: the scores are not finite.
        """
        groups = defaultdict(list)  # those of one size together: others would be padded, which changes their edges
        for i, image in enumerate(images):
            groups[image.shape].append(i)
        found: dict[int, Tensor] = {}
        for shape, places in groups.items():
            scale = self.base_size / max(shape[1:])
            size = [max(1, round(side * scale)) for side in shape[1:]]
            batch = torch.stack([images[i] for i in places]).float()
            batch = F.interpolate(batch, size, mode="bilinear", antialias=True)
            for i, scores in zip(places, self._coarse(batch), strict=True):
                found[i] = _likeliest(scores, shape[1:])
        return [found[i] for i in range(len(images))]

    def _coarse(self, images: Tensor) -> Tensor:
        scores = self.network["classifier"](self.network["backbone"](self._input(images))["out"]).float()
        if not torch.isfinite(scores).all():
            raise UserError("the model's scores are not numbers: its training diverged; lower learning_rate")
        return scores

    def _input(self, images: Tensor) -> Tensor:
        return (images.float() - 255 * self.mean) / (255 * self.std)


def _likeliest(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Return the class of the best score of each pixel, uint8 of (height, width), of scores [classes, h, w].

    They are scaled to the size a few classes at a time, so that an image of many pixels fills no memory.
    """
    height, width = size
    together = max(1, _PIXELS // (height * width))
    best, place = None, torch.zeros(height, width, dtype=torch.uint8, device=scores.device)
    for first in range(0, len(scores), together):
        part = F.interpolate(scores[None, first : first + together], (height, width), mode="bilinear")[0]
        value, index = part.max(0)
        index = (index + first).to(torch.uint8)
        if best is None:
            best, place = value, index
        else:
            better = value > best
            best, place = torch.where(better, value, best), torch.where(better, index, place)
    return place


class _Narrow(Bottleneck):
    expansion = 1


def _backbone(name: str, nano: bool) -> Any:
    """Return a ResNet whose last two stages are dilated, so that its features are an eighth of its input.

    The ``nano`` one is of a few blocks and channels, for tests.
    """
    dilated: dict[str, Any] = {"replace_stride_with_dilation": [False, True, True]}
    if nano:
        return ResNet(_Narrow, [1, 1, 1, 1], width_per_group=8, **dilated)
    return ResNet(Bottleneck, list(_BLOCKS[name]), **dilated)


class Pyramid(nn.Module):
    """Features [n, c, h, w] with their means over squares of the image beside them: [n, 2c, h, w]."""

    def __init__(self, channels: int):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins),
                nn.Conv2d(channels, channels // len(BINS), 1, bias=False),
                nn.BatchNorm2d(channels // len(BINS)),
                nn.ReLU(),
            )
            for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features and means."""
        size = x.shape[-2:]
        return torch.cat([x, *(F.interpolate(stage(x), size, mode="bilinear") for stage in self.stages)], 1)


def _psp_head(channels: int, classes: int) -> nn.Module:
    wide = channels // 4
    return nn.Sequential(
        Pyramid(channels),
        nn.Conv2d(2 * channels, wide, 3, padding=1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(wide, classes, 1),
    )


_HEADS: dict[str, Callable[[int, int], nn.Module]] = {"fcn": FCNHead, "psp": _psp_head, "deeplab": DeepLabHead}
