"""Image files really opened: what is truncated or missing is found before a GPU waits for it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from automl_images import storage
from automl_images.annotations.headers import header_in, header_of
from automl_images.annotations.values import MISSING, FlawError
from automl_images.errors import DiskFullError, StoreError, UserError

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
_HEAD = 1 << 16  # bytes of a file on a store that are read for its header
_LARGE, _one_large = 20_000_000, threading.Lock()  # pixels; several such at once take more memory than a step is given
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # what such a file's first box says it is
_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}


class Opened(NamedTuple):
    """What an image file holds.

    Attributes:
        shown: the width and height in pixels of the image as it is shown, turned upright.
        turned: whether its EXIF orientation exchanges them.
        format: as Azure names it: jpg, png, bmp, tif, ...
        digest: of the file's bytes; None where they are not all read.
    """

    shown: tuple[int, int]
    turned: bool
    format: str
    digest: str | None


def open_image(url: str, decode: bool = True) -> Opened:
    """Open an image and read it to its end (a JPEG at an eighth of its size, which is faster).

    Without ``decode`` only as much of the file is read as tells its size, and nothing says whether the rest is there.

    Raises:
        UserError: as :func:`opened`.
    """
    if not decode and (found := _header(url)):
        return found
    with opened(url) as (image, data), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width, height = image.size
        if decode:
            image.draft("L", (1, 1))
            with _one_large if width * height > _LARGE else contextlib.nullcontext():
                image.load()
        return _opened((width, height), orientation_of(image), image.format, digest_of(data))


def _opened(size: tuple[int, int], orientation: int, format: str | None, digest: str | None) -> Opened:
    name = format or ""
    shown = size[::-1] if orientation >= 5 else size
    return Opened(shown, orientation >= 5, _FORMATS.get(name, name.lower()), digest)


def _header(url: str) -> Opened | None:
    """Return what an image's header says; None: the file is to be opened, for what it says or for what is wrong."""
    try:
        local = url[:1] == "/" or storage.is_local(url)  # the first is a tenth of the time
        data = b"" if local else storage.read_bytes(url, _HEAD)
        if header := header_of(url if url[:1] == "/" else str(storage.local_path(url))) if local else header_in(data):
            width, height, orientation, format = header
            shown = (height, width) if orientation >= 5 else (width, height)
            return Opened(shown, orientation >= 5, format, None) if _is_picture(width, height) else None
        if local:
            return None
        with Image.open(io.BytesIO(data)) as image, warnings.catch_warnings():
            warnings.simplefilter("error")
            fits = _is_picture(*image.size) and not without_range(image)
            return _opened(image.size, orientation_of(image), image.format, None) if fits else None
    except (StoreError, DiskFullError):
        raise
    except Exception:  # what is wrong, or told further on in the file, the whole of it says
        return None


def _is_picture(width: int, height: int) -> bool:
    long, short = (width, height) if width > height else (height, width)
    return long <= _RATIO * short and long * short <= (Image.MAX_IMAGE_PIXELS or 0)


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
        if data[4:8] == b"ftyp":
            _know_heif()
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
            if data and data[8:12] in _HEIF:
                reason = "it is HEIC, which takes the extra heif: pip install 'automl-images[heif]'"
        what = "cannot be read" if data is None else "does not open"
        raise FlawError(f"the image {storage.redact(url)} {what}: {reason[:100]}", flaw) from None


@functools.cache
def _know_heif() -> None:
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


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
