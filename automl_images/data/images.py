"""Images as uint8 RGB arrays, whatever their file is."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

from automl_images.annotations.imaging import opened, upright, without_range
from automl_images.errors import UserError

# what is too large is an error, in one line; a warning below that limit tells nothing to act on
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as uint8 [H, W, 3], turned as its EXIF orientation says; of several pages the first.

    Transparency is put on white. 16-bit greys are scaled, 65535 to 255, of 16-bit colours the upper 8 are taken.
    Palettes, CMYK ((255 - ink) (255 - black) / 255, a JPEG's by Adobe's convention, inverted), YCbCr, Lab and HSV
    become RGB. Colours are not managed: an embedded profile is not applied.

    Raises:
        UserError: pixels are floats, or a TIFF's of 32 bits or with a sign, of which nothing tells the range.
    """
    if reason := without_range(image):
        raise UserError(f"the image does not open: {reason}")
    image = upright(image)
    if image.mode.startswith("I"):
        return _grey(image)
    if image.mode == "La":  # premultiplied grey, which Pillow converts to LA alone
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _grey(image: Image.Image) -> np.ndarray:
    """Return greys of 16 bits (held in 16 or 32) as uint8 [H, W, 3]."""
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    grey = ((values + 128) // 257).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):  # the one value that a PNG shows as transparent
        grey[values == image.info["transparency"]] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def load_image(url: str, where: str = "", shorter: int | None = None) -> np.ndarray:
    """Return the image at a path or URL as uint8 [H, W, 3].

    Args:
        url: a path or any fsspec URL.
        where: the record it belongs to, for the error line.
        shorter: a JPEG may be decoded at a half, quarter or eighth of its size if both sides stay this long.

    Raises:
        UserError: the file is missing, or is not a whole image.
    """
    try:
        with opened(url) as (image, _):
            if shorter:
                image.draft(None, (shorter, shorter))
            return to_rgb(image)
    except UserError as error:
        raise type(error)(f"{where}: {error}" if where else str(error)) from None
