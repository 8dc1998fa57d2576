"""Training, validation and test in one folder, as exports lay them: found by their names, never merged.

Known are files that differ in the set's name alone (``annotations/instances_train2017.json`` and ``..._val2017.json``,
``train.jsonl`` and ``validation.jsonl``), VOC's lists (``ImageSets/Main/train.txt``), and folders (``train``, ``valid``
and ``test`` with annotations or classes in them, ``images/train`` beside ``annotations/train``).
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from automl_images import storage
from automl_images.annotations.imageroot import explained
from automl_images.annotations.labels import Boxes, Label, Mask, OneClass, Polygons
from automl_images.annotations.source import Source
from automl_images.errors import UserError

NAMES = {
    "training": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SET = {name: set for set, names in NAMES.items() for name in names}
_FILE = re.compile(rf"(^|.*[_.-])({'|'.join(_SET)})((?:\d{{4}})?(?:[_.-]annotations?)?)", re.IGNORECASE)
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".manifest", ".lst", ".rec")
_LISTS = re.compile(r"(?:^|.*/)ImageSets/(Main|Segmentation|Layout)/(train|val|test)\.txt")
_FEW = 5  # names beside which a folder may be the only one
_FIRST = ("instances", "")  # COCO has other annotations of the same images too


class Part(NamedTuple):
    """One set: its source, and the root of its images if that is another folder."""

    source: str
    images: str | None = None


def sets_of(source: Source, kind: type[Label]) -> dict[str, Part]:
    """Return the sets that a folder holds, by ``training``, ``validation`` and ``test``; none if it is one set.

    Raises:
        UserError: a set is there twice.
    """
    from automl_images.annotations.formats import yolo
    from automl_images.annotations.yolo_names import is_data_yaml
    from automl_images.annotations.yolo_names import sets_of as named_sets

    if not source.is_folder:
        if kind not in yolo.FORMAT.kinds or not is_data_yaml(source.url):
            return {}
        named = {name: Part(_one(source, name, places)) for name, places in named_sets(source.url).items()}
        return named if len(named) > 1 else {}
    for find in (_files, _lists, _folders):
        found = find(source, kind)
        if "training" in found and len(found) > 1:
            return {name: found[name] for name in NAMES if name in found}
    return {}


def refuse(source: Source, kind: type[Label]) -> None:
    """Refuse to read a folder of several sets as one.

    Raises:
        UserError: it holds several; the line names them.
    """
    found = sets_of(source, kind)
    if found:
        named = [storage.redact(part.source) for part in found.values()]
        below = [name.removeprefix(f"{source.shown}/") for name in named]
        raise UserError(
            f"{source.shown}: holds the sets {', '.join(below[:-1])} and {below[-1]}; name one of them, such as "
            f"{named[0]}, or give the folder as data.training of an experiment without data.validation, which takes all"
        )


def filled(data: Mapping[str, Any], kind: type[Label], say: bool = False) -> dict[str, Any]:
    """Return an experiment's ``data`` with the sets that the folder of its training holds, if it has no validation.

    A test that is given stays. With ``say`` what was taken as what is said on standard error.

    Raises:
        UserError: as :func:`sets_of`.
    """
    training = data.get("training")
    if not training or data.get("validation"):
        return dict(data)
    with explained(training["source"]):
        source = Source(training["source"], training.get("images"))
        found = sets_of(source, kind) if not source.is_folder or _may_hold(source) else {}
    taken = {name: part for name, part in found.items() if name == "training" or not data.get(name)}
    if say and taken:
        parts = [storage.redact(part.source).removeprefix(f"{source.shown}/") for part in taken.values()]
        said = ", ".join(f"{name} is {part}" for name, part in zip(taken, parts, strict=True))
        left = "" if "validation" in taken else ", validation is split off training"
        print(f"{source.shown}: holds sets: {said}{left}", file=sys.stderr)
    return dict(data) | {
        name: {**training, "source": part.source, "images": part.images or training.get("images")}
        for name, part in taken.items()
    }


def _may_hold(source: Source) -> bool:
    """Return whether the names in a folder let it hold sets, before all that lies below it is listed."""
    found = storage.names(source.url)
    names = [posixpath.splitext(name)[0].lower() for name in found]
    if any(name in (*_SET, "imagesets", "annotations", "images") or _FILE.fullmatch(name) for name in names):
        return True
    plain = [name for name in found if "." not in name][:_FEW]
    return len(plain) < _FEW and sum(storage.is_dir(storage.join(source.url, name)) for name in plain) == 1


def _files(source: Source, kind: type[Label]) -> dict[str, Part]:
    """Return the sets of files of annotations in the folder or the ones in it, whose names differ in that alone."""
    from automl_images.annotations.formats import of_kind

    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for file in source.listed:
        stem, suffix = posixpath.splitext(posixpath.basename(file))
        found = _FILE.fullmatch(stem) if suffix.lower() in _SUFFIXES and file.count("/") < 2 else None
        if found:
            start, name, end = found.groups()
            key = (posixpath.dirname(file), start.lower(), end.lower(), suffix.lower())
            groups.setdefault(key, {}).setdefault(_SET[name.lower()], []).append(file)
    fitting = {key: sets for key, sets in groups.items() if "training" in sets and len(sets) > 1}
    if not fitting:
        return {}
    read = {file for format in of_kind(kind) if not format.last for file in format.found(source, kind)}
    fitting = {
        key: sets
        for key, sets in fitting.items()
        if all(storage.join(source.url, file) in read for files in sets.values() for file in files)
    }
    for first in _FIRST:
        chosen = [sets for (_, start, *_), sets in fitting.items() if start.startswith(first)]
        if len(chosen) > 1:
            ones, others = (storage.redact(storage.join(source.url, sets["training"][0])) for sets in chosen[:2])
            raise UserError(f"{source.shown}: training may be {ones} or {others}; name one of them")
        if chosen:
            return {name: Part(storage.join(source.url, _one(source, name, f))) for name, f in chosen[0].items()}
    return {}


def _lists(source: Source, kind: type[Label]) -> dict[str, Part]:
    """Return the sets of VOC's lists, if they can be read for a kind of label."""
    from automl_images.annotations.formats import of_kind

    lists: dict[str, dict[str, list[str]]] = {}
    for file in source.listed:
        if found := _LISTS.fullmatch(file):
            lists.setdefault(found[1], {}).setdefault(_SET[found[2]], []).append(file)
    wanted = ("Segmentation", "Main") if kind in (Polygons, Mask) else ("Main",)
    chosen = next((lists[name] for name in wanted if name in lists), {})
    parts = {name: Part(storage.join(source.url, _one(source, name, files))) for name, files in chosen.items()}
    first = next((source.at(part.source) for part in parts.values()), None)
    return parts if first and any(format.found(first, kind) for format in of_kind(kind) if kind in format.kinds) else {}


