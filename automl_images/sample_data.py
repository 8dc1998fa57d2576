"""A small synthetic data set for every task: textured shapes on clutter, in Pascal VOC layout and as a CSV.

Colour and texture say nothing of the class, only the outline does; the clutter has edges and colours of the same kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from automl_images.errors import UserError

CLASSES = ("circle", "square", "triangle")
TEXTURES = ("plain", "stripes", "checks", "noise", "gradient")
OVERSAMPLING = 4  # outlines are drawn this much larger and scaled down, for smooth edges


def make_sample(folder: Path, images: int = 200, size: int = 160, seed: int = 0) -> dict[str, Any]:
    """Write ``images`` square images of ``size`` pixels with their annotations; the same seed gives the same files.

    Writes ``Annotations/*.xml``, ``JPEGImages/*.jpg``, ``ImageSets/Main/all.txt``, the masks ``SegmentationObject`` and
    ``SegmentationClass`` with ``label_map.json`` and, for multi-label classification, ``labels.csv`` under ``folder``.
    Each image has one to four objects, which do not overlap. A box is the tight box of its object, the edges in pixels
    from 0.

    Returns:
        ``{"folder": str, "images": int, "boxes": int, "classes": {name: boxes}}``

    Raises:
        UserError: fewer than 1 image, a size below 32, or the folder holds other files.
    """
    folder = Path(folder)
    if images < 1:
        raise UserError(f"sample-data: {images} images is too few; ask for at least 1")
    if size < 32:
        raise UserError(f"sample-data: a size of {size} pixels is too small; ask for at least 32")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"sample-data: {folder} exists and is not an empty folder; name another folder or remove it")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main", "SegmentationObject", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    counts, lines = dict.fromkeys(CLASSES, 0), ["image,labels"]
    names = [f"{i:06d}" for i in range(images)]
    for i, name in enumerate(names):
        pixels, objects, numbers = draw(size, np.random.default_rng((seed, i)))
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=92)
        (folder / "Annotations" / f"{name}.xml").write_text(_xml(f"{name}.jpg", size, objects), encoding="utf-8")
        _write_mask(folder / "SegmentationObject" / f"{name}.png", numbers)
        values = np.array([0, *(1 + CLASSES.index(label) for label, _ in objects)], np.uint8)
        _write_mask(folder / "SegmentationClass" / f"{name}.png", values[numbers])
        for label, _ in objects:
            counts[label] += 1
        lines.append(f"JPEGImages/{name}.jpg,{'|'.join(sorted({label for label, _ in objects}))}")
    (folder / "ImageSets/Main/all.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    named = {"classes": {name: value for value, name in enumerate(("background", *CLASSES))}}
    (folder / "label_map.json").write_text(json.dumps(named) + "\n", encoding="utf-8")
    (folder / "labels.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return {"folder": str(folder), "images": images, "boxes": sum(counts.values()), "classes": counts}


def draw(
    size: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[str, tuple[int, int, int, int]]], np.ndarray]:
    """Return one image, its objects and where they are.

    They are uint8 [size, size, 3]; of each object its class and box (x1, y1, x2, y2 in pixels); and uint8 [size, size],
    for each pixel the number of its object in their order from 1, or 0.
    """
    numbers = np.zeros((size, size), np.uint8)
    pixels = _background(size, rng)
    objects: list[tuple[str, tuple[int, int, int, int]]] = []
    for _ in range(int(rng.integers(1, 5))):
        label = CLASSES[rng.integers(len(CLASSES))]
        for _ in range(30):  # tries to find a free place
            mask = _mask(label, int(size * rng.uniform(0.18, 0.4)), rng)
            height, width = mask.shape
            x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
            box = (x, y, x + width, y + height)
            if not any(_touch(box, other) for _, other in objects):
                place = pixels[y : y + height, x : x + width]
                fill = _texture(height, width, place[mask > 0.5].mean(0), rng)
                place[:] = place + (fill - place) * mask[..., None]
                objects.append((label, box))
                numbers[y : y + height, x : x + width][mask > 0.5] = len(objects)
                break
    pixels += rng.normal(0, 4, pixels.shape)  # the camera's noise
    return pixels.round().clip(0, 255).astype(np.uint8), objects, numbers


def _write_mask(path: Path, values: np.ndarray) -> None:
    """Write a mask of few values as a PNG whose palette a person can tell apart."""
    image = Image.fromarray(values)
    image.putpalette([0, 0, 0, 200, 60, 50, 60, 160, 70, 60, 90, 200, 220, 180, 50])
    image.save(path)


def _mask(label: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return how much of each pixel the outline covers (0 to 1), cropped to the outline; about ``side`` pixels wide."""
    big = side * OVERSAMPLING
    canvas = Image.new("L", (2 * big, 2 * big))
    if label == "circle":
        outline = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        radius = 0.5
    elif label == "square":
        outline = np.pi / 4 + np.arange(4) * np.pi / 2 + rng.uniform(-0.3, 0.3)
        radius = 0.62
    else:
        outline = -np.pi / 2 + np.arange(3) * np.pi * 2 / 3 + rng.uniform(-0.4, 0.4)
        radius = 0.66
    stretch = rng.uniform(0.9, 1.1)
    x, y = big + radius * big * np.cos(outline) * stretch, big + radius * big * np.sin(outline) / stretch
    ImageDraw.Draw(canvas).polygon([(float(a), float(b)) for a, b in zip(x, y, strict=True)], fill=255)
    mask = np.asarray(canvas.resize((2 * side, 2 * side), Image.Resampling.BOX), np.float32) / 255
    rows, columns = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _texture(height: int, width: int, behind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a filling, float [height, width, 3], in two colours that both differ from the colour ``behind``."""
    first, second = _colour(rng, behind), _colour(rng, behind)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 10)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kind = TEXTURES[rng.integers(len(TEXTURES))]
    if kind == "plain":
        share = np.zeros((height, width))
    elif kind == "stripes":
        share = (along / period % 1 < 0.5).astype(float)
    elif kind == "checks":
        share = ((along // period + across // period) % 2).astype(float)
    elif kind == "noise":
        share = rng.uniform(0, 0.8, (height, width))
    else:
        share = (along - along.min()) / np.ptp(along)
    return first + (second - first) * share[..., None]


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a cluttered background, float32 [size, size, 3]: soft colours, blobs, lines and specks."""
    cells = rng.integers(2, 7)
    soft = Image.fromarray(rng.integers(30, 226, (cells, cells, 3), dtype=np.uint8))
    image = soft.resize((size, size), Image.Resampling.BICUBIC)
    blobs = image.copy()
    pen = ImageDraw.Draw(blobs)
    for _ in range(rng.integers(2, 7)):  # irregular and blurred, else they would be objects
        centre, radius = rng.uniform(0, size, 2), size * rng.uniform(0.05, 0.15)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = radius * rng.uniform(0.4, 1.6, 9)
        points = [
            (float(centre[0] + r * np.cos(a)), float(centre[1] + r * np.sin(a)))
            for a, r in zip(angles, reach, strict=True)
        ]
        pen.polygon(points, fill=tuple(int(c) for c in _colour(rng)))
    image = blobs.filter(ImageFilter.GaussianBlur(size * 0.012))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 8)):
        ends = [float(v) for v in rng.uniform(0, size, 4)]
        pen.line(ends, fill=tuple(int(c) for c in _colour(rng)), width=int(rng.integers(1, 4)))
    for _ in range(rng.integers(5, 25)):
        x, y, r = (float(v) for v in (*rng.uniform(0, size, 2), rng.uniform(0.5, 2.5)))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(c) for c in _colour(rng)))
    return np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 8), (size, size, 1)).astype(np.float32)


def _colour(rng: np.random.Generator, other: np.ndarray | None = None) -> np.ndarray:
    """Return a random colour (0 to 255), well apart from ``other``."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if other is None or np.abs(colour - other).sum() > 150:
            return colour


def _touch(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _xml(image: str, size: int, objects: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    boxes = "".join(
        f"  <object><name>{label}</name><difficult>0</difficult><truncated>0</truncated><bndbox>"
        f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
        for label, (x1, y1, x2, y2) in objects
    )
    return (
        f"<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{image}</filename>\n"
        f"  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>\n{boxes}</annotation>\n"
    )
