"""The size and orientation of local image files by their headers alone.

Of a local JPEG, PNG, GIF or BMP a few hundred bytes are read and no pixel is decoded; what these bytes do not tell, and
any other format, Pillow is asked. A header says nothing of a file that is cut off further on, nor of equal bytes.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

_HEAD, _MOST = 1024, 1 << 26  # bytes that are read first; pixels a side may have, beyond which Pillow is asked
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))


Read = Callable[[int, int], bytes]  # of so many bytes from a place in the file


class Header(NamedTuple):
    """The size in pixels as stored, the EXIF orientation (1 to 8) and the format as Azure names it."""

    width: int
    height: int
    orientation: int
    format: str


def header_of(path: str) -> Header | None:
    """Return the header of a local file; None: it takes Pillow to tell, or the file cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        return _header(os.read(file, _HEAD), functools.partial(os.pread, file))
    except OSError:
        return None
    finally:
        os.close(file)


def header_in(data: bytes) -> Header | None:
    """Return the header that a file's first bytes hold; None: it takes more, or Pillow, to tell."""
    return _header(data[:_HEAD], lambda count, at: data[at : at + count])


def _header(head: bytes, read: Read) -> Header | None:
    try:
        if head[:2] == b"\xff\xd8":
            return _jpeg(read, head)
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(read, head)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", head, 6)
            return Header(width, height, 1, "gif") if width and height else None
        if head[:2] == b"BM" and head[14:18] == b"\x28\0\0\0":
            width, height = struct.unpack_from("<ii", head, 18)
            return Header(width, abs(height), 1, "bmp") if width > 0 and height else None
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(read: Read, head: bytes) -> Header | None:
    """Walk the segments up to the frame's, the EXIF's orientation on the way."""
    at, turned, start = 2, 1, 0  # of ``head`` the first byte is the file's byte number ``start``
    while True:
        if at - start + 10 > len(head):
            head, start = read(_HEAD, at), at
        i = at - start
        if head[i] != 0xFF:
            return None
        marker = head[i + 1]
        if marker == 0xFF:  # a byte of filling
            at += 1
            continue
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        length = head[i + 2] << 8 | head[i + 3]
        if marker in _FRAMES:
            height, width = head[i + 5] << 8 | head[i + 6], head[i + 7] << 8 | head[i + 8]
            return Header(width, height, turned, "jpg") if width and height else None
        if length < 2 or marker in (0xD9, 0xDA):
            return None
        if marker == 0xE1:
            body = head[i + 4 : i + 2 + length]
            if len(body) < length - 2:
                body = read(length - 2, at + 4)
            if body[:6] != b"Exif\0\0":  # XMP may say of an orientation too
                if b"tiff:Orientation" in body:
                    return None
            elif (turned := _orientation(body[6:])) == 0:
                return None
        elif marker == 0xE2 and head[i + 4 : i + 8] == b"MPF\0":  # several pictures: Pillow calls it by another name
            return None
        at += 2 + length


def _orientation(tiff: bytes) -> int:
    """Return the orientation of an EXIF block, 1 where it has none; 0: Pillow is asked."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 0
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for i in range(count):
        tag, kind, many, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * i)
        if tag == 0x0112:
            return value if kind == 3 and many == 1 and 1 <= value <= 8 else 0
    return 1


def _png(read: Read, head: bytes) -> Header | None:
    """Read the size, and whether a chunk before the pixels tells of an orientation, which Pillow is asked for."""
    width, height = struct.unpack_from(">II", head, 16)
    if head[12:16] != b"IHDR" or not 0 < width < _MOST or not 0 < height < _MOST:
        return None
    at, start = 33, 0
    while True:
        if at - start + 8 > len(head):
            head, start = read(_HEAD, at), at
        i = at - start
        kind = head[i + 4 : i + 8]
        if kind == b"IDAT":
            return Header(width, height, 1, "png")
        if len(kind) < 4 or kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"IEND"):
            return None
        at += 12 + struct.unpack_from(">I", head, i)[0]
