"""Whether files are the same as before, told cheaply: what lies behind an address may change, and the address not."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images import storage

_ENDS = 1 << 16  # bytes that are read of a local file's beginning and end
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "VersionId",
    "generation",
    "LastModified",
    "mtime",
    "created",
    "CRC",
)
_THREADS = 16


def digest(urls: Iterable[str]) -> str:
    """Return a digest of many files: of a local one its size, first and last 64 KiB, on a store what it says of it.

    A file that is not there counts as such; whoever needs it says so.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for url in dict.fromkeys(urls):
        folders["" if storage.is_local(url) else url.rpartition("/")[0]].append(url)
    told: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        local = folders.pop("", [])
        told |= zip(local, pool.map(_ends, local), strict=True)
        for found in pool.map(_versions, folders, folders.values()):
            told |= found
    whole = hashlib.sha256()
    for url in sorted(told):
        whole.update(f"{url}\0{told[url]}\n".encode())
    return whole.hexdigest()


def _ends(url: str) -> str:
    path = storage.local_path(url)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = hashlib.sha256(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            content.update(file.read(_ENDS))
    except OSError:
        return "none"
    return f"{size} {content.hexdigest()}"


def _versions(folder: str, urls: list[str]) -> dict[str, str]:
    """Return by address what a store says of files in one folder, by one listing; a file that is listed alone by it."""
    listed: dict[str, Any] = storage.listed(folder if len(urls) > 1 else urls[0])
    return {url: _version(listed.get(url.rpartition("/")[2])) for url in urls}


def _version(info: dict[str, Any] | None) -> str:
    if info is None:
        return "none"
    return f"{info.get('size')} " + next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
