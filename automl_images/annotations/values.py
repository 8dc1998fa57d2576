"""What annotation files write: class names, numbers as text, sizes with ``px``, truth in many spellings."""

from __future__ import annotations

import functools
import json
import math
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from automl_images.errors import UserError

Broken = Callable[[UserError], None]


UNREADABLE, MISSING = "a record that cannot be read", "an image that is missing"
LIKE, UNUSED = "an image found by a name that is like the one written", "a class that is named and never used"
SAID = (LIKE, UNUSED)  # what a reader says and goes on


class FlawError(UserError):
    """A flaw of the table of flaws; where nothing refuses it, it is only said."""

    def __init__(self, text: str, flaw: str = UNREADABLE):
        super().__init__(text)
        self.flaw = flaw


class LabelError(FlawError):
    """What is said of an image cannot be read: with what else is said of it, it would be half labelled."""

    def __init__(self, text: str, image: str, flaw: str = UNREADABLE):
        super().__init__(text, flaw)
        self.image = image


_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_TRUE = ("1", "1.0", "true", "yes")
_FALSE = ("", "0", "0.0", "false", "no", "none", "null")


def refuse(error: UserError) -> None:
    """Raise the error: what a reader does with a flaw, unless told otherwise. What is only said nobody asks for."""
    if getattr(error, "flaw", None) not in SAID:
        raise error


def placed(error: UserError, where: str) -> UserError:
    """Return the error with its place before it."""
    text = f"{where}: {error}"
    if isinstance(error, LabelError):
        return LabelError(text, error.image, error.flaw)
    return FlawError(text, error.flaw if isinstance(error, FlawError) else UNREADABLE)


def shown(value: Any) -> str:
    """Return a JSON value for an error line, cut to 60 characters."""
    try:
        return json.dumps(value, ensure_ascii=False)[:60]
    except RecursionError:
        return f"a {type(value).__name__} nested too deeply"


def number(value: Any, what: str) -> float:
    """Return a finite number, given as a number or as text.

    Raises:
        UserError: it is neither, or it is infinite or not a number; the line says ``what``.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        given = repr(value[:40]) if isinstance(value, str) else shown(value)
        wrong = "is missing" if value is None else f"is {given}, which is not a number"
        raise UserError(f"{what} {wrong}") from None
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
        raise UserError(f"{what} is {shown(value)}, which is not a whole number of pixels")
    return int(found) or None


def class_name(value: Any, what: str = "label") -> str:
    """Return a class's name: text without the blanks around it, or a number as text (3 and 3.0 are "3").

    Text that looks equal is equal: it comes in Unicode's form NFC, and every kind of blank is a blank.

    Raises:
        UserError: it is neither, or empty, or holds a line end or another character that is not seen; the line says
            ``what``.
    """
    if isinstance(value, str):
        return _plain(value, what)
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = number(value, what)
        return str(int(found)) if isinstance(value, int) or found.is_integer() else str(found)
    wrong = "is missing" if value is None else f"is {shown(value)}, which is no class name"
    raise UserError(f"{what} {wrong}; write it as text")


@functools.lru_cache(4096)
def _plain(value: str, what: str) -> str:
    name = unicodedata.normalize("NFC", value).strip()
    if not name:
        raise UserError(f"{what} is empty; it needs a class name")
    if name.isascii() and name.isprintable():
        return name
    for before, character, after in zip(" " + name, name, name[1:] + " ", strict=False):
        # joiners belong to the spelling of Persian, of Indian scripts and of emoji, and to no Latin word
        joins = character in "\u200c\u200d" and not (before.isascii() or after.isascii())
        if unicodedata.category(character) in _UNSEEN and not joins:
            raise UserError(f"{what} is {ascii(name)[:60]}; a class name is one line of printable text")
    return "".join(" " if unicodedata.category(character) == "Zs" else character for character in name)


def class_list(values: Iterable[Any], what: str = "label") -> tuple[str, ...]:
    """Return class names in their order, without repetitions.

    Raises:
        UserError: as :func:`class_name`; the line counts from 1.
    """
    names: dict[str, None] = {}
    for i, value in enumerate(values, 1):
        try:
            names[class_name(value, "")] = None
        except UserError as error:
            raise UserError(f"{what} {i}{error}") from None
    return tuple(names)


def flag(value: Any, what: str) -> bool:
    """Return the truth of ``true``, ``1``, ``"1"``, ``"True"``, ``"yes"`` and their opposites; nothing is false.

    Raises:
        UserError: it is none of these.
    """
    if value is None or value == 0:  # most are
        return False
    text = str(value).strip().lower() if isinstance(value, str | int | float) else "another kind of value"
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise UserError(f"{what} is {shown(value)}; write 0 or 1")
