"""The report of an evaluated detector with masks is detection's; an answer's masks drawn on its image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from automl_images.reports.detection import answer_line, draw_found, write_report

__all__ = ["answer_line", "draw_answer", "write_report"]


def draw_answer(image: Image.Image, answer: Mapping[str, Any], task: str, classes: Sequence[str]) -> Image.Image:
    """Return a copy of an image with the objects of ``{"boxes": [...]}`` drawn on it, of any task of the family.

    Each has a ``polygon``, or a ``mask`` of an image's base64: they are filled, and boxes are left out.
    """
    return draw_found(image, answer, classes, [_mask(one, image.size) for one in answer["boxes"]])


def _mask(one: Mapping[str, Any], size: tuple[int, int]) -> Image.Image:
    if "mask" in one:
        return Image.open(io.BytesIO(base64.b64decode(one["mask"]["image"]))).convert("L")
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for part in one["polygon"]:
        x, y = ([v * side for v in part[k::2]] for k, side in enumerate(size))
        if len(x) > 1:
            draw.polygon(list(zip(x, y, strict=True)), fill=255)
    return mask
