"""Slices: of each setting a small panel, its values to the right and the metric upwards, one dot a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from automl_images.reports import trials as view
from automl_images.reports.parallel import column, scale
from automl_images.sweep.trial import Trial, ranked

WIDE, HIGH = 270, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 26, 22
_PANELS, _CATEGORIES, _LETTER = 24, 6, 7.0  # the last: the width of a letter in pixels


def slices(trials: Sequence[Trial], names: Sequence[str], best: int | None) -> dict[str, Any]:
    """Return the places in pixels of one panel a setting that varies between the trials that have a value.

    Args:
        trials: the ledger's, in any order.
        names: the settings, the most interesting first; 24 panels are made at most.
        best: the number of the trial that stands out; None: there is none.

    Returns:
        ``panels`` and ``left_out``, how many settings that vary have none.
    """
    valued = {t.index: t.value for t in ranked(trials) if t.value is not None}
    columns = {name: column([t for t in trials if t.index in valued], name) for name in names}
    varying = {name: found for name, found in columns.items() if len(set(found.values())) > 1}
    shown = list(varying.items())[:_PANELS]
    if not shown:
        return {"panels": [], "left_out": 0}
    low, high = min(valued.values()), max(valued.values())
    span = high - low or 1.0
    panels = []
    for name, found in shown:
        places, ticks = _across(found)
        dots = []
        for trial in sorted(found, key=lambda i: i == best):  # the best is drawn last, on top
            y = HIGH - _BOTTOM - (valued[trial] - low) / span * (HIGH - _TOP - _BOTTOM)
            title = f"trial {trial}: {view.setting(found[trial])}, {view.figure(valued[trial])}"
            dots.append((places[trial], round(y, 1), title, trial == best))
        panels.append({"name": name, "dots": dots, "ticks": ticks, "values": [view.figure(low), view.figure(high)]})
    box = {"left": _LEFT, "right": WIDE - _RIGHT, "top": _TOP, "bottom": HIGH - _BOTTOM, "width": WIDE, "height": HIGH}
    return {"panels": [panel | box for panel in panels], "left_out": len(varying) - len(shown)}


def _across(found: dict[int, Any]) -> tuple[dict[int, float], list[tuple[float, str, str]]]:
    """Return each trial's x, and what is written below the axis: x, its text, how it is anchored."""
    kind, (low, high) = scale(found.values())
    wide = WIDE - _LEFT - _RIGHT
    if kind != "text":
        measure = math.log if kind == "log" else float
        first, last = measure(low), measure(high)
        at = {t: round(_LEFT + (measure(v) - first) / (last - first) * wide, 1) for t, v in found.items()}
        ends: list[tuple[float, str, str]] = [
            (_LEFT, view.setting(low), "start"),
            (WIDE - _RIGHT, view.setting(high), "end"),
        ]
        return at, [*ends, (_LEFT + wide / 2, "(log)", "middle")] if kind == "log" else ends
    order = sorted(set(found.values()))
    middle = {text: round(_LEFT + (i + 0.5) * wide / len(order), 1) for i, text in enumerate(order)}
    told = order if len(order) <= _CATEGORIES else []  # the dots' titles and the table tell the others
    letters = max(3, int(wide / len(order) / _LETTER))
    ticks: list[tuple[float, str, str]] = [
        (middle[v], v if len(v) <= letters else v[: letters - 1] + "…", "middle") for v in told
    ]
    return {t: middle[v] for t, v in found.items()}, ticks or [(_LEFT + wide / 2, f"{len(order)} values", "middle")]
