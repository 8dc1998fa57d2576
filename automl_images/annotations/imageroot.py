"""Where the images of a source lie. A path in an annotation file is not trusted: none leaves the image root."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from automl_images import storage
from automl_images.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_STORES = {"s3", "s3a", "minio", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasb", "wasbs"}
_STORES |= {"oci", "oss", "hdfs", "webhdfs", "http", "https", "hf", "memory"}


class ImageRoot:
    """The folder below which images lie, and how a path in an annotation file becomes an address.

    The root is ``folder``, unless ``images`` is another. ``images`` may be ``PREFIX=URL`` too: addresses that begin
    with PREFIX (``AmlDatastore://store/``, ``azureml://.../paths/``) are read below URL. ``listing`` returns what
    :func:`storage.files_below` says of ``folder``, if that is known.
    """

    def __init__(self, folder: str, images: str | None = None, listing: Callable[[], list[str]] | None = None):
        self.prefix, target = _mapping(images)
        self.given = bool(images) and not self.prefix
        self.root = storage.absolute(images if images and not self.prefix else folder)
        self._listing = listing if listing and not self.given else lambda: storage.files_below(self.root)
        self._below, self._mapped = Folder(self.root), Folder(target)
        self._schemes = _STORES | {_scheme(self.root), _scheme(target)}

    def resolve(self, path: str) -> str:
        """Return the address of an image: a relative path is below the root, a URL on a store is taken as it is.

        Raises:
            UserError: the path leaves the root, chains file systems (``::``), or names an unknown kind of store.
        """
        if "::" in path or "\0" in path:
            raise UserError(f"the image address '{storage.redact(path)!s}' is not plain: chained addresses are refused")
        if self.prefix and _is_below(path, self.prefix):
            return self._mapped.join(path[len(self.prefix) :].lstrip("/"))
        scheme, found, rest = path.partition("://")
        if found and scheme.lower() in ("file", "local"):
            return self._absolute("/" + rest.lstrip("/"))
        if found:
            if scheme not in self._schemes:
                how = f"map it with images: '{scheme}://...=URL'"
                raise UserError(f"the image address '{storage.redact(path)}' is of no known store; {how}")
            return path
        return self._absolute(path) if path.startswith("/") else self._below.join(path)

    def find(self, path: str, folders: Sequence[str]) -> str:
        """Return the address of an image that lies in one of ``folders`` or, if its name is unique, anywhere.

        Args:
            path: what the annotation file says, with or without a suffix.
            folders: relative to the root, in the order of preference. An image that is nowhere is given the first.

        Raises:
            UserError: the path leaves the root, or several images have its name.
        """
        plain = path.replace("\\", "/")
        if "://" in plain or "::" in plain or plain.startswith("/"):
            return self.resolve(plain)
        suffixes = ["", *(() if plain.lower().endswith(IMAGE_SUFFIXES) else IMAGE_SUFFIXES)]
        tried = [posixpath.normpath(f"{folder}/{plain}" if folder else plain) for folder in folders]
        if all(place.startswith("../") for place in tried):
            return self._below.join(tried[0])
        for suffix in suffixes:
            for place in tried:
                if place + suffix in self._files:
                    return self._below.join(place + suffix)
        wanted = "/" + posixpath.normpath(plain)
        names = [posixpath.basename(plain) + suffix for suffix in suffixes]
        ends = tuple(wanted + suffix for suffix in suffixes)
        same = [f for name in names for f in self._by_name.get(name, ()) if f"/{f}".endswith(ends)]
        if len(same) > 1:
            raise UserError(f"the image '{path}' may be {same[0]} or {same[1]} below {storage.redact(self.root)}")
        return self._below.join(same[0] if same else tried[0])

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(self._listing())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self._files):
            if file.lower().endswith(IMAGE_SUFFIXES):
                found.setdefault(posixpath.basename(file), []).append(file)
        return found

    def _absolute(self, path: str) -> str:
        if storage.is_local(self.root):
            target, root = storage.local_path(path), storage.local_path(self.root)
            if target.is_relative_to(root):
                return self._below.join(str(target.relative_to(root)))
            if target.resolve().is_relative_to(root.resolve()):
                return str(target)
        raise UserError(
            f"the image '{path}' lies outside {storage.redact(self.root)}; name a folder above it with images: FOLDER"
        )


class Folder:
    """A folder that no path below it leaves; where its links lead is found out once."""

    def __init__(self, url: str):
        self.url = url
        self._real = storage.local_path(url).resolve() if storage.is_local(url) else None
        self._stays: dict[str, bool] = {}

    def join(self, relative: str) -> str:
        """Return the address of what ``relative`` names below the folder.

        Raises:
            UserError: ``relative`` is absolute, climbs out with ``..``, or is reached through a link that leaves the
                folder.
        """
        path = PurePosixPath(relative.replace("\\", "/"))
        depths = itertools.accumulate(-1 if part == ".." else 1 for part in path.parts)
        if path.is_absolute() or min(depths, default=0) < 0 or "://" in relative:
            raise UserError(f"the path '{relative}' leaves the image root {storage.redact(self.url)}")
        joined = storage.join(self.url, str(path))
        if self._real is not None and not self._holds(joined):
            raise UserError(f"the path '{relative}' leaves the image root {storage.redact(self.url)} through a link")
        return joined

    def _holds(self, address: str) -> bool:
        local = str(storage.local_path(address)) if ".." in address else address
        if os.path.islink(local):  # noqa: PTH114 (an image each: this is a quarter of Path's time)
            return Path(local).resolve().is_relative_to(str(self._real))
        parent = local.rpartition("/")[0]
        if parent not in self._stays:
            self._stays[parent] = Path(parent or "/").resolve().is_relative_to(str(self._real))
        return self._stays[parent]


def _mapping(images: str | None) -> tuple[str, str]:
    prefix, equals, target = (images or "").partition("=")
    scheme = _scheme(prefix)
    if not equals or not scheme or (scheme in _STORES and not ("://" in target or target.startswith("/"))):
        return "", ""
    if not target:
        raise UserError(f"images: '{images}' maps to nothing; write PREFIX=URL")
    return prefix, storage.absolute(target)


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix) :][:1] in ("", "/"))


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else ""


def folder_of(url: str) -> str:
    """Return the folder of a file."""
    return os.path.dirname(storage.absolute(url))  # noqa: PTH120 (a URL is no Path)
