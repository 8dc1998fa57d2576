"""Frozen batch norms as part of the convolutions before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d


def fold(body: nn.Module) -> None:
    """Let each frozen norm of a ResNet act through the weights of the convolution before it, in place.

    Norm and convolution are one convolution, so that neither pass goes over the features once more for the norm. Names
    and tensors of the state_dict, the gradients and, but for rounding, the outputs stay what they were.
    """
    for convolution, norm in _pairs(body):
        if isinstance(norm, FrozenBatchNorm2d):
            convolution.__class__ = _Folded
            convolution.norm = (norm,)  # in a tuple, or it would be a second name of its tensors
            norm.__class__ = _Passing


class _Folded(nn.Conv2d):
    norm: tuple[Any]

    def forward(self, x: Tensor) -> Tensor:
        (norm,) = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return self._conv_forward(x, self.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale)


class _Passing(FrozenBatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return x


def _pairs(body: nn.Module) -> Iterator[tuple[Any, nn.Module]]:
    """Yield the convolutions of a torchvision ResNet, each with its norm."""
    for module in body.modules():
        children = dict(module.named_children())
        if isinstance(module, nn.Sequential) and isinstance(children.get("0"), nn.Conv2d) and "1" in children:
            yield children["0"], children["1"]
        for name, child in children.items():
            if name.startswith("conv") and (norm := children.get("bn" + name.removeprefix("conv"))) is not None:
                yield child, norm
