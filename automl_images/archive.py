"""What lies in a ``.zip``, read in place: ``zip://`` before the archive's address, and the path in it after.

An archive is opened once a process, whatever number of threads read it. Its entries are told before any is read: none
leaves it, and together they are no bomb.
"""

from __future__ import annotations

import io
import lzma
import os
import threading
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.zip import ZipFileSystem

from automl_images.errors import UserError, redact

SCHEME = "zip://"
_MOST = 8  # archives that are held open
_PLENTY, _RATIO = 1 << 30, 200  # bytes that any archive may unpack to, and how many times its own size
_BLOCK = 1 << 22  # bytes that are read of one on a store at once
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
Ask = Callable[[str, Callable[[Any, str], Any]], Any]


def split(url: str) -> tuple[str, str]:
    """Return the archive's address and the path in it, of an address in an archive.

    Raises:
        FileNotFoundError: it names no archive.
    """
    plain = url.removeprefix(SCHEME)
    ends = [
        at + 4 for at in range(len(plain)) if plain[at : at + 4].lower() == ".zip" and plain[at + 4 : at + 5] in "/"
    ]
    if not ends:
        raise FileNotFoundError(url)
    # a folder may be called so too
    end = next((end for end in ends if "://" in plain or Path(plain[:end]).is_file()), ends[0])
    return plain[:end], plain[end:].strip("/")


class _Archive(ZipFileSystem):
    """The files in an archive; read alone."""

    def __init__(self, shown: str, file: Any):
        super().__init__(file)
        self.shown = shown

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        """Return a file, read to its end: what an archive's own would raise later is said here."""
        if mode != "rb":
            raise UserError(f"{self.shown}: nothing is written into an archive")
        name = self._strip_protocol(path)
        try:
            return io.BytesIO(self.zip.read(name))
        except KeyError:
            raise FileNotFoundError(path) from None
        except _DAMAGED as error:
            raise UserError(f"{self.shown}: {name} cannot be unpacked: {error}") from None

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        raise UserError(f"{self.shown}: nothing is written into an archive")


class _Kept:
    """The archives that are held open, by address and state of the file, the one used last at the end."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a child process must: the position in an open file is its parent's too."""
        self.lock = threading.Lock()
        self.archives: OrderedDict[tuple[str, Any], _Archive] = OrderedDict()


_kept = _Kept()
os.register_at_fork(after_in_child=_kept.forget)


def filesystem(url: str, ask: Ask) -> tuple[_Archive, str]:
    """Return an archive as a filesystem, and the path in it. ``ask`` asks the store that the archive lies on.

    Raises:
        UserError: it is no archive, or one that is refused.
        FileNotFoundError: there is none.
    """
    file, path = split(url)
    local = "://" not in file
    state = Path(file).stat() if local else None
    key = (file, state and (state.st_mtime_ns, state.st_size, state.st_ino))
    with _kept.lock:
        found = _kept.archives.pop(key, None) or _open(file, ask)
        _kept.archives[key] = found
        while len(_kept.archives) > _MOST:
            _kept.archives.popitem(last=False)
    return found, path


def _open(file: str, ask: Ask) -> _Archive:
    shown = redact(file)

    def open_it(fs: Any, path: str) -> _Archive:
        options = {} if "://" not in file else {"block_size": _BLOCK, "cache_type": "blockcache"}
        stream = fs.open(path, "rb", **options)
        try:
            archive = _Archive(shown, stream)
            _check(archive.zip, stream.seek(0, io.SEEK_END), shown)
            return archive
        except _DAMAGED as error:
            raise UserError(f"{shown}: is no .zip that can be read: {error}") from None

    return ask(file, open_it)


def _check(archive: zipfile.ZipFile, size: int, shown: str) -> None:
    """Refuse an archive whose entries leave it, are there twice or locked, or unpack to too much.

    Raises:
        UserError: it is one.
    """
    entries = archive.infolist()
    for entry in entries:
        name = entry.orig_filename
        if name.startswith("/") or ".." in name.split("/") or "\0" in name or "\\" in name:
            raise UserError(
                f"{shown}: its entry {ascii(name)[:100]} is no path below it; unpack it, and name the folder"
            )
        if entry.flag_bits & 1:
            raise UserError(f"{shown}: its entry {ascii(name)[:100]} is encrypted; unpack it, and name the folder")
    twice = next((name for name, count in Counter(entry.filename for entry in entries).items() if count > 1), None)
    if twice:
        raise UserError(f"{shown}: its entry {ascii(twice)[:100]} is there twice; unpack it, and name the folder")
    total = sum(entry.file_size for entry in entries)
    if total > max(_PLENTY, _RATIO * size):
        raise UserError(
            f"{shown}: unpacks to {total:,} bytes, {total // max(size, 1):,} times its size, and is refused"
        )
