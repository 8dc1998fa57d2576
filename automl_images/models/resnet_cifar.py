"""The ResNets for small images: He et al. 2015, "Deep Residual Learning for Image Recognition", section 4.2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (the paper's option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.more = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.more:  # every second pixel, and zeros for the channels that are new
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(y + x, inplace=True)


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers: a 3x3 stem, three stages of n blocks with 16, 32 and 64 filters, a linear head."""

    def __init__(self, depth: int, classes: int, channels: int = 3):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        assert blocks and not rest, f"a depth of {depth} is not 6n + 2"
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # He et al. 2015, "Delving Deep into Rectifiers"
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module is not self.fc else "fan_in")
        nn.init.zeros_(self.fc.bias)

    @staticmethod
    def _stage(channels_in: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
        rest = (_Block(channels, channels, 1) for _ in range(blocks - 1))
        return nn.Sequential(_Block(channels_in, channels, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes] of normalised images [B, channels, H, W], H and W at least 8."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))
