"""Annotation files of text, read line by line."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TextIO
from xml.etree.ElementTree import Element, ParseError

from automl_images import storage, store
from automl_images.annotations.records import Record, records_of
from automl_images.annotations.values import Broken
from automl_images.errors import UserError

_HEAD = 64 * 1024
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*(?:[}\]]|$))')


def head_of(file: str) -> bytes:
    """Return the first 64 KiB of a file, without a byte order mark; nothing if there is no such file."""
    fs, path = store.filesystem(file)
    try:
        storage.check_regular(file)
        return fs.cat_file(path, start=0, end=_HEAD).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        return b""


def first_line(file: str) -> str:
    """Return the first line that is not empty, cut at 64 KiB; nothing if there is none, or no such file."""
    head = head_of(file).decode("utf-8", errors="replace")
    return next((line for line in head.splitlines() if line.strip()), "")


@contextlib.contextmanager
def opened(file: str) -> Iterator[TextIO]:
    """Open a text file, UTF-8, whose lines keep their ends.

    Raises:
        UserError: there is no such file, or, when what is no UTF-8 is read, it says so.
    """
    try:
        with storage.open_text(file) as lines:
            yield lines
    except FileNotFoundError:
        raise UserError(f"{storage.redact(file)}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{storage.redact(file)}: is not UTF-8 text: {error}") from None


def lines_of(file: str) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not empty, without its end.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(file) as lines:
        for count, line in enumerate(lines, 1):
            if line and not line.isspace():
                yield count, line.rstrip("\r\n")


def parsed(file: str, parse: Callable[[str, str], Record], broken: Broken) -> Iterator[Record]:
    """Yield what ``parse`` makes of each line that is not empty and its place; see :func:`records_of`.

    Raises:
        UserError: as :func:`opened`, or by ``broken``.
    """
    shown = storage.redact(file)
    return records_of(((f"{shown}, line {count}", line) for count, line in lines_of(file)), parse, broken)


def json_value(text: str | bytes) -> Any:
    """Return what JSON text holds.

    Raises:
        UserError: it is not JSON, or an object in it has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise UserError(f"the key {ascii(twice)[:60]} stands twice in one object")
    return found


def json_object(line: str) -> dict[str, Any]:
    """Return the JSON object on a line, in which commas may trail.

    Raises:
        UserError: the line holds none, or as :func:`json_value`.
    """
    try:
        item = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        item = json_value(_TRAILING_COMMA.sub(lambda m: m.group(1) or "", line))
    if not isinstance(item, dict):
        raise UserError("is not a JSON object")
    return item


def xml_element(text: bytes) -> Element:
    """Return the first element of an XML file.

    Raises:
        UserError: it is not XML, or has entities or a DTD.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(text)
    except ParseError as error:
        raise UserError(f"is not XML: {error}") from None
    except (ValueError, LookupError) as error:  # a forbidden entity, or an unknown encoding
        why = "has entities or a DTD, which are refused" if isinstance(error, DefusedXmlException) else str(error)
        raise UserError(f"is not XML that can be read: {why}") from None
