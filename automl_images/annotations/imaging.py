"""Image files really opened: what is truncated or missing is found before a GPU waits for it."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image

from automl_images import storage
from automl_images.errors import UserError

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}


@dataclass(frozen=True)
class Opened:
    """What an image file holds.

    Attributes:
        width, height: the stored size in pixels, before any turning (a TIFF's after it).
        orientation: EXIF's, 1 to 8; from 5 on, the shown image has width and height exchanged. 1 for a TIFF.
        format: as Azure names it: jpg, png, bmp, tif, ...
    """

    width: int
    height: int
    orientation: int
    format: str

    @property
    def shown(self) -> tuple[int, int]:
        """The width and height of the image as shown, turned upright."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def open_image(url: str, decode: bool = True) -> Opened:
    """Open an image and, with ``decode``, read it to its end (a JPEG at an eighth of its size, which is faster).

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not an image, or not a whole one.
    """
    data = storage.read_bytes(url)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            size = image.size
            if decode:
                image.draft("L", (1, 1))
                image.load()
            return Opened(*size, orientation_of(image), _FORMATS.get(image.format or "", (image.format or "").lower()))
    except Exception as error:  # Pillow's readers raise whatever their parsing meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify" in reason:
            reason = "it is no image that Pillow knows" if data else "the file is empty"
        raise UserError(f"the image {storage.redact(url)} does not open: {reason[:100]}") from None


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image that Pillow opened, 1 to 8; 1 where it says none or nonsense.

    A TIFF has 1, whatever its tag says: Pillow's reader turns it, and gives the turned size from the start.
    """
    turned = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
    return turned if isinstance(turned, int) and 1 <= turned <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """Return the image as it is to be shown.

    Pillow's own ``exif_transpose`` writes the EXIF block anew, and fails where another of its entries is malformed.
    """
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def shown_size(url: str) -> tuple[int, int]:
    """Return the width and height of an image as shown, without decoding it.

    Raises:
        UserError: it is missing or not an image.
    """
    try:
        return open_image(url, decode=False).shown
    except FileNotFoundError:
        raise UserError(f"the size is not annotated, and the image {storage.redact(url)} is not there") from None
