"""A line chart as numbers for the SVG macro in ``templates/chart.html.j2``: no plotting library to import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 900, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 14, 44


@dataclass
class Line:
    """One line of a chart: points (x, y), a CSS colour, the text that appears under the pointer.

    ``mark`` is a point to dot; ``end`` is what marks the last point: ``terminated``, ``failed`` or nothing.
    """

    points: list[tuple[float, float]]
    colour: str
    title: str
    strong: bool = False
    mark: tuple[float, float] | None = None
    end: str | None = None


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    shares: bool = False,
    small: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> dict[str, Any]:
    """Return the chart's places in pixels: ``ticks_x``, ``ticks_y``, ``lines`` with SVG points, and its size.

    With ``shares`` both axes go from 0 to 1; otherwise x is whole numbers, and the axes span the lines. A ``small``
    chart spans them exactly, and only the ends of its axes have ticks.
    """
    wide, high = size
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if small:
        ticks_x, ticks_y = (sorted({min(values), max(values)}) for values in (xs, ys))
    else:
        ticks_x = round_ticks(0, 1) if shares else round_ticks(min(xs, default=0), max(xs, default=1), whole=True)
        ticks_y = round_ticks(0, 1) if shares else round_ticks(min([0, *ys]), max(ys, default=1))
    x0, y0 = ticks_x[0], ticks_y[0]
    span_x, span_y = (ticks[-1] - ticks[0] or 1 for ticks in (ticks_x, ticks_y))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + (point[0] - x0) / span_x * (wide - _LEFT - _RIGHT)
        down = high - _BOTTOM - (point[1] - y0) / span_y * (high - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    return {
        "width": wide,
        "height": high,
        "left": _LEFT,
        "right": wide - _RIGHT,
        "top": _TOP,
        "bottom": high - _BOTTOM,
        "x_label": x_label,
        "y_label": y_label,
        "ticks_x": [(place((t, y0))[0], f"{t:g}") for t in ticks_x],
        "ticks_y": [(place((x0, t))[1], f"{t:.4g}" if small else f"{t:g}") for t in ticks_y],
        "lines": [
            {
                "points": " ".join(f"{x},{y}" for x, y in map(place, line.points)),
                "dots": [place(p) for p in line.points] if len(line.points) == 1 else [],
                "mark": place(line.mark) if line.mark else None,
                "end": (*place(line.points[-1]), line.end) if line.end and line.points else None,
                "colour": line.colour,
                "title": line.title,
                "strong": line.strong,
            }
            for line in lines
        ],
    }


def round_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Return five or so round numbers, at least two, that span the range; integers if ``whole``."""
    if high - low < 1e-9:  # flat, or as good as: ticks have ten decimals
        high = low + 1
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    if whole:
        step = max(1, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]
