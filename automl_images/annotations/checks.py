"""Every record checked against its real image, with one policy for each flaw.

What is dropped, clipped, taken or left out, and what is kept without a class, is counted; refused means an error that
says where. :func:`flaw_table` has the flaws, this module's and each kind's of label, and stands below;
what an image becomes is told by :func:`automl_images.data.images.to_rgb`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images import storage
from automl_images.annotations.imaging import Opened, open_image
from automl_images.annotations.labels import KINDS, kind_of
from automl_images.annotations.labels.base import Flaw, Rules
from automl_images.annotations.records import Record
from automl_images.annotations.values import LabelError
from automl_images.errors import DiskFullError, StoreError, UserError, nearest

POLICIES = ("fail", "skip", "fix")
FLAWS: tuple[Flaw, ...] = (
    ("an image that is missing or does not open", "refused", "image left out", "image left out"),
    ("a truncated image", "refused", "image left out", "image left out"),
    ("a record that cannot be read", "refused", "image left out", "image left out"),
)
_AT_ONCE, _THREADS, _SHOWN = 256, 16, 5


class Checker:
    """Checks records and counts what it finds.

    Args:
        on_error: ``fail``, ``skip`` or ``fix``.
        classes: the classes that may occur; None for any.
        label: the task's kind of label, such as ``boxes``.

    Raises:
        UserError: there is no such policy or kind.
    """

    def __init__(self, on_error: str = "fail", classes: Collection[str] | None = None, *, label: str):
        if on_error not in POLICIES:
            raise UserError(f"on_error: '{on_error}' is no policy; {nearest(on_error, POLICIES)}")
        self.on_error, self.kind = on_error, kind_of(label)
        self.rules = Rules(on_error == "fix", classes)
        self.images = 0
        self.labels: Counter[str] = Counter()
        self.found = self.rules.found
        self._joins = self.kind.joined([], self.rules) is not None
        self._keys: dict[tuple[str, ...], int] = {}
        # by the hash of an image's address: its classes by their number, and the place that says so
        self._seen: dict[int, tuple[int, str]] = {}
        self._contents: dict[int, int] = {}  # by the hash of an image's digest: its classes by their number
        self._several: set[int] = set()
        self._unusable: set[int] = set()
        self._dropped: set[int] = set()

    def broken(self, error: UserError) -> None:
        """Take the error of a record that cannot be used: raise it under ``fail``, else count it, say the first few."""
        if self.on_error == "fail":
            raise UserError(f"{error}; mend it, or set on_error to skip or fix") from None
        if isinstance(error, LabelError):
            self._spoil(hash(error.image))
        self.found["skipped_images"] += 1
        if self.found["skipped_images"] <= _SHOWN:
            print(f"left out: {error}", file=sys.stderr)

    def check(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that can be used, with the size and format of their real images; see :meth:`settled` too.

        Raises:
            UserError: a flaw is refused.
        """
        source = iter(records)
        with ThreadPoolExecutor(_THREADS) as pool:
            while batch := list(itertools.islice(source, _AT_ONCE)):
                for record, opened in zip(batch, pool.map(_open, batch), strict=True):
                    key = hash(record.image_url)
                    try:
                        if self._repeats(record, key):
                            continue
                        checked = self._record(record, opened)
                        self._seen.setdefault(key, (self._number(record.label.key()), record.where))
                        number = self._number(tuple(sorted(checked.label.names())))
                        self.found["contradicted_images"] += (
                            self._contents.setdefault(hash(checked.digest), number) != number
                        )
                    except UserError as error:
                        self._spoil(key)
                        self.broken(UserError(f"{record.where}: {error}"))
                        continue
                    yield self._counted(checked)

    @property
    def unsettled(self) -> bool:
        """Whether some image is in several records that :meth:`check` has yielded."""
        return bool(self._several or self._dropped)

    def settled(self, read: Callable[[], Iterator[Record]]) -> Iterator[Record]:
        """Yield the records that :meth:`check` has yielded, one an image, with what several records say of it.

        An image is left out if one of its records was, as what is labelled there would count as background. ``read``
        returns the records anew; it is called twice where there is something to join.
        """
        if not self.unsettled:
            yield from read()
            return
        self.images, self.labels = 0, Counter()
        labels: dict[str, list[Any]] = {}
        for record in read():
            if hash(record.image_url) in self._several:
                labels.setdefault(record.image_url, []).append(record.label)
        for record in read():
            if hash(record.image_url) in self._dropped:
                self.found["skipped_images"] += 1
            elif hash(record.image_url) not in self._several:
                yield self._counted(record)
            elif record.image_url in labels:
                label = self.kind.joined(labels.pop(record.image_url), self.rules)
                yield self._counted(dataclasses.replace(record, label=label))

    def _counted(self, record: Record) -> Record:
        self.images += 1
        self.labels.update(record.label.names())
        return record

    def _number(self, key: tuple[str, ...]) -> int:
        return self._keys.setdefault(() if self._joins else key, len(self._keys))

    def _spoil(self, key: int) -> None:
        """Leave an image out, whatever record says something of it."""
        self._unusable.add(key)
        if key in self._seen:
            self._dropped.add(key)

    def _repeats(self, record: Record, key: int) -> bool:
        """Return whether a record says what one before says of its image; those that are joined go on."""
        if key in self._unusable:
            raise UserError("another record of its image is left out")
        if key not in self._seen:
            return False
        number, place = self._seen[key]
        if self._number(record.label.key()) != number:
            url = storage.redact(record.image_url)
            raise UserError(f"the image has {self.kind.other} in {place}: {url}{self.kind.hint}")
        self.found["repeated_images"] += 1
        if self._joins:
            self._several.add(key)
        return not self._joins

    def summary(self) -> dict[str, Any]:
        """Return ``images``, ``boxes`` or ``labels``, ``classes`` ({name: how many}), and how often each flaw was met.

        Multi-label has ``unlabelled_images`` too.
        """
        return {
            "images": self.images,
            self.kind.counted: self.labels.total(),
            "classes": dict(sorted(self.labels.items())),
            **{name: self.found[name] for name in self.kind.counts},
        }

    def _record(self, record: Record, opened: Opened | UserError) -> Record:
        if isinstance(opened, UserError):
            raise opened
        if not isinstance(record.label, self.kind):
            raise TypeError(f"{record.where}: the label does not suit {self.kind.task()}: {record.label!r:.60}")
        size = opened.shown
        annotated = (record.width or size[0], record.height or size[1])
        self.rules.turned = opened.turned
        label = record.label.check(record.image_url, annotated, size, self.rules)
        self.found["fixed_sizes"] += annotated != size
        return Record(record.image_url, label, *size, opened.format, record.where, opened.digest)


def check_training_classes(classes: Collection[str], label: str) -> None:
    """Refuse a training set from whose classes nothing can be learnt; ``label`` is the task's kind of label.

    Raises:
        UserError: there are too few, or there is no such kind.
    """
    kind_of(label).check_training(classes)


def flaw_table() -> str:
    """Return what comes of each flaw under each policy, of any label and of each kind, as a Markdown table."""
    tables = {"any": FLAWS, **{kind.kind: kind.flaws for kind in KINDS.values()}}
    rows = [("label", "flaw", *POLICIES), ("---",) * 5]
    rows += [(name, *flaw) for name, flaws in tables.items() for flaw in flaws]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


__doc__ = f"{__doc__}\n{flaw_table()}\n"


def _open(record: Record) -> Opened | UserError:
    try:
        return open_image(record.image_url)
    except (StoreError, DiskFullError):  # the machine's lack, and no flaw of the record
        raise
    except UserError as error:
        return error
