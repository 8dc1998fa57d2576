"""Whether two sets of records are the same set, wherever their images and files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from automl_images.annotations.records import Record


def set_digest(records: Iterable[Record]) -> str:
    """Return a digest of images and their labels, hex digits, whatever their order.

    An image counts by its bytes (``Record.digest``), or by its address where they were not read: such a set is another
    one when it is moved.
    """
    lines = (json.dumps([r.digest or r.image_url, r.label.to_json()], sort_keys=True) for r in records)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
