"""MXNet's and SageMaker's RecordIO of images (``.rec``), as ``im2rec`` packs them, with or without a list beside it.

A record has a label, or an array of them, and the image's bytes. One label is a class id; an array is multi-hot, or for
detection ``A B ... id left top right bottom ...``: A numbers of a header, then B for each box, whose corners are
fractions. A ``classes.txt`` beside the file names the ids. Later steps read images by their addresses, so the images
are written to the folder that ``images`` names, each under a digest of its content.
"""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from automl_images import storage, store
from automl_images.annotations import record_file
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.formats.lst import NAMES, Labels, columns, numbered, write_names
from automl_images.annotations.imageroot import folder_of
from automl_images.annotations.imaging import digest_of
from automl_images.annotations.labelmaps import names_of
from automl_images.annotations.labels import Box, Boxes, Classes, Label, OneClass
from automl_images.annotations.records import Record, labelling, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, number
from automl_images.errors import UserError

_MAGIC = 0xCED7230A
_HEADER = struct.Struct("<IfQQ")  # how many labels follow (0: none), the label, two ids
_SIGNATURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}
_WRITTEN = (b"\xff\xd8\xff", b"\x89PNG")
_MOST = 1 << 30  # bytes of a record that is in several parts
_CORNERS = ("left", "top", "right", "bottom")
_AT_ONCE, _THREADS = 64, 16


class _Unpacked(NamedTuple):
    """What a record holds: its labels, whether they are an array, and the image's bytes."""

    labels: tuple[float, ...]
    array: bool
    image: bytes


