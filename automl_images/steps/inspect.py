"""inspect: what a source of annotations holds, and what is wrong with it."""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.annotations import formats, read_records, sets
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import check_name, explained
from automl_images.annotations.labels import KINDS, Label, Mask, kind_of
from automl_images.annotations.overview import Overview
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.errors import DiskFullError, StoreError, UserError, nearest
from automl_images.reports.data import PICTURES, DataSet, write_page
from automl_images.steps.convert import convert, digests
from automl_images.tasks import get_task

_PEEKED = 50  # records that tell which task a source is for


class SeveralTasksError(UserError):
    """A source's annotations fit several tasks, whose names are ``tasks``."""

    def __init__(self, source: str, tasks: list[str]):
        super().__init__(f"{source}: its annotations fit {', '.join(tasks)}; name one with --task")
        self.tasks = tasks


def inspect_source(
    source: str,
    task: str | None = None,
    *,
    format: str = "auto",
    images: str | None = None,
    html: str | None = None,
    keep: str | Path | None = None,
) -> tuple[dict[str, Any], list[DataSet]]:
    """Read a source, check every record and its image, and return what it holds; flawed records are left out.

    Args:
        source, format, images: as for :func:`automl_images.annotations.formats.read`.
        task: the task's name; None: the one that the source alone fits.
        html: the page to write, to any fsspec URL; None: none.
        keep: the folder to write each set's records (JSONL) to, under its name; None: they are not kept.

    Returns:
        ``source``, ``task`` and ``sets``, plain values for JSON: by the set's name (``data`` where the source is one
        set) its ``source``, ``format``, ``findings`` and the figures of
        :meth:`automl_images.annotations.overview.Overview.figures`; and the sets to be shown.

    Raises:
        UserError: the source cannot be read, a set has no image that can be used, or the source fits several tasks.
    """
    check_name(source, "the source")
    with explained(source):
        if not storage.exists(source):
            raise UserError(f"{storage.redact(source)}: no such file or folder")
        opened = Source(source, images)
    task = get_task(task, built=False).name if task else guessed_task(opened, format)
    label = get_task(task, built=False).label
    parts = sets.sets_of(opened, kind_of(label)) or {"data": sets.Part(source)}
    described: dict[str, dict[str, str]] = {}
    records: dict[str, str] = {}
    summaries: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="automl-images-") as folder:
        for name, part in parts.items():
            own = opened.at(part.source, part.images or images)
            found = formats.detect(own, kind_of(label)).name if format == "auto" else format
            described[name] = {"source": own.shown, "format": found}
            records[name] = str(Path(keep or folder, f"{name}.jsonl"))
            options: dict[str, Any] = {"format": found, "on_error": "skip"}
            if name not in ("data", "training"):
                options["classes"] = list(summaries["training"]["classes"])
                options["trained"] = digests(records["training"])
            try:
                summaries[name] = convert(own, records[name], task, **options)
            except UserError as error:
                raise UserError(f"{name}: {error}" if len(parts) > 1 else str(error)) from None
        shown = data_sets(records, summaries, label)
    if html:
        about = {"source" if len(parts) == 1 else name: row["source"] for name, row in described.items()}
        format = ", ".join(dict.fromkeys(row["format"] for row in described.values()))
        title = f"Data: {opened.shown.rstrip('/').rpartition('/')[2]}"
        write_page(html, title, task, shown, {**about, "format": format})
    by_set = {part.name: {**described[part.name], **part.figures, "findings": part.findings} for part in shown}
    return {"source": opened.shown, "task": task, "sets": by_set}, shown


def data_sets(records: Mapping[str, str], summaries: Mapping[str, Mapping[str, Any]], label: str) -> list[DataSet]:
    """Return what is shown of records that ``convert`` wrote, and of what it found, set by set, training first.

    Args:
        records: the files of records (JSONL), by the set's name.
        summaries: what :func:`automl_images.steps.convert.convert` returned for each.
        label: the task's kind of label.
    """
    shown = []
    for name, summary in summaries.items():
        overview = Overview(read_records(records[name], label))
        examples = overview.examples(PICTURES // len(summaries))
        shown.append(DataSet(name, overview.figures(), summary["findings"], examples))
    return shown


def write_data_report(
    path_html: str, title: str, task: str, records: Mapping[str, str], summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the page of an experiment's sets: ``records`` and ``summaries`` of ``convert_data``, by the set's name."""
    shown = data_sets(records, summaries, get_task(task, built=False).label)
    write_page(path_html, title, get_task(task, built=False).name, shown, {"sets": ", ".join(summaries)})


def guessed_task(source: Source, format: str = "auto") -> str:
    """Return the name of the one task whose records a source can give.

    Where its format may hold several kinds of label, its first records tell.

    Raises:
        UserError: it fits no task, or several; the line names them.
    """
    fitting, said, places = {}, "", {}
    for kind in KINDS.values():
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what is said of a task that is not taken
                part = sets.sets_of(source, kind).get("training")
                places[kind] = source.at(part.source, part.images or source.images) if part else source
                found = formats.detect(places[kind], kind) if format == "auto" else formats.FORMATS.get(format)
        except (StoreError, DiskFullError):
            raise
        except UserError as error:
            said = str(error) if "set format" in str(error) else said
            continue
        if found and kind in found.kinds:
            fitting[kind] = found
    if any(not found.last for found in fitting.values()):  # then folders only sort the images
        fitting = {kind: found for kind, found in fitting.items() if not found.last}
    passed = {name for found in fitting.values() for name in found.before}
    fitting = {kind: found for kind, found in fitting.items() if found.name not in passed}
    if len(fitting) > 1 or said:
        peeked = {kind: _peek(places[kind], kind, found) for kind, found in fitting.items()}
        least = min((count for count, _ in peeked.values() if count is not None), default=None)
        if least is None and said:  # in no format that it alone is in does it say anything
            raise UserError(said)
        faults = {fault for _, fault in peeked.values()}
        if least is None and len(faults) == 1 and any(faults):
            raise UserError(faults.pop())  # whatever the task
        fitting = {kind: found for kind, found in fitting.items() if peeked[kind][0] == least}
    tasks = [kind.task() for kind in fitting]
    if len(tasks) == 1:
        return tasks[0]
    if tasks:
        raise SeveralTasksError(source.shown, tasks)
    if format != "auto" and format not in formats.FORMATS:
        raise UserError(f"format: '{format}' is unknown; {nearest(format, formats.NAMES)}")
    raise UserError(said or f"{source.shown}: is or holds no annotations in a known format; name one with --format")


def _peek(source: Source, kind: type[Label], format: Format) -> tuple[int | None, str]:
    """Return how many of a source's first records cannot be read as a kind, and why the first cannot.

    None in place of the number: none of them says anything as that kind.
    """
    broken: list[UserError] = []
    records: list[Record] = []
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            records += itertools.islice(format.read(source, kind, broken.append), _PEEKED)
        except (StoreError, DiskFullError):
            raise
        except UserError as error:
            broken.append(error)
    says = any(record.label.names() or isinstance(record.label, Mask) for record in records)
    return len(broken) if says else None, str(broken[0]) if broken else ""
