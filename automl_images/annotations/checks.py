"""Every record checked against its real image, with one policy for each flaw.

What is dropped, clipped, taken or left out, and what is kept without a class, is counted; refused means an error that
says where. :func:`flaw_table` has the flaws, this module's and each kind's of label, and stands below;
what an image becomes is told by :func:`automl_images.data.images.to_rgb`.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images.annotations.imaging import Opened, open_image
from automl_images.annotations.labels import KINDS, kind_of
from automl_images.annotations.labels.base import Flaw, Rules
from automl_images.annotations.records import Record
from automl_images.errors import UserError, nearest

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

    def broken(self, error: UserError) -> None:
        """Take the error of a record that cannot be used: raise it under ``fail``, else count it, say the first few."""
        if self.on_error == "fail":
            raise UserError(f"{error}; mend it, or set on_error to skip or fix") from None
        self.found["skipped_images"] += 1
        if self.found["skipped_images"] <= _SHOWN:
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
                    self.labels.update(checked.label.names())
                    yield checked

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
    except UserError as error:
        return error
