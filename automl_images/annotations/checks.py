"""Every record checked against its real image, with one policy for each flaw.

| flaw                                         | fail    | skip              | fix               |
| -------------------------------------------- | ------- | ----------------- | ----------------- |
| a box without area                           | dropped | dropped           | dropped           |
| a box outside the image by at most a pixel   | clipped | clipped           | clipped           |
| a box further outside                        | refused | image left out    | clipped           |
| a box that ends before it begins             | refused | image left out    | corners exchanged |
| an annotated size that is not the image's    | refused | image left out    | the image's taken |
| an image that is missing or does not open    | refused | image left out    | image left out    |
| a record that cannot be read                 | refused | left out          | left out          |
| a class that training does not have          | refused | image left out    | box dropped       |

What is dropped, clipped or left out is counted; refused means an error that says where.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images import storage
from automl_images.annotations.imaging import Opened, open_image
from automl_images.annotations.records import Box, Record
from automl_images.errors import UserError, nearest

POLICIES = ("fail", "skip", "fix")
_AT_ONCE, _THREADS, _SAID = 256, 16, 5


class Checker:
    """Checks records and counts what it finds.

    Args:
        on_error: ``fail``, ``skip`` or ``fix``.
        classes: the classes that boxes may have; None for any.

    Raises:
        UserError: there is no such policy.
    """

    def __init__(self, on_error: str = "fail", classes: Collection[str] | None = None):
        if on_error not in POLICIES:
            raise UserError(f"on_error: '{on_error}' is no policy; {nearest(on_error, POLICIES)}")
        self.on_error, self.classes = on_error, classes
        self.images = 0
        self.labels: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def broken(self, error: UserError) -> None:
        """Take the error of a record that cannot be used: raise it under ``fail``, else count it and say the first few.

        Raises:
            UserError: the error, under ``fail``.
        """
        if self.on_error == "fail":
            raise UserError(f"{error}; mend it, or set on_error to skip or fix") from None
        self.found["skipped_images"] += 1
        if self.found["skipped_images"] <= _SAID:
            print(f"left out: {error}", file=sys.stderr)

    def check(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that can be used, with the size and format of their real images.

        Raises:
            UserError: a flaw is refused.
        """
        source = iter(records)
        with ThreadPoolExecutor(_THREADS) as pool:
            while batch := list(itertools.islice(source, _AT_ONCE)):
                for record, opened in zip(batch, pool.map(_open, batch), strict=True):
                    try:
                        checked = self._record(record, opened)
                    except UserError as error:
                        self.broken(UserError(f"{record.where}: {error}"))
                        continue
                    self.images += 1
                    self.labels.update(box.label for box in checked.label)
                    yield checked

    def summary(self) -> dict[str, Any]:
        """Return ``images``, ``boxes``, ``classes`` ({name: boxes}), and how often each flaw was met."""
        names = ("dropped_boxes", "clipped_boxes", "fixed_boxes", "fixed_sizes", "skipped_images")
        return {
            "images": self.images,
            "boxes": self.labels.total(),
            "classes": dict(sorted(self.labels.items())),
            **{name: self.found[name] for name in names},
        }

    def _record(self, record: Record, opened: Opened | UserError) -> Record:
        if isinstance(opened, UserError):
            raise opened
        size = opened.shown
        annotated = (record.width or size[0], record.height or size[1])
        if annotated != size:
            if self.on_error != "fix":
                turned = " before its EXIF orientation turns it" if annotated == size[::-1] else ""
                raise UserError(
                    f"the image is annotated as {_by(annotated)} pixels{turned}, and is {_by(size)}: "
                    f"{storage.redact(record.image_url)}"
                )
            self.found["fixed_sizes"] += 1
        boxes = [self._box(box, i, annotated) for i, box in enumerate(record.label, 1)]
        kept = [box for box in boxes if box is not None]
        return dataclasses.replace(record, label=kept, width=size[0], height=size[1], format=opened.format)

    def _box(self, box: Box, index: int, size: tuple[int, int]) -> Box | None:
        """Return the box as it is kept, or None; ``size`` is the one that its corners are fractions of."""
        if self.classes is not None and box.label not in self.classes:
            if self.on_error != "fix":
                raise UserError(
                    f"box {index} has the class '{box.label}', which the training data does not have; "
                    f"{nearest(box.label, self.classes)}"
                )
            self.found["dropped_boxes"] += 1
            return None
        left, top, right, bottom = box.topX, box.topY, box.bottomX, box.bottomY
        pixels = [v * s for v, s in zip((left, top, right, bottom), (*size, *size), strict=True)]
        said = f"box {index} ({box.label}) from ({pixels[0]:g}, {pixels[1]:g}) to ({pixels[2]:g}, {pixels[3]:g})"
        if right < left or bottom < top:
            if self.on_error != "fix":
                raise UserError(f"{said} ends before it begins")
            self.found["fixed_boxes"] += 1
            left, right, top, bottom = *sorted((left, right)), *sorted((top, bottom))
        if left == right or top == bottom:
            self.found["dropped_boxes"] += 1
            return None
        inside = [min(max(v, 0.0), 1.0) for v in (left, top, right, bottom)]
        if inside != [left, top, right, bottom]:
            beyond = max(-left * size[0], -top * size[1], (right - 1) * size[0], (bottom - 1) * size[1])
            if beyond > 1 + 1e-6:
                if self.on_error != "fix":
                    raise UserError(f"{said} lies outside its image of {_by(size)} pixels by {beyond:.4g} pixels")
                self.found["fixed_boxes"] += 1
            else:
                self.found["clipped_boxes"] += 1
            if inside[0] >= inside[2] or inside[1] >= inside[3]:
                self.found["dropped_boxes"] += 1
                return None
        return dataclasses.replace(box, topX=inside[0], topY=inside[1], bottomX=inside[2], bottomY=inside[3])


def _open(record: Record) -> Opened | UserError:
    try:
        return open_image(record.image_url)
    except FileNotFoundError:
        return UserError(f"the image {storage.redact(record.image_url)} is not there")
    except UserError as error:
        return error
    except OSError as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return UserError(f"the image {storage.redact(record.image_url)} cannot be read: {storage.redact(first)[:100]}")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
