"""SageMaker's augmented manifest: JSON lines with ``source-ref`` and a class attribute, as Ground Truth writes them.

The class attribute is the one that has a ``<name>-metadata`` beside it; in a manifest without metadata, the only key
that is left. A name comes from the metadata (``class-name``, ``class-map``), else the class id as text is the name.

Several classes are a list, or a list as text, which holds class ids (``[0, 2]``) or is multi-hot (``[1, 0, 1]``). What
the content type tells SageMaker is found from the whole file here: it is multi-hot if only 0 and 1 occur in lists of
one length, and class ids if no list repeats a value. Where both hold, a ``class-map`` decides for class ids (Ground
Truth's form), and its absence for multi-hot (SageMaker's default); which was taken is said on standard error.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.annotations.jsonl import SUFFIXES, image_address, json_object
from automl_images.annotations.labels import class_list, class_name, task_of
from automl_images.annotations.records import Record
from automl_images.annotations.sources import files, first_line, lines_of, parsed, the_only
from automl_images.annotations.values import Broken, refuse
from automl_images.errors import UserError

_SOURCE = "source-ref"
_TYPES = {"class": "groundtruth/image-classification", "classes": "groundtruth/image-classification-multilabel"}


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the ``.manifest`` files, and the JSONL files whose first line has ``source-ref``; at any depth.

    ``listed`` as for :func:`sources.files`.
    """
    found = files(source, (".manifest", *SUFFIXES), listed)
    return [f for f in found if f.lower().endswith(".manifest") or f'"{_SOURCE}"' in first_line(f)]


def read(source: str, images: str | None = None, broken: Broken = refuse, *, label: str = "class") -> Iterator[Record]:
    """Yield the records of a manifest, line by line; it is read twice.

    Args:
        source: the file, or a folder that holds one; local or any fsspec URL.
        images: the image root (default: the folder of the source), or ``PREFIX=URL``, such as ``s3://bucket/=FOLDER``.
        broken: is called with the error of each line that cannot be read; the default raises it.
        label: the task's kind of label: ``class`` or ``classes``.

    Raises:
        UserError: there is no such file, its class attribute cannot be told, or, by ``broken``, a line is not usable.
    """
    file = the_only(candidates(source), source, "manifest (.manifest, or .jsonl with source-ref)")
    root = ImageRoot(source if storage.is_dir(source) else folder_of(file), images)
    beside = None if root.given else ImageRoot(folder_of(file))
    known = _Known(file, label)

    def record(line: str, count: int, where: str) -> Record:
        item = json_object(line)
        url = image_address(item.get(_SOURCE), _SOURCE, root, beside)
        return Record(url, known.classes(item), where=where)

    return parsed(file, record, broken)


