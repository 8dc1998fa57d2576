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
from automl_images.annotations.formats import jsonl
from automl_images.annotations.formats.base import Format
from automl_images.annotations.labels import Classes, Label, OneClass
from automl_images.annotations.labels.base import task_of
from automl_images.annotations.labels.boxes import holds_boxes
from automl_images.annotations.lines import first_line, json_object, lines_of, parsed
from automl_images.annotations.records import Record, labelling
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_list, class_name, shown
from automl_images.errors import UserError

_SOURCE = "source-ref"
_TYPES: dict[type[Label], str] = {
    OneClass: "groundtruth/image-classification",
    Classes: "groundtruth/image-classification-multilabel",
}


def candidates(source: Source) -> list[str]:
    """Return the ``.manifest`` files, and the JSONL files whose first line has ``source-ref``; at any depth."""
    found = source.files(".manifest", *jsonl.SUFFIXES)
    return [f for f in found if f.lower().endswith(".manifest") or f'"{_SOURCE}"' in first_line(f)]


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield the records of a manifest, line by line; it is read twice.

    An image root may map addresses, such as ``s3://bucket/=FOLDER``.
    """
    file = source.only(candidates(source), "manifest (.manifest, or .jsonl with source-ref)")
    places = source.places(file)
    known = _Known(file, _TYPES[kind])
    if kind is Classes:
        known.say_what_lists_are()
    label_of = known.one if kind is OneClass else known.several

    def record(line: str, where: str) -> Record:
        item = json_object(line)
        url = source.image(item.get(_SOURCE), _SOURCE, places)
        with labelling(url):
            return Record(url, label_of(item), where=where)

    return parsed(file, record, broken)


class _Known:
    """What a whole manifest tells: its class attribute, the names of its ids, and what its lists are."""

    def __init__(self, file: str, type: str):
        self.type, self.shown = type, storage.redact(file)
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
                untold = untold or UserError(f"{self.shown}, line {count}: {error}")
                continue
            mapped = mapped or bool(names)
            self.names = {**names, **self.names} if names.keys() - self.names.keys() else self.names
            ids = _ids(_listed(item.get(self.attribute)))
            if ids is not None:
                lengths[len(ids)] += 1
                repeated, above = repeated or len(set(ids)) < len(ids), above or any(i > 1 for i in ids)
        if not self.attribute:
            raise untold or UserError(f"{self.shown}: is empty; it needs a line of JSON an image")
        may_be_multi_hot, may_be_ids = not above and len(lengths) == 1 and 0 not in lengths, not repeated
        self.ambiguous, self.mapped = may_be_multi_hot and may_be_ids, mapped
        self.multi_hot = not (mapped or above) if may_be_multi_hot == may_be_ids else may_be_multi_hot
        self.columns = lengths.most_common(1)[0][0] if lengths else 0
        self.what = f"'{self.attribute}'"

    def one(self, item: dict[str, Any]) -> OneClass:
        """Return the label of a line of one class."""
        value = self._value(item)
        if _listed(value) is not None:
            raise UserError(f"{self.what} is a list, and {OneClass.task()} takes one class; use task {Classes.task()}")
        return OneClass(self._name(value))

    def several(self, item: dict[str, Any]) -> Classes:
        """Return the label of a line of several classes."""
        value = self._value(item)
        listed, wrong = _listed(value), f"{self.what} is {shown(value)}"
        if listed is None:
            raise UserError(f"{wrong}, and {Classes.task()} takes a list of classes; use task {OneClass.task()}")
        if any(isinstance(one, dict | list) for one in listed):
            raise UserError(f"{wrong}, which is no list of classes")
        ids = _ids(listed)
        if ids is None or not self.multi_hot:
            if ids is not None and len(set(ids)) < len(ids):
                raise UserError(f"{wrong}: a class id stands in it twice")
            return Classes(class_list(map(self._name, listed), self.what))
        if any(i > 1 for i in ids):
            raise UserError(f"{wrong}; a multi-hot list, as the others are, has 0 and 1 alone")
        if len(ids) != self.columns:
            raise UserError(
                f"{self.what} has {len(ids)} values; the multi-hot lists of this manifest have {self.columns}"
            )
        return Classes(tuple(self._name(i) for i, one in enumerate(ids) if one))

    def say_what_lists_are(self) -> None:
        """Say what lists that may be either are taken for."""
        if self.ambiguous:
            taken, there = "multi-hot" if self.multi_hot else "class ids", "a" if self.mapped else "no"
            how = f"read as {taken}, as there is {there} class-map"
            print(f"{self.shown}: its lists may be class ids or multi-hot; {how}", file=sys.stderr)

    def _value(self, item: dict[str, Any]) -> Any:
        """Return what a line has at the class attribute.

        Raises:
            UserError: it has none, or boxes, or another name for a class id than a line before.
        """
        if item.get(self.attribute) is None:
            raise UserError(f"has no {self.what}, which holds the classes in this manifest")
        if holds_boxes(item[self.attribute]) and "annotations" in item[self.attribute]:
            raise UserError(
                f"{self.what} holds boxes, and manifests are read for classes alone; for task {task_of('boxes')} write "
                "JSONL or COCO"
            )
        for key, name in self._own_names(item).items():
            if self.names.get(key) != name:
                raise UserError(f"the class id {key} is '{name}' here, and '{self.names.get(key)}' in a line before")
        return item[self.attribute]

    def _name(self, value: Any) -> str:
        """Return the name of a class, given by its name or id."""
        key = class_name(value, self.what)
        if self.names and key not in self.names and _ids([value]) is not None:
            raise UserError(f"{self.what}: the class id {key} has no name in the metadata")
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
        metadata = {k: item[f"{k}-metadata"] for k in keys if isinstance(item.get(f"{k}-metadata"), dict)}
        found = list(metadata) or keys
        if len(found) > 1:
            found = [k for k in metadata if metadata[k].get("type") == self.type] or found
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
    return [int(value) for value in values] if values is not None and all(map(_is_id, values)) else None


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal()
    return not isinstance(value, bool) and isinstance(value, int | float) and value >= 0 and value % 1 == 0


FORMAT = Format(
    "manifest", "an augmented manifest (.manifest)", tuple(_TYPES), candidates, read, before=(jsonl.FORMAT.name,)
)
