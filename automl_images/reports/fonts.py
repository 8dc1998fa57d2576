"""Fonts for class names of any script: Pillow's own, then DejaVu's, which is here, then Noto's, if installed."""

from __future__ import annotations

import itertools
import unicodedata
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

from automl_images.errors import say

Run = tuple[str, ImageFont.FreeTypeFont]
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/Library/Fonts")
_HERE = Path(__file__).parent / "typefaces" / "DejaVuSans.ttf"
_NAMES = ("NotoSansCJK-Regular.*", "NotoSans*-Regular.*", "NotoEmoji*-Regular.*")
_OWN = ""  # Pillow's font
_TRIED = 24  # the size at which a font is asked for a character
_said: set[str] = set()


def runs(text: str, size: int) -> list[Run]:
    """Return a text, whole or in pieces, with the first font of that size (pixels) that has all its characters.

    What no font has is drawn as Pillow's font draws it, a box; it is said once on standard error.
    """
    needed = {c for c in text if unicodedata.category(c)[0] not in "ZMC"}
    if all(_has(_OWN, c) for c in needed):
        return [(text, _font(_OWN, size))]
    for path in _installed():
        if all(_has(path, c) for c in needed):
            return [(text, _font(path, size))]
    paths = [_path(character) for character in text]
    lacking = sorted({c for c, path in zip(text, paths, strict=True) if path is None} - _said)
    if lacking:
        _said.update(lacking)
        shown = " ".join(f"{c} (U+{ord(c):04X})" for c in lacking)
        say(f"note: no font here draws {shown}: boxes stand for it on drawn images; install Noto's fonts")
    known: list[str] = []
    for found in paths:  # blanks and marks go with what is before them
        before = known[-1] if known else _OWN
        known.append(before if found == "*" else found or _OWN)
    grouped = itertools.groupby(zip(text, known, strict=True), key=lambda pair: pair[1])
    return [("".join(c for c, _ in pairs), _font(path, size)) for path, pairs in grouped]


@cache
def _path(character: str) -> str | None:
    """Return the first font that has a character; ``*``: any will do; None: there is none."""
    if unicodedata.category(character)[0] in "ZMC":
        return "*"
    return next((path for path in (_OWN, *_installed()) if _has(path, character)), None)


@cache
def _installed() -> tuple[str, ...]:
    roots = [Path(folder).expanduser() for folder in _FOLDERS]
    found = (sorted(root.rglob(name)) for name in _NAMES for root in roots if root.is_dir())
    return tuple(dict.fromkeys(str(file) for files in ([_HERE], *found) for file in files))


@cache
def _has(path: str, character: str) -> bool:
    try:
        font = _font(path, _TRIED)
        absent, drawn = (font.getmask(c) for c in ("\uffff", character))
    except OSError:  # a font of bitmaps has other sizes
        return False
    return (drawn.size, bytes(drawn)) != (absent.size, bytes(absent))


@lru_cache(64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    if path:
        return ImageFont.truetype(path, size)
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return own
