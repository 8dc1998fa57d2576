"""split: what trains, what validates and what the best model is tested on."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.annotations.record_file import is_same, write
from automl_images.annotations.records import Record
from automl_images.annotations.split import (
    by_metadata,
    by_pattern,
    joined,
    same_images,
    split_listed,
    split_random,
    split_stratified,
)
from automl_images.errors import UserError, nearest
from automl_images.steps.convert import lacking_line

WAYS = ("random", "stratified", "group", "list")


def split_data(
    data: str,
    validation: str | None,
    training_out: str,
    validation_out: str,
    *,
    ratio: float = 0.2,
    seed: int = 0,
    by: str = "random",
    pattern: str | None = None,
    metadata: str | None = None,
    near_duplicates: bool = False,
    validation_list: str | None = None,
    test_list: str | None = None,
    test_out: str | None = None,
    test_ratio: float = 0.0,
    tested: str | None = None,
) -> dict[str, Any]:
    """Write the training, validation and test records of ``data``; return how many images each has.

    If there are records in ``validation``, they are kept as they are, and only the test set is split off. An image that
    is there more than once, by its address or its bytes, is in one set alone; that, one that is in several given sets,
    and a class that a set lacks are said on standard error.

    Args:
        data, validation: files of records; None or an empty one: validation is split off.
        training_out, validation_out, test_out: the files to write.
        ratio, test_ratio: the shares of all records that validate, in (0, 1), and that are the test set, in [0, 1).
        seed: equal seeds split equally, on any machine.
        by: ``random``; ``stratified``, each class in the same ratio; ``group``, so that images of one group stay
            together; or ``list``, as lists of names say.
        pattern: by group: a regular expression, whose first group, or whole match, in the file's name, else in the
            address, is an image's group.
        metadata: by group, in place of a pattern: the name in the records' metadata whose value is an image's group.
        near_duplicates: whether images that look alike stay together too; each is opened.
        validation_list, test_list: by list: files of image names, one a line.
        tested: a file of records; if it has any, they are the test set.

    Raises:
        UserError: a ratio is out of range, an option does not suit ``by``, there are too few images, or a file to write
            is another of the files.
    """
    lists = {"validation": validation_list, "test": test_list}
    _check_options(by, (pattern, metadata), lists, near_duplicates, ratio, test_ratio, bool(test_out))
    files = {
        "the records": data,
        "given records": validation,
        "given test records": tested,
        "training": training_out,
        "validation": validation_out,
        "test": test_out,
    }
    for (name, one), (other, written) in itertools.combinations(files.items(), 2):
        if one and written and not other.startswith("given ") and is_same(one, written):
            raise UserError(f"{written}: is the file of {name} and of {other}; name another")
    records = list(read_records(data))
    given = list(read_records(validation)) if validation else []
    given_test = list(read_records(tested)) if tested else []
    if given_test and (test_ratio or test_list):
        raise UserError("test_ratio: is to split a test set off, and a test set is given; give one of the two")
    least = 1 + (not given) + bool(test_ratio)
    if by != "list" and len(records) < least:
        raise UserError(f"{data}: has {len(records)} image, too few to split; give data.validation")
    parts = {"training": records, "validation": given, "test": given_test}
    if by == "list":
        parts |= _listed(records, given, lists)
    else:
        together = _together(records, pattern, metadata, near_duplicates)
        one_of = dict(zip(map(id, records), together, strict=True))
        share = test_ratio
        for name in ("test", "validation"):
            if share and not parts.get(name):
                rest = parts["training"]
                divide = split_stratified if by == "stratified" else split_random
                parts["training"], parts[name] = divide(rest, share, seed, [one_of[id(r)] for r in rest])
            share = ratio / (1 - test_ratio)
    if not test_out:
        del parts["test"]
    _say_repeats(parts, bool(given or given_test) or by == "list")
    for name, out in (("training", training_out), ("validation", validation_out), ("test", test_out)):
        if out:
            write(parts[name], out)
    print(f"split: {headline({name: len(part) for name, part in parts.items()})}", file=sys.stderr)
    _say_lacking(parts)
    return {name: len(part) for name, part in parts.items()}


def how(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of :func:`split_data` that an experiment's ``data`` gives."""
    ratios = {"ratio": data.get("split_ratio", 0.2), "test_ratio": data.get("test_ratio", 0.0)}
    return ratios | {key: value for key, value in (data.get("split") or {}).items() if value not in (None, False)}


def words(options: Mapping[str, Any]) -> list[str]:
    """Return the options of :func:`split_data` as ``automl-images split`` takes them."""
    found = []
    for name, value in options.items():
        flag = "--split-ratio" if name == "ratio" else f"--{name.replace('_', '-')}"
        found += [flag] if value is True else [flag, str(value)]
    return found


