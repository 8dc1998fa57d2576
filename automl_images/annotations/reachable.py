"""Images that only one machine has, copied to where all machines reach them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from automl_images import storage, store
from automl_images.annotations.imaging import digest_of
from automl_images.annotations.records import Record
from automl_images.environment import SHARED

_AT_ONCE, _THREADS, _NAME = 256, 16, 80


def copied(records: Iterable[Record], root: str, counts: Counter[str]) -> Iterator[Record]:
    """Yield records whose local images and masks are copied below a root, and named there; others stay as they are.

    Those in the folder of :data:`automl_images.environment.SHARED` stay, too: all who read the records have it.

    A copy's name begins with a digest of its content, so an image that is there already is not sent again, an image
    that has changed gets another name, and equal records give equal addresses.

    Args:
        records: the records, whose images exist.
        root: a folder, local or any fsspec URL.
        counts: ``copied`` and ``present`` are counted here: images and masks that were sent, and that were there.
    """
    shared = os.environ.get(SHARED)
    with ThreadPoolExecutor(_THREADS) as pool:
        rest = iter(records)
        while batch := list(itertools.islice(rest, _AT_ONCE)):
            named = [url for record in batch for url in addresses(record)]
            local = sorted({url for url in named if storage.on_machine(url) and not (shared and lies_in(url, shared))})
            sent = list(pool.map(lambda url: put(url, root), local))
            counts.update("copied" if new else "present" for _, new in sent)
            targets = {url: target for url, (target, _) in zip(local, sent, strict=True)}
            for record in batch:
                yield _renamed(record, targets)


def lies_in(url: str, folder: str) -> bool:
    """Return whether ``url`` is an absolute path in a folder, or in an archive there."""
    path = url.removeprefix(storage.SCHEME)
    absolute = path.startswith(("/", "file:///", "local:///"))
    return absolute and storage.local_path(path).is_relative_to(storage.local_path(folder))


def _renamed(record: Record, targets: Mapping[str, str]) -> Record:
    if targets.keys().isdisjoint(addresses(record)):
        return record
    label = record.label.placed(lambda url: targets.get(url, url))
    return dataclasses.replace(record, image_url=targets.get(record.image_url, record.image_url), label=label)


def addresses(record: Record) -> list[str]:
    """Return the addresses that a record names: of its image, then of its label's files."""
    found = [record.image_url]

    def find(url: str) -> str:
        found.append(url)
        return url

    record.label.placed(find)
    return found


def put(path: str, root: str) -> tuple[str, bool]:
    """Copy a file below a root, under its digest and name, unless it is there with its size; return (address, sent)."""
    data = storage.read_bytes(path)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rstrip("/").rpartition("/")[2])[-_NAME:]
    target = storage.join(root, f"{digest_of(data)}-{name}")
    files, there = store.filesystem(target)
    with contextlib.suppress(FileNotFoundError):
        if files.size(there) == len(data):
            return target, False
    storage.write(target, data)
    return target, True
