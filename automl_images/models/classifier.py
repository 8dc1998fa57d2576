"""Image classifiers from torchvision and timm, and our CIFAR ResNets, as we use them: bytes in, logits out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from automl_images.hyperparameters.sizes import check_size, family, input_shape
from automl_images.models.freeze import Freezable
from automl_images.models.resnet_cifar import CifarResNet

# the timm model, and the tag of its published weights where there are any
TIMM = {
    "resnest50": ("resnest50d", "in1k"),
    "resnest101": ("resnest101e", "in1k"),
    "seresnext": ("seresnext50_32x4d", "racm_in1k"),
    "vits16r224": ("vit_small_patch16_224", "augreg_in21k_ft_in1k"),
    "vitb16r224": ("vit_base_patch16_224", "augreg2_in21k_ft_in1k"),
    "vitl16r224": ("vit_large_patch16_224", "augreg_in21k_ft_in1k"),
    "resnet200": ("resnet200", ""),
}
TORCHVISION = {
    "mobilenetv2": "mobilenet_v2",
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
}
HEADS = {"mobilenetv2": "classifier.1", "vit": "head"}  # every other family's is fc
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # what timm's augreg ViTs were trained with
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Classifier(Freezable):
    """A classifier over ``classes`` with fresh weights, initialised as its library does.

    Args:
        classes: the labels, in the order of the logits.
        settings: complete settings; uses ``model_name`` and ``image_shape``, else ``train_crop_size``. A ViT takes
            images of that size only. With one channel in ``image_shape`` the network sees the images' luma.

    Attributes:
        network: the library's module.
        head: the name of the network's last layer.
        mean, std: of the input, in [0, 1], shape [channels, 1, 1]; not in the state_dict.

    Raises:
        UserError: the model does not take the size.
    """

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any]):
        super().__init__()
        self.model_name: str = settings["model_name"]
        self.family = family(self.model_name)
        self.head = HEADS.get(self.family, "fc")
        channels, *size = input_shape(settings)
        check_size(
            self.model_name, (size[0], size[1]), "image_shape" if settings.get("image_shape") else "train_crop_size"
        )
        self.network = _network(self.model_name, len(classes), channels, (size[0], size[1]))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (HALF if self.family == "vit" else IMAGENET))
        luma = torch.tensor(LUMA).view(3, 1, 1)
        if channels == 1:
            mean, std = (luma * mean).sum(0, keepdim=True), (luma * std).sum(0, keepdim=True)
        for name, value in (("mean", mean), ("std", std), ("luma", luma)):
            self.register_buffer(name, value, persistent=False)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits [B, classes].

        Args:
            images: RGB, uint8 or float [B, 3, H, W] with values from 0 to 255.
        """
        x = images.float()
        if self.channels == 1:
            x = (x * self.luma).sum(1, keepdim=True)
        x = (x - 255 * self.mean) / (255 * self.std)
        if self.training and len(x) == 1 and self._refuses_one(x):
            return self.network(x.expand(2, -1, -1, -1))[:1].float()
        return self.network(x).float()

    def _refuses_one(self, x: Tensor) -> bool:
        """Return whether a batch norm would see a single value a channel, from which it cannot learn statistics.

        ResNeSt normalises pooled features; the other convolutional networks' last maps are one pixel at 32 pixels.
        """
        small = max(x.shape[-2:]) <= 32 and self.family in ("mobilenetv2", "resnet", "seresnext")
        return self.family == "resnest" or small


def import_timm() -> Any:
    """Return timm, with the telemetry of the hub library that it brings switched off."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub library is imported
    import timm

    return timm


def _network(name: str, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    if name in TIMM:
        sized = {"img_size": size} if family(name) == "vit" else {}
        return import_timm().create_model(TIMM[name][0], num_classes=classes, in_chans=channels, **sized)
    if name not in TORCHVISION:
        return CifarResNet(int(name.removeprefix("resnet")), classes, channels)
    from torchvision import models

    network = getattr(models, TORCHVISION[name])(num_classes=classes)
    if channels != 3:  # torchvision has no argument for it; the same layer for other channels, initialised as its own
        place, first = (network.features[0], "0") if name == "mobilenetv2" else (network, "conv1")
        old = getattr(place, first)
        new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
        nn.init.kaiming_normal_(new.weight, mode="fan_out")
        setattr(place, first, new)
    return network
