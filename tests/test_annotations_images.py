"""Images of every kind: checked, turned upright, made RGB."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from automl_images.annotations import OneClass, Record
from automl_images.annotations.checks import Checker
from automl_images.annotations.imaging import open_image
from automl_images.data.images import load_image, to_rgb
from automl_images.errors import UserError

RED = (230, 20, 10)


def png16(array, colour, transparent=None):
    """Return a PNG of 16 bits a channel by hand, as Pillow writes none but grey."""
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = array.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    key = chunk(b"tRNS", struct.pack(">H", transparent)) if transparent is not None else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def big_endian_tiff(array):
    """Return a grey TIFF of 16 bits in Motorola's order."""
    data = array.astype(">u2").tobytes()
    height, width = array.shape
    short, long = (lambda v: v << 16), (lambda v: v)
    entries = [
        (256, 3, short(width)),
        (257, 3, short(height)),
        (258, 3, short(16)),
        (259, 3, short(1)),
        (262, 3, short(1)),
        (273, 4, long(8 + 2 + 9 * 12 + 4)),
        (277, 3, short(1)),
        (278, 3, short(height)),
        (279, 4, long(len(data))),
    ]
    body = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"MM\0*" + struct.pack(">IH", 8, 9) + body + struct.pack(">I", 0) + data


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def full(value, *shape):
    return np.full((3, 5, *shape), value, np.uint16)


def flat(mode, colour):
    return Image.new(mode, (5, 3), colour)


KINDS = {
    "grey": (saved(flat("L", 77), "PNG"), (77,) * 3),
    "grey JPEG": (saved(flat("L", 77), "JPEG"), (77,) * 3),
    "grey, 1 bit": (saved(flat("1", 1), "PNG"), (255,) * 3),
    "grey, 16 bits, dark": (saved(Image.fromarray(full(600)), "PNG"), (2,) * 3),
    "grey, 16 bits, middle": (saved(Image.fromarray(full(32768)), "PNG"), (128,) * 3),
    "grey, 16 bits, white": (saved(Image.fromarray(full(65535)), "TIFF"), (255,) * 3),
    "grey, 16 bits, Motorola": (big_endian_tiff(full(32768)), (128,) * 3),
    "grey, 16 bits, transparent": (png16(full(500), 0, transparent=500), (255,) * 3),
    "grey and alpha, 16 bits": (png16(np.stack([full(32768), full(65535)], -1), 4), (128,) * 3),
    "colour, 16 bits": (png16(np.stack([full(65535), full(32768), full(0)], -1), 2), (255, 128, 0)),
    "palette": (saved(flat("RGB", RED).quantize(4), "PNG"), RED),
    "palette GIF": (saved(flat("RGB", RED).quantize(4), "GIF"), RED),
    "palette, transparent": (saved(flat("RGB", RED).quantize(4), "PNG", transparency=0), (255,) * 3),
    "palette, half transparent": (saved(flat("RGB", RED).quantize(4), "PNG", transparency=b"\x80"), (242, 137, 132)),
    "key": (saved(flat("RGB", RED), "PNG", transparency=RED), (255,) * 3),
    "RGBA": (saved(flat("RGBA", (*RED, 255)), "PNG"), RED),
    "RGBA, half": (saved(flat("RGBA", (0, 0, 0, 128)), "PNG"), (127,) * 3),
    "RGBA WebP": (saved(flat("RGBA", (*RED, 0)), "WEBP", lossless=True, exact=True), (255,) * 3),
    "grey and alpha": (saved(flat("LA", (9, 0)), "PNG"), (255,) * 3),
    "CMYK TIFF": (saved(flat("CMYK", (255, 0, 0, 0)), "TIFF"), (0, 255, 255)),
    "CMYK JPEG by Adobe": (saved(flat("CMYK", (0, 128, 255, 0)), "JPEG"), (255, 127, 0)),
    "CMYK JPEG, black": (saved(flat("CMYK", (0, 0, 0, 128)), "JPEG"), (127,) * 3),
    "YCbCr TIFF": (saved(flat("YCbCr", (128, 128, 128)), "TIFF"), (128,) * 3),
    "Lab TIFF": (saved(flat("LAB", (128, 128, 128)), "TIFF"), (119,) * 3),
}


@pytest.mark.parametrize("values", [np.float32(0.5), np.float32(200), np.int32(200), np.int32(1 << 30)])
def test_pixels_of_which_nothing_tells_the_range_are_refused(tmp_path, values):
    path = tmp_path / "image.tif"
    path.write_bytes(saved(Image.fromarray(np.full((3, 5), values)), "TIFF"))
    for opening in (open_image, load_image):
        with pytest.raises(UserError, match="image.tif does not open: nothing tells the range"):
            opening(str(path))
    with pytest.raises(UserError, match="nothing tells the range"):
        to_rgb(Image.open(path))


@pytest.mark.parametrize(("content", "expected"), KINDS.values(), ids=KINDS)
def test_an_image_of_any_kind_is_checked_and_becomes_rgb(tmp_path, content, expected):
    path = tmp_path / "image"
    path.write_bytes(content)
    checker = Checker(label="class")
    (record,) = checker.check([Record(str(path), OneClass("a"))])
    assert (record.width, record.height) == (5, 3)
    array = load_image(str(path))
    assert (array.dtype, array.shape) == (np.uint8, (3, 5, 3))
    lossy = content.startswith(b"\xff\xd8")
    assert np.abs(array.astype(int) - expected).max() <= (2 if lossy else 0), array[0, 0]


def test_premultiplied_images_become_rgb():
    assert to_rgb(flat("RGBA", (*RED, 255)).convert("RGBa"))[0, 0].tolist() == list(RED)
    assert to_rgb(flat("LA", (90, 255)).convert("La"))[0, 0].tolist() == [90] * 3


CORNERS = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "TL", 6: "TR", 7: "BR", 8: "BL"}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_every_orientation_is_turned_upright(tmp_path, format, orientation):
    image = Image.new("RGB", (40, 24), "white")
    image.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    path.write_bytes(saved(image, format, exif=exif))
    array = load_image(str(path))
    shown = (24, 40) if orientation >= 5 else (40, 24)
    assert array.shape == (*shown[::-1], 3)
    rows, columns = np.nonzero(array[..., 1] < 90)
    corner = ("T" if rows.mean() < shown[1] / 2 else "B") + ("L" if columns.mean() < shown[0] / 2 else "R")
    assert corner == CORNERS[orientation]
    assert open_image(str(path)).shown == open_image(str(path), decode=False).shown == shown


def test_a_malformed_exif_entry_does_not_stop_the_turning():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a maker"
    content = saved(Image.new("RGB", (40, 24)), "JPEG", exif=exif)
    content = content.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")  # the image's width, as text
    with Image.open(io.BytesIO(content)) as image:
        with pytest.raises(struct.error):  # why Pillow's own is not used
            ImageOps.exif_transpose(image)
        assert to_rgb(image).shape == (40, 24, 3)
