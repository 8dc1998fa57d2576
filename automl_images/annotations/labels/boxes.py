"""Any number of boxes an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from automl_images.annotations.labels.base import MANY, UNKNOWN, Label, Rules, Size
from automl_images.annotations.values import FlawError, class_name, flag, number, shown
from automl_images.errors import UserError

EMPTY, THIN = "a box without area", "a box of one pixel or less across"
BEYOND, OUTSIDE = "a box outside the image by at most a pixel", "a box further outside"
FLIPPED, TWICE = "a box that ends before it begins", "a box that stands twice"
_PIXEL = 1 + 1e-6
_CORNERS = ("topX", "topY", "bottomX", "bottomY")


class Box(msgspec.Struct, frozen=True, gc=False):
    """A labelled box, Azure's shape: corners as fractions of the image's width and height.

    There are millions; a dataclass takes fifteen times as long to make.

    Attributes:
        label: the class.
        topX, topY, bottomX, bottomY: left, top, right and bottom, each in [0, 1] once checked.
        isCrowd: a region that metrics neither reward nor punish (COCO's iscrowd, VOC's difficult).
        area: of the object in pixels, where it is not the box's own (COCO's, of the outline).
    """

    label: str
    topX: float
    topY: float
    bottomX: float
    bottomY: float
    isCrowd: bool = False
    area: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the box as records have it in JSON."""
        area = {} if self.area is None else {"area": self.area}
        corners = {c: getattr(self, c) for c in _CORNERS}
        return {"label": self.label, **corners, "isCrowd": int(self.isCrowd), **area}


@dataclass(frozen=True, slots=True)
class Boxes(Label):
    """The boxes of an image; none is an image with nothing on it."""

    boxes: tuple[Box, ...]

    kind = "boxes"
    title = "boxes"
    counted = "boxes"
    counts = (
        "dropped_boxes",
        "clipped_boxes",
        "fixed_boxes",
        "repeated_boxes",
        "fixed_sizes",
        "repeated_images",
        "skipped_images",
    )
    flaws = (
        (EMPTY, "dropped", "dropped", "dropped"),
        (BEYOND, "clipped", "clipped", "clipped"),
        (OUTSIDE, "refused", "image left out", "clipped"),
        (FLIPPED, "refused", "image left out", "corners exchanged"),
        (THIN, "kept", "kept", "kept"),
        (TWICE, "counted once", "counted once", "counted once"),
        *MANY,
    )
    says_missing = False
    scored_if_any = True

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Return the boxes that a JSON list has; one object serves for a list of one, and numbers may be text."""
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            found = "has no label" if value is None else f"the label is {shown(value)}"
            raise UserError(f"{found}; object detection needs a list of boxes (an empty one where there is nothing)")
        return cls(tuple([_box(box, i) for i, box in enumerate(value, 1)]))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the boxes in Azure's schema, ``isCrowd`` as 0 or 1."""
        return [box.to_json() for box in self.boxes]

    @classmethod
    def restored(cls, value: Any) -> Self:
        """Return the label that :meth:`to_json` wrote."""
        if not isinstance(value, list):
            raise ValueError(value)
        made = [
            Box(b["label"], b["topX"], b["topY"], b["bottomX"], b["bottomY"], bool(b["isCrowd"]), b.get("area"))
            for b in value
        ]
        return cls(tuple(made))

    def names(self) -> list[str]:
        """Return the class of each box."""
        return [box.label for box in self.boxes]

    def crowds(self) -> int:
        """Return how many boxes are crowd."""
        return sum(box.isCrowd for box in self.boxes)

    def as_objects(self) -> Self:
        """Return the label with no box taken as crowd."""
        return type(self)(tuple(replace(box, isCrowd=False) for box in self.boxes))

    def check(self, url: str, annotated: Size, size: Size, rules: Rules) -> Self:
        """Return the label with the boxes that are kept, each inside its image."""
        rules.check_same_size(url, annotated, size)
        kept = []
        for i, box in enumerate(self.boxes, 1):
            if not rules.knows(box.label):
                if not rules.fix:
                    raise rules.unknown(box.label, f"box {i}")
                rules.add(UNKNOWN, f"box {i} ({box.label})")
                rules.found["dropped_boxes"] += 1
            elif (checked := _checked(box, i, annotated, rules)) is not None:
                if checked.area is not None and annotated != size:  # pixels of another size
                    area = checked.area * (size[0] * size[1]) / (annotated[0] * annotated[1])
                    checked = replace(checked, area=area)
                across, down = (checked.bottomX - checked.topX) * size[0], (checked.bottomY - checked.topY) * size[1]
                if min(across, down) <= _PIXEL:
                    rules.add(THIN, _described(checked, i, size))
                kept.append(checked)
        return self.joined([type(self)(tuple(kept))], rules)

    @classmethod
    def joined(cls, labels: Sequence[Self], rules: Rules) -> Self:
        """Return all boxes of an image, each that stands twice once."""
        boxes = [box for label in labels for box in label.boxes]
        once = tuple(dict.fromkeys(boxes))
        if len(once) < len(boxes):
            for box, count in Counter(boxes).items():
                rules.findings.add(TWICE, f"{rules.where}: {count} boxes {tuple(box.to_json().values())}", count - 1)
        rules.found["repeated_boxes"] += len(boxes) - len(once)
        return cls(once)


