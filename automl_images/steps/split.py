"""split: what trains and what validates."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from typing import Any

from automl_images.annotations import read_records
from automl_images.annotations.record_file import is_same, write
from automl_images.annotations.split import same_images, split_random
from automl_images.errors import UserError
from automl_images.steps.convert import lacking_line


def split_data(
    data: str,
    validation: str | None,
    training_out: str,
    validation_out: str,
    *,
    ratio: float = 0.2,
    seed: int = 0,
    by: str = "random",
) -> dict[str, Any]:
    """Write the training and the validation records of ``data``; return how many images each has.

    If there are records in ``validation``, both sets are kept as they are. ``ratio``, in (0, 1), is the share that
    validates; equal seeds split equally, on any machine; ``by`` is ``random``. An image that is there more than once,
    by its address or its bytes, is on one side alone; that, and one on both sides of given sets, is said on standard
    error.

    Raises:
        UserError: the ratio is out of range, there are too few images, or a file to write is another of the files.
    """
    if by != "random":
        raise UserError(f"data.split.by: '{by}' is not built in this version; use random")
    if not 0 < ratio < 1:
        raise UserError(f"split_ratio: {ratio} is out of range; use a number between 0 and 1, both excluded")
    files = {"the records": data, "given records": validation, "training": training_out, "validation": validation_out}
    for (name, one), (other, written) in itertools.combinations(files.items(), 2):
        if one and written and other != "given records" and is_same(one, written):
            raise UserError(f"{written}: is the file of {name} and of {other}; name another")
    records = list(read_records(data))
    given = list(read_records(validation)) if validation else []
    if not given and len(records) < 2:
        raise UserError(f"{data}: has {len(records)} image, too few to split; give data.validation")
    parts = (records, given) if given else split_random(records, ratio, seed)
    numbers = same_images([*records, *given])
    if given and (both := len(set(numbers[: len(records)]).intersection(numbers[len(records) :]))):
        print(f"split: {both} images that validate also train, by address or bytes", file=sys.stderr)
    elif not given and (again := len(numbers) - len(set(numbers))):
        where = "each is on one side with those that it repeats"
        print(f"split: {again} images are there again, by address or bytes; {where}", file=sys.stderr)
    for part, out in zip(parts, (training_out, validation_out), strict=True):
        write(part, out)
    print(f"split: {len(parts[0])} images train, {len(parts[1])} validate", file=sys.stderr)
    trained, validated = ({name for record in part for name in record.label.names()} for part in parts)
    if lacking := sorted(trained - validated):
        print(f"split: among those that validate, {lacking_line(lacking)}", file=sys.stderr)
    return {"training": len(parts[0]), "validation": len(parts[1])}


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    return f"{result['training']} images train, {result['validation']} validate"
