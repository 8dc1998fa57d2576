"""What people are told: errors that they can mend, and lines of progress, both without credentials."""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
import sys
from collections.abc import Iterable, Iterator

# control characters, line ends of Unicode, changes of the writing direction, halves of characters
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = r"(?:sig|signature|token|key|secret|passw(?:or)?d|pwd|credential|authorization)"
_CREDENTIALS = re.compile(
    "|".join(
        (
            r"(?<=://)[^/\s:@]*:(?!\d+[/?#])[^\s@]*(?=@)",  # user:password@, where a password may have slashes
            # a token@; these schemes name a container so
            r"(?<!abfs://)(?<!abfss://)(?<!wasb://)(?<!wasbs://)(?<=://)[^/@\s]+(?=@)",
            rf"(?<=[?&;])[\w.-]*{_NAMED}[\w.-]*=[^&;\s\"']+",
            r"""\b(?:\w*Account|\w*Access|api_?|\w*secret_access_|\w*access_)Key(?:_?id)?(?:=|["']\s*:\s*["'])[^;&\s"']+""",
            r"""\b(?:\w*Access)?(?:Signature|password|passwd|secret|\w*token)(?:=|["']\s*:\s*["'])[^;&\s"']+""",
            r"(?<=\bBearer )[\w.~+/=-]{8,}|(?<=\bBasic )[\w+/=]{8,}",
            r"\bA(?:KIA|SIA)[A-Z0-9]{16}\b|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}",
        )
    ),
    re.I,
)
_INLINE = re.compile(r"(?<=;base64,)[\w+/=]{16,}")


def number(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 trial`` and ``2 trials``."""
    return f"{count} {noun}{'s' * (count != 1)}"


class UserError(Exception):
    """Something the caller can mend: one line that says what, where and how.

    Every entry point prints its text without a traceback and exits with code 2. What would end the line, hide text or
    not be printed, such as a line end in a file's name, is escaped.
    """

    def __init__(self, text: str = ""):
        super().__init__(_UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode(), str(text)))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: the line alone."""
        return [f"error: {self}"]


class StepFailed(Exception):
    """A step failed by a fault of ours; the text has the last lines of its log. Exit code 1."""


class DiskFullError(UserError):
    """A write found no space left: the machine's lack, so that what it ended may resume."""


class CheckpointError(UserError):
    """A checkpoint does not fit what would resume from it: the training can only start over."""


class StoreError(UserError):
    """A store gave no answer for as long as it was asked: what that ended may resume."""


def redact(text: str) -> str:
    """Return ``text`` with the credentials in it replaced by ``***``: in URLs, connection strings, headers, tokens.

    An address that holds a file itself (``data:``) is cut.
    """
    return _CREDENTIALS.sub("***", _INLINE.sub("...", text) if "data:" in text else text)


def say(line: str) -> None:
    """Print one line of progress on standard error, without credentials."""
    print(redact(line), file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def refusal(error: Exception) -> str | None:
    """Return why a store refuses, from its driver's error; None if it may answer when it is asked again."""
    kind, status, line = type(error).__name__, http_status(error), redact(first_line(error))
    if "Credentials" in kind:  # botocore's and google.auth's have no class in common
        return "no credentials for the store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what its driver reads"
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"the store refuses: {line}; check the credentials and what they allow"
    refused = status and 400 <= status < 500 and status not in (408, 409, 425, 429)  # 409: another write is under way
    if refused or isinstance(error, ValueError | TypeError) or "Validation" in kind:
        return f"the store refuses: {line}; check the address"
    return None


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status of the answer that a driver's error was made of, if it was made of one."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for name in ("status", "status_code", "code"):
            if isinstance(status := getattr(each, name, None), int):
                return status
    return None


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
