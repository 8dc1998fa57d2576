"""A source: a file or folder of annotations, and where its images lie."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import ImageRoot, check_name, explained, folder_of, is_image
from automl_images.errors import UserError


class Source:
    """A file or folder of annotations. A folder is listed once, whoever asks.

    Attributes:
        url: the file or folder, absolute, local or any fsspec URL; of a ``.zip`` what it holds.
        shown: the address for error lines, without credentials.
        images: the images' root, ``PREFIX=URL``, or None for the source's folder.
        is_folder: whether it is a folder.
        folder: the folder itself, or the one that the file lies in.
        named: the classes that it names apart from its labels, as readers have found them.
        guessed: the images that were found by a name that is only like the one written: {file: what is written}.
    """

    def __init__(self, url: str, images: str | None = None):
        check_name(url, "the source")
        check_name(images or "", "images")
        self.url = storage.inside(storage.absolute(url))
        self.shown = storage.redact(self.url)
        self.images = images
        self.named: set[str] = set()
        self.guessed: dict[str, str] = {}
        self.is_folder = storage.is_dir(self.url)
        self.folder = self.url if self.is_folder else folder_of(self.url)
        self._above: Source | None = None
        self._names: dict[str, list[str]] = {}

    def at(self, url: str, images: str | None = None) -> Source:
        """Return another source, of which nothing is read; where it lies in this one's folder it shares its listing."""
        found = Source(url, images)
        below = f"{found.folder}/".removeprefix(f"{self.folder.rstrip('/')}/")
        if below != f"{found.folder}/" and not any(part.startswith(".") for part in below.split("/")):
            found._above = self
        return found

    @cached_property
    def listed(self) -> list[str]:
        """The sorted paths of all files below the folder, relative to it; hidden ones are left out."""
        if self._above:
            below = f"{self.folder}/".removeprefix(f"{self._above.folder.rstrip('/')}/")
            return [file.removeprefix(below) for file in self._above.listed if file.startswith(below)]
        with explained(self.folder):
            return storage.files_below(self.folder)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, which may lie beside this one; each is asked for once."""
        top = self._above or self
        if folder not in top._names:
            below = f"{folder}/".removeprefix(f"{top.folder.rstrip('/')}/")
            if below == f"{folder}/":
                top._names[folder] = storage.names(folder)
            else:
                inside = (file.removeprefix(below) for file in top.listed if file.startswith(below))
                top._names[folder] = sorted({file.partition("/")[0] for file in inside})
        return top._names[folder]

    @cached_property
    def root(self) -> ImageRoot:
        """Where the images lie."""
        return ImageRoot(self.folder, self.images, lambda: self.listed, self.guessed)

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
        first, *others = map(storage.redact, found[:4])
        names = ", ".join([first, *(other.rsplit("/", 1)[-1] for other in others)])
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

    def root_beside(self, usual: Sequence[str]) -> ImageRoot:
        """Return the image root; where none is given and the folder has no image, the first of ``usual`` beside it."""
        if self.images is None and not any(map(is_image, self.listed)):
            beside = (storage.join(posixpath.dirname(self.folder), name) for name in usual)
            found = next(filter(storage.is_dir, beside), None)
            return ImageRoot(found, guessed=self.guessed) if found else self.root
        return self.root

    def image(self, name: Any, key: str, places: Sequence[str]) -> str:
        """Return the address of the image that a record names at its ``key``; see :meth:`ImageRoot.find`.

        Raises:
            UserError: it names none, or as there.
        """
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"has no {key}")
        return self.root.find(name, places)
