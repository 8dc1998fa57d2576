"""export: checked records to any format that is written."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from automl_images import storage, store
from automl_images.annotations import formats, read_records
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import check_name, folder_of
from automl_images.annotations.labels import Box, Boxes, Classes, Label, OneClass, Polygons, kind_of
from automl_images.annotations.record_file import is_same
from automl_images.annotations.records import Record
from automl_images.annotations.shapes import box_of
from automl_images.errors import UserError, nearest
from automl_images.tasks import get_task

IMAGES = ("link", "copy", "none")
_AT_ONCE, _THREADS = 256, 16
_NAME = re.compile(r"[^\w.+-]")


def export_records(
    records: str, out: str, format: str, *, task: str | None = None, images: str | None = None
) -> dict[str, Any]:
    """Write records in another format; ``out`` is written whole or not at all.

    A format without the records' kind of label takes the nearest that it has: polygons become their boxes, one class an
    image a list of it; that is counted in what is lost.

    Args:
        records: a file of records (JSONL), as ``convert`` and ``split`` write it.
        out: the file to write, or the folder, which is empty or not there; local or any fsspec URL.
        format: the format's name, of those that are written.
        task: the task's name; None: the one whose labels the records have.
        images: of a format that makes a folder: ``link`` puts links to the images into it (local ones alone; hard ones,
            or between two file systems symbolic ones), ``copy`` copies; ``none`` leaves them where they are. None:
            ``link`` where ``out`` is local, else ``none``.

    Returns:
        ``format``, ``out``, ``images`` (how many), ``kind`` of the labels as written, and ``lost``: what the records
        have and the format cannot hold, and how often.

    Raises:
        UserError: there is no such format, it is not written, cannot hold such labels or such images, ``out`` is there,
            or the records are not as ``convert`` writes them.
    """
    for path, what in ((records, "the records"), (out, "what to write")):
        check_name(path, what)
    written = writer(format)
    label = get_task(task, built=False).label if task else kind_in(records)
    kind, changed = taken(written, kind_of(label))
    how = _images(written, images, out)
    if is_same(records, out):
        raise UserError(f"{storage.redact(out)}: is the file of records itself; name another")
    lost: Counter[str] = Counter()
    with replacing(out, written.folder, written.beside) as fresh:
        rows: Generator[Record, None, None] = (
            changed(record, lost) for record in _held(read_records(records, label), written, lost)
        )
        if how != "none":
            rows = placed(rows, Path(fresh, "images"), how)
        assert written.write is not None
        with contextlib.closing(rows):  # so that nothing is placed any more when the folder goes
            done = written.write(rows, fresh, kind)
        if not done.images:
            raise UserError(f"{storage.redact(records)}: has no image to export")
    found = {name: count for name, count in (lost + Counter(done.lost)).items() if count}
    return {"format": format, "out": storage.redact(out), "images": done.images, "kind": kind.kind, "lost": found}


def writer(format: str) -> Format:
    """Return the format of a name that is written.

    Raises:
        UserError: there is none, or it is only read.
    """
    writers = [name for name, one in formats.FORMATS.items() if one.write]
    if format not in formats.FORMATS:
        raise UserError(f"format: '{format}' is unknown; {nearest(format, writers)}")
    if format not in writers:
        raise UserError(f"format: {format} is read and not written; use {' or '.join(writers)}")
    return formats.FORMATS[format]


def kind_in(records: str) -> str:
    """Return the kind of label that records have, by the first that says something.

    Raises:
        UserError: none does, or there are none.
    """
    for record in read_records(records):
        if record.label.to_json():
            return record.label.kind
    raise UserError(f"{storage.redact(records)}: no image has a label that tells the task; name it with --task")


def taken(format: Format, kind: type[Label]) -> tuple[type[Label], Callable[[Record, Counter[str]], Record]]:
    """Return the kind of label in which a format takes records of a kind, and what makes a record one of that kind.

    Raises:
        UserError: it takes none that they can be made.
    """
    if kind in format.kinds:
        return kind, lambda record, lost: record
    for other, change in _CHANGES.get(kind, ()):
        if other in format.kinds:
            return other, change
    fitting = [name for name, one in formats.FORMATS.items() if one.write and _holds(one, kind)]
    raise UserError(
        f"format: {format.name} holds {' or '.join(one.title for one in format.kinds)}, and the records have "
        f"{kind.title}; use {' or '.join(fitting)}"
    )


def _holds(format: Format, kind: type[Label]) -> bool:
    return kind in format.kinds or any(other in format.kinds for other, _ in _CHANGES.get(kind, ()))


def _held(records: Iterable[Record], format: Format, lost: Counter[str]) -> Iterator[Record]:
    """Yield the records; count whose metadata a format cannot hold."""
    for record in records:
        lost["metadata"] += bool(record.metadata) and format.name != "jsonl"
        yield record


def _boxed(record: Record, lost: Counter[str]) -> Record:
    """Return a record of polygons as one of boxes."""
    boxes = []
    for item in record.label.instances:
        left, top, right, bottom = map(float, box_of(item))
        if left == right or top == bottom:
            lost["objects without area"] += 1
            continue
        boxes.append(Box(item.label, left, top, right, bottom, item.isCrowd, item.area))
        lost["outlines (boxes are kept)"] += 1
    return dataclasses.replace(record, label=Boxes(tuple(boxes)))


def _listed(record: Record, lost: Counter[str]) -> Record:
    """Return a record of one class as one of several."""
    return dataclasses.replace(record, label=Classes((record.label.name,)))


# by kind: what its labels can be made, the nearest first
_CHANGES: dict[type[Label], tuple[tuple[type[Label], Callable[[Record, Counter[str]], Record]], ...]] = {
    Polygons: ((Boxes, _boxed),),
    OneClass: ((Classes, _listed),),
}


def placed(records: Iterable[Record], folder: Path, how: str) -> Generator[Record, None, None]:
    """Yield records whose images are linked or copied into a folder, and named there; no two have one name.

    Raises:
        UserError: an image to link lies on a store, or one to copy is not there.
    """
    folder.mkdir(parents=True)
    names: set[str] = set()

    def place(record: Record, target: Path) -> Record:
        url = storage.redact(record.image_url)
        if how == "copy":
            try:
                target.write_bytes(storage.read_bytes(record.image_url))
            except FileNotFoundError:
                raise UserError(f"{record.where}: the image {url} is not there") from None
        elif storage.is_local(record.image_url):
            _link(storage.local_path(record.image_url), target, record)
        else:
            raise UserError(
                f"{record.where}: the image {url} lies on a store, where no link leads; use --images copy or none"
            )
        return dataclasses.replace(record, image_url=str(target))

    rest = iter(records)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(itertools.islice(rest, _AT_ONCE)):
            targets = [folder / _free(record.image_url, names) for record in batch]
            yield from pool.map(place, batch, targets)


def _link(image: Path, target: Path, record: Record) -> None:
    """Link a file: hard, so that the folder has all that it names, or where that cannot be, by its path."""
    source = image.resolve()
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise UserError(f"{record.where}: the image {image} is not there") from None
    except OSError:  # another file system, or not ours to link
        target.symlink_to(source)


def _free(url: str, taken: set[str]) -> str:
    """Return a file name like that of an address, that no other has whatever its case or suffix, and take it."""
    name = _NAME.sub("_", url.rstrip("/").rpartition("/")[2])
    stem, dot, suffix = name.rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (name, "")
    count, free = 1, stem
    while free.casefold() in taken:
        count += 1
        free = f"{stem}-{count}"
    taken.add(free.casefold())
    return free + suffix


def _images(format: Format, images: str | None, out: str) -> str:
    """Return what becomes of the images."""
    if images is not None and images not in IMAGES:
        raise UserError(f"images: '{images}' is no choice; {nearest(images, IMAGES)}")
    if images in ("link", "copy") and not format.folder:
        raise UserError(
            f"images: {format.name} writes one file, in which images are named where they are; use --images none"
        )
    if images == "link" and not storage.is_local(out):
        raise UserError(f"images: there are no links on a store, as {storage.redact(out)} is; use --images copy")
    return images or ("link" if format.folder and storage.is_local(out) else "none")


@contextlib.contextmanager
def replacing(out: str, folder: bool, beside: Sequence[str] = ()) -> Iterator[str]:
    """Yield where to write what takes the place of ``out`` when the block ends well, and only then.

    It is beside ``out`` where that is local, so that what lies below it can be named relatively. What is ``beside`` the
    file on a store is there too, and goes back with it.

    Raises:
        UserError: ``out`` is a folder that is not empty, a file where a folder is to be, or the other way round.
    """
    if storage.is_dir(out) if not folder else storage.exists(out) and not storage.is_dir(out):
        raise UserError(f"{storage.redact(out)}: is a {'file' if folder else 'folder'}; name another to write")
    if folder and storage.is_dir(out) and store.filesystem(out)[0].ls(store.filesystem(out)[1], detail=False):
        raise UserError(f"{storage.redact(out)}: is not empty; name a folder that is not there yet")
    target = storage.local_path(out) if storage.is_local(out) else None
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    name = storage.absolute(out).rpartition("/")[2]
    if target is None or folder:
        with tempfile.TemporaryDirectory(prefix=".", dir=target and target.parent) as above:
            fresh = Path(above, name)
            others = {} if target else {file: storage.join(folder_of(out), file) for file in beside}
            for file, url in others.items():
                with contextlib.suppress(FileNotFoundError):
                    Path(above, file).write_bytes(storage.read_bytes(url))
            yield str(fresh)
            for file, url in others.items():
                if Path(above, file).exists():
                    storage.write(url, Path(above, file).read_bytes())
            if target is None and folder:
                storage.put_folder(fresh, out)
            elif target is None:
                files, path = store.filesystem(out)
                files.put_file(str(fresh), path)
            else:
                if target.is_dir():
                    target.rmdir()
                fresh.rename(target)
        return
    fresh = target.with_name(f".{os.getpid()}-{name}")
    try:
        yield str(fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def summary_lines(result: dict[str, Any]) -> list[str]:
    """Return what :func:`export_records` returned as lines for people."""
    lines = [f"{result['images']} images written to {result['out']} ({result['format']})"]
    if result["lost"]:
        lost = ", ".join(f"{count} {name}" for name, count in result["lost"].items())
        lines.append(f"what {result['format']} cannot hold: {lost}")
    return lines
