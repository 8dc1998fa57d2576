"""Predictions as rows of a table, for CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from automl_images.errors import UserError

_BOX = ("topX", "topY", "bottomX", "bottomY")


def write_rows(answers: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write predictions as CSV: a row a class of a classifier, a row an object of a detector, the best score first.

    Columns are ``filename,label,score``, and of a detector ``topX,topY,bottomX,bottomY``, shares of the image's width
    and height; an image without objects has a row of its name alone.

    Args:
        answers: what :func:`automl_images.steps.predict.predict_images` yields.

    Raises:
        UserError: they are masks of classes, which are no rows.
    """
    writer = csv.writer(file, lineterminator="\n")
    for number, answer in enumerate(answers):
        if "classes" in answer:
            raise UserError("--csv: a mask of classes is no row of a table; use --json")
        columns = _BOX if "boxes" in answer else ()
        if not number:
            writer.writerow(["filename", "label", "score", *columns])
        rows = list(_rows(answer)) or [["", "", *[""] * len(columns)]]
        writer.writerows([answer["filename"], *row] for row in rows)
        file.flush()


def _rows(answer: Mapping[str, Any]) -> Iterator[list[Any]]:
    if "boxes" in answer:
        for found in sorted(answer["boxes"], key=lambda one: -one["score"]):
            yield [found["label"], found["score"], *(found["box"][name] for name in _BOX)]
    else:
        ranked = sorted(zip(answer["labels"], answer["probs"], strict=True), key=lambda pair: -pair[1])
        yield from ([label, score] for label, score in ranked)