def _check_options(
    by: str,
    groups: tuple[str | None, str | None],
    lists: Mapping[str, str | None],
    near_duplicates: bool,
    ratio: float,
    test_ratio: float,
    test: bool,
) -> None:
    if by not in WAYS:
        raise UserError(f"data.split.by: '{by}' is no way to split; {nearest(by, WAYS)}")
    if not 0 < ratio < 1:
        raise UserError(f"split_ratio: {ratio} is out of range; use a number between 0 and 1, both excluded")
    if not 0 <= test_ratio < 1 - ratio:
        raise UserError(
            f"test_ratio: {test_ratio} is out of range; with split_ratio {ratio} use 0 to below {1 - ratio:g}"
        )
    if test_ratio and not test:
        raise UserError("test_ratio: there is no file to write the test records to; name one")
    if (by == "group") != (groups != (None, None)):
        raise UserError(
            "split: by group needs a pattern of file names or a name in metadata, and these are for by: group alone"
        )
    if None not in groups:
        raise UserError("split: by group takes a pattern or a name in metadata; give one of the two")
    if (by == "list") != any(lists.values()):
        raise UserError("split: by list needs a list of names, and lists of names are for by: list alone")
    if by == "list" and (test_ratio or near_duplicates):
        raise UserError("split: by list takes what the lists name; test_ratio and near_duplicates have no place there")
    if lists["test"] and not test:
        raise UserError("test_list: there is no file to write the test records to; name one")


def _listed(records: list[Record], given: list[Record], lists: Mapping[str, str | None]) -> dict[str, list[Record]]:
    texts: dict[str, list[str]] = {}
    for name, url in lists.items():
        if url:
            try:
                texts[name] = storage.read_text(url).splitlines()
            except (FileNotFoundError, UnicodeDecodeError):
                raise UserError(f"{storage.redact(url)}: is no list of names, one a line, in UTF-8") from None
    if given and "validation" in texts:
        raise UserError("validation_list: data.validation is given too; give one of the two")
    found = split_listed(records, texts)
    parts = {"validation": given, **found, "training": found[""]}
    del parts[""]
    for name in ("training", "validation"):
        if not parts[name]:
            raise UserError(f"split: by these lists no image is left for {name}")
    return parts


def _together(records: Sequence[Record], pattern: str | None, metadata: str | None, near_duplicates: bool) -> list[int]:
    partitions: list[Sequence[object]] = [same_images(records)]
    if pattern is not None:
        partitions.append(by_pattern(records, pattern))
    if metadata is not None:
        partitions.append(by_metadata(records, metadata))
    if near_duplicates:
        from automl_images.annotations.duplicates import alike

        partitions.append(alike([record.image_url for record in records]))
        if near := len(set(partitions[0])) - len(set(joined(partitions[0], partitions[-1]))):
            print(f"split: {near} images look like another; each is on one side with it", file=sys.stderr)
    return joined(*partitions)


def _say_repeats(parts: Mapping[str, list[Record]], given: bool) -> None:
    """Say what is there several times; of sets that are given, what is in more than one."""
    numbers = iter(same_images(itertools.chain(*parts.values())))
    found = {name: list(itertools.islice(numbers, len(part))) for name, part in parts.items()}
    if given:
        for name in ("validation", "test"):
            verb = {"validation": "validate", "test": "test"}[name]
            if both := len(set(found["training"]).intersection(found.get(name, ()))):
                print(f"split: {both} images that {verb} also train, by address or bytes", file=sys.stderr)
    everything = [number for part in found.values() for number in part]
    if not given and (again := len(everything) - len(set(everything))):
        where = "each is on one side with those that it repeats"
        print(f"split: {again} images are there again, by address or bytes; {where}", file=sys.stderr)


def _say_lacking(parts: Mapping[str, list[Record]]) -> None:
    classes = {name: {n for record in part for n in record.label.names()} for name, part in parts.items()}
    for name, who in (("validation", "those that validate"), ("test", "those that test")):
        if parts.get(name) and (lacking := sorted(classes["training"] - classes[name])):
            print(f"split: among {who}, {lacking_line(lacking)}", file=sys.stderr)
    scored = set().union(*(found for name, found in classes.items() if name != "training"))
    if untrained := sorted(scored - classes["training"]):
        names = ", ".join(untrained[:5]) + (f" and {len(untrained) - 5} more" if len(untrained) > 5 else "")
        print(f"split: no image that trains has the class {names}, which no model can learn then", file=sys.stderr)


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    test = f", {result['test']} test" if result.get("test") else ""
    return f"{result['training']} images train, {result['validation']} validate{test}"
