"""convert: annotations in any format to checked records."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.annotations import findings, formats, read_records, record_file, sets
from automl_images.annotations.checks import SHARED, Checker, check_training_classes
from automl_images.annotations.imageroot import check_name
from automl_images.annotations.labels import KINDS, kind_of
from automl_images.annotations.labels.base import UNSCORED
from automl_images.annotations.reachable import copied
from automl_images.annotations.records import Record
from automl_images.annotations.source import Source
from automl_images.errors import UserError, nearest
from automl_images.tasks import get_task

CHECKS = ("full", "headers")


def convert(
    source: str | Source,
    out: str,
    task: str,
    *,
    format: str = "auto",
    images: str | None = None,
    on_error: str = "fail",
    classes: list[str] | None = None,
    copy_to: str | None = None,
    trained: Collection[str] = (),
    check: str = "full",
    near_duplicates: bool = False,
    ignore: Sequence[int | str] = (),
) -> dict[str, Any]:
    """Read a source, check every record and its image, and write JSONL; ``out`` is written whole or not at all.

    Args:
        source, format, images, ignore: as for :func:`automl_images.annotations.formats.read`.
        out: the JSONL file to write.
        task: the task's name.
        on_error: ``fail``, ``skip`` or ``fix``; see :mod:`automl_images.annotations.checks`.
        classes: the only classes that may occur; None for any.
        copy_to: a folder, local or any fsspec URL, to which the images are copied that lie on this machine; the records
            name the copies. None: records name images where they are.
        trained: the digests of the images that train; one that is here too is said.
        check: ``full``, each image is read to its end; or ``headers``, for its size alone, so that truncated images and
            images of equal bytes are not found.
        near_duplicates: whether it is said which images look alike; each is opened once more.

    Returns:
        ``images``, ``boxes`` or ``labels``, ``classes`` ({name: how many}), the counts of flaws, and ``findings``, as
        :meth:`automl_images.annotations.findings.Findings.to_json` has them; with ``copy_to`` also ``copied_images``
        and ``present_images``, which were there already.

    Raises:
        UserError: the source is not usable, or flaws are refused, which is said when all of it is read.
    """
    label = get_task(task, built=False).label
    if check not in CHECKS:
        raise UserError(f"check: '{check}' is no way to check images; {nearest(check, CHECKS)}")
    checker = Checker(on_error, classes, label=label, trained=trained, decode=check == "full")
    counts = Counter(copied=0, present=0)
    url = source if isinstance(source, str) else source.url
    for path, what in ((url, "the source"), (out, "the file to write"), (copy_to or "", "copy_to")):
        check_name(path, what)
    if record_file.is_same(url, out):
        raise UserError(f"{storage.redact(out)}: is the source itself; name another file to write")
    with record_file.replacing(out) as fresh:
        found = fresh.with_name("found.jsonl")
        checked = checker.check(formats.read(source, format, images, checker.broken, label=label, ignore=ignore))
        record_file.write_here(_shown(checked), found)
        if copy_to or checker.unsettled:
            records = checker.settled(lambda: read_records(str(found), label))
            record_file.write_here(copied(records, copy_to, counts) if copy_to else records, fresh)
        else:
            found.replace(fresh)
        if not checker.images:
            left_out = checker.found["skipped_images"]
            raise UserError(f"{storage.redact(url)}: has no image that can be used ({left_out} were left out)")
        if near_duplicates:
            checker.look(read_records(str(fresh), label))
    summary = checker.summary()
    if copy_to:
        summary |= {f"{what}_images": count for what, count in counts.items()}
    return summary


def _shown(records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records, with how many were checked and how fast on a terminal."""
    if not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    speed = TaskProgressColumn(show_speed=True)
    columns = (TextColumn("images checked"), MofNCompleteColumn(), speed, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(records, total=None)


def convert_data(
    task: str, data: Mapping[str, Any], outs: Mapping[str, str], copy_to: str | None = None
) -> dict[str, Any]:
    """Convert an experiment's data; the file of a set that the experiment does not have is left empty.

    Args:
        task, copy_to: as for :func:`convert`.
        data: the experiment's ``data``. A folder of training, validation and test that is given as training, without a
            validation, is taken as these sets, and that is said.
        outs: the JSONL files to write, for ``training``, ``validation`` and ``test``.

    Returns:
        {set: what :func:`convert` returns, and ``digest``, the SHA-256 of the records}. What a set lacks, or shares
        with training, is said on standard error.

    Raises:
        UserError: as :func:`convert`, or the training classes are too few; the line begins with the set's place in the
            experiment.
    """
    summaries: dict[str, Any] = {}
    label = get_task(task, built=False).label
    data = _filled(data, label, say=True)
    for name, out in outs.items():
        if not data.get(name):
            record_file.write([], out)
            continue
        try:
            options = _options(data, name, copy_to)
            if name != "training":
                options |= {"classes": list(summaries["training"]["classes"]), "trained": digests(outs["training"])}
            summaries[name] = convert(data[name]["source"], out, task, **options)
            summaries[name]["digest"] = hashlib.sha256(storage.read_bytes(out)).hexdigest()
            print(f"{name}: {summary_line(summaries[name])}", file=sys.stderr)
            for line in findings.briefly(summaries[name]["findings"], without=(SHARED, UNSCORED)):
                print(f"{name}: {line}", file=sys.stderr)
            if name == "training":
                check_training_classes(summaries[name]["classes"], label)
            elif both := summaries[name]["findings"].get(SHARED, {}).get("count"):
                print(f"{name}: {both} images also train, by their bytes", file=sys.stderr)
        except UserError as error:
            raise UserError(f"data.{name}: {error}") from None
        lacking = sorted(summaries["training"]["classes"].keys() - summaries[name]["classes"].keys())
        if lacking and kind_of(label).says_missing:
            print(f"{name}: {lacking_line(lacking)}", file=sys.stderr)
    return summaries


def commands(
    task: str, data: Mapping[str, Any], outs: Mapping[str, str], copy_to: str | None = None
) -> list[list[str]]:
    """Return the arguments of ``automl-images convert``, once a set, that do what :func:`convert_data` does."""
    found = []
    data = _filled(data, get_task(task, built=False).label)
    for name, out in outs.items():
        if data.get(name):
            options = {"task": task, **_options(data, name, copy_to)}
            if name != "training":
                options["classes_of"] = outs["training"]
            given = [(k, v) for k, each in options.items() for v in (each if isinstance(each, list) else [each])]
            words = [word for key, value in given for word in (f"--{key.replace('_', '-')}", str(value))]
            found.append([data[name]["source"], out, *words])
    return found


def _filled(data: Mapping[str, Any], label: str, say: bool = False) -> Mapping[str, Any]:
    try:
        return sets.filled(data, kind_of(label), say)
    except UserError as error:
        raise UserError(f"data.training: {error}") from None


def digests(records: str) -> set[str]:
    """Return the digests of the images of a file of records."""
    return {record.digest for record in read_records(records) if record.digest}


def _options(data: Mapping[str, Any], name: str, copy_to: str | None) -> dict[str, Any]:
    """Return the options of :func:`convert` that an experiment's data gives for a set."""
    options = {option: data[name].get(option) for option in ("format", "images", "ignore")}
    options["on_error"] = data.get("on_error")
    check = None if data.get("check") == CHECKS[0] else data.get("check")
    return {key: value for key, value in {**options, "check": check, "copy_to": copy_to}.items() if value}


def summary_line(summary: Mapping[str, Any]) -> str:
    """Return what :func:`convert` returned as a line for people."""
    flaws = [f"{summary[k]} {k.replace('_', ' ')}" for k in summary if k.partition("_")[2] and summary[k]]
    counts = [f"{count} {name}" for name, count in counted(summary).items()]
    return "; ".join([", ".join([*counts, f"{len(summary['classes'])} classes"]), *flaws])


def counted(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return how many images, and boxes or labels, :func:`convert` has found."""
    # where an image has one label, their number is that of the images
    names = dict.fromkeys(k.counted for k in KINDS.values() if f"dropped_{k.counted}" in summary)
    return {name: summary[name] for name in ("images", *names) if name in summary}


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    return "; ".join(f"{name}: {summary_line(summary)}" for name, summary in result.items())


def lacking_line(classes: list[str]) -> str:
    """Return a line that says which classes a set to score on has no image of."""
    names = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
    return f"no image has the class {names}; the metrics of each such class are absent"
