"""What a whole augmented manifest tells, and what its lines are by that."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import cached_property
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import folder_of
from automl_images.annotations.labelmaps import LabelMap, beside
from automl_images.annotations.labels import Box, Boxes, Classes, Label, Mask, OneClass
from automl_images.annotations.labels.base import task_of
from automl_images.annotations.labels.boxes import holds_boxes
from automl_images.annotations.labels.mask import value_of
from automl_images.annotations.lines import json_object, lines_of
from automl_images.annotations.records import size_of
from automl_images.annotations.values import class_list, class_name, number, pixels, shown
from automl_images.errors import UserError

SOURCE = "source-ref"
SIDES = ("left", "top", "width", "height")
TYPES: dict[type[Label], str] = {
    OneClass: "groundtruth/image-classification",
    Classes: "groundtruth/image-classification-multilabel",
    Boxes: "groundtruth/object-detection",
    Mask: "groundtruth/semantic-segmentation",
}


class Known:
    """What a whole manifest tells: its label attribute, the names of its ids, and what its lists are."""

    def __init__(self, file: str, kind: type[Label]):
        self.kind, self.type, self.file, self.shown = kind, TYPES[kind], file, storage.redact(file)
        self.colours: dict[str, str] = {}  # of masks, by the ids of the names
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
        value = self.value(item)
        if _listed(value) is not None:
            raise UserError(f"{self.what} is a list, and {OneClass.task()} takes one class; use task {Classes.task()}")
        return OneClass(self._name(value))

    def several(self, item: dict[str, Any]) -> Classes:
        """Return the label of a line of several classes."""
        value = self.value(item)
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

    def boxes(self, item: dict[str, Any], url: str) -> tuple[Boxes, int, int]:
        """Return the boxes of a line, and the size that they are annotated with, or else that of the image."""
        value = self.value(item)
        if not isinstance(value, dict) or not isinstance(value.get("annotations"), list):
            raise UserError(f"{self.what} is {shown(value)}, and {Boxes.task()} takes an object with annotations")
        size = value.get("image_size")
        size = next(iter(size), None) if isinstance(size, list) and len(size) < 2 else size
        if not isinstance(size, dict | None):
            raise UserError(f"image_size of {self.what} is {shown(size)}, not a list of one object of width and height")
        width, height = (pixels((size or {}).get(side), f"image_size.{side}") for side in ("width", "height"))
        width, height = size_of(url, width, height)
        boxes = []
        for i, one in enumerate(value["annotations"], 1):
            try:
                if not isinstance(one, dict):
                    raise UserError(f"is {shown(one)}, not an object with class_id, left, top, width and height")
                x, y, w, h = (number(one.get(side), side) for side in SIDES)
                name = self._name(one.get("class_id"))
            except UserError as error:
                raise UserError(f"annotation {i}: {error}") from None
            boxes.append(Box(name, x / width, y / height, (x + w) / width, (y + h) / height))
        return Boxes(tuple(boxes)), width, height

    def mask(self, url: str) -> Mask:
        """Return the label of a mask."""
        if not self.names:
            return Mask(url, self._beside.classes, self._beside.ignore)
        if not hasattr(self, "coloured"):  # the first mask tells
            from automl_images.annotations.masks import values_in

            self.coloured = any(isinstance(value, str) for value in values_in(url)[0])
        if not self.coloured:
            named = tuple((name, value_of(key)) for key, name in self.names.items())
            return Mask(url, named, () if 255 in dict(named).values() else (255,))
        lacking = next((key for key in self.names if key not in self.colours), None)
        if lacking is not None:
            raise UserError(f"the mask is in colours, and the class '{self.names[lacking]}' has no hex-color")
        return Mask(url, tuple((name, value_of(self.colours[key])) for key, name in self.names.items()), ())

    @cached_property
    def _beside(self) -> LabelMap:
        return beside([folder_of(self.file)])

    def value(self, item: dict[str, Any]) -> Any:
        """Return what a line has at the label attribute.

        Raises:
            UserError: it has none, or boxes, or another name for a class id than a line before.
        """
        if item.get(self.attribute) is None:
            raise UserError(f"has no {self.what}, which holds the labels in this manifest")
        if self.kind is not Boxes and holds_boxes(item[self.attribute]) and "annotations" in item[self.attribute]:
            raise UserError(f"{self.what} holds boxes; use task {task_of('boxes')}")
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
        """Return the names of class ids, or of the values of masks, that a line's metadata gives."""
        metadata = item.get(f"{self.attribute}-metadata")
        if not isinstance(metadata, dict):
            return {}
        if self.kind is Mask:
            return self._own_colours(metadata.get("internal-color-map"))
        names = metadata.get("class-map")
        names = names if isinstance(names, dict) else {}
        value = item.get(self.attribute)
        if metadata.get("class-name") is not None and isinstance(value, str | int | float):
            names = {**names, class_name(value, f"'{self.attribute}'"): metadata["class-name"]}
        return {class_name(k, "a class id"): class_name(v, f"the name of class id {k}") for k, v in names.items()}

    def _own_colours(self, colours: Any) -> dict[str, str]:
        """Return the names of an internal-color-map, and keep its colours."""
        if colours is None:
            return {}
        if not isinstance(colours, dict) or not all(isinstance(one, dict) for one in colours.values()):
            raise UserError(f"internal-color-map is {shown(colours)}, not an object of objects with class-name")
        names = {}
        for key, one in colours.items():
            names[str(value_of(key))] = class_name(one.get("class-name"), f"class-name of {key}")
            if one.get("hex-color") is not None:
                colour = str(value_of(one["hex-color"]))
                if self.colours.setdefault(str(value_of(key)), colour) != colour:
                    raise UserError(f"hex-color of {key} is {colour} here, and another in a line before")
        return names

    def _attribute(self, item: dict[str, Any]) -> str:
        """Return the key that holds the labels.

        Raises:
            UserError: none does, or several may.
        """
        masks = self.kind is Mask
        keys = [k for k in item if k != SOURCE and not k.endswith("-metadata") and k.endswith("-ref") is masks]
        metadata = {k: item[f"{k}-metadata"] for k in keys if isinstance(item.get(f"{k}-metadata"), dict)}
        found = list(metadata) or keys
        if len(found) > 1:
            found = [k for k in metadata if metadata[k].get("type") == self.type] or found
        what = {Boxes: "boxes", Mask: "mask"}.get(self.kind, "classes")
        if len(found) != 1:
            held = f"{' and '.join(map(repr, found[:4]))} may hold the {what}"
            none = (
                "has no attribute that ends with -ref" if masks else f"has no {'class' if what == 'classes' else 'box'}"
            )
            lacks = none if masks else f"{none} attribute"
            raise UserError(f"{held if found else lacks}; a manifest needs one key beside {SOURCE} and the metadata")
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
