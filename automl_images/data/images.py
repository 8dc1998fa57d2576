"""Images as uint8 RGB arrays, whatever their file is."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from automl_images import storage
from automl_images.errors import UserError


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as uint8 [H, W, 3], turned as its EXIF orientation says.

    Transparency is put on white, 16-bit greys are scaled to 8 bits, palettes and CMYK become RGB.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def load_image(url: str, where: str = "") -> np.ndarray:
    """Return the image at a path or URL as uint8 [H, W, 3].

    Args:
        url: a path or any fsspec URL.
        where: the record it belongs to, for the error line.

    Raises:
        UserError: the file is missing, or is not a whole image.
    """
    said = f"{where}: " if where else ""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(url))) as image:
            return to_rgb(image)
    except FileNotFoundError:
        raise UserError(f"{said}the image {storage.redact(url)} is not there") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{said}the image {storage.redact(url)} does not open ({first[:100]})") from None
