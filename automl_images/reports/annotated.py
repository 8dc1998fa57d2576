"""Small pictures of labelled images: boxes, outlines and masks drawn, whatever the kind of label."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from automl_images.annotations.imaging import opened
from automl_images.annotations.labels import Boxes, Classes, Label, Mask, OneClass, Polygons
from automl_images.annotations.overview import classified
from automl_images.annotations.records import Record
from automl_images.annotations.shapes import box_of, decoded
from automl_images.data.images import to_rgb
from automl_images.errors import UserError
from automl_images.reports.draw import Colour, Rectangle, class_colours, write_label
from automl_images.reports.html import isolated

SIDE = 320  # pixels of the longer side of a picture
_OPAQUE, _LABELLED, _LETTERS = 0.45, 8, 12
_GREY = (128, 128, 128)


def picture(record: Record, colours: Mapping[str, Colour] | None = None, side: int = SIDE) -> Image.Image:
    """Return an image as it is to be shown, ``side`` pixels long at most, with its label drawn on it.

    Boxes and outlines have their class written at them, where there are several classes and at most eight objects;
    outlines and masks are filled.
    What a mask ignores, and an image's own classes, are not drawn. ``colours`` are of each class, from
    :func:`automl_images.reports.draw.class_colours`; None: as they come in the image.

    Raises:
        UserError: the image, or its mask, is missing or does not open.
    """
    with opened(record.image_url) as (image, _), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a part of its size
        try:
            canvas = Image.fromarray(to_rgb(image))
        except UserError:
            raise
        except Exception as error:  # Pillow's readers raise whatever their parsing meets
            raise UserError(f"the image does not open: {error}") from None
    canvas.thumbnail((side, side), Image.Resampling.LANCZOS)
    DRAWN[type(record.label)](canvas, record.label, colours or class_colours(record.label.names()))
    return canvas


def caption(label: Label) -> str:
    """Return what a label says in words, most first: ``2 cat, dog``; ``nothing`` where nothing is labelled."""
    counts = [(isolated(name), count) for name, count in Counter(label.names()).most_common()]
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts) or "nothing"


def _boxes(canvas: Image.Image, label: Boxes, colours: Mapping[str, Colour]) -> None:
    draw = ImageDraw.Draw(canvas)
    placed = [_Placed(_on(canvas, (b.topX, b.topY, b.bottomX, b.bottomY)), b, colours) for b in label.boxes]
    for one in reversed(placed):  # the first on top
        draw.rectangle(one.place, outline=one.colour, width=2)
    _write(draw, placed, colours)


def _polygons(canvas: Image.Image, label: Polygons, colours: Mapping[str, Colour]) -> None:
    pixels, (width, height) = np.array(canvas), canvas.size
    placed = [_Placed(_on(canvas, box_of(item)), item, colours) for item in label.instances]
    for item, one in zip(label.instances, placed, strict=True):
        if item.rle:
            mask = Image.fromarray(decoded(item.rle)).resize(canvas.size, Image.Resampling.NEAREST)
        else:
            mask = Image.new("1", canvas.size)
        for part in item.polygon:
            points = [(x * width, y * height) for x, y in zip(part[::2], part[1::2], strict=True)]
            ImageDraw.Draw(mask).polygon(points, fill=1)
        inside = np.pad(np.asarray(mask, bool), 1)
        middle = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        edge = (inside := inside[1:-1, 1:-1]) & ~middle
        _tint(pixels, inside, one.colour)
        pixels[edge] = one.colour
    canvas.paste(Image.fromarray(pixels))
    _write(ImageDraw.Draw(canvas), placed, colours)


def _mask(canvas: Image.Image, label: Mask, colours: Mapping[str, Colour]) -> None:
    values, names = classified(label)
    down, across = (
        np.arange(new) * old // new for new, old in zip((canvas.height, canvas.width), values.shape, strict=True)
    )
    small = values[np.ix_(down, across)]  # pixels as they are: a value between two is of neither class
    pixels = np.array(canvas)
    for value in np.unique(small).tolist():
        if value in names:
            _tint(pixels, small == value, colours.get(names[value], _GREY))
    canvas.paste(Image.fromarray(pixels))


def _nothing(canvas: Image.Image, label: Label, colours: Mapping[str, Colour]) -> None:
    """Draw nothing: the label says nothing of a place."""


# by the kind of label
DRAWN: dict[type[Label], Callable[[Image.Image, Any, Mapping[str, Colour]], None]] = {
    OneClass: _nothing,
    Classes: _nothing,
    Boxes: _boxes,
    Polygons: _polygons,
    Mask: _mask,
}


class _Placed:
    """Where an object lies on a picture, its text and colour."""

    def __init__(self, place: Rectangle, item: Any, colours: Mapping[str, Colour]):
        self.place, self.colour = place, colours.get(item.label, _GREY)
        self.text = f"{item.label} (crowd)" if item.isCrowd else item.label


def _on(canvas: Image.Image, box: tuple[float, float, float, float]) -> Rectangle:
    """Return where fractions of an image lie on its picture."""
    width, height = canvas.width - 1, canvas.height - 1
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _tint(pixels: np.ndarray, inside: np.ndarray, colour: Colour) -> None:
    """Mix a colour into the pixels that are inside."""
    pixels[inside] = (pixels[inside] * (1 - _OPAQUE) + np.array(colour) * _OPAQUE).astype(np.uint8)


def _write(draw: ImageDraw.ImageDraw, placed: list[_Placed], colours: Mapping[str, Colour]) -> None:
    taken: list[Rectangle] = []
    for one in placed if len(placed) <= _LABELLED and len(colours) > 1 else ():
        write_label(draw, one.place, one.text, one.colour, _LETTERS, taken=taken)
