"""The one error that is meant for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the caller can mend: one line that says what, where and how.

    Every entry point prints its text without a traceback and exits with code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"did you mean 'adam', 'adamw'?"``, or the known names if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + ", ".join(f"'{n}'" for n in near) + "?"
    return "known: " + ", ".join(names)
