"""Whether two sets of records are the same set, wherever their images and files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from automl_images import storage
from automl_images.annotations.labels import Mask
from automl_images.annotations.records import Record


def set_digest(records: Iterable[Record]) -> str:
    """Return a digest of images and their labels, hex digits, whatever their order.

    An image counts by its bytes (``Record.digest``), or by its address where they were not read: such a set is another
    one when it is moved. A mask counts by its file's bytes, which are read.

    Raises:
        FileNotFoundError: a mask is not there.
    """
    lines = (json.dumps([r.digest or r.image_url, _label(r)], sort_keys=True) for r in records)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _label(record: Record) -> Any:
    label = record.label.to_json()
    if isinstance(record.label, Mask):
        label["mask_url"] = hashlib.sha256(storage.read_bytes(record.label.mask_url)).hexdigest()
    return label
