"""Mask images: an index, or a colour, for each pixel."""

from __future__ import annotations

import numpy as np

from automl_images import storage
from automl_images.annotations.imaging import opened
from automl_images.errors import UserError

_INDEXED = ("L", "LA", "P", "1", "I", "I;16")


def pixels_of(url: str) -> np.ndarray:
    """Return the pixels of a mask image: height x width indices, or height x width x 3 colours (uint8).

    A palette's indices count, not its colours. Nothing is turned: a mask says of no orientation.

    Raises:
        UserError: it is missing, does not open, or holds neither.
    """
    with opened(url) as (image, _):
        mode = image.mode
        if mode in ("RGB", "RGBA"):
            return np.asarray(image.convert("RGB"))
        if mode not in _INDEXED:
            raise UserError(f"the mask {storage.redact(url)} has pixels of mode {mode}; save it with indices of 8 bits")
        pixels = np.asarray(image.convert("L") if mode == "LA" else image)
        return pixels.astype(np.uint8) if mode == "1" else pixels


def values_in(url: str) -> tuple[list[int | str], tuple[int, int]]:
    """Return the values that occur in a mask, sorted, a colour as ``#rrggbb``, and its width and height in pixels.

    Raises:
        UserError: as :func:`pixels_of`.
    """
    pixels = pixels_of(url)
    height, width = pixels.shape[:2]
    if pixels.ndim == 2:
        return np.unique(pixels).tolist(), (width, height)
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return [f"#{value:06x}" for value in np.unique(packed).tolist()], (width, height)
