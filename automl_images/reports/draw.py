"""Boxes and labels drawn on images, readable on small ones too."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from automl_images.annotations import Box


Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

_PALETTE = ["2f7ed8", "f28e2b", "2fa866", "e0484b", "8e5bd0", "12a5c0", "e560ab", "d9a900", "a06a45", "7fb800"]
_GREY = (128, 128, 128)
_LEAST_SIDE, _MOST_TIMES = 640, 8


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


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Mapping[str, Any]],
    colours: Mapping[str, Colour] | None = None,
    truth: Iterable[Box] | None = None,
) -> Image.Image:
    """Return a copy of an image with boxes drawn on it.

    An image whose longer side is below 640 pixels is enlarged, at most eightfold, so that labels can be read.

    Args:
        image: any mode.
        boxes: ``{"box": {"topX", "topY", "bottomX", "bottomY"}, "label", "score"}``, corners as fractions of the
            image; ``score`` may be absent. Solid lines and a label.
        colours: of each class, from `class_colours`; one that is absent is grey. None: by the labels that occur.
        truth: the ground truth, in lines of its class's colour dashed with white.

    Returns:
        An RGB image of the same shape or a multiple of it.
    """
    expected = list(truth or ())
    if colours is None:
        colours = class_colours(sorted({b["label"] for b in boxes} | {b.label for b in expected}))
    canvas, size = _canvas(image)
    draw = ImageDraw.Draw(canvas)
    width = max(3, round(max(size) / 280))
    for box in expected:
        _dashed(draw, _pixels(box.to_json(), size), colours.get(box.label, _GREY), width)
    # The surest last, so that it lies on top; but it is the first to choose a place for its label.
    for one in reversed(boxes):
        x0, y0, x1, y1 = _pixels(one["box"], size)
        colour = colours.get(one["label"], _GREY)
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=tuple(c // 2 for c in colour))
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)
    font = _font(size)
    taken: list[Rectangle] = []
    for one in boxes:
        text = one["label"] if one.get("score") is None else f"{one['label']} {one['score']:.2f}"
        _label(draw, _pixels(one["box"], size), text, colours.get(one["label"], _GREY), font, taken=taken)
    return canvas


def draw_labels(
    image: Image.Image, labels: Sequence[tuple[str, float]], colours: Mapping[str, Colour] | None = None
) -> Image.Image:
    """Return a copy of an image with labels and their probabilities written on it, one below the other.

    Args:
        image: any mode; a small one is enlarged as by :func:`draw_boxes`.
        labels: names and probabilities, the first on top; those that do not fit on the image are left out.
        colours: of each class, from `class_colours`; one that is absent is grey. None: by the labels given.

    Returns:
        An RGB image of the same shape or a multiple of it.
    """
    if colours is None:
        colours = class_colours(name for name, _ in labels)
    canvas, size = _canvas(image)
    draw, font, y = ImageDraw.Draw(canvas), _font(size, 28), 0.0
    for name, probability in labels:
        if y + 1.5 * font.size > size[1]:
            break
        taken = [(0.0, 0.0, float(size[0]), y)]  # the lines above, to their full width
        text = f"{name} {probability:.2f}"
        _label(draw, (0, y, size[0], size[1]), text, colours.get(name, _GREY), font, taken=taken)
        y = taken[-1][3]
    return canvas


def _canvas(image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """Return an RGB copy to draw on, enlarged if it is small, and its size."""
    times = min(_MOST_TIMES, max(1, _LEAST_SIDE / max(image.size)))
    size = round(image.width * times), round(image.height * times)
    rgb = image.convert("RGB")
    return (rgb.resize(size, Image.Resampling.BICUBIC) if times > 1 else rgb.copy()), size


def _font(size: tuple[int, int], lines: int = 48) -> Any:
    return ImageFont.load_default(max(13, round(max(size) / lines)))


def _pixels(box: Mapping[str, Any], size: tuple[int, int]) -> Rectangle:
    w, h = size[0] - 1, size[1] - 1
    x = sorted(min(max(box[k] * w, 0), w) for k in ("topX", "bottomX"))
    y = sorted(min(max(box[k] * h, 0), h) for k in ("topY", "bottomY"))
    return x[0], y[0], x[1], y[1]


def _dashed(draw: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, width: int) -> None:
    x0, y0, x1, y1 = box
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=tuple(c // 2 for c in colour))
    draw.rectangle(box, outline=(255, 255, 255), width=width)
    dash = 4 * width
    for start in range(0, int(x1 - x0), 2 * dash):
        a, b = x0 + start, min(x0 + start + dash, x1)
        draw.rectangle((a, y0, b, y0 + width - 1), fill=colour)
        draw.rectangle((a, y1 - width + 1, b, y1), fill=colour)
    for start in range(0, int(y1 - y0), 2 * dash):
        a, b = y0 + start, min(y0 + start + dash, y1)
        draw.rectangle((x0, a, x0 + width - 1, b), fill=colour)
        draw.rectangle((x1 - width + 1, a, x1, b), fill=colour)


def _label(
    draw: ImageDraw.ImageDraw, box: Rectangle, text: str, colour: Colour, font: Any, *, taken: list[Rectangle]
) -> None:
    """Write a label at the first place around its box that is on the image and free."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(2, round(font.size / 5))
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
    draw.text((x + pad - left, y + pad - top), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)


def _common(a: Rectangle, b: Rectangle) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
