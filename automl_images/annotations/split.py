"""Training and validation from one set of records, the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from automl_images import storage
from automl_images.annotations.imaging import digest_of
from automl_images.annotations.records import Record
from automl_images.errors import UserError


def split_random(records: Sequence[Record], ratio: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Return (training, validation), each in the records' order.

    A record's place depends on the seed and its position alone, through SHA-256, so that neither the machine nor the
    library's version has a say. At least one record validates and one trains, a record that alone has a class trains,
    as a model cannot be scored on what it never saw, and records of one image, by its address or its bytes, stay
    together.

    Args:
        records: at least two.
        ratio: in (0, 1), the share that validates.
        seed: another seed, another split.

    Raises:
        UserError: no record can validate.
    """
    count = min(max(1, round(len(records) * ratio)), len(records) - 1)
    order = sorted(range(len(records)), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(same_images(records)):
        groups.setdefault(number, []).append(i)
    waiting = {i: group for group in groups.values() for i in group}
    left = Counter(name for record in records for name in set(record.label.names()))
    chosen: set[int] = set()
    for most in (count, len(records) - 1):  # the second where every image is there more often than may validate
        for i in order:
            group = waiting[i]
            classes = Counter(name for k in group for name in set(records[k].label.names()))
            if i not in chosen and len(chosen) + len(group) <= most and all(left[n] > classes[n] for n in classes):
                left.subtract(classes)
                chosen.update(group)
            if len(chosen) >= count:
                break
        if chosen:
            break
    else:
        raise UserError(
            "no image can validate: each is the only one of a class, or all are the same; add images, or give "
            "data.validation"
        )
    training = [r for i, r in enumerate(records) if i not in chosen]
    return training, [r for i, r in enumerate(records) if i in chosen]


def same_images(records: Iterable[Record]) -> list[int]:
    """Return a number for each record, equal where the image is the same by its address or its bytes."""
    known: dict[str, int] = {}
    numbers = []
    for record in records:
        keys = [record.image_url, *filter(None, [record.digest or _digest(record.image_url)])]
        number = next((known[key] for key in keys if key in known), len(known))
        known.update(dict.fromkeys(keys, number))
        numbers.append(number)
    return numbers


def _digest(url: str) -> str | None:
    """Return the digest of a local image, for records of before they had it; None where it cannot be read."""
    try:
        return digest_of(storage.read_bytes(url)) if storage.is_local(url) else None
    except OSError:
        return None
