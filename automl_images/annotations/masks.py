"""Mask images: an index, or a colour, for each pixel."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from automl_images import storage
from automl_images.annotations.imaging import opened
from automl_images.annotations.labels.mask import Mask
from automl_images.annotations.labels.polygons import Rle
from automl_images.errors import UserError

IGNORE = 255  # the index of a pixel that training and metrics pass over
_INDEXED = ("L", "LA", "P", "1", "I", "I;16")


def pixels_of(url: str, colours: bool = False) -> np.ndarray:
    """Return the pixels of a mask image: height x width indices, or height x width x 3 colours (uint8).

    A palette's indices count, or with ``colours`` its colours, as do those of greys. Nothing is turned: a mask says of
    no orientation.

    Raises:
        UserError: it is missing, does not open, is a JPEG, whose pixels are not exact, or holds neither.
    """
    with opened(url) as (image, _):
        mode = image.mode
        if image.format in ("JPEG", "MPO"):
            raise UserError(f"the mask {storage.redact(url)} is a JPEG, whose pixels are not exact; save it as PNG")
        if mode in ("RGB", "RGBA") or (colours and mode in ("P", "L", "LA", "1")):
            return np.asarray(image.convert("RGB"))
        if mode not in _INDEXED:
            raise UserError(f"the mask {storage.redact(url)} has pixels of mode {mode}; save it with indices of 8 bits")
        pixels = np.asarray(image.convert("L") if mode == "LA" else image)
        return pixels.astype(np.uint8) if mode == "1" else pixels


def values_in(url: str, colours: bool = False) -> tuple[list[int | str], tuple[int, int]]:
    """Return the values that occur in a mask, sorted, a colour as ``#rrggbb``, and its width and height in pixels.

    Raises:
        UserError: as :func:`pixels_of`.
    """
    pixels = pixels_of(url, colours)
    height, width = pixels.shape[:2]
    if pixels.ndim == 2:
        return np.unique(pixels).tolist(), (width, height)
    return [f"#{value:06x}" for value in np.unique(flat(pixels)).tolist()], (width, height)


def indices_of(mask: Mask, classes: Sequence[str]) -> np.ndarray:
    """Return the class of each pixel of a mask, uint8 height x width: its index among ``classes``, or ``IGNORE``.

    Args:
        mask: where it names no classes, a pixel is of that of ``classes`` which is its value as text.
        classes: at most 255.

    Raises:
        UserError: as :func:`pixels_of`, or a pixel is of no class, or of one that is not among ``classes``.
    """
    pixels = pixels_of(mask.mask_url, mask.coloured)
    coloured, pixels = pixels.ndim == 3, flat(pixels)
    index = {name: i for i, name in enumerate(classes)}
    named = mask.classes or [(name, int(name) if name.isdecimal() else name) for name in classes]
    values = {value: index[name] for name, value in named if name in index} | dict.fromkeys(mask.ignore, IGNORE)
    found, places = (np.arange(256), pixels) if pixels.dtype == np.uint8 else np.unique(pixels, return_inverse=True)
    spelt = [f"#{value:06x}" if coloured else value for value in found.tolist()]
    known = np.array([value in values for value in spelt])
    if not known.all() and not known[places].all():
        wrong = spelt[int(np.unique(places[~known[places]])[0])]
        name = {value: name for name, value in mask.classes}.get(wrong, "" if mask.classes else str(wrong))
        of = f"the class '{name}', which is not in the training data" if name else "which is of no class"
        raise UserError(f"the mask {storage.redact(mask.mask_url)} has the pixel value {wrong}, {of}")
    return np.array([values.get(value, IGNORE) for value in spelt], np.uint8)[places].reshape(pixels.shape)


def instance_of(url: str) -> Rle:
    """Return the object of a mask that shows one: where its pixels are not 0.

    Raises:
        UserError: as :func:`pixels_of`, or the mask is empty, or has several values beside 0.
    """
    from automl_images.annotations.shapes import encoded

    pixels = pixels_of(url)
    pixels = flat(pixels)
    inside = pixels != 0
    values = pixels[inside]
    if not len(values):
        raise UserError(f"the mask {storage.redact(url)} shows no object: all of its pixels are 0")
    if (values != values[0]).any():
        other = values[values != values[0]][0]
        raise UserError(
            f"the mask {storage.redact(url)} has the values {values[0]} and {other}; a mask of one object has one "
            "beside 0"
        )
    return encoded(inside)


def is_empty(url: str) -> bool:
    """Return whether all pixels of a mask are 0.

    Raises:
        UserError: as :func:`pixels_of`.
    """
    return not pixels_of(url).any()


def png_of(mask: np.ndarray) -> bytes:
    """Return a mask, a bool array of height x width, as a PNG of 0 and 255."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "png")
    return file.getvalue()


def flat(pixels: np.ndarray) -> np.ndarray:
    """Return height x width values of a mask: its indices, or its colours as a number each."""
    return pixels if pixels.ndim == 2 else pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
