"""evaluate, of masks made elsewhere: how well a folder of them says what any annotations say."""

from __future__ import annotations

import json
import posixpath
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images import storage
from automl_images.annotations import findings, formats, read_records
from automl_images.annotations.formats.masks import image_of
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.labelmaps import LabelMap, beside
from automl_images.annotations.labels import Mask
from automl_images.annotations.masks import IGNORE, indices_of
from automl_images.annotations.records import Record
from automl_images.errors import UserError
from automl_images.evaluation import weakness
from automl_images.evaluation.segmentation import scored
from automl_images.reports import Evaluation
from automl_images.reports import Family as Reports
from automl_images.steps.convert import convert
from automl_images.tasks import get_task, part

if TYPE_CHECKING:
    import numpy as np


def evaluate_masks(
    predictions: str,
    data: str,
    output: str,
    task: str,
    *,
    format: str = "auto",
    images: str | None = None,
    on_error: str = "fail",
    title: str | None = None,
) -> dict[str, Any]:
    """Score masks on annotations; write ``metrics.json`` and ``report.html``.

    A mask has the name of its image's file but for the suffix, ``_mask`` or the like before it. A label map in its
    folder names its values; without one they are those of the annotations' masks.

    Args:
        predictions: a folder of masks, an image each; local or any fsspec URL.
        data, format, images, on_error: the annotations; see :func:`automl_images.steps.convert.convert`, which reads
            them.
        output: the folder to write to.
        task: semantic segmentation.
        title: the report's heading.

    Returns:
        What :func:`automl_images.steps.evaluate.evaluate_model` does, but ``predictions`` (the address) for ``model``,
        and no time; and ``masks_left_out`` (those of no image that counts), ``annotations`` (what
        :func:`automl_images.steps.convert.convert` counted).

    Raises:
        UserError: the annotations are refused; an image has no mask or several, two images have one name, or a mask is
            of another size or has a value of no class where its image has one.
    """
    from automl_images.data.segmentation import classes_of

    if not storage.is_dir(predictions):
        raise UserError(f"{storage.redact(predictions)}: is no folder; masks to score are one of images")
    form, source = formats.open_source(data, format, images, label=get_task(task).label)
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        file = str(Path(scratch, "records.jsonl"))
        summary = convert(source, file, task, format=form.name, on_error=on_error)
        records = list(read_records(file, get_task(task).label))
    for line in findings.briefly(summary["findings"]):
        print(line, file=sys.stderr)
    classes = classes_of(records)
    masks, left_out = _matched(predictions, records)
    measured = scored(_found(records, masks, beside([predictions]), classes), classes)
    described = {
        "predictions": storage.redact(storage.absolute(predictions)),
        "data": storage.redact(storage.absolute(data)),
        "images": len(records),
        "masks_left_out": left_out,
    }
    result = {"task": get_task(task).name, **measured.metrics, **measured.more}
    report = storage.join(storage.absolute(output), "report.html")
    reports: Reports = part("reports", task)
    reports.write_report(
        report,
        Evaluation(
            title=title or "Evaluation of masks",
            task=get_task(task).name,
            model={name.replace("_", " "): value for name, value in described.items()},
            metrics=measured.metrics,
            curves=measured.curves,
            examples=measured.examples,
            classes=classes,
            settings={},
            baseline=measured.more["baseline"],
            weakness=weakness(result),
        ),
    )
    result |= {**described, "report": report, "annotations": {k: v for k, v in summary.items() if isinstance(v, int)}}
    storage.write(storage.join(output, "metrics.json"), json.dumps(result, indent=1))
    return result


def _matched(predictions: str, records: Sequence[Record]) -> tuple[dict[str, str], int]:
    """Return the mask of each image, by its address, and how many masks are of none."""
    named: dict[str, str] = {}
    for record in records:
        stem = _stem(record.image_url)
        if stem in named:
            both = f"{storage.redact(named[stem])} and {storage.redact(record.image_url)}"
            raise UserError(f"masks are found by name, and two images are called {stem!a}: {both}")
        named[stem] = record.image_url
    found: dict[str, str] = {}
    left_out = 0
    for name in filter(is_image, storage.files_below(predictions)):
        image = image_of(_stem(name), named)
        if image is None:
            left_out += 1
        elif (other := found.setdefault(named[image], file := storage.join(predictions, name))) != file:
            raise UserError(f"the image {image!a} has two masks: {storage.redact(other)} and {storage.redact(file)}")
    lacking = [url for url in named.values() if url not in found]
    if lacking:
        more = f", nor have {len(lacking) - 1} others" if len(lacking) > 1 else ""
        raise UserError(f"{storage.redact(lacking[0])}: has no mask of its name in {storage.redact(predictions)}{more}")
    return found, left_out


def _found(
    records: Sequence[Record], masks: Mapping[str, str], named: LabelMap, classes: Sequence[str]
) -> Iterator[tuple[Record, np.ndarray, float]]:
    """Yield each record with its mask as classes."""
    from automl_images.data.segmentation import truth_of

    for record in records:
        file = masks[record.image_url]
        label = Mask(file, named.classes or record.label.classes, record.label.ignore)
        predicted = indices_of(label, classes)
        height, width = predicted.shape
        truth = truth_of(record, classes, (width, height))
        if ((predicted == IGNORE) & (truth != IGNORE)).any():
            raise UserError(f"the mask {storage.redact(file)} has pixels of no class where its image has one")
        yield record, predicted, 0.0


def _stem(url: str) -> str:
    return posixpath.splitext(posixpath.basename(url))[0]
