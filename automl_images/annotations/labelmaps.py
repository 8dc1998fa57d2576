"""What beside masks and lists tells the names of classes: label maps of SageMaker, CVAT, Roboflow, and plain lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from automl_images import storage
from automl_images.annotations.labels.mask import Value, value_of
from automl_images.annotations.lines import json_value, lines_of
from automl_images.annotations.values import class_name, number, shown
from automl_images.errors import UserError

LISTS = ("classes.txt", "codes.txt")
FILES = ("label_map.json", "labelmap.txt", "_classes.csv", "class_dict.csv", *LISTS)
_IGNORED, _MOST = 255, 255


class LabelMap(NamedTuple):
    """The classes of masks.

    Attributes:
        classes: (class, pixel value), all of one sort: indices, or colours as ``#rrggbb``.
        ignore: the values that are passed over.
        file: where that is said; empty where nothing says it.
    """

    classes: tuple[tuple[str, Value], ...] = ()
    ignore: tuple[Value, ...] = (_IGNORED,)
    file: str = ""


def beside(folders: Iterable[str], *more: str) -> LabelMap:
    """Return the label map in the first of some folders that has one; ``more`` are names that go before the usual.

    ``label_map.json`` is SageMaker's, ``{"map": {label: pixel value}}`` or ``{"scale": step}``, whose labels a list of
    names names; or ``{"classes": {name: value}, "ignore": [value]}``, with no name where indices name the classes; or
    ``{name: value}``, or ``{index: name}``. A value is an index, ``#rrggbb`` or ``[red, green, blue]``.
    ``labelmap.txt`` is CVAT's, ``_classes.csv`` Roboflow's, ``class_dict.csv`` has name,r,g,b; ``classes.txt`` and
    ``codes.txt`` have the name of index 0 on their first line.

    Raises:
        UserError: it cannot be read; the line says where.
    """
    for folder in folders:
        there = set(storage.names(folder))
        name = next((name for name in (*more, *FILES) if name in there), "")
        if not name:
            continue
        file = storage.join(folder, name)
        shown_file = storage.redact(file)
        try:
            if name in LISTS:
                found = _map(enumerate(names_of(file)))
            elif name.endswith(".json"):
                listed = next((storage.join(folder, name) for name in LISTS if name in there), "")
                found = _json(file, names_of(listed) if listed else [])
            else:
                found = (_cvat if name.endswith(".txt") else _csv)(file)
        except UserError as error:
            text = str(error)
            raise UserError(text if text.startswith(shown_file) else f"{shown_file}: {text}") from None
        return found._replace(file=file)
    return LabelMap()


def names_of(file: str) -> list[str]:
    """Return the classes' names by id, one a line; none where there is no such file.

    Raises:
        UserError: a line is empty or no name, a name stands twice, or there is none.
    """
    if not storage.exists(file):
        return []
    where = storage.redact(file)
    names: list[str] = []
    for count, line in lines_of(file):
        if count != len(names) + 1:
            raise UserError(f"{where}, line {len(names) + 1}: is empty; each line names the class of its id")
        name = class_name(line, f"{where}, line {count}:")
        if name in names:
            raise UserError(f"{where}, line {count}: the name '{name}' stands on line {names.index(name) + 1} too")
        names.append(name)
    if not names:
        raise UserError(f"{where}: is empty; write a class name a line, or remove it")
    return names


def _map(pairs: Iterable[tuple[Any, Any]], ignore: Iterable[Any] = (_IGNORED,)) -> LabelMap:
    """Return the map of (value, name)."""
    classes = [(class_name(name, "a class"), _value(value)) for value, name in pairs]
    for what, found in (("class", [n for n, _ in classes]), ("pixel value", [v for _, v in classes])):
        twice = next((one for i, one in enumerate(found) if one in found[:i]), None)
        if twice is not None:
            raise UserError(f"the {what} {shown(twice)} stands twice")
    if len({type(value) for _, value in classes}) > 1:
        raise UserError("has indices and colours; masks have either")
    if not classes:
        raise UserError("names no class")
    values = {value for _, value in classes}
    # an index that is a class's is not passed over, and in colours nothing is by itself
    left = [value for value in map(_value, ignore) if value not in values and type(value) in map(type, values)]
    return LabelMap(tuple(classes), tuple(left))


def _value(value: Any) -> Value:
    if isinstance(value, list):
        if len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
            raise UserError(f"the colour {shown(value)} is not red, green and blue from 0 to 255")
        return "#" + bytes(value).hex()
    return value_of(value)


def _json(file: str, names: list[str]) -> LabelMap:
    content = json_value(storage.read_bytes(file))
    if not isinstance(content, dict):
        raise UserError(f"is {shown(content)}, not an object")
    if "classes" in content:
        classes, ignore = content["classes"], content.get("ignore", [_IGNORED])
        if not isinstance(classes, dict) or not isinstance(ignore, list) or content.keys() - {"classes", "ignore"}:
            raise UserError('has classes, and is not {"classes": {name: value}, "ignore": [value, ...]}')
        if not classes:  # their indices name them
            return LabelMap((), tuple(map(value_of, ignore)))
        return _map(((value, name) for name, value in classes.items()), ignore)
    if content.keys() <= {"map", "scale"}:
        return _sagemaker(content, names)
    if all(isinstance(name, str) and not name.startswith("#") and key.isdecimal() for key, name in content.items()):
        return _map((int(key), name) for key, name in content.items())
    return _map((value, name) for name, value in content.items())


def _sagemaker(content: dict[str, Any], names: list[str]) -> LabelMap:
    if len(content) != 1:
        raise UserError("has both map and scale; a label is told by one of them" if content else "has no map and scale")
    if "scale" in content:
        step = number(content["scale"], "scale")
        if step != int(step) or not 1 <= step < _MOST:
            raise UserError(f"scale is {shown(content['scale'])}, not a whole number from 1 to {_MOST - 1}")
        labels = {i: i * int(step) for i in range((_MOST - 1) // int(step) + 1)}
    else:
        mapped = content["map"]
        if not isinstance(mapped, dict) or not all(key.isdecimal() for key in mapped):
            raise UserError(
                f"map is {shown(mapped)}, not an object of labels, whole numbers, and pixel values; "
                'names stand in {"classes": {name: value}}'
            )
        labels = {int(label): _value(value) for label, value in mapped.items()}  # type: ignore[misc]
        if len(labels) < len(mapped):
            raise UserError("map has a label twice")
    if not names:
        return _map((value, str(label)) for label, value in labels.items())
    if "map" in content and (unnamed := [label for label in labels if label >= len(names)]):
        raise UserError(f"its label {unnamed[0]} has no name: the list of classes has {len(names)}")
    return _map((value, names[label]) for label, value in labels.items() if label < len(names))


def _cvat(file: str) -> LabelMap:
    """Return CVAT's map: lines of ``name:red,green,blue:parts:actions``, with a comment before them."""
    pairs = []
    for count, line in lines_of(file):
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"([^:]+):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*:[^:]*:[^:]*", line)
        if not found:
            raise UserError(f"{storage.redact(file)}, line {count}: is not name:red,green,blue:parts:actions")
        name, *colour = found.groups()
        try:
            pairs.append((_value(list(map(int, colour))), name))
        except UserError as error:
            raise UserError(f"{storage.redact(file)}, line {count}: {error}") from None
    return _map(pairs)


def _csv(file: str) -> LabelMap:
    """Return Roboflow's map (``Pixel Value, Class``), or that of the columns name, r, g and b."""
    pairs: list[tuple[Any, Any]] = []
    header: list[str] = []
    for count, line in lines_of(file):
        fields = [field.strip() for field in line.split(",")]
        if not header:
            header = [field.lower() for field in fields]
            if header not in (["pixel value", "class"], ["name", "r", "g", "b"]):
                raise UserError(
                    f"{storage.redact(file)}, line {count}: the columns are not Pixel Value,Class or name,r,g,b"
                )
            continue
        try:
            if len(fields) != len(header):
                raise UserError(f"has {len(fields)} fields, and the header has {len(header)}")
            colour = [int(v) if v.isdecimal() and len(v) < 4 else v for v in fields[1:]]
            pairs.append((fields[0], fields[1]) if len(header) == 2 else (_value(colour), fields[0]))
            if len(header) == 2:
                value_of(fields[0])
        except UserError as error:
            raise UserError(f"{storage.redact(file)}, line {count}: {error}") from None
    return _map(pairs)
