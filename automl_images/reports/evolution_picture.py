"""evolve.png: a panel for each gene, its values against the fitness."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from automl_images.reports.evolution import ACROSS, HIGH, WIDE, Evolution, panels
from automl_images.reports.fonts import runs

if TYPE_CHECKING:
    from PIL import ImageDraw

_SCALE = 2  # pixels of the picture for one of a panel's
_TEXT, _GREY, _RULE = "#222222", "#666666", "#bbbbbb"


def png(evolution: Evolution) -> bytes:
    """Return the picture as PNG; of an evolution without a generation, one line that says so."""
    from PIL import Image, ImageDraw

    drawn = panels(evolution)
    rows = max(1, -(-len(drawn) // ACROSS))
    picture = Image.new("RGB", (ACROSS * WIDE * _SCALE, rows * HIGH * _SCALE), "white")
    pen = ImageDraw.Draw(picture)
    if not drawn:
        _write(pen, (WIDE, HIGH / 2), "no generation has a fitness yet", 12, _TEXT, "lm")
    for i, panel in enumerate(drawn):
        across, down = i % ACROSS * WIDE, i // ACROSS * HIGH

        def at(x: float, y: float, across: int = across, down: int = down) -> tuple[float, float]:
            return (x + across) * _SCALE, (y + down) * _SCALE

        left, right, top, bottom = (panel[side] for side in ("left", "right", "top", "bottom"))
        pen.rectangle([at(left, top), at(right, bottom)], outline=_RULE)
        _write(pen, (across + (left + right) / 2, down + top - 9), panel["title"], 10, _TEXT, "ms")
        if i % ACROSS == 0:
            for y, text in zip((bottom, top), panel["fitness"], strict=True):
                _write(pen, (across + left - 5, down + y), text, 9, _GREY, "rm")
        places = (left, right) if len(panel["ends"]) == 2 else ((left + right) / 2,)
        for x, text, anchor in zip(places, panel["ends"], ("ls", "rs") if len(places) == 2 else ("ms",), strict=True):
            _write(pen, (across + x, down + bottom + 14), text, 9, _GREY, anchor)
        if panel["fixed"] is not None:
            pen.line([at(panel["fixed"], top), at(panel["fixed"], bottom)], fill=_GREY, width=_SCALE)
        for x, y, colour in panel["points"]:
            (a, b), r = at(x, y), 2.5 * _SCALE
            pen.ellipse([a - r, b - r, a + r, b + r], fill=colour)
        if panel["best"]:
            (a, b), r = at(*panel["best"]), 6 * _SCALE
            pen.line([a - r, b, a + r, b], fill="black", width=2 * _SCALE)
            pen.line([a, b - r, a, b + r], fill="black", width=2 * _SCALE)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
    _, font = runs(text, size * _SCALE)[0]
    pen.text((at[0] * _SCALE, at[1] * _SCALE), text, font=font, fill=colour, anchor=anchor)
