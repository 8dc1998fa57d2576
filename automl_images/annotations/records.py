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


@dataclass(frozen=True)
class Record:
    """One labelled image.

    Attributes:
        image_url: an absolute path or any fsspec URL.
        label: a list of boxes for object detection (the other tasks bring their own kinds); an empty list is an image
            with nothing on it.
        width, height: the size in pixels as annotated, or None where the source does not say.
        format: the image's format as Azure names it (``jpg``, ``png``, ...), or None.
        where: the place the record came from, for error lines: ``file.xml`` or ``file.jsonl, line 7``.
    """

    image_url: str
    label: list[Box]
    width: int | None = None
    height: int | None = None
    format: str | None = None
    where: str = field(default="", compare=False)