class _Known:
    """What a whole manifest tells: its class attribute, the names of its ids, and what its lists are."""

    def __init__(self, file: str, label: str):
        self.label, self.said = label, storage.redact(file)
        self.attribute, self.names = "", dict[str, str]()
        untold: UserError | None = None
        mapped = repeated = above = False
        lengths: Counter[int] = Counter()
        for count, line in lines_of(file):
            try:
                item = json_object(line)
                if not self.attribute:
                    self.attribute = self._attribute(item)
                names = self._own_names(item)
            except UserError as error:
                untold = untold or UserError(f"{self.said}, line {count}: {error}")
                continue
            mapped = mapped or bool(names)
            self.names = {**names, **self.names} if names.keys() - self.names.keys() else self.names
            ids = _ids(_listed(item.get(self.attribute)))
            if ids is not None:
                lengths[len(ids)] += 1
                repeated, above = repeated or len(set(ids)) < len(ids), above or any(i > 1 for i in ids)
        if not self.attribute:
            raise untold or UserError(f"{self.said}: is empty; it needs a line of JSON an image")
        as_hot, as_ids = not above and len(lengths) == 1 and 0 not in lengths, not repeated
        self.hot = not (mapped or above) if as_hot == as_ids else as_hot
        self.columns = lengths.most_common(1)[0][0] if lengths else 0
        if label == "classes" and as_hot and as_ids:
            taken, why = ("multi-hot", "no") if self.hot else ("class ids", "a")
            said = f"{self.said}: its lists may be class ids or multi-hot; read as {taken}, as there is {why} class-map"
            print(said, file=sys.stderr)

    def classes(self, item: dict[str, Any]) -> str | list[str]:
        """Return the label of a line.

        Raises:
            UserError: it has none, or one of another kind.
        """
        if item.get(self.attribute) is None:
            raise UserError(f"has no '{self.attribute}', which holds the classes in this manifest")
        value = item[self.attribute]
        for key, name in self._own_names(item).items():
            if self.names.get(key) != name:
                raise UserError(f"the class id {key} is '{name}' here, and '{self.names.get(key)}' in a line before")
        listed = _listed(value)
        what = f"'{self.attribute}'"
        if self.label == "class":
            if listed is not None:
                raise UserError(
                    f"{what} is a list, and {task_of(self.label)} takes one class; use task {task_of('classes')}"
                )
            return self._name(value, what)
        if listed is None:
            said = json.dumps(value)[:60]
            raise UserError(
                f"{what} is {said}, and {task_of(self.label)} takes a list of classes; use task {task_of('class')}"
            )
        if any(isinstance(one, dict | list) for one in listed):
            raise UserError(f"{what} is {json.dumps(value)[:60]}, which is no list of classes")
        ids = _ids(listed)
        if ids is None or not self.hot:
            if ids is not None and len(set(ids)) < len(ids):
                raise UserError(f"{what} is {json.dumps(value)[:60]}: a class id stands in it twice")
            return class_list((self._name(one, what) for one in listed), what)
        if any(i > 1 for i in ids):
            raise UserError(
                f"{what} is {json.dumps(value)[:60]}; a multi-hot list, as the others are, has 0 and 1 alone"
            )
        if len(ids) != self.columns:
            raise UserError(f"{what} has {len(ids)} values; the multi-hot lists of this manifest have {self.columns}")
        return [self._name(i, what) for i, one in enumerate(ids) if one]

    def _name(self, value: Any, what: str) -> str:
        key = class_name(value, what)
        if self.names and key not in self.names and _ids([value]) is not None:
            raise UserError(f"{what}: the class id {key} has no name in the metadata")
        return self.names.get(key, key)

    def _own_names(self, item: dict[str, Any]) -> dict[str, str]:
        """Return the names of class ids that a line's metadata gives."""
        metadata = item.get(f"{self.attribute}-metadata")
        if not isinstance(metadata, dict):
            return {}
        names = metadata.get("class-map")
        names = names if isinstance(names, dict) else {}
        value = item.get(self.attribute)
        if metadata.get("class-name") is not None and isinstance(value, str | int | float):
            names = {**names, class_name(value, f"'{self.attribute}'"): metadata["class-name"]}
        return {class_name(k, "a class id"): class_name(v, f"the name of class id {k}") for k, v in names.items()}

    def _attribute(self, item: dict[str, Any]) -> str:
        """Return the key that holds the classes.

        Raises:
            UserError: none does, or several may.
        """
        keys = [k for k in item if k != _SOURCE and not k.endswith(("-metadata", "-ref"))]
        found = [k for k in keys if isinstance(item.get(f"{k}-metadata"), dict)] or keys
        if len(found) > 1:
            found = [k for k in found if (item.get(f"{k}-metadata") or {}).get("type") == _TYPES[self.label]] or found
        if len(found) != 1:
            held = f"{' and '.join(map(repr, found[:4]))} may hold the classes" if found else "has no class attribute"
            raise UserError(f"{held}; a manifest needs one key beside {_SOURCE} and the metadata")
        return found[0]


def _listed(value: Any) -> list[Any] | None:
    """Return a list given as one or as text; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _ids(values: list[Any] | None) -> list[int] | None:
    """Return class ids, given as whole numbers or as text; None where one of them is no class id."""
    if values is None:
        return None
    found = []
    for value in values:
        whole = value.is_integer() if isinstance(value, float) else isinstance(value, int)
        if isinstance(value, bool) or not (whole or (isinstance(value, str) and value.isdecimal())):
            return None
        found.append(int(value))
    return None if any(i < 0 for i in found) else found