def holds_boxes(value: Any) -> bool:
    """Return whether a JSON value is a box, or a list in which there is one."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _box(value: Any, index: int) -> Box:
    if not isinstance(value, dict):
        raise UserError(f"box {index} is {shown(value)}, not an object with label, topX, topY, bottomX and bottomY")
    try:
        left, top, right, bottom = (number(value.get(key), key) for key in _CORNERS)
        area = None if value.get("area") is None else number(value["area"], "area")
        name = class_name(value.get("label"))
        return Box(name, left, top, right, bottom, flag(value.get("isCrowd"), "isCrowd"), area)
    except UserError as error:
        raise UserError(f"box {index}: {error}") from None


def _checked(box: Box, index: int, size: Size, rules: Rules) -> Box | None:
    """Return the box, number ``index`` of an image of a size, as it is kept; None where it is dropped."""
    left, top, right, bottom = box.topX, box.topY, box.bottomX, box.bottomY
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        return box
    if right < left or bottom < top:
        if not rules.fix:
            raise FlawError(f"{_described(box, index, size)} ends before it begins", FLIPPED)
        rules.add(FLIPPED, _described(box, index, size))
        rules.found["fixed_boxes"] += 1
        left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
    if left == right or top == bottom:
        rules.add(EMPTY, _described(box, index, size))
        rules.found["dropped_boxes"] += 1
        return None
    inside = [min(max(v, 0.0), 1.0) for v in (left, top, right, bottom)]
    if inside != [left, top, right, bottom]:
        beyond = max(-left * size[0], -top * size[1], (right - 1) * size[0], (bottom - 1) * size[1])
        image = f"its image of {size[0]} x {size[1]} pixels"
        text = f"{_described(box, index, size)} lies outside {image} by {beyond:.4g} pixels"
        if beyond > _PIXEL and not rules.fix:
            raise FlawError(text, OUTSIDE)
        rules.add(OUTSIDE if beyond > _PIXEL else BEYOND, text)
        rules.found["fixed_boxes" if beyond > _PIXEL else "clipped_boxes"] += 1
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            rules.found["dropped_boxes"] += 1
            return None
    left, top, right, bottom = inside
    return Box(box.label, left, top, right, bottom, box.isCrowd)


def _described(box: Box, index: int, size: Size) -> str:
    width, height = size
    start = f"({box.topX * width:g}, {box.topY * height:g})"
    return f"box {index} ({box.label}) from {start} to ({box.bottomX * width:g}, {box.bottomY * height:g})"
