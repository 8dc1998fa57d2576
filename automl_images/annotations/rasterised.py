"""Outlines of objects as masks: what a format of polygons says of the class of each pixel."""

from __future__ import annotations

import base64
import dataclasses
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from automl_images.annotations.findings import Findings
from automl_images.annotations.labels import Mask, Polygons
from automl_images.annotations.labels.base import Rules
from automl_images.annotations.records import Record, labelling, records_of, size_of
from automl_images.annotations.shapes import mask_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken
from automl_images.errors import UserError

BACKGROUND = "background"  # what no object covers
_BYTE, _MOST = 255, 65535  # the values of pixels that are ignored


def rasterised(records: Iterable[Record], source: Source, broken: Broken) -> Iterator[Record]:
    """Yield records of outlines with masks in their place, each in its own record as a ``data:`` address of a PNG.

    A pixel has the class of the objects that cover it, crowds among them; what none covers is ``background``. Where
    objects of several classes cover a pixel it is ignored, and how many are is said at the end, as is what was dropped
    or clipped of the outlines. The classes are those that the source names, and those of the image's objects.
    """
    findings = Findings({name: (strict, strict) for name, strict, *_ in Polygons.flaws})
    rules = Rules(False, None, findings)
    ambiguous: Counter[str] = Counter()

    def record(one: Record, where: str) -> Record:
        with labelling(one.image_url):
            size = size_of(one.image_url, one.width, one.height)
            rules.where = where
            try:
                objects = one.label.check(one.image_url, size, size, rules).instances
            except UserError as error:
                raise UserError(str(error)) from None  # of the flaws of masks it is none
            names = {BACKGROUND: 0}
            for name in sorted({*source.named, *one.label.names()}):
                names.setdefault(name, len(names))
            ignored = _BYTE if len(names) <= _BYTE else _MOST
            mask = np.zeros(size[::-1], np.uint8 if ignored == _BYTE else np.uint16)
            covered = np.zeros(mask.shape, bool)
            for instance in objects:
                inside = mask_of(instance, *size)
                if inside.shape != mask.shape:
                    raise UserError(
                        f"its mask has {inside.shape[1]} x {inside.shape[0]} pixels, not {size[0]} x {size[1]}"
                    )
                other = inside & covered & (mask != names[instance.label])
                mask[inside], covered = names[instance.label], covered | inside
                mask[other] = ignored
            count = int(np.count_nonzero(mask == ignored))
            ambiguous["images"] += bool(count)
            ambiguous["pixels"] += count
            present = tuple(name for name, value in names.items() if (mask == value).any())
            label = Mask(_address(mask), tuple(names.items()), (ignored,), present)
            return dataclasses.replace(one, label=label, width=size[0], height=size[1])

    yield from records_of(((one.where, one) for one in records), record, broken)
    if ambiguous["images"]:
        said = (
            f"{ambiguous['pixels']} pixels of {ambiguous['images']} images are in objects of several classes: ignored"
        )
        print(f"{source.shown}: {said}", file=sys.stderr)
    for name, finding in findings.worst():
        print(
            f"{source.shown}: {finding.count} x {name} ({finding.outcome}); first {finding.first[0]}", file=sys.stderr
        )


def _address(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
