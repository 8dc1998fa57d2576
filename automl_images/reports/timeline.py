"""When each trial of a sweep ran, as numbers for the SVG macro in ``templates/chart.html.j2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from automl_images.reports import trials as view
from automl_images.reports.chart import round_ticks
from automl_images.sweep.trial import Trial

WIDTH = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 16, 16, 10, 40
_ROWS, _BARS = 48, 1000
_IDLE = 0.1  # an idle stretch longer than this share of the busy time is cut out


def timeline(trials: Sequence[Trial], best: int | None) -> dict[str, Any] | None:
    """Return the places in pixels of one bar a trial, on as few rows as ran at a time; None if none has run.

    A trial that still runs ends now; ``best`` stands out. Long stretches in which nothing ran, as between two
    submissions, are cut out. Of a trial that was resumed the last attempt is placed. At most 1,000 bars on 48 rows, the
    earliest, are.

    Returns:
        ``bars``, ``cuts``, ``ticks``, the size, ``most`` and ``mean`` (trials that ran at a time), ``length`` (seconds
        from first to last), ``busy`` (of these, seconds in which any ran), ``left_out`` (bars).
    """
    ran = [(t.started, length, t) for t in trials if t.started is not None and (length := view.seconds(t)) is not None]
    spans = sorted(((a, a + length, t) for a, length, t in ran), key=lambda s: (s[0], s[2].index))
    if not spans:
        return None
    idle = _idle([(a, b) for a, b, _ in spans])
    begin, end = spans[0][0], max(b for _, b, _ in spans)
    busy = end - begin - sum(b - a for a, b in idle)
    cut = [(a, b) for a, b in idle if b - a > _IDLE * busy]
    rows = _rows([(a, b) for a, b, _ in spans])
    kept = [(a, b, t, r) for (a, b, t), r in zip(spans, rows, strict=True) if r < _ROWS][:_BARS]
    count = min(_ROWS, max(rows) + 1)
    pitch = 18 if count <= 12 else 9

    def elapsed(moment: float) -> float:
        return moment - begin - sum(min(b, moment) - a for a, b in cut if a < moment)

    whole = elapsed(end)
    unit, name = (1.0, "seconds") if whole < 120 else (60.0, "minutes") if whole < 7200 else (3600.0, "hours")
    ticks = round_ticks(0, whole / unit)

    def across(length: float) -> float:
        return round(_LEFT + length / unit / ticks[-1] * (WIDTH - _LEFT - _RIGHT), 1)

    bottom = _TOP + count * pitch
    return {
        "width": WIDTH,
        "height": bottom + _BOTTOM,
        "top": _TOP,
        "bottom": bottom,
        "thick": pitch - 3,
        "unit": name,
        "ticks": [(across(v * unit), f"{v:g}") for v in ticks],
        "cuts": [(across(elapsed(b)), view.duration(b - a)) for a, b in cut],
        "bars": [
            {
                "x": (x := across(elapsed(a))),
                "y": _TOP + row * pitch,
                "width": max(1.0, round(across(elapsed(b)) - x - 1, 1)),
                "state": t.state,
                "best": t.index == best,
                "title": f"trial {t.index}, {t.state}: {view.duration(b - a)}, "
                f"started after {view.duration(a - begin)}",
            }
            for a, b, t, row in kept
        ],
        "most": max(rows) + 1,
        "mean": sum(b - a for a, b, _ in spans) / busy if busy > 0 else 1.0,
        "length": end - begin,
        "busy": busy,
        "left_out": len(spans) - len(kept),
    }


def _rows(spans: list[tuple[float, float]]) -> list[int]:
    """Return for spans in order of their start the first row that is free; there are as many as overlap at a time."""
    free: list[float] = []
    rows: list[int] = []
    for start, end in spans:
        row = next((i for i, until in enumerate(free) if until <= start), len(free))
        free[row : row + 1] = [end]
        rows.append(row)
    return rows


def _idle(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    found, until = [], spans[0][1]
    for start, end in spans:
        if start > until:
            found.append((until, start))
        until = max(until, end)
    return found
