"""A source: a file or folder of annotations, and where its images lie."""

from __future__ import annotations

import posixpath
from functools import cached_property
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, folder_of
from automl_images.errors import UserError


class Source:
    """A file or folder of annotations. A folder is listed once, whoever asks.

    Args:
        url: the file or folder, local or any fsspec URL.
        images: the images' root, ``PREFIX=URL``, or None for the source's folder.

    Attributes:
        url: as given, absolute.
        shown: the address for error lines, without credentials.
        images: as given.
        is_folder: whether it is a folder.
        folder: the folder itself, or the one that the file lies in.
    """

    def __init__(self, url: str, images: str | None = None):
        self.url = storage.absolute(url)
        self.shown = storage.redact(self.url)
        self.images = images
        self.is_folder = storage.is_dir(self.url)
        self.folder = self.url if self.is_folder else folder_of(self.url)

    @cached_property
    def listed(self) -> list[str]:
        """The sorted paths of all files below the folder, relative to it; hidden ones are left out."""
        return storage.files_below(self.folder)

    @cached_property
    def root(self) -> ImageRoot:
        """Where the images lie."""
        return ImageRoot(self.folder, self.images, lambda: self.listed)

    def files(self, *suffixes: str) -> list[str]:
        """Return the files with one of ``suffixes`` (lower case, with dots): the source itself, or those below it."""
        if not self.is_folder:
            return [self.url] if self.url.lower().endswith(suffixes) else []
        return [storage.join(self.url, file) for file in self.listed if file.lower().endswith(suffixes)]

    def only(self, found: list[str], what: str) -> str:
        """Return the one file found.

        Raises:
            UserError: none or several were found; the line names them.
        """
        if len(found) == 1:
            return found[0]
        if not found:
            there = self.is_folder or storage.exists(self.url)
            raise UserError(f"{self.shown}: {f'holds no {what}' if there else 'no such file or folder'}")
        names = ", ".join(
            storage.redact(f).rsplit("/", 1)[-1] if i else storage.redact(f) for i, f in enumerate(found[:4])
        )
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise UserError(
            f"{self.shown}: holds {len(found)} files that may be the {what}: {names}{more}; name one of them"
        )

    def places(self, file: str) -> list[str]:
        """Return the folders below the root in which :meth:`ImageRoot.find` is to look for an annotation file's images.

        They are the file's own (unless an image root is given), the root itself and ``images`` in it.
        """
        beside = "" if self.root.given else posixpath.relpath(folder_of(file), self.folder)
        return list(dict.fromkeys(["" if beside == "." else beside, "", "images"]))

    def beside(self, file: str) -> ImageRoot:
        """Return the root that relative addresses in an annotation file are below: its folder, unless one is given."""
        own = self.root.given or folder_of(file) == self.folder
        return self.root if own else ImageRoot(folder_of(file))

    def address(self, url: Any, key: str, beside: ImageRoot) -> str:
        """Return the address of an image that a line names.

        Args:
            url: what the line has at its ``key``.
            key: for the error line.
            beside: the root of relative addresses, by :meth:`beside`.

        Raises:
            UserError: there is none, or it leaves its root; the line names the ``key``.
        """
        if not isinstance(url, str) or not url:
            raise UserError(f"has no {key}")
        return (self.root if "://" in url or url.startswith("/") else beside).resolve(url)
