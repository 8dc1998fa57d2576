"""Every record checked against its real image, with one policy for each flaw.

| flaw                                         | fail    | skip              | fix               |
| -------------------------------------------- | ------- | ----------------- | ----------------- |
| a box without area                           | dropped | dropped           | dropped           |
| a box outside the image by at most a pixel   | clipped | clipped           | clipped           |
| a box further outside                        | refused | image left out    | clipped           |
| a box that ends before it begins             | refused | image left out    | corners exchanged |
| boxes on an image of another size than said  | refused | image left out    | the image's taken |
| classes, on an image of another size         | taken   | the image's taken | the image's taken |
| an image that is missing or does not open    | refused | image left out    | image left out    |
| a truncated image                            | refused | image left out    | image left out    |
| a record that cannot be read                 | refused | left out          | left out          |
| a box's class that training does not have    | refused | image left out    | box dropped       |
| one of several classes that it does not have | refused | image left out    | class dropped     |
| the only class, and it does not have it      | refused | image left out    | image left out    |
| an image without a class (multi-class)       | refused | image left out    | image left out    |
| an image without a class (multi-label)       | kept    | kept              | kept              |
| an image once more, with other classes       | refused | image left out    | image left out    |

What is dropped, clipped, taken or left out, and what is kept without a class, is counted; refused means an error that
says where.

| set                                          | multi-class                | multi-label                    |
| -------------------------------------------- | -------------------------- | ------------------------------ |
| training has one class alone                 | refused                    | trained, and said              |
| training has no class at all                 | refused                    | refused                        |
| validation or test has no image of a class   | its metrics are absent     | its metrics are absent         |

| image                          | becomes RGB of 8 bits                                                            |
| ------------------------------ | -------------------------------------------------------------------------------- |
| grey, 1 to 8 bits              | three equal channels                                                             |
| grey, 16 bits                  | scaled, 65535 to 255; one that is kept in 32 bits too                            |
| colours of 16 bits             | the upper 8                                                                      |
| grey, floating point           | cut to 0 to 255, not scaled                                                      |
| palette                        | its colours                                                                      |
| transparent (RGBA, LA, a key)  | laid on white                                                                    |
| CMYK                           | (255 - ink) (255 - black) / 255; in a JPEG by Adobe's convention, inverted once  |
| YCbCr, Lab, HSV                | converted                                                                        |
| EXIF orientation 2 to 8        | turned; its width and height are those of the turned image                       |
| animated, or of several pages  | the first                                                                        |
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
from automl_images.annotations.boxes import checked_box
from automl_images.annotations.imaging import Opened, open_image
from automl_images.annotations.labels import task_of
from automl_images.annotations.records import Label, Record, boxes_of
from automl_images.errors import UserError, nearest

POLICIES = ("fail", "skip", "fix")
_AT_ONCE, _THREADS, _SAID = 256, 16, 5


class Checker:
    """Checks records and counts what it finds.

    Args:
        on_error: ``fail``, ``skip`` or ``fix``.
        classes: the classes that may occur; None for any.
        label: the task's kind of label: ``class``, ``classes`` or ``boxes``.

    Raises:
        UserError: there is no such policy.
    """

    def __init__(self, on_error: str = "fail", classes: Collection[str] | None = None, label: str = "boxes"):
        if on_error not in POLICIES:
            raise UserError(f"on_error: '{on_error}' is no policy; {nearest(on_error, POLICIES)}")
        self.on_error, self.classes, self.label = on_error, classes, label
        self.images = 0
        self.labels: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self._numbers: dict[tuple[str, ...], int] = {}
        self._labelled: dict[int, int] = {}  # by the hash of an address, so that a million images take 100 MB at most

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
                    self.labels.update(_names(checked.label))
                    yield checked

    def summary(self) -> dict[str, Any]:
        """Return ``images``, ``boxes`` or ``labels``, ``classes`` ({name: how many}), and how often each flaw was met.

        Multi-label has ``unlabelled_images`` too.
        """
        names = {
            "class": ("fixed_sizes", "skipped_images"),
            "classes": ("unlabelled_images", "dropped_labels", "fixed_sizes", "skipped_images"),
            "boxes": ("dropped_boxes", "clipped_boxes", "fixed_boxes", "fixed_sizes", "skipped_images"),
        }[self.label]
        return {
            "images": self.images,
            "boxes" if self.label == "boxes" else "labels": self.labels.total(),
            "classes": dict(sorted(self.labels.items())),
            **{name: self.found[name] for name in names},
        }

    def _record(self, record: Record, opened: Opened | UserError) -> Record:
        if isinstance(opened, UserError):
            raise opened
        size = opened.shown
        annotated = (record.width or size[0], record.height or size[1])
        if annotated != size and self.label == "boxes" and self.on_error != "fix":
            turned = " before its EXIF orientation turns it" if annotated == size[::-1] else ""
            raise UserError(
                f"the image is annotated as {_by(annotated)} pixels{turned}, and is {_by(size)}: "
                f"{storage.redact(record.image_url)}"
            )
        kept = self._boxes(record, annotated) if self.label == "boxes" else self._classes(record)
        self.found["fixed_sizes"] += annotated != size
        return dataclasses.replace(record, label=kept, width=size[0], height=size[1], format=opened.format)

    def _boxes(self, record: Record, size: tuple[int, int]) -> Label:
        """Return the boxes that are kept; ``size`` is the one that their corners are fractions of."""
        kept = []
        for i, box in enumerate(boxes_of(record), 1):
            if self.classes is not None and box.label not in self.classes:
                if self.on_error != "fix":
                    raise UserError(f"box {i} has {self._unknown(box.label)}")
                self.found["dropped_boxes"] += 1
            elif (fixed := checked_box(box, i, size, self.on_error == "fix", self.found)) is not None:
                kept.append(fixed)
        return kept

    def _classes(self, record: Record) -> Label:
        """Return the class or classes that are kept."""
        several = self.label == "classes"
        if isinstance(record.label, list) != several:
            raise TypeError(f"{record.where}: the label does not suit {task_of(self.label)}: {record.label!r:.60}")
        names = list(_names(record.label))
        self._once(record.image_url, names)
        unknown = [name for name in names if self.classes is not None and name not in self.classes]
        if unknown and not (several and self.on_error == "fix"):
            raise UserError(f"has {self._unknown(unknown[0])}")
        self.found["dropped_labels"] += len(unknown)
        kept = [name for name in names if name not in unknown]
        self.found["unlabelled_images"] += not kept
        return kept if several else kept[0]

    def _once(self, url: str, names: list[str]) -> None:
        number = self._numbers.setdefault(tuple(sorted(names)), len(self._numbers))
        if self._labelled.setdefault(hash(url), number) != number:
            also = "; the classes of one image belong together, in one record" if self.label == "classes" else ""
            raise UserError(f"the image has other classes in a record before: {storage.redact(url)}{also}")

    def _unknown(self, name: str) -> str:
        return f"the class '{name}', which the training data does not have; {nearest(name, self.classes or ())}"


def check_training_classes(classes: Collection[str], label: str) -> None:
    """Refuse a training set from whose classes nothing can be learnt; say it where multi-label has one alone.

    Args:
        classes: the classes of the training set.
        label: the task's kind of label.

    Raises:
        UserError: there is no class (``classes``), or fewer than two (``class``).
    """
    if label == "boxes" or len(classes) > 1:
        return
    only = f"has one class alone, '{next(iter(classes))}'" if classes else "has no class"
    if label == "class" or not classes:
        least = "two classes" if label == "class" else "one class"
        raise UserError(f"the training data {only}; {task_of(label)} needs at least {least}")
    print(f"the training data {only}: each image is trained and scored on having it or not", file=sys.stderr)


def _names(label: Label) -> list[str]:
    return [label] if isinstance(label, str) else [one if isinstance(one, str) else one.label for one in label]


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
