"""When a new version takes the champion's place: only against a figure of the same test set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

PROMOTE = ("if_better", "always", "never")
_MEASURE = ("digest", "iou_threshold", "metric_type")


def is_better(mine: Mapping[str, Any], champion: Mapping[str, Any] | None, metric: str) -> tuple[bool, str]:
    """Return whether a version becomes champion by its ``metric``, higher is better, and why, in words.

    Figures are compared only where ``lineage["evaluated"]`` of both says that they are of the same test set
    (``digest``), measured alike (``iou_threshold``, ``metric_type``). A tie keeps the champion. The first version with
    a figure is champion.
    """
    own = figure(mine["metrics"].get(metric))
    if own is None:
        return False, f"its {metric or 'primary metric'} is not known"
    if champion is None:
        return True, f"the first with {metric} {own:.4f}"
    who, theirs = f"the champion, version {champion['version']},", figure(champion["metrics"].get(metric))
    if theirs is None:
        return False, f"{who} has no {metric} to compare with"
    sets = [(version.get("lineage") or {}).get("evaluated") or {} for version in (mine, champion)]
    for told, of in zip(sets, ("it", who.rstrip(",")), strict=True):
        if not told.get("digest"):
            return False, f"the test set that {of} was evaluated on is not known; evaluate it and give its metrics.json"
    if any(sets[0].get(key) != sets[1].get(key) for key in _MEASURE):
        names = [_named(told) for told in sets]
        return False, f"{who} was evaluated on another test set or otherwise: {names[1]}, this one: {names[0]}"
    verb = "is better than" if own > theirs else "is no better than"
    return own > theirs, f"{metric} {own:.4f} {verb} {theirs:.4f} of {who.rstrip(',')}"


def _named(told: Mapping[str, Any]) -> str:
    measured = ", ".join(f"{key} {told[key]}" for key in _MEASURE[1:] if told.get(key) is not None)
    return f"{told['digest'][:12]}" + (f" ({measured})" if measured else "")


def figure(value: Any) -> float | None:
    """Return a finite number as such, anything else as None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None
