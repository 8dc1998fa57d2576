"""Parallel coordinates of a sweep's settings as numbers for the SVG macro in ``templates/chart.html.j2``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from automl_images.reports import trials as view
from automl_images.reports.chart import round_ticks
from automl_images.sweep.trial import Trial, ranked

WIDTH, HEIGHT = 900, 390
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 62, 66, 18
_AXES, _LINES, _CATEGORIES = 11, 150, 24
_LETTER = 7.2  # the width of a letter in pixels at the size of the labels


def column(trials: Iterable[Trial], name: str) -> dict[int, Any]:
    """Return a sampled setting's value by trial, without the trials that did not sample it.

    Unless all are finite numbers they become text, as booleans and lists do.
    """
    found = {t.index: t.settings[name] for t in trials if name in t.sampled and name in t.settings}
    if all(_number(v) for v in found.values()):
        return found
    return {trial: view.setting(v) for trial, v in found.items()}


def scale(values: Iterable[Any]) -> tuple[str, tuple[float, float]]:
    """Return how values from `column` are laid out, ``text``, ``linear`` or ``log``, and their least and greatest.

    Positive floats that span more than a decade are ``log``.
    """
    listed = list(values)
    if not listed or isinstance(listed[0], str):
        return "text", (0.0, 0.0)
    low, high = min(listed), max(listed)
    decades = any(isinstance(v, float) for v in listed) and low > 0 and high > 10 * low
    return "log" if decades else "linear", (low, high)


def parallel_chart(trials: Sequence[Trial], metric: str, names: Sequence[str], best: int | None) -> dict[str, Any]:
    """Return the places in pixels of one line a trial across one axis a setting, and the metric's axis last.

    A line has a gap where its trial did not sample the setting. At most 150 trials, evenly by rank, and 11 settings
    that vary are placed.

    Trials with a value are placed; ``names`` are the settings, the most interesting first; ``best`` is the number of
    the trial that stands out, None if there is none.

    Returns:
        ``axes``, ``lines``, the size, ``drawn`` and ``valued`` (trials), ``left_out`` (settings that vary). No axes if
        no setting varies.
    """
    valued = [t for t in ranked(trials) if t.value is not None]
    columns = {n: column(valued, n) for n in names}
    varying = [n for n, c in columns.items() if len(set(c.values())) > 1]
    # Settings that few trials have stand at the left, those of one branch side by side, so that lines seldom break; of
    # the others the most interesting stands next to the metric.
    shown = sorted(varying[:_AXES], key=lambda n: (len(columns[n]), sorted(columns[n]), -varying.index(n)))
    chart: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM}
    chart |= {"valued": len(valued), "left_out": len(varying) - len(shown), "axes": [], "lines": [], "drawn": 0}
    if not shown:
        return chart
    values = {t.index: t.value or 0.0 for t in valued}
    step = (WIDTH - _LEFT - _RIGHT) / len(shown)
    axes = [_Axis(n, columns[n], _LEFT + i * step, step) for i, n in enumerate(shown)]
    axes.append(_Axis(metric, values, WIDTH - _RIGHT, min(step, 100), linear=True))
    low, high = min(values.values()), max(values.values())
    kept = evenly(valued, _LINES, best)
    # The better, the later and the higher; the best is drawn last.
    for trial in sorted(kept, key=lambda t: (t.index == best, values[t.index])):
        number = trial.index
        path, dots = _path([(a.x, a.places.get(number)) for a in axes])
        share = 1.0 if high - low < 1e-12 else (values[number] - low) / (high - low)
        chosen = ", ".join(f"{n} {view.setting(columns[n][number])}" for n in shown if number in columns[n])
        title = f"trial {number}: {metric} {view.figure(values[number])}; {chosen}"
        chart["lines"].append(
            {"path": path, "dots": dots, "share": round(100 * share), "title": title, "strong": number == best}
        )
    return chart | {"axes": [a.drawn() for a in axes], "drawn": len(kept)}


class _Axis:
    """One vertical axis: where each trial's value lies, and what is written at it."""

    def __init__(self, name: str, values: dict[int, Any], x: float, room: float, linear: bool = False):
        self.name, self.x, self.room = name, round(x, 1), room
        kind, (low, high) = scale(values.values())
        ticks: list[Any]
        if kind == "text":
            order = sorted(set(values.values()))
            # One category lies in the middle, several are spread from end to end.
            at = {c: 0.5 if len(order) == 1 else i / (len(order) - 1) for i, c in enumerate(order)}.__getitem__
            ticks = order[:: math.ceil(len(order) / _CATEGORIES)]
        elif kind == "log" and not linear:
            ticks = _log_ticks(low, high)
            at = _shares(math.log(low), math.log(high), math.log)
        else:
            ticks = sorted({float(v) for v in values.values()})
            # A few values that stand apart, as a choice has, are the ticks themselves.
            if not 1 < len(ticks) < 7 or min(b - a for a, b in pairwise(ticks)) < 0.06 * (high - low):
                ticks = round_ticks(low, high, whole=all(isinstance(v, int) for v in values.values()))
            at = _shares(ticks[0], ticks[-1], float)
        self.places = {t: _down(at(v)) for t, v in values.items()}
        self.ticks = [(_down(at(v)), str(v) if kind == "text" else f"{v:g}") for v in ticks]

    def drawn(self) -> dict[str, Any]:
        letters = max(6, int(self.room / _LETTER))
        ticks = [(y, _cut(text, letters - 2), text) for y, text in self.ticks]
        return {"x": self.x, "name": self.name, "words": _wrapped(self.name, letters), "ticks": ticks}


def _shares(low: float, high: float, measure: Callable[[Any], float]) -> Callable[[Any], float]:
    return lambda value: (measure(value) - low) / (high - low)


def _down(share: float) -> float:
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _path(points: list[tuple[float, float | None]]) -> tuple[str, list[tuple[float, float]]]:
    """Return an SVG path that stops at gaps, and the points that stand alone between two."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    path = "".join("M" + "L".join(f"{x} {y}" for x, y in run) for run in runs if len(run) > 1)
    return path, [run[0] for run in runs if len(run) == 1]


def evenly(ranked: list[Trial], most: int, best: int | None) -> list[Trial]:
    """Return so many of a list's trials at most, from the first to the last in equal steps, and the best too."""
    if len(ranked) <= most:
        return ranked
    taken = {round(i * (len(ranked) - 1) / (most - 1)) for i in range(most)}
    return [t for i, t in enumerate(ranked) if i in taken or t.index == best]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten in the range, with their multiples by 2 and 5 where powers alone would be few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    plain = [float(f"1e{p}") for p in powers if low <= 10.0**p <= high]
    if len(plain) > 2:
        return plain[:: math.ceil(len(plain) / 8)]
    return [v for p in powers for m in (1, 2, 5) if low <= (v := float(f"{m}e{p}")) <= high]


def _wrapped(name: str, letters: int) -> list[str]:
    """Return a name in at most three lines, broken after underscores."""
    lines = [""]
    for part in name.replace("_", "_\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    if len(lines) > 3:
        lines[2:] = ["".join(lines[2:])]
    return [_cut(line, letters) for line in lines]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
