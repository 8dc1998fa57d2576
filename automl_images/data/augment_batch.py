"""Augmentation of whole batches on their device, each image with parameters of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

JITTER, HUE = 0.4, 0.1
HUE_OFFSET, SATURATION_OFFSET, LIGHTNESS_OFFSET = 36.0, 50.0, 50.0
ROTATION, SHEAR = math.radians(10), 0.1
_LUMA = (0.299, 0.587, 0.114)
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def augment_batch(images: Tensor, kind: str | None) -> Tensor:
    """Return a batch with colours and angles changed, as ``augmentation_type`` says, drawing from torch's generator.

    Args:
        images: uint8 [B, 3, H, W], cropped and flipped already; the result is the same or float in [0, 255].
        kind: None for Azure's colour jitter; ``crop`` (as they are), ``crop_color`` or ``crop_color_transform``.
    """
    if kind == "crop":
        return images
    if kind is None:
        return jitter(images)
    return shift_hls(turn(images.float()) if kind == "crop_color_transform" else images.float())


def jitter(images: Tensor) -> Tensor:
    """Return images, float [B, 3, H, W] in [0, 255], with changed colours.

    Brightness, contrast and saturation are scaled by 0.6 to 1.4, and the hue is turned by up to a tenth. All four are
    one matrix and one offset an image: the hue turns about YIQ's grey axis, and contrast pulls towards the image's mean
    luma, so neither moves greys, and the four can be multiplied.
    """
    count, device = len(images), images.device
    brightness, contrast, saturation = 1 + JITTER * (2 * torch.rand(3, count, 1, 1, device=device) - 1)
    angle = 2 * math.pi * HUE * (2 * torch.rand(count, device=device) - 1)
    pixels = images.permute(0, 2, 3, 1).float().reshape(count, -1, 3)
    luma = torch.tensor(_LUMA, device=device)
    mean = (pixels.mean(dim=1) @ luma).reshape(count, 1, 1)
    greyed = luma.expand(3, 3)
    saturate = saturation * torch.eye(3, device=device) + (1 - saturation) * greyed
    matrix = brightness * contrast * (_hue_turn(angle) @ saturate)
    offset = ((1 - contrast) * brightness * mean).expand(count, 1, 3)
    changed = torch.baddbmm(offset, pixels, matrix.transpose(1, 2)).clamp_(0, 255)
    return changed.reshape(count, *images.shape[2:], 3).permute(0, 3, 1, 2)


def _hue_turn(angle: Tensor) -> Tensor:
    """Return the matrices [B, 3, 3] that turn RGB about the grey axis by angles [B] in YIQ's plane of colours."""
    to_yiq = torch.tensor(_YIQ, device=angle.device)
    turn_by = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn_by[:, 0, 0] = 1
    turn_by[:, 1, 1] = turn_by[:, 2, 2] = angle.cos()
    turn_by[:, 1, 2], turn_by[:, 2, 1] = -angle.sin(), angle.sin()
    return torch.linalg.inv(to_yiq) @ turn_by @ to_yiq


def shift_hls(images: Tensor) -> Tensor:
    """Return images, float [B, 3, H, W] in [0, 255], with offsets as SageMaker's.

    They are up to 36 of 180 for hue, and 50 of 255 for lightness and saturation.
    """
    draw = 2 * torch.rand(3, len(images), 1, 1, device=images.device) - 1
    hue, lightness, saturation = _to_hls(images / 255)
    hue = hue + draw[0] * (HUE_OFFSET / 180)
    lightness = (lightness + draw[1] * (LIGHTNESS_OFFSET / 255)).clamp(0, 1)
    saturation = (saturation + draw[2] * (SATURATION_OFFSET / 255)).clamp(0, 1) * (saturation > 0)
    return _from_hls(hue, lightness, saturation) * 255


def _to_hls(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue (in turns), lightness and saturation [B, H, W] of images [B, 3, H, W], all in [0, 1]."""
    red, green, blue = images.unbind(1)
    most, least = images.amax(1), images.amin(1)
    lightness, spread = (most + least) / 2, most - least
    saturation = spread / (1 - (2 * lightness - 1).abs()).clamp_min(1e-6)
    divisor = spread.clamp_min(1e-6)
    hue = torch.where(
        most == red,
        (green - blue) / divisor,
        torch.where(most == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return (hue / 6) % 1, lightness, saturation.clamp(0, 1)


def _from_hls(hue: Tensor, lightness: Tensor, saturation: Tensor) -> Tensor:
    """Return images [B, 3, H, W] in [0, 1]."""
    reach = saturation * torch.minimum(lightness, 1 - lightness)
    places = torch.stack([(place + 12 * hue) % 12 for place in (0, 8, 4)], 1)
    return lightness[:, None] - reach[:, None] * torch.minimum(places - 3, 9 - places).clamp(-1, 1)


def turn(images: Tensor) -> Tensor:
    """Return images, float [B, 3, H, W], rotated by up to 10 degrees and sheared by up to 0.1; edges are repeated."""
    count, _, height, width = images.shape
    most = torch.tensor([[ROTATION], [SHEAR]], device=images.device)
    angle, shear = (2 * torch.rand(2, count, device=images.device) - 1) * most
    # affine_grid has both axes from -1 to 1, so a turn by an angle scales one by the image's aspect
    aspect = height / width
    matrix = torch.zeros(count, 2, 3, device=images.device)
    matrix[:, 0, 0] = angle.cos()
    matrix[:, 0, 1] = (shear * angle.cos() - angle.sin()) * aspect
    matrix[:, 1, 0] = angle.sin() / aspect
    matrix[:, 1, 1] = shear * angle.sin() + angle.cos()
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
