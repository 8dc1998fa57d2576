"""The formats by kind of label and name, and which of them a source is in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

from automl_images import storage
from automl_images.annotations import coco, csv_table, folder, jsonl, lst, manifest, voc
from automl_images.annotations.labels import task_of
from automl_images.annotations.records import Record
from automl_images.annotations.values import Broken, refuse
from automl_images.errors import UserError, nearest

Reader = Callable[[str, str | None, Broken], Iterator[Record]]


def _classes(label: str) -> dict[str, Reader]:
    modules = {"jsonl": jsonl, "manifest": manifest, "lst": lst, "csv": csv_table}
    return {name: partial(module.read, label=label) for name, module in modules.items()}


READERS: dict[str, dict[str, Reader]] = {
    "boxes": {"jsonl": jsonl.read, "coco": coco.read, "voc": voc.read},
    "class": {"folder": folder.read, **_classes("class")},
    "classes": _classes("classes"),
}
NAMES = tuple(dict.fromkeys(name for readers in READERS.values() for name in readers))
_CANDIDATES = {
    "jsonl": jsonl.candidates,
    "coco": coco.candidates,
    "voc": voc.candidates,
    "folder": folder.candidates,
    "manifest": manifest.candidates,
    "lst": lst.candidates,
    "csv": csv_table.candidates,
}
_CALLED = {
    "jsonl": "JSONL (.jsonl)",
    "coco": "COCO (.json)",
    "voc": "Pascal VOC (.xml)",
    "folder": "a folder per class",
    "manifest": "an augmented manifest (.manifest)",
    "lst": "a list (.lst)",
    "csv": "CSV with the columns image and label (.csv)",
}
_HOLDS = {"coco": "boxes", "voc": "boxes", "folder": "one class an image"}
_TAKES = {"boxes": "boxes", "class": "one class an image", "classes": "a list of classes an image"}


def read(
    source: str, format: str = "auto", images: str | None = None, broken: Broken = refuse, *, label: str = "boxes"
) -> Iterator[Record]:
    """Yield the records of a source.

    Args:
        source: a file or folder, local or any fsspec URL.
        format: one of ``READERS[label]``, or ``auto``.
        images: the images' root, ``PREFIX=URL``, or None for the source's folder.
        broken: is called with the error of each record that cannot be read; the default raises it.
        label: the task's kind of label: ``class``, ``classes`` or ``boxes``.

    Raises:
        UserError: the source is missing, in no format or another than was said, or the format has labels of another
            kind.
    """
    readers = READERS[label]
    if format != "auto" and format not in NAMES:
        raise UserError(f"format: '{format}' is unknown; {nearest(format, [*readers, 'auto'])}")
    if format != "auto" and format not in readers:
        raise UserError(
            f"format: {format} holds {_HOLDS.get(format, 'classes')}, and {task_of(label)} takes {_TAKES[label]}; "
            f"use {', '.join(readers)} or auto"
        )
    if not storage.exists(source):
        raise UserError(f"{storage.redact(source)}: no such file or folder")
    source = storage.absolute(source)
    return readers[detect(source, label) if format == "auto" else format](source, images, broken)


def detect(source: str, label: str = "boxes") -> str:
    """Return the format of a source, among those of a kind of label.

    A file that labels images goes before folders that do: where both are there, the folders only sort the images, and
    that is said on standard error.

    Raises:
        UserError: it is in none of them, or could be in several.
    """
    listed = storage.files_below(source) if storage.is_dir(source) else None
    found = {name: _CANDIDATES[name](source, listed) for name in READERS[label]}
    found["jsonl"] = [file for file in found["jsonl"] if file not in found.get("manifest", ())]
    fitting = [name for name, candidates in found.items() if candidates]
    said = storage.redact(source)
    if "folder" in fitting and len(fitting) > 1:
        fitting.remove("folder")
        first = storage.redact(found[fitting[0]][0])
        print(f"{said}: the labels are those of {first}; for those of the folders set format: folder", file=sys.stderr)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{said}: could be {' or '.join(fitting)}; set format")
    if label == "classes" and folder.candidates(source, listed):
        raise UserError(
            f"{said}: a folder per class gives an image one class, and {task_of(label)} takes {_TAKES[label]}; "
            f"use task {task_of('class')}, or a file of labels"
        )
    wanted = [_CALLED[name] for name in READERS[label]]
    raise UserError(
        f"{said}: is or holds no annotations for {task_of(label)}: {', '.join(wanted[:-1])} or {wanted[-1]}"
    )
