"""The one record type: an image and its label. Every reader makes records, every writer takes them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Box:
    """A labelled box, Azure's shape: corners as fractions of the image's width and height.

    Attributes:
        label: the class.
        topX, topY, bottomX, bottomY: left, top, right and bottom, each in [0, 1] once checked.
        isCrowd: a region that metrics neither reward nor punish (COCO's iscrowd, VOC's difficult).
    """

    label: str
    topX: float
    topY: float
    bottomX: float
    bottomY: float
    isCrowd: bool = False


Label = str | list[str] | list[Box]


@dataclass(frozen=True)
class Record:
    """One labelled image.

    Attributes:
        image_url: an absolute path or any fsspec URL.
        label: by the task's kind of label: ``class``, one class; ``classes``, a list of classes without repetition,
            where an empty one is an image with none of them; ``boxes``, a list of boxes, where an empty one is an image
            with nothing on it.
        width, height: the size in pixels as annotated, or None where the source does not say.
        format: the image's format as Azure names it (``jpg``, ``png``, ...), or None.
        where: the place the record came from, for error lines: ``file.xml`` or ``file.jsonl, line 7``.
    """

    image_url: str
    label: Label
    width: int | None = None
    height: int | None = None
    format: str | None = None
    where: str = field(default="", compare=False)


def class_names(record: Record) -> set[str]:
    """Return the classes that a record has, whatever its kind of label."""
    label = record.label
    return {label} if isinstance(label, str) else {one.label if isinstance(one, Box) else one for one in label}


def boxes_of(record: Record) -> list[Box]:
    """Return the boxes of a record of object detection.

    Raises:
        TypeError: the record has another kind of label.
    """
    if isinstance(record.label, list):
        boxes = [box for box in record.label if isinstance(box, Box)]
        if len(boxes) == len(record.label):
            return boxes
    raise TypeError(f"the record's label is no list of boxes: {record.label!r:.60}")