def candidates(source: Source) -> list[str]:
    """Return the ``.rec`` files that a source is or holds, at any depth, and the lists that they were packed by."""
    found = source.files(".rec")
    lists = {f"{file[: -len('.rec')]}.lst" for file in found}
    return [*found, *(file for file in source.files(".lst") if file in lists)]


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a RecordIO file; their images are written to the folder that ``images`` names.

    Raises:
        UserError: no folder is named, or the file is damaged, which no policy mends.
    """
    file = source.only(source.files(".rec"), "RecordIO file (.rec)") if source.is_folder else source.url
    shown = storage.redact(file)
    if not source.root.given or source.root.root == "/":
        raise UserError(
            f"{shown}: holds its images itself, and later steps need them as files; name a folder to write them "
            "to with images: FOLDER"
        )
    labels = Labels(names_of(storage.join(folder_of(file), NAMES)))
    stem = posixpath.splitext(posixpath.basename(file))[0]
    to = source.root.root

    def record(item: tuple[bytes, str | UserError], where: str) -> Record:
        payload, url = item
        if isinstance(url, UserError):
            raise url
        with labelling(url):
            return Record(url, _label(_unpack(payload), kind, labels), where=where)

    def put(numbered: tuple[int, bytes]) -> str | UserError:
        position, payload = numbered
        try:
            image = _unpack(payload).image
        except UserError as error:
            return error
        suffix = next((suffix for start, suffix in _SIGNATURES.items() if image.startswith(start)), None)
        if suffix is None:
            return UserError("has no image after its labels, or one that is neither JPEG nor PNG")
        url = storage.join(to, f"{stem}-{position:08d}-{digest_of(image)[:16]}{suffix}")
        if _size(url) != len(image):
            storage.write(url, image)
        return url

    def items(pool: ThreadPoolExecutor) -> Iterator[tuple[str, tuple[bytes, str | UserError]]]:
        numbered = enumerate(_payloads(file, shown), 1)
        while batch := list(itertools.islice(numbered, _AT_ONCE)):
            for (position, payload), url in zip(batch, pool.map(put, batch), strict=True):
                yield f"{shown}, record {position}", (payload, url)

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from records_of(items(pool), record, broken)


def _size(url: str) -> int | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return store.ask(url, lambda fs, path: fs.size(path))
    return None


def _payloads(file: str, shown: str) -> Iterator[bytes]:
    """Yield what each record holds.

    Raises:
        UserError: there is no such file, or it is not RecordIO to its end.
    """
    storage.check_regular(file)
    fs, path = store.filesystem(file)
    try:
        opened: Any = fs.open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{shown}: no such file") from None
    with opened as stream:
        parts: list[bytes] = []
        for position in itertools.count(1):
            head = stream.read(8)
            if not head and not parts:
                return
            where = f"{shown}, part {position} from byte {stream.tell() - len(head)}"
            magic, length = struct.unpack("<II", head) if len(head) == 8 else (None, 0)
            if magic is None:
                raise UserError(f"{where}: the file ends within a record")
            if magic != _MAGIC:
                raise UserError(f"{where}: is not RecordIO: a record begins with {_MAGIC:#x}, this with {magic:#x}")
            state, length = length >> 29, length & ((1 << 29) - 1)
            content = stream.read(length)
            padding = stream.read(-length % 4)
            if len(content) < length or len(padding) < -length % 4:
                raise UserError(f"{where}: the file ends within a record")
            # a record that has the magic number in it is cut there: 1 begins it, 2 goes on, 3 ends it
            if state > 3 or (state in (0, 1)) is bool(parts):
                raise UserError(f"{where}: is out of order: the parts of a record do not follow one another")
            parts.append(content)
            if sum(map(len, parts)) > _MOST:
                raise UserError(f"{where}: the record has more than {_MOST:,} bytes")
            if state in (0, 3):
                yield struct.pack("<I", _MAGIC).join(parts)
                parts = []


def _unpack(payload: bytes) -> _Unpacked:
    if len(payload) < _HEADER.size:
        raise UserError(f"has {len(payload)} bytes, fewer than its header")
    count, label, _, _ = _HEADER.unpack_from(payload)
    rest = payload[_HEADER.size :]
    if not count:
        return _Unpacked((label,), False, rest)
    if len(rest) < 4 * count:
        raise UserError(f"has {len(rest)} bytes after its header, fewer than its {count} labels take")
    return _Unpacked(struct.unpack_from(f"<{count}f", rest), True, rest[4 * count :])


def _label(packed: _Unpacked, kind: type[Label], labels: Labels) -> Label:
    values = [f"{value:g}" for value in packed.labels]
    if kind is Boxes:
        return _boxes(packed, labels)
    return labels.one(values) if kind is OneClass else labels.several(values)


def _boxes(packed: _Unpacked, labels: Labels) -> Boxes:
    values = packed.labels
    start, width = (int(v) if 0 <= v < 1 << 20 and v == int(v) else 0 for v in (*values, 0, 0)[:2])
    if not packed.array or start < 2 or width < 5 or len(values) < start or (len(values) - start) % width:
        found = ", ".join([*(f"{v:g}" for v in values[:6]), *(["..."] if len(values) > 6 else [])])
        raise UserError(
            f"has the labels {found}; detection has the width of its header, that of a box (at least 5), and boxes"
        )
    boxes = []
    for i, at in enumerate(range(start, len(values), width), 1):
        try:
            left, top, right, bottom = map(number, values[at + 1 : at + 5], _CORNERS)
            boxes.append(Box(labels.name(f"{values[at]:g}"), left, top, right, bottom))
        except UserError as error:
            raise UserError(f"box {i}: {error}") from None
    return Boxes(tuple(boxes))


def write(records: Iterable[Record], url: str, kind: type[Label]) -> Written:
    """Write a RecordIO file with the images in it, and ``classes.txt`` beside it; ids as a list's.

    Raises:
        UserError: as :func:`automl_images.annotations.formats.lst.numbered`, or an image is not there, or neither JPEG
            nor PNG.
    """
    held = list(records)
    ids = numbered(url, [(record.label.names(), record.where) for record in held], kind)
    lost: Counter[str] = Counter()
    with record_file.replacing(url) as fresh, fresh.open("xb") as file:
        for start in range(0, len(held), _AT_ONCE):
            some = held[start : start + _AT_ONCE]
            images = storage.read_many([record.image_url for record in some])
            for index, (record, image) in enumerate(zip(some, images, strict=True), start):
                if image is None or not image.startswith(_WRITTEN):
                    what = "is not there" if image is None else "is neither JPEG nor PNG, which RecordIO's readers take"
                    raise UserError(f"{record.where}: the image {storage.redact(record.image_url)} {what}")
                file.write(_parts(_packed(record.label, ids, kind, index, lost) + image))
    write_names(url, ids)
    return Written(len(held), +lost)


def _packed(label: Any, ids: dict[str, int], kind: type[Label], index: int, lost: Counter[str]) -> bytes:
    """Return what stands before an image."""
    if kind is OneClass:
        return _HEADER.pack(0, ids[label.name], index, 0)
    values: list[float] = [2, 5]  # the width of this header, and of a box
    if kind is Classes:
        values = list(map(float, columns(label.classes, ids, kind)))
    else:
        for box in label.boxes:
            corners = (box.topX, box.topY, box.bottomX, box.bottomY)
            kept = struct.unpack("<4f", struct.pack("<4f", *corners))
            rounded = {"digits of corners (32 bits are kept)": kept != corners}
            lost.update(isCrowd=box.isCrowd, area=box.area is not None, **rounded)
            values += [ids[box.label], *corners]
    return _HEADER.pack(len(values), 0, index, 0) + struct.pack(f"<{len(values)}f", *values)


def _parts(content: bytes) -> bytes:
    """Return a record: in several parts where the magic number is in it, at a multiple of 4 bytes."""
    magic = struct.pack("<I", _MAGIC)
    ends, at = [], content.find(magic)
    while at >= 0:
        ends += [at] if at % 4 == 0 else []
        at = content.find(magic, at + 1)
    starts = [0, *(end + 4 for end in ends)]
    made = []
    for i, (start, end) in enumerate(zip(starts, [*ends, len(content)], strict=True)):
        state = 0 if not ends else 1 if i == 0 else 3 if i == len(ends) else 2
        made += [magic, struct.pack("<I", state << 29 | (end - start)), content[start:end], bytes(-(end - start) % 4)]
    return b"".join(made)


FORMAT = Format(
    "recordio", "RecordIO (.rec)", (OneClass, Classes, Boxes), candidates, read, write, beside=(NAMES,), before=("lst",)
)
