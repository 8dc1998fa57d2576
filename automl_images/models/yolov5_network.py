"""The anchor-based YOLOv5: its network, from the published layer tables of version 6 and the papers behind them.

A CSP backbone (Wang et al. 2020) with fast spatial pyramid pooling (He et al. 2014), a path-aggregation neck (Liu et
al. 2018), and for each of three grids a convolution that says for each anchor at each place: box, objectness, classes.
Layers are numbered as in those tables, where 11, 12, 15, 16, 19 and 22 join or enlarge and have no weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = {  # the share of the blocks and of the channels of "large"
    "nano": (0.33, 0.25),
    "small": (0.33, 0.5),
    "medium": (0.67, 0.75),
    "large": (1.0, 1.0),
    "xlarge": (1.33, 1.25),
}
STRIDES = (8, 16, 32)
USUAL = (  # widths and heights in pixels: those of YOLOv3 (Redmon and Farhadi 2018)
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
OBJECTS = 8  # that an image of 640 pixels is taken to have, for the first guess of objectness


class Conv(nn.Module):
    """A convolution that keeps the size, but for its stride, then a batch norm and SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int | None = None):
        super().__init__()
        edge = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, edge, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two convolutions, of 1 and 3 pixels, and a shortcut around them."""

    def __init__(self, channels: int, shortcut: bool):
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """A cross-stage partial block of three convolutions: half of the channels go through bottlenecks, half past."""

    def __init__(self, inputs: int, outputs: int, count: int, shortcut: bool = True):
        super().__init__()
        half = outputs // 2
        self.cv1 = Conv(inputs, half)
        self.cv2 = Conv(inputs, half)
        self.cv3 = Conv(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPPF(nn.Module):
    """Spatial pyramid pooling by one pool of 5 pixels, applied three times."""

    def __init__(self, channels: int):
        super().__init__()
        self.cv1 = Conv(channels, channels // 2)
        self.cv2 = Conv(2 * channels, channels)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(self.m(pooled[-1]))
        return self.cv2(torch.cat(pooled, 1))


class Outputs(nn.Module):
    """The head: for each grid [n, anchors, height, width, 5 + classes] as logits, in float32.

    ``anchors``, [3, anchors of a grid, 2], are widths and heights in strides of their grid.
    """

    anchors: Tensor

    def __init__(self, classes: int, channels: tuple[int, ...], count: int):
        super().__init__()
        self.classes = classes
        pixels = torch.tensor(USUAL, dtype=torch.float32)
        shown = pixels[:, torch.arange(count) % 3]  # of another number it is but a place for those that are fitted
        self.register_buffer("anchors", shown / torch.tensor(STRIDES)[:, None, None])
        self.m = nn.ModuleList(nn.Conv2d(inputs, count * (5 + classes), 1) for inputs in channels)
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """Set the biases so that a fresh network says what is true of most places (Lin et al. 2017, on priors)."""
        for conv, stride in zip(self.m, STRIDES, strict=True):
            bias: Any = conv.bias
            each = bias.view(-1, 5 + self.classes)
            each[:, 4] = _logit(OBJECTS / (640 / stride) ** 2)
            each[:, 5:] = _logit(min(0.99, 1 / self.classes))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:  # noqa: D102
        levels = []
        for conv, x in zip(self.m, maps, strict=True):
            n, _, height, width = x.shape
            y = conv(x).float().view(n, -1, 5 + self.classes, height, width)
            levels.append(y.permute(0, 1, 3, 4, 2).contiguous())
        return levels


class AnchorNetwork(nn.Module):
    """The network over ``classes`` classes with ``anchors`` anchors of each grid; ``scale`` is one of `SCALES`.

    In training mode it gives the levels of :class:`Outputs`. In evaluation mode it gives a tuple: [n, 4 + classes,
    places] (centre x and y, width and height in the input's pixels, then objectness x class probability), the levels.
    """

    def __init__(self, classes: int, scale: str, anchors: int = 3):
        super().__init__()
        depth, width = SCALES[scale]

        def of(channels: int) -> int:
            return math.ceil(channels * width / 8) * 8

        def blocks(count: int) -> int:
            return max(1, round(count * depth))

        c1, c2, c3, c4, c5 = (of(channels) for channels in (64, 128, 256, 512, 1024))
        backbone = [
            Conv(3, c1, 6, 2, 2),
            Conv(c1, c2, 3, 2),
            C3(c2, c2, blocks(3)),
            Conv(c2, c3, 3, 2),
            C3(c3, c3, blocks(6)),
            Conv(c3, c4, 3, 2),
            C3(c4, c4, blocks(9)),
            Conv(c4, c5, 3, 2),
            C3(c5, c5, blocks(3)),
            SPPF(c5),
        ]
        neck = {
            "10": Conv(c5, c4),
            "13": C3(2 * c4, c4, blocks(3), shortcut=False),
            "14": Conv(c4, c3),
            "17": C3(2 * c3, c3, blocks(3), shortcut=False),
            "18": Conv(c3, c3, 3, 2),
            "20": C3(2 * c3, c4, blocks(3), shortcut=False),
            "21": Conv(c4, c4, 3, 2),
            "23": C3(2 * c4, c5, blocks(3), shortcut=False),
            "24": Outputs(classes, (c3, c4, c5), anchors),
        }
        self.model = nn.ModuleDict({**{str(i): layer for i, layer in enumerate(backbone)}, **neck})

    @property
    def head(self) -> Any:
        """The layer that predicts: :class:`Outputs`."""
        return self.model["24"]

    def forward(self, x: Tensor) -> Any:  # noqa: D102
        layer, taps = self.model, []
        for i in range(10):
            x = layer[str(i)](x)
            if i in (4, 6):
                taps.append(x)
        third, fourth = taps
        top = layer["10"](x)
        middle = layer["14"](layer["13"](_joined(_enlarged(top), fourth)))
        fine = layer["17"](_joined(_enlarged(middle), third))
        medium = layer["20"](_joined(layer["18"](fine), middle))
        coarse = layer["23"](_joined(layer["21"](medium), top))
        levels = self.head([fine, medium, coarse])
        return levels if self.training else (decoded(levels, self.head.anchors), levels)


def decoded(levels: list[Tensor], anchors: Tensor) -> Tensor:
    """Return [n, 4 + classes, places]: boxes in pixels and the score of each class; see :class:`AnchorNetwork`."""
    places = []
    for level, own, stride in zip(levels, anchors, STRIDES, strict=True):
        n, count, height, width, _ = level.shape
        values = level.sigmoid()
        y, x = (torch.arange(side, device=level.device, dtype=values.dtype) for side in (height, width))
        corners = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # [height, width, 2]
        centre = centres(values[..., :2]) + corners
        size = sizes(values[..., 2:4], own.view(1, count, 1, 1, 2))
        scores = values[..., 4:5] * values[..., 5:]
        places.append(torch.cat([centre * stride, size * stride, scores], -1).view(n, count * height * width, -1))
    return torch.cat(places, 1).transpose(1, 2)


def centres(values: Tensor) -> Tensor:
    """Return where in its cell a box has its centre, from -0.5 to 1.5 cells, by values in 0..1."""
    return 2 * values - 0.5


def sizes(values: Tensor, anchors: Tensor) -> Tensor:
    """Return the width and height of a box, up to four times those of its anchor, by values in 0..1."""
    return (2 * values) ** 2 * anchors


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _joined(*maps: Tensor) -> Tensor:
    return torch.cat(maps, 1)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
