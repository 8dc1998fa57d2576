"""Masks as files: their bytes, where they lie, and what is read of them."""

import io

import numpy as np
from PIL import Image

from automl_images.annotations import formats
from tests.conftest import save_images


def png(pixels, mode=None, palette=None, format="png"):
    image, file = Image.fromarray(np.array(pixels, dtype=np.uint8), mode), io.BytesIO()
    if palette:
        image.putpalette(palette)
    image.save(file, format)
    return file.getvalue()


def plain(*values, size=(12, 8)):
    """Return a PNG of 12 x 8 pixels that begins with these values and is 0 elsewhere."""
    pixels = np.zeros(size[::-1], dtype=np.uint8)
    pixels.flat[: len(values)] = values
    return png(pixels)


def lay(folder, *images, **files):
    save_images(folder, list(images))
    write(folder, files)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder, label="mask", **options):
    return list(formats.read(str(folder), label=label, **options))


def nuclei(folder, **files):
    lay(folder, "s/1/images/1.png", "s/2/images/2.png")
    write(
        folder, {"s/1/masks/x.png": plain(255, 255), "s/1/masks/y.png": plain(0, 0, 0, 1), "s/2/masks/z.png": plain(9)}
    )
    write(folder, files)
