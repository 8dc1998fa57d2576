"""The annotation files of a source: found by their suffix, opened as text, read record by record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO

from automl_images import storage
from automl_images.annotations.records import Record
from automl_images.annotations.values import Broken
from automl_images.errors import UserError

_HEAD = 64 * 1024


def files(source: str, suffixes: tuple[str, ...], listed: list[str] | None = None) -> list[str]:
    """Return the files with one of ``suffixes``, in any case: ``source`` itself, or those below it at any depth.

    Args:
        source: a file or folder.
        suffixes: in lower case, with their dots.
        listed: what :func:`storage.files_below` says of a folder, if it was asked already.
    """
    if listed is None:
        if not storage.is_dir(source):
            return [source] if source.lower().endswith(suffixes) else []
        listed = storage.files_below(source)
    return [storage.join(source, file) for file in listed if file.lower().endswith(suffixes)]


def first_line(file: str) -> str:
    """Return the first line that is not empty, cut at 64 KiB; nothing if there is none, or no such file."""
    fs, path = storage.filesystem(file)
    try:
        head = fs.cat_file(path, start=0, end=_HEAD).decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return ""
    return next((line for line in head.splitlines() if line.strip()), "")


def the_only(found: list[str], source: str, what: str) -> str:
    """Return the one file found.

    Raises:
        UserError: none or several were found; the line names them.
    """
    if len(found) == 1:
        return found[0]
    where = storage.redact(source)
    if not found:
        raise UserError(f"{where}: holds no {what}" if storage.exists(source) else f"{where}: no such file or folder")
    names = ", ".join(storage.redact(f).rsplit("/", 1)[-1] if i else storage.redact(f) for i, f in enumerate(found[:4]))
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    raise UserError(f"{where}: holds {len(found)} files that may be the {what}: {names}{more}; name one of them")


@contextlib.contextmanager
def opened(file: str) -> Iterator[TextIO]:
    """Open a text file, UTF-8, whose lines keep their ends.

    Raises:
        UserError: there is no such file, or, when what is no UTF-8 is read, it says so.
    """
    said = storage.redact(file)
    try:
        with storage.open_text(file) as lines:
            yield lines
    except FileNotFoundError:
        raise UserError(f"{said}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{said}: is not UTF-8 text: {error}") from None


def lines_of(file: str) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not empty, without its end.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(file) as lines:
        for count, line in enumerate(lines, 1):
            if line and not line.isspace():
                yield count, line.rstrip("\r\n")


def parsed(file: str, parse: Callable[[str, int, str], Record], broken: Broken) -> Iterator[Record]:
    """Yield what ``parse`` makes of each line that is not empty.

    Args:
        file: the text file.
        parse: takes a line, its number and its place (``file, line 7``), and raises UserError where it cannot be read.
        broken: is called with each such error, after the place.

    Raises:
        UserError: as :func:`opened`, or by ``broken``.
    """
    for count, line in lines_of(file):
        where = f"{storage.redact(file)}, line {count}"
        try:
            record = parse(line, count, where)
        except UserError as error:
            broken(UserError(f"{where}: {error}"))
            continue
        yield record
