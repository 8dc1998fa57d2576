"""A whole COCO file in memory: parsed once, with outlines and boxes left as text until their image's turn comes.

A key that stands twice in an object is refused, as by :func:`automl_images.annotations.lines.json_value`: whether one
does is told by how often its name occurs in the text, and only a file of which that leaves a doubt, or a small one, is
parsed by Python. A key of a large file that is spelled with escapes escapes this.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import operator
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from automl_images import storage
from automl_images.annotations.lines import json_value
from automl_images.annotations.values import Broken, class_name, shown
from automl_images.errors import UserError

_SMALL = 1 << 22  # bytes
_NOTHING = msgspec.Raw(b"null")


class Image(msgspec.Struct, gc=False):
    """An image as it stands; what is not there is None."""

    id: Any = None
    file_name: Any = None
    width: Any = None
    height: Any = None


class Annotation(msgspec.Struct, gc=False):
    """An annotation as it stands; what is not there is None, and ``null`` where it is text."""

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    iscrowd: Any = None
    area: Any = None
    bbox: msgspec.Raw = _NOTHING
    segmentation: msgspec.Raw = _NOTHING


class _Boxed(Annotation, gc=False):
    """An annotation whose ``bbox`` is four numbers, or not there."""

    bbox: tuple[float, float, float, float] | None = None  # type: ignore[assignment]


class _Category(msgspec.Struct):
    id: Any = None
    name: Any = None


A = TypeVar("A", bound=Annotation)


class _File(msgspec.Struct, Generic[A]):
    images: list[Image] | None = None
    annotations: list[A] | None = None
    categories: list[_Category] | None = None
    info: msgspec.Raw = _NOTHING
    licenses: msgspec.Raw = _NOTHING


_FILE, _BOXED = msgspec.json.Decoder(_File[Annotation]), msgspec.json.Decoder(_File[_Boxed])
_LISTS = ("images", "annotations", "categories")
_NOT_OF_KEYS = b"0123456789.,- \t\r\n[]"


class Content:
    """A whole file.

    Attributes:
        shown: its address for error lines.
        images: as they stand.
        names: the names of the images' files by their ids; ambiguous where there are several.
        classes: their names, by the categories' ids.
        annotations: as they stand.
        found: the positions in ``annotations`` of those of an image, by its id.

    Where ``boxes`` are what is wanted, each ``bbox`` is four numbers at once, if all are.

    Raises:
        UserError: the file is not there, or not in COCO's format.
    """

    def __init__(self, file: str, broken: Broken, boxes: bool = False):
        self.shown = storage.redact(file)
        try:
            data = storage.read_bytes(file)
        except FileNotFoundError:
            raise UserError(f"{self.shown}: no such file") from None
        try:
            with _uncollected():
                content = _parsed(data, boxes)
        except UserError as error:
            raise UserError(f"{self.shown}: {error}") from None
        del data
        self.images, self.annotations = content.images or [], content.annotations or []
        self.names: dict[str, set[str]] = {}
        for image in self.images:
            if (key := id_of(image.id)) is not None:
                self.names.setdefault(key, set()).add(str(image.file_name)[:200])
        self.classes = self._classes(content.categories or [])
        self._by_number = {int(key): name for key, name in self.classes.items() if _is_number(key)}
        numbered: defaultdict[int, list[int]] = defaultdict(list)
        others: dict[str, list[int]] = {}
        for position, annotation in enumerate(self.annotations):
            if type(image_id := annotation.image_id) is int:  # most are
                numbered[image_id].append(position)
            elif (key := id_of(image_id)) is not None:
                others.setdefault(key, []).append(position)
            else:
                broken(UserError(f"{self.shown}, {self.named(position)}: has no image_id"))
        self.found = {str(image_id): positions for image_id, positions in numbered.items()}
        for key, positions in others.items():
            self.found[key] = sorted([*self.found.get(key, ()), *positions])

    def name_of(self, category: Any) -> str:
        """Return the name of the category of an id.

        Raises:
            UserError: there is none.
        """
        name = self._by_number.get(category) if type(category) is int else self.classes.get(id_of(category) or "")
        if name is None:
            raise UserError(f"its category_id {shown(category)} is that of no category")
        return name

    def named(self, position: int) -> str:
        """Return how an error line calls an annotation."""
        key = id_of(self.annotations[position].id)
        return f"annotation at position {position + 1}" if key is None else f"annotation {key}"

    def place(self, image: Image, position: int) -> str:
        """Return how an error line calls an image, by its position from 1."""
        known = id_of(image.id) is not None and isinstance(image.file_name, str)
        return f"{self.shown}, image {f'{id_of(image.id)} ({image.file_name[:200]})' if known else position}"

    def fractions(self, key: str) -> bool:
        """Return whether the numbers of all ``bbox`` or ``segmentation`` are fractions of an image; say so."""
        some = False
        for annotation in self.annotations:
            found = getattr(annotation, key)
            for value in _numbers(msgspec.json.decode(found) if isinstance(found, msgspec.Raw) else found):
                if abs(value) > 1:
                    return False
                some = some or bool(value % 1)
        if some:
            what = "boxes" if key == "bbox" else "outlines"
            print(f"{self.shown}: no number of its {what} is above 1: they are read as fractions", file=sys.stderr)
        return some

    def _classes(self, categories: Sequence[_Category]) -> dict[str, str]:
        """Return the classes' names by the categories' ids."""
        classes: dict[str, str] = {}
        for position, category in enumerate(categories, 1):
            key = id_of(category.id)
            if key is None:
                raise UserError(f"{self.shown}, category {position}: is not an object with an id and a name")
            name = class_name(category.name, f"{self.shown}, category {key}: its name")
            if classes.setdefault(key, name) != name:
                raise UserError(
                    f"{self.shown}: the category id {key} is '{classes[key]}' and '{name}'; give each its own"
                )
        return classes


def id_of(value: Any) -> str | None:
    """Return an id as text, as some tools write numbers so; None where there is none."""
    if type(value) is int:
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)[:200] if isinstance(value, str | int) and not isinstance(value, bool) else None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage in the block, which makes millions of objects and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parsed(data: bytes, boxes: bool) -> _File:
    data = data.removeprefix(b"\xef\xbb\xbf")
    if len(data) >= _SMALL:
        with contextlib.suppress(msgspec.DecodeError):
            content = _decoded(data, boxes)
            if isinstance(content.images, list) and isinstance(content.categories, list) and _are_single(data, content):
                return content
    value = json_value(data)
    if not isinstance(value, dict) or not all(isinstance(value.get(k), list) for k in ("images", "categories")):
        raise UserError("is not COCO's format: it needs the lists 'images', 'annotations' and 'categories'")
    if not isinstance(value.get("annotations") or [], list):
        raise UserError(f"'annotations' is {shown(value['annotations'])}, which is no list")
    with contextlib.suppress(msgspec.DecodeError):
        return _decoded(data, boxes)
    # what Python takes and the typed parser does not: numbers without limits, and what stands where an object should
    value = json.loads(data, parse_float=_finite, parse_int=_short, parse_constant=str)
    plain = {key: [one if isinstance(one, dict) else {} for one in value.get(key) or []] for key in _LISTS}
    try:
        return _FILE.decode(json.dumps(plain).encode())
    except msgspec.DecodeError as error:
        raise UserError(f"is not JSON: {error}") from None


def _decoded(data: bytes, boxes: bool) -> _File:
    if boxes:
        with contextlib.suppress(msgspec.ValidationError):
            return _BOXED.decode(data)
    return _FILE.decode(data)


def _are_single(data: bytes, content: _File) -> bool:
    """Return whether no key that is read stands twice in an object, by how often its name occurs."""
    expected = dict.fromkeys(_LISTS, 1)
    for items in filter(None, (content.images, content.annotations, content.categories)):
        kind = type(items[0])
        for name, nothing in zip(kind.__struct_fields__, kind.__struct_defaults__, strict=True):
            values = list(map(operator.attrgetter(name), items))
            expected[name] = expected.get(name, 0) + len(values) - values.count(nothing)
    beside = [bytes(raw) for raw in (content.info, content.licenses)]
    data = data.translate(None, _NOT_OF_KEYS)  # a tenth of it: a name occurs at least as often as before
    for name, count in expected.items():
        quoted = f'"{name}"'.encode()
        if data.count(quoted) > count and data.count(quoted) > count + sum(one.count(quoted) for one in beside):
            return False
    return True


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for one in value:
            if isinstance(one, int | float):
                yield one
            elif isinstance(one, list):
                yield from (v for v in one if isinstance(v, int | float))


def _is_number(key: str) -> bool:
    return key.isdecimal() and key.isascii() and str(int(key[:18])) == key


def _finite(text: str) -> float | str:
    return float(text) if math.isfinite(float(text)) else text


def _short(text: str) -> int | str:
    return int(text) if len(text) < 19 else text
