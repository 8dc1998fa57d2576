"""Images as squares of one size: scaled, then padded to both sides alike. Training and prediction both use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = 114


def letterboxed(images: Sequence[Tensor], size: int, device: torch.device) -> tuple[Tensor, list[float], list[Tensor]]:
    """Return the input [n, 3, size, size] in 0..1 and, for each image, the scale and shift of its coordinates.

    Images are uint8 [3, H, W]; a coordinate x, y, x, y of an image is x * scale + shift in the square.
    """
    squares, scales, shifts = [], [], []
    for image in images:
        scale = size / max(image.shape[1:])
        square = resize(image.to(device), scale) if scale != 1 else image.to(device)
        height, width = square.shape[1:]
        left, top = (size - width) // 2, (size - height) // 2
        if (height, width) != (size, size):
            square = F.pad(square, (left, size - width - left, top, size - height - top), value=GREY)
        squares.append(square)
        scales.append(scale)
        shifts.append(torch.tensor([left, top, left, top], dtype=torch.float32, device=device))
    return torch.stack(squares).float() / 255, scales, shifts


def resize(image: Tensor, scale: float) -> Tensor:
    """Return a uint8 image [3, H, W] resized without aliasing."""
    height, width = (max(1, round(side * scale)) for side in image.shape[1:])
    resized = F.interpolate(image[None].float(), (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)
