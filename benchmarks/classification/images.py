"""Images as a camera's: what decoding them costs is what matters, not what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from automl_images.annotations import OneClass, Record

CLASSES = [str(i) for i in range(10)]


def pictures(folder: Path, count: int) -> list[Record]:
    """Write JPEGs of 640 x 480 and about 100 KB: smooth noise, shapes and a camera's grain, quality 90."""
    records, rng = [], np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        image = Image.fromarray(rng.integers(40, 216, (15, 20, 3), dtype=np.uint8)).resize((640, 480), Image.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, w, h = (int(v) for v in rng.integers(20, 400, 4))
            draw = (pen.ellipse, pen.rectangle)[int(rng.integers(2))]
            draw([x, y, x + w // 3, y + h // 3], fill=tuple(rng.integers(0, 256, 3).tolist()))
        grain = rng.normal(0, 7, (480, 640, 1))
        path = folder / f"{i:04d}.jpg"
        Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        records.append(Record(str(path), OneClass(CLASSES[i % 10])))
    return records
