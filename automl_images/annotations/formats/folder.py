"""A folder per class: ``SOURCE/<class>/**/<image>``. The name of the first folder is the class."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from automl_images import storage
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import Folder, check_name, is_image, passed_over
from automl_images.annotations.labels import Label, OneClass
from automl_images.annotations.records import Record, records_of
from automl_images.annotations.source import Source
from automl_images.annotations.values import Broken, class_name
from automl_images.errors import UserError

_SETS = frozenset(["train", "training", "val", "valid", "validation", "dev", "test", "testing"])
_ENDS = ("annot", "_annot", "_annotation", "_annotations", "_mask", "_masks", "_labels")
_NAMED = 5


def candidates(source: Source) -> list[str]:
    """Return the folder itself if a folder in it holds images, at any depth."""
    holds = source.is_folder and any("/" in f and is_image(f) for f in source.listed)
    return [source.url] if holds else []


def read(source: Source, kind: type[Label], broken: Broken) -> Iterator[Record]:
    """Yield one record an image, in the order of their paths; classes are sorted as their folders' names are.

    Hidden files are passed over. So are, and that is said on standard error, files that are no image by their suffix,
    in any case, and folders without images, which are no classes.

    Raises:
        UserError: there is no such folder, it has no class, its folders are sets (train, test) rather than classes, an
            image root is given, or, by ``broken``, an image lies in no class's folder.
    """
    shown = source.shown
    if source.images:
        images = storage.redact(source.images)
        raise UserError(f"images: '{images}': a folder per class holds its images itself; leave it out")
    if not source.is_folder:
        raise UserError(f"{shown}: no such folder")
    found = [f for f in source.listed if is_image(f)]
    classes = {f.partition("/")[0] for f in found if "/" in f}
    if not classes:
        held = "its images lie in no class's folder" if found else "holds no image"
        raise UserError(f"{shown}: {held}; a folder per class is {shown}/CLASS/IMAGE")
    if len(classes) > 1 and {name.lower() for name in classes} <= _SETS:
        names = sorted(classes)
        raise UserError(
            f"{shown}: its folders are {' and '.join(names)}, which are sets rather than classes; name one of them, "
            f"such as {shown}/{names[-1]}"
        )
    if pair := _masked({name.lower() for name in classes}):
        raise UserError(
            f"{shown}: its folders {' and '.join(pair)} hold images and what labels their pixels, and are no classes; "
            "use a task of segmentation, or name the folder of classes"
        )
    if others := passed_over(source.listed):
        print(f"{shown}: passed over, as their suffixes are no images': {others}", file=sys.stderr)
    _say_empty(source, set(storage.names(source.url)) - classes - set(found))
    folder = Folder(source.url)

    def record(file: str, where: str) -> Record:
        name, inside, _ = file.partition("/")
        if not inside:
            raise UserError(f"lies in no class's folder; move it to {source.shown}/CLASS/")
        check_name(file, "the image")
        return Record(folder.join(file), OneClass(class_name(name, "the folder's name")), where=where)

    places = (storage.redact(storage.join(source.url, file)) for file in found)
    printable = (place.encode(errors="backslashreplace").decode() for place in places)
    return records_of(zip(printable, found, strict=True), record, broken)


def _masked(names: set[str]) -> tuple[str, str] | None:
    """Return two folders' names that are of images and of their masks, as ``train`` and ``trainannot``."""
    pairs = [("images", other) for other in ("masks", "labels", "annotations")]
    pairs += [(name, name + end) for name in sorted(names) for end in _ENDS]
    return next((pair for pair in pairs if names.issuperset(pair)), None)


def _say_empty(source: Source, names: set[str]) -> None:
    empty = sorted(name for name in names if storage.is_dir(storage.join(source.url, name)))
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        listed = ", ".join(ascii(name) for name in empty[:_NAMED])
        why = "they hold no image (links to folders are not followed)"
        print(f"{source.shown}: no class, as {why}: {listed}{more}", file=sys.stderr)


def write(records: Iterable[Record], out: str, kind: type[Label]) -> Written:
    """Move the images (or links) that lie in ``images`` of a local folder into those of their classes.

    Raises:
        UserError: an image does not lie there, or a class cannot name a folder.
    """
    root = storage.local_path(out)
    images = 0
    for record in records:
        path, (name,) = storage.local_path(record.image_url), record.label.names()
        if path.parent != root / "images":
            raise UserError(
                f"{record.where}: its image is not in the folder to write, and a folder per class has no other way to "
                "name it; write with links or copies of the images"
            )
        if "/" in name or name.startswith(".") or name.lower() in _SETS | {"images"}:
            raise UserError(f"{record.where}: the class '{name}' cannot name a folder; use csv or jsonl")
        (root / name).mkdir(exist_ok=True)
        path.rename(root / name / path.name)
        images += 1
    if images:
        (root / "images").rmdir()
    return Written(images)


FORMAT = Format("folder", "a folder per class", (OneClass,), candidates, read, write, folder=True, last=True)