def _folders(source: Source, kind: type[Label]) -> dict[str, Part]:
    """Return the sets of folders, in the folder itself or in the only one that it holds."""
    from automl_images.annotations.formats import of_kind

    above, files = "", source.listed
    while (
        (tops := {file.partition("/")[0] for file in files}) and len(tops) == 1 and all("/" in file for file in files)
    ):
        above = posixpath.join(above, *tops)
        files = [file.partition("/")[2] for file in files]
    found: dict[str, list[str]] = {}
    places = [*tops]
    if kind in (Mask, Boxes, Polygons):
        places += {"/".join(file.split("/")[:2]) for file in files if file.lower().startswith("images/")}
    for place in sorted(places):
        name = _SET.get(posixpath.basename(place).lower())
        if name and any(file.startswith(f"{place}/") for file in files):
            found.setdefault(name, []).append(place)
    if "training" not in found or len(found) < 2:
        return {}
    whole = [storage.join(source.url, posixpath.join(above, place)) for places in found.values() for place in places]
    inside = tuple(f"{folder}{end}/" for folder in whole for end in ("", "_lst"))
    inside += tuple(folder.replace("/images/", "/labels/") for folder in inside if "/images/" in folder)
    for format in of_kind(kind):
        # a file above the folders labels what is in them
        if (
            kind in format.kinds
            and not format.last
            and any(not file.startswith(inside) for file in format.found(source, kind))
        ):
            return {}
    lists = {place.lower() for place in tops}
    sets = {}
    for name, found_places in found.items():
        place = _one(source, name, found_places)
        folder = storage.join(source.url, posixpath.join(above, place))
        if f"{place}_lst" in lists and kind is OneClass:  # SageMaker's channels
            sets[name] = Part(storage.join(source.url, posixpath.join(above, f"{place}_lst")), folder)
        else:
            sets[name] = Part(folder)
    return sets


def _one(source: Source, name: str, found: list[str]) -> str:
    """Return the one place of a set.

    Raises:
        UserError: there are several.
    """
    if len(found) > 1:
        raise UserError(f"{source.shown}: {name} may be {found[0]} or {found[1]}; name one of them")
    return found[0]
