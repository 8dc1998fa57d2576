"""The formats of annotations, each in a file of its own, and which of them a source is in.

``FORMATS`` has them by name. To add one is a file and its import here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from automl_images import storage
from automl_images.annotations import lookalikes, sets
from automl_images.annotations.formats import (
    coco,
    csv,
    cvat,
    folder,
    jsonl,
    label_studio,
    labelme,
    lst,
    manifest,
    masks,
    recordio,
    via,
    voc,
    yolo,
)
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import explained
from automl_images.annotations.labels import KINDS, Label, Mask, Polygons, kind_of
from automl_images.annotations.labels.mask import Value, value_of
from automl_images.annotations.rasterised import rasterised
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.annotations.values import LIKE, UNUSED, Broken, FlawError, refuse
from automl_images.errors import UserError, nearest

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        folder,
        jsonl,
        coco,
        voc,
        manifest,
        lst,
        recordio,
        csv,
        masks,
        labelme,
        label_studio,
        cvat,
        via,
        yolo,
    )
}
NAMES = tuple(FORMATS)


def of_kind(kind: type[Label]) -> list[Format]:
    """Return the formats that may hold labels of a kind: masks may come of polygons."""
    return [
        format for format in FORMATS.values() if kind in format.kinds or (kind is Mask and Polygons in format.kinds)
    ]


def description() -> str:
    """Return the formats by what they hold, in a line: ``boxes: jsonl, coco or voc; ...``."""
    return "; ".join(f"{kind.title}: {_either([f.name for f in of_kind(kind)])}" for kind in KINDS.values())


def read(
    source: str | Source,
    format: str = "auto",
    images: str | None = None,
    broken: Broken = refuse,
    *,
    label: str,
    ignore: Sequence[int | str] = (),
) -> Iterator[Record]:
    """Yield the records of a source.

    Args:
        source: a file or folder, local or any fsspec URL; or one that is open, with its own ``images``.
        format: one of ``NAMES``, or ``auto``.
        images: the images' root, ``PREFIX=URL``, or None for the source's folder.
        broken: is called with the error of each record that cannot be read; the default raises it.
        label: the task's kind of label, such as ``boxes``.
        ignore: values of masks to pass over, beside those that a label map says: see :meth:`Mask.ignoring`.

    Raises:
        UserError: there is no such kind, the source is missing, in no format or another than is given, or the format
            has labels of another kind, or the folder holds several sets; ``ignore`` is given and the source has no
            masks.
    """
    format_of, opened = open_source(source, format, images, label=label)
    kind = kind_of(label)
    values = [value_of(value) for value in ignore]
    if values and (kind is not Mask or kind not in format_of.kinds):
        held = next(k for k in (kind, Polygons) if k in format_of.kinds).title
        raise UserError(f"ignore: names pixel values of masks of classes; these labels are {held}")
    if kind in format_of.kinds:
        found = format_of.read(opened, kind, broken)
        return _watched(_ignoring(found, values) if values else found, opened, broken)
    return _watched(rasterised(format_of.read(opened, Polygons, broken), opened, broken), opened, broken)


def _ignoring(records: Iterator[Record], values: Sequence[Value]) -> Iterator[Record]:
    for record in records:
        assert isinstance(record.label, Mask)  # the only label of this kind
        yield replace(record, label=record.label.ignoring(values))


def open_source(
    source: str | Source, format: str = "auto", images: str | None = None, *, label: str
) -> tuple[Format, Source]:
    """Return the format of a source, and the source; arguments and errors are those of :func:`read`."""
    kind = kind_of(label)
    names = ["auto", *(one.name for one in of_kind(kind))]
    if format not in (*names, *FORMATS):
        raise UserError(f"format: '{format}' is unknown; {lookalikes.hint(format) or nearest(format, names)}")
    if format not in names:
        holds = " or ".join(other.title for other in FORMATS[format].kinds)
        raise UserError(
            f"format: {format} holds {holds}, and {kind.task()} takes {kind.title}; use {', '.join(names[1:])} or auto"
        )
    if isinstance(source, str):
        with explained(source):
            if not storage.exists(source):
                raise UserError(f"{storage.redact(source)}: no such file or folder")
            source = Source(source, images)
    sets.refuse(source, kind)
    return (detect(source, kind) if format == "auto" else FORMATS[format]), source


def _watched(records: Iterator[Record], source: Source, broken: Broken) -> Iterator[Record]:
    """Yield the records, and then tell ``broken`` what is only said: classes without use, images found by likeness."""
    used: set[str] = set()
    for record in records:
        if source.named:
            used.update(record.label.names())
        yield record
    for name in sorted(source.named - used):
        broken(FlawError(f"{source.shown}: '{name}'", UNUSED))
    for file, written in source.guessed.items():
        broken(FlawError(f"{source.shown}: {written!a} is {file!a}", LIKE))


def detect(source: Source, kind: type[Label]) -> Format:
    """Return the format of a source, among those of a kind of label.

    A file that labels images goes before folders that do: where both are there, the folders only sort the images, and
    that is said on standard error.

    Raises:
        UserError: the source is in none of the formats, or could be in several.
    """
    found = {format.name: format.found(source, kind) for format in of_kind(kind)}
    for name in list(found):
        for other in set(FORMATS[name].before).intersection(found):
            found[other] = [file for file in found[other] if file not in found[name]]
    fitting = [FORMATS[name] for name, candidates in found.items() if candidates]
    fitting = [format for format in fitting if kind in format.kinds] or fitting
    first, last = ([format for format in fitting if format.last is passed] for passed in (False, True))
    if first and last:
        file = storage.redact(found[first[0].name][0])
        other = f"for those of {last[0].title} set format: {last[0].name}"
        print(f"{source.shown}: the labels are those of {file}; {other}", file=sys.stderr)
    fitting = first or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{source.shown}: could be {' or '.join(format.name for format in fitting)}; set format")
    wanted = _either([format.title for format in of_kind(kind)])
    for format in FORMATS.values():
        if (
            kind not in format.kinds
            and format.kinds[0].counted == kind.counted
            and format.found(source, format.kinds[0])
        ):
            raise UserError(
                f"{source.shown}: is {format.title}, which holds {format.kinds[0].title}, and {kind.task()} takes "
                f"{kind.title}; use task {format.kinds[0].task()}, or {wanted}"
            )
    like = lookalikes.looks_like(source)
    raise UserError(f"{source.shown}: is or holds no annotations for {kind.task()}: {like or wanted}")


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
