"""The class of each pixel of an image, in a mask image of its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from automl_images import storage
from automl_images.annotations.labels.base import ONCE, UNKNOWN, Label, Rules, Size
from automl_images.annotations.values import FlawError, class_name, shown
from automl_images.errors import DiskFullError, StoreError, UserError

Value = int | str  # a pixel's value, or its colour as #rrggbb

UNOPENED, OTHER_SIZE = "a mask that is missing or does not open", "a mask of another size than its image"
NO_CLASS = "a pixel value of no class"


@dataclass(frozen=True, slots=True)
class Mask(Label):
    """A mask image: what its pixels hold says of which class they are.

    Attributes:
        mask_url: an absolute path or any fsspec URL.
        classes: (class, pixel value) in the order of the classes; a value is an index from 0 to 65535, or a colour as
            ``#rrggbb``; where they are colours, those of a palette or of greys count, and not their indices. Empty:
            each value that occurs is a class, named by its digits.
        ignore: the values that training and metrics pass over.
        present: the classes that occur; None until the mask is checked.
    """

    mask_url: str
    classes: tuple[tuple[str, Value], ...] = ()
    ignore: tuple[Value, ...] = (255,)
    present: tuple[str, ...] | None = None

    kind = "mask"
    title = "a mask"
    counted = "regions"
    has_files = True
    least = 1
    counts = ("unknown_values", "fixed_sizes", "repeated_images", "contradicted_images", "skipped_images")
    flaws = (
        (UNOPENED, "refused", "image left out", "image left out"),
        (OTHER_SIZE, "refused", "image left out", "image left out"),
        (NO_CLASS, "refused", "image left out", "ignored"),
        *(row for row in ONCE if row[0] != UNKNOWN),
    )
    says_missing = True
    other = "another mask"

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the mask of a JSON object: ``mask_url``; optional are ``classes``, ``ignore`` and ``present``."""
        if isinstance(value, str):
            value = {"mask_url": value}
        if not isinstance(value, dict) or not isinstance(value.get("mask_url"), str) or not value["mask_url"].strip():
            found = "has no label" if value is None else f"the label is {shown(value)}"
            raise UserError(f"{found}; {cls.task()} needs an object with mask_url")
        named, ignored, present = value.get("classes") or {}, value.get("ignore", [255]), value.get("present")
        if not isinstance(named, dict):
            raise UserError(f"classes is {shown(named)}, not an object of class names and pixel values")
        if not isinstance(ignored, list) or not (present is None or isinstance(present, list)):
            raise UserError("ignore and present are lists of pixel values and of class names")
        classes = tuple((class_name(name, "a class"), value_of(v)) for name, v in named.items())
        values = [v for _, v in classes]
        if len(set(values)) < len(values):
            raise UserError("two of its classes have the same pixel value")
        names = None if present is None else tuple(class_name(name, "present") for name in present)
        return cls(value["mask_url"], classes, tuple(map(value_of, ignored)), names)

    def to_json(self) -> dict[str, Any]:
        """Return the mask as records have it in JSON."""
        item: dict[str, Any] = {"mask_url": self.mask_url, "classes": dict(self.classes), "ignore": list(self.ignore)}
        return item if self.present is None else item | {"present": list(self.present)}

    def names(self) -> list[str]:
        """Return the classes that occur, each once; none until the mask is checked."""
        return list(self.present or ())

    def known(self) -> list[str]:
        """Return the classes of its map, or those that occur where it has none."""
        return [name for name, _ in self.classes] or self.names()

    @property
    def coloured(self) -> bool:
        """Whether the classes are told by colours."""
        return any(isinstance(value, str) for _, value in self.classes)

    def key(self) -> tuple[str, ...]:
        """Return the address of the mask: two masks of one image are not compared."""
        return (self.mask_url,)

    def placed(self, find: Callable[[str], str]) -> Self:
        """Return the label with the address of its mask as ``find`` resolves it."""
        return replace(self, mask_url=find(self.mask_url))

    def read(self) -> tuple[list[Value], Size]:
        """Return the values that occur in the mask, sorted, and its width and height in pixels."""
        from automl_images.annotations.masks import values_in

        try:
            return values_in(self.mask_url, self.coloured)
        except (StoreError, DiskFullError):
            raise
        except UserError as error:
            raise FlawError(str(error), UNOPENED) from None

    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label with the classes that occur in its mask."""
        found, shape = rules.read
        mask = f"the mask {storage.redact(self.mask_url)}"
        if shape != size:
            text = f"{mask} has {shape[0]} x {shape[1]} pixels, and its image {size[0]} x {size[1]}"
            raise FlawError(text, OTHER_SIZE)
        names = {value: name for name, value in self.classes} or {value: str(value) for value in found}
        known = [names[value] for value in found if value in names and value not in self.ignore]
        unknown = [value for value in found if value not in names and value not in self.ignore]
        unknown += [value for value in found if names.get(value) in known and not rules.knows(names[value])]
        if unknown:
            text = f"{mask} has the pixel value {unknown[0]}, which is of no class that may occur"
            if not rules.fix:
                raise FlawError(f"{text}; name it among the classes, or ignore it", NO_CLASS)
            rules.findings.add(NO_CLASS, f"{rules.where}: {text}", len(unknown))
        rules.found["unknown_values"] += len(unknown)
        present = [name for name in known if rules.knows(name)]
        order = [name for name, _ in self.classes] or sorted(present, key=lambda name: (len(name), name))
        return replace(
            self, present=tuple(n for n in order if n in present), ignore=tuple(dict.fromkeys([*self.ignore, *unknown]))
        )

    def ignoring(self, values: Sequence[Value]) -> Self:
        """Return the label that passes over some more values; what is a class by its label map is none then.

        Raises:
            UserError: no class is left, or they are indices where the classes are colours, or the other way round.
        """
        if self.classes and (other := [v for v in values if type(v) is not type(self.classes[0][1])]):
            found = "colours" if isinstance(self.classes[0][1], str) else "indices"
            raise UserError(f"ignore: {shown(other[0])} is no value of these masks, whose classes are {found}")
        left = tuple((name, value) for name, value in self.classes if value not in values)
        if self.classes and not left:
            raise UserError("ignore: names the value of every class; leave one")
        return replace(self, classes=left, ignore=tuple(dict.fromkeys([*self.ignore, *values])))


def value_of(value: Any) -> Value:
    """Return a pixel value: a whole number from 0 to 65535, as one or as text, or a colour as ``#rrggbb``.

    Raises:
        UserError: it is neither.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text.startswith("#") and len(text) == 7 and all(c in "0123456789abcdef" for c in text[1:]):
            return text
        value = int(text) if text.isdecimal() and len(text) < 6 else value
    if type(value) is not int or not 0 <= value <= 65535:
        raise UserError(f"the pixel value {shown(value)} is neither a whole number from 0 to 65535 nor #rrggbb")
    return value
