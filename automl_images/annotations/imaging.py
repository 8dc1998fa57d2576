"""Image files really opened: what is truncated or missing is found before a GPU waits for it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from automl_images import storage
from automl_images.annotations.values import MISSING, FlawError
from automl_images.errors import UserError

UNOPENED, TRUNCATED = "an image that does not open", "a truncated image"
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
_RATIO = 200  # scaled to a shorter side of 256, a longer image would take more memory than a large photograph
_LARGE, _one_large = 20_000_000, threading.Lock()  # pixels; several such at once take more memory than a step is given
_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}


class Opened(NamedTuple):
    """What an image file holds.

    Attributes:
        shown: the width and height in pixels of the image as it is shown, turned upright.
        turned: whether its EXIF orientation exchanges them.
        format: as Azure names it: jpg, png, bmp, tif, ...
        digest: of the file's bytes.
    """

    shown: tuple[int, int]
    turned: bool
    format: str
    digest: str


def open_image(url: str, decode: bool = True) -> Opened:
    """Open an image and, with ``decode``, read it to its end (a JPEG at an eighth of its size, which is faster).

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(url) as (image, data), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width, height = image.size
        if decode:
            image.draft("L", (1, 1))
            with _one_large if image.size[0] * image.size[1] > _LARGE else contextlib.nullcontext():
                image.load()
        turned, format = orientation_of(image) >= 5, image.format or ""
        shown = (height, width) if turned else (width, height)
        return Opened(shown, turned, _FORMATS.get(format, format.lower()), digest_of(data))


@contextlib.contextmanager
def opened(url: str) -> Iterator[tuple[Image.Image, bytes]]:
    """Open an image for Pillow to read in the block; yield it with the file's bytes.

    Raises:
        UserError: it is missing, is not an image, or not a whole one; by its header it has more pixels than Pillow
            takes, or is more than 200 times as long as wide.
    """
    data, flaw = None, UNOPENED
    try:
        if storage.is_local(url) and (path := storage.local_path(url)).exists() and not path.is_file():
            raise FlawError(
                f"the image {storage.redact(url)} is no regular file", UNOPENED
            )  # a pipe would be waited for
        data = storage.read_bytes(url)
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) > _RATIO * min(image.size):
                raise ValueError(f"its {image.size[0]} x {image.size[1]} pixels are no picture's shape")
            if reason := without_range(image):
                raise ValueError(reason)
            flaw = TRUNCATED
            yield image, data
    except FileNotFoundError:
        raise FlawError(f"the image {storage.redact(url)} is not there", MISSING) from None
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing meets
        reason = storage.redact(next(iter(str(error).splitlines()), "") or type(error).__name__)
        if isinstance(error, Image.DecompressionBombError):
            reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
        if isinstance(error, UnidentifiedImageError):
            reason = "it is no image that Pillow knows" if data else "the file is empty"
        what = "cannot be read" if data is None else "does not open"
        raise FlawError(f"the image {storage.redact(url)} {what}: {reason[:100]}", flaw) from None


def without_range(image: Image.Image) -> str | None:
    """Return what is wrong with pixels of which nothing tells black from white, else None.

    They are floats, or a TIFF's integers of 32 bits or with a sign; 16-bit greys reach from 0 to 65535.
    """
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        return "nothing tells the range of its 32-bit or signed pixels; save it with 8 or 16 bits"
    return None


def digest_of(data: bytes) -> str:
    """Return the first half of the SHA-256 of a file's bytes, as 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image that Pillow opened, 1 to 8; 1 where it says none or nonsense.

    A TIFF has 1, whatever its tag says: Pillow's reader turns it, and gives the turned size from the start.
    """
    turned = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
    return turned if isinstance(turned, int) and 1 <= turned <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """Return the image as it is to be shown."""
    # Pillow's exif_transpose writes the EXIF block anew, and fails where another of its entries is malformed
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)
