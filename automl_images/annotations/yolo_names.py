"""What names YOLO's classes and sets: a ``data.yaml``, or a list of names a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import folder_of
from automl_images.annotations.lines import head_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import class_name, shown
from automl_images.errors import UserError
from automl_images.plain import read_yaml

_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "classes.names")
_ABOVE = 3
_NAMES, _TRAIN = (re.compile(rb"^['\"]?" + key + rb"['\"]?\s*:", re.MULTILINE) for key in (b"names", b"train"))
SETS = {"training": "train", "validation": "val", "test": "test"}


def is_data_yaml(url: str) -> bool:
    """Return whether a file is YAML that names classes and a set of images, as ``data.yaml`` does."""
    if not url.lower().endswith((".yaml", ".yml")):
        return False
    head = head_of(url)
    return bool(_NAMES.search(head) and _TRAIN.search(head))


def sets_of(url: str) -> dict[str, list[str]]:
    """Return the folders or lists of images of each set that a ``data.yaml`` names, by ``training`` and so on.

    Raises:
        UserError: it is no such file.
    """
    content, place = _yaml(url), storage.redact(url)
    base, found = folder_of(url), {}
    if content.get("path"):
        base = storage.join(base, _text(content["path"], f"{place}: path"))
    for name, key in SETS.items():
        value = content.get(key)
        values = value if isinstance(value, list) else [value] if value else []
        if values:
            found[name] = [_beside(base, folder_of(url), _text(one, f"{place}: {key}")) for one in values]
    if not found:
        raise UserError(f"{place}: names no set of images; it needs train, val or test")
    return found


def _beside(base: str, folder: str, path: str) -> str:
    """Return what a path of ``data.yaml`` names: Roboflow's ``../train/images`` is in the folder itself."""
    places = [path] if path.startswith("/") or "://" in path else [storage.join(base, path)]
    places.append(storage.join(folder, path.removeprefix("../")))
    return next((place for place in places if storage.exists(place)), places[0])


def names_of(source: Source) -> tuple[Mapping[int, str], bool]:
    """Return the names of the classes by their ids, none where no file names them, and whether key points follow.

    Raises:
        UserError: a file that names them is wrong, or two files do.
    """
    folder = source.folder
    for _ in range(_ABOVE + 1):
        names = [name for name in storage.names(folder) if not name.startswith(".")]
        yamls = [storage.join(folder, n) for n in names if n.lower().endswith((".yaml", ".yml"))]
        yamls = [file for file in yamls if _NAMES.search(head_of(file))]
        if len(yamls) > 1:
            raise UserError(f"{yamls[0]} and {yamls[1]} name the classes; keep one of them")
        if yamls:
            content = _yaml(yamls[0])
            return _named(content, storage.redact(yamls[0])), bool(content.get("kpt_shape"))
        if found := next((name for name in _LISTS if name in names), None):
            file = storage.join(folder, found)
            lines = storage.read_bytes(file).decode("utf-8-sig", errors="replace").splitlines()
            while lines and not lines[-1].strip():
                lines.pop()
            return {i: class_name(line, f"{storage.redact(file)}: line {i + 1}") for i, line in enumerate(lines)}, False
        above = folder_of(folder)
        if above == folder:
            break
        folder = above
    return {}, False


def _yaml(url: str) -> Mapping[str, Any]:
    place = storage.redact(url)
    content = read_yaml(storage.read_bytes(url).decode("utf-8-sig", errors="replace"), place)
    if not isinstance(content, dict):
        raise UserError(f"{place}: is not a mapping of train, val and names")
    return content


def _named(content: Mapping[str, Any], place: str) -> dict[int, str]:
    """Return the names of a ``data.yaml``, a list or a mapping of ids, which may have gaps."""
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(str(key).isdecimal() for key in names):
        raise UserError(f"{place}: names is {shown(names)}, neither a list of names nor a mapping of ids to names")
    if isinstance(count := content.get("nc"), int) and names and count != len(names):
        raise UserError(f"{place}: nc is {count}, and there are {len(names)} names")
    found = {int(key): class_name(name, f"{place}: the name of class {key}") for key, name in names.items()}
    if len(set(found.values())) < len(found):
        twice = next(name for name in found.values() if list(found.values()).count(name) > 1)
        raise UserError(f"{place}: two classes are called '{twice}'")
    return found


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} is {shown(value)}, not a path")
    return value
