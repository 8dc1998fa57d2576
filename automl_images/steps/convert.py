"""convert: annotations in any format to checked records."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.annotations import formats, record_file
from automl_images.annotations.checks import Checker, check_training_classes
from automl_images.annotations.labels import KINDS, kind_of
from automl_images.annotations.reachable import copied
from automl_images.errors import UserError
from automl_images.tasks import get_task


def convert(
    source: str,
    out: str,
    task: str,
    *,
    format: str = "auto",
    images: str | None = None,
    on_error: str = "fail",
    classes: list[str] | None = None,
    copy_to: str | None = None,
) -> dict[str, Any]:
    """Read a source, check every record and its image, and write JSONL; ``out`` is written whole or not at all.

    Args:
        source: a file or folder, local or any fsspec URL.
        out: the JSONL file to write.
        task: the task's name.
        format: what the source is, one of ``formats.NAMES`` that may hold the task's kind of label, or ``auto``.
        images: the images' root, or ``PREFIX=URL``.
        on_error: ``fail``, ``skip`` or ``fix``; see :mod:`automl_images.annotations.checks`.
        classes: the only classes that may occur; None for any.
        copy_to: a folder, local or any fsspec URL, to which the images are copied that lie on this machine; the records
            name the copies. None: records name images where they are.

    Returns:
        ``images``, ``boxes`` or ``labels``, ``classes`` ({name: how many}) and the counts of flaws; with ``copy_to``
        also ``copied_images`` and ``present_images``, which were there already.

    Raises:
        UserError: the source is not usable, or a flaw is refused.
    """
    label = get_task(task).label
    checker = Checker(on_error, classes, label=label)
    records = checker.check(formats.read(source, format, images, checker.broken, label=label))
    counts = Counter(copied=0, present=0)
    record_file.write(copied(records, copy_to, counts) if copy_to else records, out)
    summary = checker.summary()
    if copy_to:
        summary |= {f"{what}_images": count for what, count in counts.items()}
    if not summary["images"]:
        raise UserError(f"{source}: has no image that can be used ({summary['skipped_images']} were left out)")
    return summary


def convert_data(
    task: str,
    data: Mapping[str, Any],
    training_out: str,
    validation_out: str,
    test_out: str,
    *,
    copy_to: str | None = None,
) -> dict[str, Any]:
    """Convert an experiment's data; the file of a set that the experiment does not have is left empty.

    Args:
        task: the task's name.
        data: the experiment's ``data``.
        training_out, validation_out, test_out: the JSONL files to write.
        copy_to: as for :func:`convert`.

    Returns:
        {``training`` | ``validation`` | ``test``: what :func:`convert` returns, and ``digest``, the SHA-256 of the
        records}. What a set lacks is said on standard error.

    Raises:
        UserError: as :func:`convert`, or the training classes are too few; the line begins with the set's place in the
            experiment.
    """
    summaries: dict[str, Any] = {}
    label = get_task(task).label
    for name, out in (("training", training_out), ("validation", validation_out), ("test", test_out)):
        wanted = data.get(name)
        if not wanted:
            record_file.write([], out)
            continue
        try:
            summaries[name] = convert(
                wanted["source"],
                out,
                task,
                format=wanted.get("format") or "auto",
                images=wanted.get("images"),
                on_error=data.get("on_error") or "fail",
                classes=None if name == "training" else list(summaries["training"]["classes"]),
                copy_to=copy_to,
            )
            summaries[name]["digest"] = hashlib.sha256(storage.read_bytes(out)).hexdigest()
            print(f"{name}: {summary_line(summaries[name])}", file=sys.stderr)
            if name == "training":
                check_training_classes(summaries[name]["classes"], label)
        except UserError as error:
            raise UserError(f"data.{name}: {error}") from None
        lacking = sorted(summaries["training"]["classes"].keys() - summaries[name]["classes"].keys())
        if lacking and kind_of(label).says_missing:
            print(f"{name}: {lacking_line(lacking)}", file=sys.stderr)
    return summaries


def commands(
    task: str, data: Mapping[str, Any], outs: Mapping[str, str], copy_to: str | None = None
) -> list[list[str]]:
    """Return the arguments of ``automl-images convert``, once a set, that do what :func:`convert_data` does.

    Args:
        task, data, copy_to: as for :func:`convert_data`.
        outs: the JSONL file to write of each set.
    """
    found = []
    for name, out in outs.items():
        if wanted := data.get(name):
            options = {
                "--task": task,
                "--format": wanted.get("format"),
                "--images": wanted.get("images"),
                "--on-error": data.get("on_error"),
                "--copy-to": copy_to,
                "--classes-of": None if name == "training" else outs["training"],
            }
            found.append([wanted["source"], out, *(word for k, v in options.items() if v for word in (k, v))])
    return found


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
