"""One rule for what is a number, for settings, search spaces and budgets alike."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any) -> float:
    """Return a number, or a text that spells one, as YAML has ``1e-3``; ValueError: anything else, inf too."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not a number")
    return found
