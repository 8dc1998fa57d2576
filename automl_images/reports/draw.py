"""Boxes, masks and labels drawn on images, readable on small ones too."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from automl_images.reports.fonts import runs

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

_PALETTE = ["2f7ed8", "f28e2b", "2fa866", "e0484b", "8e5bd0", "12a5c0", "e560ab", "d9a900", "a06a45", "7fb800"]
_GREY = (128, 128, 128)
_LEAST_SIDE, _MOST_TIMES = 640, 8
_FILLED, _DARK = 0.4, 0.75  # of a mask's colour over its pixels, and of black over those of no class
_WIDEST = 24  # times their height, of the letters of a legend


def class_colours(classes: Iterable[str]) -> dict[str, Colour]:
    """Return a colour for each class, as far apart as they come; the same order gives the same colours."""
    colours: dict[str, Colour] = {}
    for n, name in enumerate(dict.fromkeys(classes)):
        if n < len(_PALETTE):
            code = _PALETTE[n]
            colours[name] = int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)
        else:  # the golden angle never comes back to a hue it has used
            parts = colorsys.hsv_to_rgb(n * 0.618034 % 1, 0.75 if n % 2 else 0.55, 0.85 if n % 3 else 0.65)
            colours[name] = tuple(round(255 * p) for p in parts)  # type: ignore[assignment]
    return colours


def css(colour: Colour) -> str:
    """Return a colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str],
    colours: Mapping[str, Colour],
    scores: Sequence[float] | None = None,
    *,
    texts: Sequence[str] | None = None,
    strong: Sequence[bool] | None = None,
    masks: Sequence[Image.Image] | None = None,
) -> Image.Image:
    """Return a copy of an image with boxes, or masks in their place, drawn on it.

    An image whose longer side is below 640 pixels is enlarged, at most eightfold, so that labels can be read.

    Args:
        image: any mode.
        boxes: left, top, right and bottom of each in the image's pixels; of those that lie on one another the first is
            on top.
        labels: what is written at each.
        colours: of each label, from `class_colours`; one that is absent is grey.
        scores: written behind the labels; None: nothing is.
        texts: what is written instead of labels and scores; where it is empty, nothing is.
        strong: whether each has a line of full width, or one of half; None: all are strong.
        masks: of each object a grey image of the same extent, in any size, white inside: it is filled and has its
            outline drawn, and its box is left out.
    """
    canvas, size = _canvas(image)
    draw = ImageDraw.Draw(canvas)
    width = max(3, round(max(size) / 280))
    places = [_placed(box, image.size, size) for box in boxes]
    without: list[Image.Image | None] = [None] * len(labels)
    drawn = list(zip(places, labels, strong or [True] * len(labels), masks or without, strict=True))
    # The first last, so that it lies on top; but it is the first to choose a place for its label.
    for (x0, y0, x1, y1), label, full, mask in reversed(drawn):
        colour, line = colours.get(label, _GREY), width if full else max(2, width // 2)
        if mask:
            _fill(canvas, mask, colour, line)
        else:
            draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=tuple(c // 2 for c in colour))
            draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    letters = _letters(size)
    taken: list[Rectangle] = []
    if texts is None:
        texts = labels if scores is None else [f"{n} {s:.2f}" for n, s in zip(labels, scores, strict=True)]
    for place, label, text in zip(places, labels, texts, strict=True):
        if text:
            write_label(draw, place, text, colours.get(label, _GREY), letters, taken=taken)
    return canvas


def draw_labels(image: Image.Image, labels: Sequence[tuple[str, float]], colours: Mapping[str, Colour]) -> Image.Image:
    """Return a copy of an image with labels and their probabilities written on it, one below the other.

    The first is on top; those that do not fit on the image are left out. For the rest see :func:`draw_boxes`.
    """
    canvas, size = _canvas(image)
    draw, letters, y = ImageDraw.Draw(canvas), _letters(size, 28), 0.0
    for name, probability in labels:
        if y + 1.5 * letters > size[1]:
            break
        taken = [(0.0, 0.0, float(size[0]), y)]  # the lines above, to their full width
        text = f"{name} {probability:.2f}"
        write_label(draw, (0, y, size[0], size[1]), text, colours.get(name, _GREY), letters, taken=taken)
        y = taken[-1][3]
    return canvas


def draw_mask(image: Image.Image, mask: np.ndarray, colours: Mapping[int, Colour], opaque: float = 0.6) -> Image.Image:
    """Return a copy of an image with each pixel's class as a colour over it, half seen through.

    Args:
        image: any mode.
        mask: uint8 [H, W] of the image's extent, in any size.
        colours: of each value of the mask; one that is absent is dark.
        opaque: of a colour over the image, from 0 to 1.
    """
    canvas, size = _canvas(image)
    scaled = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    table, share = np.zeros((256, 3), np.float32), np.full((256, 1), _DARK, np.float32)
    for value, colour in colours.items():
        table[value], share[value] = colour, opaque
    mixed = np.asarray(canvas) * (1 - share[scaled]) + table[scaled] * share[scaled]
    return Image.fromarray(mixed.astype(np.uint8))


def beside_legend(image: Image.Image, names: Sequence[str], colours: Mapping[str, Colour]) -> Image.Image:
    """Return an image with names on their colours to the right of it, one below the other."""
    letters, width, y = _letters(image.size), 0.0, 0.0
    column = Image.new("RGB", (_WIDEST * letters, max(image.height, 2 * letters * len(names))), "white")
    for name in names:
        taken = [(0.0, 0.0, float(column.width), y)]  # the lines above, to their full width
        place = (0, y, column.width, column.height)
        write_label(ImageDraw.Draw(column), place, name, colours.get(name, _GREY), letters, taken=taken)
        width, y = max(width, taken[-1][2]), taken[-1][3]
    right, bottom = round(width) + 1, round(y) + 1
    canvas = Image.new("RGB", (image.width + right, max(image.height, bottom)), "white")
    canvas.paste(image, (0, 0))
    canvas.paste(column.crop((0, 0, right, bottom)), (image.width, 0))
    return canvas


def _canvas(image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """Return an RGB copy to draw on, enlarged if it is small, and its size."""
    times = min(_MOST_TIMES, max(1, _LEAST_SIDE / max(image.size)))
    size = round(image.width * times), round(image.height * times)
    rgb = image.convert("RGB")
    return (rgb.resize(size, Image.Resampling.BICUBIC) if times > 1 else rgb.copy()), size


def _fill(canvas: Image.Image, mask: Image.Image, colour: Colour, line: int) -> None:
    """Lay a mask of the canvas's extent over it, half seen through, with an outline within it."""
    inside = mask.resize(canvas.size, Image.Resampling.BOX).point(lambda v: 255 if v > 127 else 0)
    around = inside.getbbox()
    if not around:
        return
    cut = inside.crop(around)
    padded = Image.new("L", (cut.width + 2, cut.height + 2))  # what ends at the edge of the cut has an outline too
    padded.paste(cut, (1, 1))
    inner = padded
    for _ in range(line):
        inner = inner.filter(ImageFilter.MinFilter(3))
    outline = ImageChops.subtract(padded, inner).crop((1, 1, cut.width + 1, cut.height + 1))
    canvas.paste(colour, around, cut.point(lambda v: round(_FILLED * v)))
    canvas.paste(colour, around, outline)


def _letters(size: tuple[int, int], lines: int = 48) -> int:
    """Return the height of letters in pixels."""
    return max(13, round(max(size) / lines))


def _placed(box: Sequence[float], image: tuple[int, int], canvas: tuple[int, int]) -> Rectangle:
    """Return where a box of the image lies on the canvas, its corners in order and on it."""
    x, y = (
        sorted(min(max(box[k] / image[axis], 0), 1) * (canvas[axis] - 1) for k in (axis, axis + 2)) for axis in (0, 1)
    )
    return x[0], y[0], x[1], y[1]


def write_label(
    draw: ImageDraw.ImageDraw, box: Rectangle, text: str, colour: Colour, letters: int, *, taken: list[Rectangle]
) -> None:
    """Write a label at the first place around its box that is on the image and free.

    ``box`` is in pixels, ``letters`` the height of the text; where labels lie is added to ``taken``.
    """
    parts = runs(text, letters)
    starts = [0.0, *itertools.accumulate(draw.textlength(part, font) for part, font in parts)]
    placed = list(zip(starts, parts, strict=False))
    bounds = [draw.textbbox((x, 0), part, font, anchor="ls") for x, (part, font) in placed]
    left, top = (min(b[k] for b in bounds) for k in (0, 1))
    right, bottom = (max(b[k] for b in bounds) for k in (2, 3))
    pad = max(2, round(letters / 5))
    w, h = right - left + 2 * pad, bottom - top + 2 * pad
    width, height = draw.im.size
    x0, y0, x1, y1 = box
    places = [(x, y) for y in (y0 - h, y0, y1 - h, y1) for x in (x0, x1 - w)]
    # Of a label that is wider than the image the beginning is seen.
    inside = [(max(min(x, width - w), 0), max(min(y, height - h), 0)) for x, y in places]
    x, y = min(inside, key=lambda p: sum(_common((*p, p[0] + w, p[1] + h), t) for t in taken))
    taken.append((x, y, x + w, y + h))
    draw.rectangle(taken[-1], fill=colour)
    bright = sum(c * f for c, f in zip(colour, (0.299, 0.587, 0.114), strict=True)) > 145
    for start, (part, font) in placed:
        where = (x + pad - left + start, y + pad - top)
        draw.text(where, part, fill=(0, 0, 0) if bright else (255, 255, 255), font=font, anchor="ls")


def _common(a: Rectangle, b: Rectangle) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
