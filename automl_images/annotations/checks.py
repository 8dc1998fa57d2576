"""Every record checked against its real image, with one policy for each flaw.

What is dropped, clipped, taken or left out, and what is kept without a class, is counted; refused means an error that
says where. :func:`flaw_table` has the flaws, this module's and each kind's of label, and stands below;
what an image becomes is told by :func:`automl_images.data.images.to_rgb`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images import storage
from automl_images.annotations.findings import Findings, lines
from automl_images.annotations.imaging import TRUNCATED, UNOPENED, Opened, open_image
from automl_images.annotations.labels import KINDS, kind_of
from automl_images.annotations.labels.base import (
    CONTRADICTED,
    CROWD,
    OTHER,
    SAME,
    SEVERAL,
    SIZE,
    UNSCORED,
    Flaw,
    Rules,
)
from automl_images.annotations.names import nearly_equal
from automl_images.annotations.records import Record
from automl_images.annotations.values import LIKE, MISSING, UNREADABLE, UNUSED, FlawError, LabelError, placed
from automl_images.errors import DiskFullError, StoreError, UserError, nearest

POLICIES = ("fail", "skip", "fix")
EQUAL, ALIKE = "an image with the bytes of another", "an image that looks like another"
SHARED = "an image that also trains"
NEARLY, RARE = "class names that are nearly equal", "a class with fewer than 10 examples"
FLAWS: tuple[Flaw, ...] = (
    *((name, "refused", "image left out", "image left out") for name in (MISSING, UNOPENED, TRUNCATED, UNREADABLE)),
    *((name, "kept", "kept", "kept") for name in (EQUAL, ALIKE, SHARED, LIKE)),
    *((name, "said", "said", "said") for name in (UNUSED, NEARLY, RARE)),
)
_AT_ONCE, _THREADS, _HEADERS, _SHOWN, _FEW = 256, 16, 64, 5, 10
_QUICK = 0.0005  # seconds an image: beyond, as on a network's file system, threads wait for several at once


class Checker:
    """Checks records and counts what it finds.

    Args:
        on_error: ``fail``, ``skip`` or ``fix``. Under ``fail`` the whole source is read before an error says what was
            found.
        classes: the classes that may occur; None for any.
        label: the task's kind of label, such as ``boxes``.
        trained: the digests of the images that train, where those checked are to score on.
        decode: whether each image is read to its end; otherwise only its header is, and truncated images and images of
            equal bytes are not found.

    Attributes:
        findings: what was found, as :class:`automl_images.annotations.findings.Findings`; whole when :meth:`check` is
            at its end.

    Raises:
        UserError: there is no such policy or kind.
    """

    def __init__(
        self,
        on_error: str = "fail",
        classes: Collection[str] | None = None,
        *,
        label: str,
        trained: Collection[str] = (),
        decode: bool = True,
    ):
        if on_error not in POLICIES:
            raise UserError(f"on_error: '{on_error}' is no policy; {nearest(on_error, POLICIES)}")
        self.on_error, self.kind = on_error, kind_of(label)
        column = POLICIES.index(on_error) + 1
        self.findings = Findings({row[0]: (row[1], row[column]) for row in (*FLAWS, *self.kind.flaws)})
        self.rules = Rules(on_error == "fix", classes, self.findings)
        self.images = 0
        self.labels: Counter[str] = Counter()
        self.found = self.rules.found
        self._trained, self._decode = trained, decode
        self._joins = self.kind.joined([], self.rules) is not None
        self._keys: dict[tuple[str, ...], int] = {}
        # by the hash of an image's address: what is said of it by its number, and the place that says so
        self._seen: dict[int, tuple[int, str]] = {}
        self._contents: dict[str, tuple[int, str]] = {}  # the same, its classes alone, by an image's digest
        self._several: set[int] = set()
        self._unusable: set[int] = set()
        self._dropped: set[int] = set()
        self._refused = ""
        self._crowds, self._all_crowd = 0, False

    def broken(self, error: UserError) -> None:
        """Take a flaw that a reader has met: count it, and say the first few that leave an image out.

        Under ``fail``, :meth:`check` raises at its end what was taken here.
        """
        flaw = error.flaw if isinstance(error, FlawError) else UNREADABLE
        if self.findings.is_note(flaw):
            if flaw != UNUSED or self.rules.classes is None:  # a set to score on need not have every class
                self.findings.add(flaw, str(error))
            return
        self.findings.add(flaw, str(error))
        if isinstance(error, LabelError):
            self._spoil(hash(error.image))
        if self.on_error == "fail":
            self._refused = self._refused or str(error)
            return
        self.found["skipped_images"] += 1
        if self.found["skipped_images"] <= _SHOWN:
            print(f"left out: {error}", file=sys.stderr)

    def check(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that can be used, with the size and format of their real images; see :meth:`settled` too.

        Raises:
            UserError: at the end, flaws were refused; it says how many of what, and where the first of each are.
        """
        for record, opened, read in open_images(records, self._decode):
            key = hash(record.image_url)
            self.rules.where, self.rules.read = record.where, read
            try:
                if self._repeats(record, key):
                    continue
                checked = self._record(record, opened)
            except UserError as error:
                self._spoil(key)
                self.broken(placed(error, record.where))
                continue
            self._seen.setdefault(key, (self._number(record.label.key()), record.where))
            self._compare(checked)
            yield self._counted(checked)
        self._conclude()

    def _compare(self, record: Record) -> None:
        """Say that an image has the bytes of another."""
        if record.digest is None:
            return
        if record.digest in self._trained:
            self.rules.add(SHARED)
        number = self._number(tuple(sorted(record.label.names())))
        first, where = self._contents.setdefault(record.digest, (number, record.where))
        if first != number:
            self.found["contradicted_images"] += 1
            self.rules.add(CONTRADICTED, f"as in {where}")
        elif where != record.where and hash(record.image_url) not in self._several:
            self.rules.add(EQUAL, f"as in {where}")

    def _conclude(self) -> None:
        """Say what the whole set shows.

        Raises:
            UserError: something was refused.
        """
        if self._refused:
            raise UserError(self._refusal())
        if self._crowds and self._crowds == self.labels.total():
            self._all_crowd = self.rules.fix
            self.findings.add(CROWD, f"all {self._crowds} {self.kind.counted}", self._crowds)
        if self.rules.classes is None:
            for one, other in nearly_equal(self.labels):
                self.findings.add(NEARLY, f"'{one}' ({self.labels[one]}) and '{other}' ({self.labels[other]})")
            for name, count in sorted(self.labels.items(), key=lambda item: item[1]):
                if count < _FEW:
                    self.findings.add(RARE, f"'{name}' has {count}")
        elif self.kind.says_missing:
            for name in sorted(set(self.rules.classes) - self.labels.keys()):
                self.findings.add(UNSCORED, name)

    def _refusal(self) -> str:
        """Return the error's line, and print the first of each flaw where there are several."""
        errors = {name: one for name, one in self.findings.to_json().items() if one["severity"] == "error"}
        count = sum(one["count"] for one in errors.values())
        if count == 1:
            return f"{self._refused}; mend it, or set on_error to skip or fix"
        print("\n".join(lines(errors)), file=sys.stderr)
        kinds = ", ".join(f"{one['count']} x {name}" for name, one in errors.items())
        return f"{self._refused}; it is one of {count}: {kinds}; mend them, or set on_error to skip or fix"

    @property
    def unsettled(self) -> bool:
        """Whether :meth:`settled` changes what :meth:`check` has yielded."""
        return bool(self._several or self._dropped or self._all_crowd)

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
                yield self._counted(self._mended(record))
            elif record.image_url in labels:
                label = self.kind.joined(labels.pop(record.image_url), self.rules)
                yield self._counted(self._mended(dataclasses.replace(record, label=label)))

    def _counted(self, record: Record) -> Record:
        self.images += 1
        self.labels.update(record.label.names())
        self._crowds += record.label.crowds()
        return record

    def look(self, records: Iterable[Record]) -> None:
        """Say which of the records' images look like another, by their perceptual hashes; each is opened."""
        from automl_images.annotations.duplicates import alike

        some = {record.image_url: record for record in records}
        first: dict[int, Record] = {}
        for (url, record), number in zip(some.items(), alike(list(some)), strict=True):
            other = first.setdefault(number, record)
            if other is not record and (record.digest is None or record.digest != other.digest):
                self.findings.add(ALIKE, f"{storage.redact(url)}: looks like {storage.redact(other.image_url)}")

    def _mended(self, record: Record) -> Record:
        return dataclasses.replace(record, label=record.label.as_objects()) if self._all_crowd else record

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
            if self.on_error == "fail":  # what is refused is one record of it
                return True
            raise UserError("another record of its image is left out")
        if key not in self._seen:
            return False
        number, place = self._seen[key]
        if self._number(record.label.key()) != number:
            url = storage.redact(record.image_url)
            raise FlawError(f"the image has {self.kind.other} in {place}: {url}{self.kind.hint}", OTHER)
        self.found["repeated_images"] += 1
        self.rules.add(SEVERAL if self._joins else SAME, f"as in {place}")
        if self._joins:
            self._several.add(key)
        return not self._joins

    def summary(self) -> dict[str, Any]:
        """Return ``images``, ``boxes`` or ``labels``, ``classes`` ({name: how many}), counts of flaws and ``findings``.

        Multi-label has ``unlabelled_images`` too.
        """
        return {
            "images": self.images,
            self.kind.counted: self.labels.total(),
            "classes": dict(sorted(self.labels.items())),
            **{name: self.found[name] for name in self.kind.counts},
            "findings": self.findings.to_json(),
        }

    def _record(self, record: Record, opened: Opened | UserError) -> Record:
        if isinstance(opened, UserError):
            raise opened
        if isinstance(self.rules.read, UserError):
            raise self.rules.read
        if not isinstance(record.label, self.kind):
            raise TypeError(f"{record.where}: the label does not suit {self.kind.task()}: {record.label!r:.60}")
        size = opened.shown
        annotated = (record.width or size[0], record.height or size[1])
        self.rules.turned = opened.turned
        label = record.label.check(record.image_url, annotated, size, self.rules)
        if annotated != size:
            self.found["fixed_sizes"] += 1
            self.rules.add(SIZE, f"annotated as {annotated[0]} x {annotated[1]} pixels, and {size[0]} x {size[1]}")
        where, metadata = record.where, record.metadata
        return Record(record.image_url, label, *size, opened.format, where, opened.digest, metadata)


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


