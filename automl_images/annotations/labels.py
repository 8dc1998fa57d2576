"""Labels in JSON, of each kind: read leniently from anywhere, written and read back strictly."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from automl_images.annotations.records import Box, Label
from automl_images.annotations.values import flag, number
from automl_images.errors import UserError
from automl_images.tasks import TASKS

_CORNERS = ("topX", "topY", "bottomX", "bottomY")


def task_of(kind: str) -> str:
    """Return the name of the task whose records have labels of a kind: ``class``, ``classes`` or ``boxes``."""
    return next(task.name for task in TASKS.values() if task.label == kind)


def class_name(value: Any, what: str = "label") -> str:
    """Return a class's name: text without the blanks around it, or a number as text (3 and 3.0 are "3").

    Raises:
        UserError: it is neither, or empty, or holds a line end or another control character; the line says ``what``.
    """
    if isinstance(value, str):
        return _plain(value, what)
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = number(value, what)
        return str(int(found)) if isinstance(value, int) or found.is_integer() else str(found)
    said = "is missing" if value is None else f"is {json.dumps(value)[:40]}, which is no class name"
    raise UserError(f"{what} {said}; write it as text")


@functools.lru_cache(4096)
def _plain(value: str, what: str) -> str:
    name = value.strip()
    if not name:
        raise UserError(f"{what} is empty; it needs a class name")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise UserError(f"{what} is {ascii(name)[:60]}; a class name is one line of printable text")
    return name


def class_list(values: Iterable[Any], what: str = "label") -> list[str]:
    """Return class names in their order, without repetitions.

    Raises:
        UserError: as :func:`class_name`; the line counts from 1.
    """
    return list(dict.fromkeys(class_name(value, f"{what} {i}") for i, value in enumerate(values, 1)))


def read_label(value: Any, kind: str) -> Label:
    """Return the label that a JSON value is.

    Args:
        value: by Azure's schema; for boxes one object serves for a list of one, and numbers may be text.
        kind: ``class``, ``classes`` or ``boxes``.

    Raises:
        UserError: the value is of another kind; the line names the task that takes it, if there is one.
    """
    if kind == "boxes":
        return [_box(one, i) for i, one in enumerate(_listed(value), 1)]
    task = task_of(kind)
    boxes = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))
    takes = f"{task} takes {'one class' if kind == 'class' else 'a list of classes'}"
    if boxes:
        raise UserError(f"label: is a list of boxes, and {takes}; use task {task_of('boxes')}")
    if kind == "class":
        if isinstance(value, list):
            raise UserError(f"label: is a list, and {takes}; use task {task_of('classes')}")
        if value is None:
            raise UserError(f"has no label; {takes}, such as {json.dumps({'label': 'cat'})[1:-1]}")
        return class_name(value)
    if value is None:
        raise UserError(f"has no label; {takes}, [] where there is none")
    if not isinstance(value, list):
        said = json.dumps(value, ensure_ascii=False)[:60]
        raise UserError(f"label: is {said}, and {takes}; write [{said}], or use task {task_of('class')}")
    return class_list(value)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        said = "has no label" if value is None else f"the label is {str(value)[:40]!r}"
        raise UserError(f"{said}; object detection needs a list of boxes (an empty one where there is nothing)")
    return value


def _box(value: Any, index: int) -> Box:
    what = f"box {index}"
    if not isinstance(value, dict):
        raise UserError(f"{what} is {str(value)[:40]!r}, not an object with label, topX, topY, bottomX and bottomY")
    name = value.get("label")
    if not isinstance(name, str | int) or isinstance(name, bool) or str(name).strip() == "":
        raise UserError(f"{what} has no label")
    left, top, right, bottom = (number(value.get(key), f"{what}: {key}") for key in _CORNERS)
    return Box(str(name), left, top, right, bottom, flag(value.get("isCrowd"), f"{what}: isCrowd"))


def label_json(label: Label) -> Any:
    """Return a label as JSON has it.

    Raises:
        TypeError: it is of no kind, or of several.
    """
    if isinstance(label, str):
        return label
    if all(isinstance(one, str) for one in label):
        return list(label)
    return [_box_json(one) for one in label]


def _box_json(box: Any) -> dict[str, Any]:
    if not isinstance(box, Box):
        raise TypeError(f"neither a class nor a box: {box!r:.60}")
    return {
        "label": box.label,
        "topX": box.topX,
        "topY": box.topY,
        "bottomX": box.bottomX,
        "bottomY": box.bottomY,
        "isCrowd": int(box.isCrowd),
    }


def restored(value: Any) -> Label:
    """Return the label that :func:`label_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: it never wrote that.
    """
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, list):
        raise ValueError(value)
    if not any(isinstance(one, dict) for one in value):
        if not all(isinstance(one, str) and one for one in value) or len(set(value)) < len(value):
            raise ValueError(value)
        return value
    return [Box(b["label"], b["topX"], b["topY"], b["bottomX"], b["bottomY"], bool(b["isCrowd"])) for b in value]
