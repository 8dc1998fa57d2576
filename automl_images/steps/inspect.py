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
from automl_images.annotations import formats, read_records
from automl_images.annotations.formats.base import Format
from automl_images.annotations.imageroot import check_name, explained
from automl_images.annotations.labels import KINDS, Label, Mask, kind_of
from automl_images.annotations.overview import Overview
from automl_images.annotations.source import Source
from automl_images.errors import DiskFullError, StoreError, UserError, nearest
from automl_images.reports.data import PICTURES, DataSet, write_page
from automl_images.steps.convert import convert
from automl_images.tasks import get_task

_PEEKED = 50  # records that tell which task a source is for
_ERRORS = ("skipped_images",)  # counts of flaws for which images were left out
_NOTES = ("repeated_", "clipped_", "fixed_sizes", "unlabelled_")


def inspect_source(
    source: str, task: str | None = None, *, format: str = "auto", images: str | None = None, html: str | None = None
) -> tuple[dict[str, Any], DataSet]:
    """Read a source, check every record and its image, and return what it holds; flawed records are left out.

    Args:
        source, format, images: as for :func:`automl_images.annotations.formats.read`.
        task: the task's name; None: the one that the source alone fits.
        html: the page to write, to any fsspec URL; None: none.

    Returns:
        ``source``, ``task``, ``format``, ``findings`` and the figures of
        :meth:`automl_images.annotations.overview.Overview.figures`, plain values for JSON; and the same to be shown.

    Raises:
        UserError: the source cannot be read, has no image that can be used, or fits several tasks.
    """
    check_name(source, "the source")
    with explained(source):
        if not storage.exists(source):
            raise UserError(f"{storage.redact(source)}: no such file or folder")
        opened = Source(source, images)
    task = get_task(task, built=False).name if task else guessed_task(opened, format)
    label = get_task(task, built=False).label
    format = formats.detect(opened, kind_of(label)).name if format == "auto" else format
    about = {"source": opened.shown, "task": task, "format": format}
    with tempfile.TemporaryDirectory(prefix="automl-images-") as folder:
        records = str(Path(folder, "records.jsonl"))
        summary = convert(source, records, task, format=format, images=images, on_error="skip")
        shown = data_set("data", records, summary, label)
    if html:
        title = f"Data: {about['source'].rstrip('/').rpartition('/')[2]}"
        write_page(html, title, task, [shown], about)
    return {**about, **shown.figures, "findings": shown.findings}, shown


def data_set(name: str, records: str, summary: Mapping[str, Any], label: str, pictures: int = PICTURES) -> DataSet:
    """Return what is shown of records that ``convert`` wrote, and of what it found.

    Args:
        name: the set's.
        records: the file of records (JSONL).
        summary: what :func:`automl_images.steps.convert.convert` returned.
        label: the task's kind of label.
        pictures: how many examples are chosen.
    """
    overview = Overview(read_records(records, label))
    return DataSet(name, overview.figures(), findings_of(summary), overview.examples(pictures))


def write_data_report(
    path_html: str, title: str, task: str, records: Mapping[str, str], summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the page of an experiment's sets: ``records`` and ``summaries`` of ``convert_data``, by the set's name."""
    label = get_task(task, built=False).label
    each = PICTURES // max(1, len(summaries))
    sets = [data_set(name, records[name], summary, label, each) for name, summary in summaries.items()]
    write_page(path_html, title, get_task(task, built=False).name, sets, {"sets": ", ".join(summaries)})


def findings_of(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what ``convert`` found, {what: count, severity, first places}, of its summary: its findings or counts."""
    if "findings" in summary:
        return {what: dict(found) for what, found in summary["findings"].items() if found["count"]}
    found = {}
    for name, count in summary.items():
        if "_" in name and isinstance(count, int) and count and not name.startswith(("copied_", "present_")):
            severity = "error" if name in _ERRORS else "note" if name.startswith(_NOTES) else "warning"
            found[name.replace("_", " ")] = {"count": count, "severity": severity, "first": []}
    return found


def guessed_task(source: Source, format: str = "auto") -> str:
    """Return the name of the one task whose records a source can give.

    Where its format may hold several kinds of label, its first records tell.

    Raises:
        UserError: it fits no task, or several; the line names them.
    """
    fitting, said = {}, ""
    for kind in KINDS.values():
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what is said of a task that is not taken
                found = formats.detect(source, kind) if format == "auto" else formats.FORMATS.get(format)
        except (StoreError, DiskFullError):
            raise
        except UserError as error:
            said = str(error) if "set format" in str(error) else said
            continue
        if found and kind in found.kinds:
            fitting[kind] = found
    if any(not found.last for found in fitting.values()):  # then folders only sort the images
        fitting = {kind: found for kind, found in fitting.items() if not found.last}
    if len(fitting) > 1 or said:
        broken = {kind: _broken(source, kind, found) for kind, found in fitting.items()}
        least = min((count for count in broken.values() if count is not None), default=None)
        if least is None and said:  # in no format that it alone is in does it say anything
            raise UserError(said)
        fitting = {kind: found for kind, found in fitting.items() if broken[kind] == least}
    tasks = [kind.task() for kind in fitting]
    if len(tasks) == 1:
        return tasks[0]
    if tasks:
        raise UserError(f"{source.shown}: its annotations fit {', '.join(tasks)}; name one with --task")
    if format != "auto" and format not in formats.FORMATS:
        raise UserError(f"format: '{format}' is unknown; {nearest(format, formats.NAMES)}")
    raise UserError(said or f"{source.shown}: is or holds no annotations in a known format; name one with --format")


def _broken(source: Source, kind: type[Label], format: Format) -> int | None:
    """Return how many of a source's first records cannot be read as a kind; None: none says anything as that."""
    broken: list[UserError] = []
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            records = list(itertools.islice(format.read(source, kind, broken.append), _PEEKED))
        except (StoreError, DiskFullError):
            raise
        except UserError:
            return None
    says = any(record.label.names() or isinstance(record.label, Mask) for record in records)
    return len(broken) if says else None