def open_images(records: Iterable[Record], decode: bool = True) -> Iterator[tuple[Record, Opened | UserError, Any]]:
    """Yield each record, what the file of its image holds, and what its label reads; many are opened at once.

    In the place of either is the error that says why it cannot be read. ``decode`` is as for :class:`Checker`.
    """

    def found(some: Sequence[Record]) -> list[tuple[Record, Opened | UserError, Any]]:
        return [(r, _tried(open_image, r.image_url, decode), _tried(r.label.read)) for r in some]

    source = iter(records)
    most, many = (_AT_ONCE, 1) if decode else (_THREADS * _HEADERS, _HEADERS)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(itertools.islice(source, most)):
            quick = not decode and all(storage.is_local(record.image_url) for record in batch)
            size = many if quick else 1
            parts = [batch[i : i + size] for i in range(0, len(batch), size)]
            while quick and parts:  # a header in memory is read faster than it is handed to a thread
                start = time.perf_counter()
                read = found(parts.pop(0))
                quick = time.perf_counter() - start < _QUICK * len(read)
                yield from read
            yield from itertools.chain.from_iterable(pool.map(found, parts))


def _tried(read: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns, or the error that says what is wrong with a record."""
    try:
        return read(*args)
    except (StoreError, DiskFullError):  # the machine's lack, and no flaw of the record
        raise
    except UserError as error:
        return error
