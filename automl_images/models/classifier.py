"""Image classifiers from torchvision and timm, and our CIFAR ResNets, as we use them: bytes in, logits out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from automl_images.architectures import Architecture, architecture
from automl_images.hyperparameters.sizes import check_size, input_shape
from automl_images.models.freeze import Freezable
from automl_images.models.resnet_cifar import CifarResNet

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Classifier(Freezable):
    """A classifier over ``classes``, in the order of the logits, with fresh weights, initialised as its library does.

    Of the settings it uses ``model_name`` and ``image_shape``, else ``train_crop_size``. A ViT takes images of that
    size only. With one channel in ``image_shape`` the network sees the images' luma.

    Attributes:
        network: the library's module.
        architecture: its row in the table of models.
        mean, std: of the input, in [0, 1], shape [channels, 1, 1]; not in the state_dict.

    Raises:
        UserError: the model does not take the size.
    """

    mean: Tensor
    std: Tensor
    luma: Tensor

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any]):
        super().__init__()
        self.architecture: Architecture = architecture(settings)
        channels, height, width = input_shape(settings)
        name = "image_shape" if settings.get("image_shape") else "train_crop_size"
        check_size(self.architecture.name, (height, width), name)
        make = _LIBRARIES[self.architecture.library]
        self.network = make(self.architecture, len(classes), channels, (height, width))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in self.architecture.normalisation)
        luma = torch.tensor(LUMA).view(3, 1, 1)
        if channels == 1:
            mean, std = (luma * mean).sum(0, keepdim=True), (luma * std).sum(0, keepdim=True)
        for name, value in (("mean", mean), ("std", std), ("luma", luma)):
            self.register_buffer(name, value, persistent=False)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits [B, classes] of RGB images, uint8 or float [B, 3, H, W] with values from 0 to 255."""
        x = images.float()
        if self.channels == 1:
            x = (x * self.luma).sum(1, keepdim=True)
        x = (x - 255 * self.mean) / (255 * self.std)
        if self.training and len(x) == 1 and max(x.shape[-2:]) <= self.architecture.doubled_to:
            return self.network(x.expand(2, -1, -1, -1))[:1].float()
        return self.network(x).float()


def import_timm() -> Any:
    """Return timm, with the telemetry of the hub library that it brings switched off."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub library is imported
    import timm

    return timm


def _of_timm(row: Architecture, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    sized = {"img_size": size} if row.one_size else {}
    return import_timm().create_model(row.network, num_classes=classes, in_chans=channels, **sized)


def _of_torchvision(row: Architecture, classes: int, channels: int, _: tuple[int, int]) -> nn.Module:
    from torchvision import models

    network = getattr(models, row.network)(num_classes=classes)
    if channels != 3:  # torchvision has no argument for it; the same layer for other channels, initialised as its own
        name, old = next((n, cast(Any, m)) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
        new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
        nn.init.kaiming_normal_(new.weight, mode="fan_out")
        network.set_submodule(name, new)
    return network


def _of_cifar(row: Architecture, classes: int, channels: int, _: tuple[int, int]) -> nn.Module:
    return CifarResNet(int(row.network), classes, channels)


_LIBRARIES: dict[str, Callable[[Architecture, int, int, tuple[int, int]], nn.Module]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
    "cifar": _of_cifar,
}
