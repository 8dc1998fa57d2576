"""The image files that a person names: files, folders, archives and patterns, here or on any store."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.annotations.imageroot import check_name, explained, is_image, passed_over
from automl_images.errors import UserError
from automl_images.store import ask

_PATTERN = re.compile(r"[*?\[]")


def image_files(named: Sequence[str | Path]) -> list[str]:
    """Return the addresses of images, each once, in the order in which they are named.

    Of a folder, a ``.zip`` file, and what a pattern such as ``s3://bucket/day-*/*.jpg`` matches, those files count
    whose suffix is an image's; standard error says what is passed over. A file that is named itself always counts. In
    a pattern ``**`` is any number of folders; a file whose name looks like one is taken for itself.

    Raises:
        UserError: a name leads nowhere, or nothing that is named is an image.
    """
    found = [file for one in named for file in _files(str(one))]
    different = list(dict.fromkeys(found))
    if len(found) > len(different):
        print(f"{len(found) - len(different)} images are named more than once; each counts once", file=sys.stderr)
    if not different:
        raise UserError("no image is among the files and folders that are given")
    return different


def _files(name: str) -> list[str]:
    check_name(name, "the image")
    path = None  # of what is on this machine, as it is named
    if storage.is_local(name):
        path = storage.local_path(name) if "://" in name else Path(name)
    with contextlib.nullcontext() if path else explained(name):
        if path.exists() if path else storage.exists(name):
            root = storage.inside(name)
            if root != name or (path.is_dir() if path else storage.is_dir(name)):
                return _below(root, storage.files_below(root))
            return [str(path or name)]
        if _PATTERN.search(name):
            return _matching(name)
    raise UserError(f"{storage.redact(name)}: no such image")


def _matching(pattern: str) -> list[str]:
    """Return the images that a pattern matches, and those in the folders that it matches."""
    start = _PATTERN.search(pattern)
    assert start
    root = pattern[: start.start()].rpartition("/")[0]
    if not root and pattern.startswith("/"):
        raise UserError(f"{pattern}: begins at the root of this machine, which is not searched; name a folder in it")

    def found(fs: Any, path: str) -> list[tuple[str, bool]]:
        above = fs._strip_protocol(root or ".").rstrip("/")
        matched = fs.glob(path, detail=True).items()
        return sorted((str(p)[len(above) :].strip("/"), info["type"] == "directory") for p, info in matched)

    inside = [(one, folder) for one, folder in ask(pattern, found) if not _hidden(one)]
    files = [one for one, folder in inside if not folder]
    if "**" not in pattern:  # which matches what is in the folders too
        for one, folder in inside:
            if folder:
                files += [f"{one}/{file}" for file in storage.files_below(storage.join(root, one) if root else one)]
    if not files:
        raise UserError(f"{storage.redact(pattern)}: matches no file")
    return _below(root, sorted(files))


def _below(root: str, files: Iterable[str]) -> list[str]:
    files = list(files)
    if others := passed_over(files):
        print(f"{storage.redact(root)}: passed over, as their suffixes are no images': {others}", file=sys.stderr)
    plain = "://" not in root
    return [str(Path(root, file)) if plain else storage.join(root, file) for file in files if is_image(file)]


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
