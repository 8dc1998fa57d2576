"""Training and validation from one set of records, the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from automl_images.annotations.records import Record


def split_random(records: Sequence[Record], ratio: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Return (training, validation), each in the records' order.

    A record's place depends on the seed and its position alone, through SHA-256, so that neither the machine nor the
    library's version has a say. At least one record validates and one trains, and a record that alone has a class
    trains: a model cannot be scored on what it never saw.

    Args:
        records: at least two.
        ratio: in (0, 1), the share that validates.
        seed: another seed, another split.
    """
    count = min(max(1, round(len(records) * ratio)), len(records) - 1)
    order = sorted(range(len(records)), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    classes = [set(record.label.names()) for record in records]
    left = Counter(name for names in classes for name in names)
    chosen: set[int] = set()
    for i in order:
        if len(chosen) == count:
            break
        if all(left[name] > 1 for name in classes[i]):
            left.subtract(classes[i])
            chosen.add(i)
    training = [r for i, r in enumerate(records) if i not in chosen]
    return training, [r for i, r in enumerate(records) if i in chosen]
