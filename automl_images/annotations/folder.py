"""A folder per class: ``SOURCE/<class>/**/<image>``. The name of the first folder is the class."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from automl_images import storage
from automl_images.annotations.imageroot import IMAGE_SUFFIXES
from automl_images.annotations.labels import class_name
from automl_images.annotations.records import Record
from automl_images.annotations.values import Broken, refuse
from automl_images.errors import UserError

_SETS = frozenset(["train", "training", "val", "valid", "validation", "dev", "test", "testing"])
_SAID = 5


def candidates(source: str, listed: list[str] | None = None) -> list[str]:
    """Return the folder itself if a folder in it holds images, at any depth; ``listed`` as for ``sources.files``."""
    if listed is None:
        if not storage.is_dir(source):
            return []
        listed = storage.files_below(source)
    return [source] if any("/" in f and f.lower().endswith(IMAGE_SUFFIXES) for f in listed) else []


def read(source: str, images: str | None = None, broken: Broken = refuse) -> Iterator[Record]:
    """Yield one record an image, in the order of their paths; classes are sorted as their folders' names are.

    Hidden files and files that are no image by their suffix (in any case) are passed over. A folder without images is
    no class; that is said on standard error.

    Args:
        source: the folder of the classes' folders; local or any fsspec URL.
        images: not for this format, whose images lie where their class is.
        broken: is called with the error of each image that cannot be used; the default raises it.

    Raises:
        UserError: there is no such folder, it has no class, its folders are sets (train, test) rather than classes,
            ``images`` is given, or, by ``broken``, an image lies in no class's folder.
    """
    said = storage.redact(source)
    if images:
        raise UserError(f"images: '{storage.redact(images)}': a folder per class holds its images itself; leave it out")
    if not storage.is_dir(source):
        raise UserError(f"{said}: no such folder")
    listed = storage.files_below(source)
    found = [f for f in listed if f.lower().endswith(IMAGE_SUFFIXES)]
    classes = {f.partition("/")[0] for f in found if "/" in f}
    if not classes:
        held = "its images lie in no class's folder" if found else "holds no image"
        raise UserError(f"{said}: {held}; a folder per class is {said}/CLASS/IMAGE")
    if len(classes) > 1 and {name.lower() for name in classes} <= _SETS:
        names = sorted(classes)
        raise UserError(
            f"{said}: its folders are {' and '.join(names)}, which are sets rather than classes; name one of them, "
            f"such as {said}/{names[-1]}"
        )
    _say_empty(source, set(storage.names(source)) - classes - set(found))
    return _records(source, found, broken)


def _records(source: str, found: list[str], broken: Broken) -> Iterator[Record]:
    for file in found:
        where = storage.redact(storage.join(source, file))
        name, inside, _ = file.partition("/")
        try:
            if not inside:
                raise UserError(f"lies in no class's folder; move it to {storage.redact(source)}/CLASS/")
            if not _is_utf8(file):
                raise UserError("its path is not UTF-8; rename it")
            record = Record(storage.join_inside(source, file), class_name(name, "the folder's name"), where=where)
        except UserError as error:
            broken(UserError(f"{ascii(where)[1:-1] if not _is_utf8(where) else where}: {error}"))
            continue
        yield record


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _say_empty(source: str, names: set[str]) -> None:
    empty = sorted(name for name in names if storage.is_dir(storage.join(source, name)))
    if empty:
        more = f" and {len(empty) - _SAID} more" if len(empty) > _SAID else ""
        said = ", ".join(ascii(name) for name in empty[:_SAID])
        why = "they hold no image (links to folders are not followed)"
        print(f"{storage.redact(source)}: no class, as {why}: {said}{more}", file=sys.stderr)
