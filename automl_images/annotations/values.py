"""Numbers and flags as annotation files write them: numbers as text, sizes with ``px``, truth in many spellings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from automl_images.errors import UserError

Broken = Callable[[UserError], None]


def refuse(error: UserError) -> None:
    """Raise the error: what a reader does with a record it cannot read, unless told otherwise."""
    raise error


def number(value: Any, what: str) -> float:
    """Return a finite number, given as a number or as text.

    Raises:
        UserError: it is neither, or it is infinite or not a number; the line says ``what``.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError):
        said = "is missing" if value is None else f"is {str(value)[:40]!r}, which is not a number"
        raise UserError(f"{what} {said}") from None
    if not math.isfinite(found):
        raise UserError(f"{what} is {found}, which is not a finite number")
    return found


def pixels(value: Any, what: str) -> int | None:
    """Return a size in pixels from ``400``, ``"400"`` or ``"400px"``; None for nothing, an empty text or 0.

    Raises:
        UserError: it is not a whole number of pixels, or below 0.
    """
    text = value.strip().lower().removesuffix("px").strip() if isinstance(value, str) else value
    if text is None or text == "":
        return None
    found = number(text, what)
    if found < 0 or found != int(found):
        raise UserError(f"{what} is {value!r}, which is not a whole number of pixels")
    return int(found) or None


def flag(value: Any, what: str) -> bool:
    """Return the truth of ``true``, ``1``, ``"1"``, ``"True"``, ``"yes"`` and their opposites; nothing is false.

    Raises:
        UserError: it is none of these.
    """
    text = str(value if value is not None else "").strip().lower()
    if text in ("1", "1.0", "true", "yes"):
        return True
    if text in ("", "0", "0.0", "false", "no", "none", "null"):
        return False
    raise UserError(f"{what} is {str(value)[:40]!r}; write 0 or 1")
