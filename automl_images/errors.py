"""What people are told: errors that they can mend, and lines of progress."""

from __future__ import annotations

import contextlib
import difflib
import errno
import sys
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Something the caller can mend: one line that says what, where and how.

    Every entry point prints its text without a traceback and exits with code 2.
    """


class StepFailed(Exception):
    """A step failed by a fault of ours; the text has the last lines of its log. Exit code 1."""


class DiskFullError(UserError):
    """A write found no space left: the machine's lack, so that what it ended may resume."""


def say(line: str) -> None:
    """Print one line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"did you mean 'adam', 'adamw'?"``, or the known names if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + ", ".join(f"'{n}'" for n in near) + "?"
    return "known: " + ", ".join(names)


@contextlib.contextmanager
def explain_full_disk() -> Iterator[None]:
    """Turn the error of a full disk into one line.

    Raises:
        DiskFullError: a write found no space left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise DiskFullError(
            f"{where}no space left on the disk; free some, or name another with storage or TMPDIR, and start again"
        ) from None
