"""One rule for what is a number, for settings, search spaces and budgets alike."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any) -> float:
    """Return a number, or a text that spells one (``"0.01"``, ``"1e-3"``, which YAML reads as text), as a float.

    Raises:
        ValueError: it is a bool, nan, infinite, or anything else.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is not a number")
    return found
