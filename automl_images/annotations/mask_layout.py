"""Which folders hold images, and which the masks of them: told by their names."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from typing import NamedTuple

from automl_images import storage
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.source import Source

_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "frames")
MASKS = ("masks", "mask", "annotations", "annotation", "labels", "label", "gt", "segmentations", "segmentation")
_ENDS = ("annot", *(f"_{name}" for name in ("annot", *MASKS)))


class Pair(NamedTuple):
    """A folder of images and one of masks.

    Attributes:
        images, masks: addresses of the folders.
        image_files, mask_files: paths relative to these.
    """

    images: str
    masks: str
    image_files: list[str]
    mask_files: list[str]


def pairs_of(source: Source) -> list[Pair]:
    """Return the folders of images and masks that a source holds, or that lie beside it."""
    files = [file for file in source.listed if is_image(file)]
    if source.images:
        root = source.root.root
        files = files if storage.is_dir(root) else []
        return [Pair(root, source.url, [f for f in storage.files_below(root) if is_image(f)], files)] if files else []
    folders: dict[str, list[str]] = {"": files}
    for file in files:
        parts = file.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), []).append("/".join(parts[depth:]))
    found: dict[str, str] = {}
    siblings: dict[str, dict[str, str]] = {}
    for folder in folders:
        parent, _, name = folder.rpartition("/")
        siblings.setdefault(parent, {})[name] = folder
    for folder in sorted(folders):
        partner = _partner(folder, siblings[folder.rpartition("/")[0]], folders) if folder else None
        if partner is not None and not _is_below(folder, found):
            found[folder] = partner
    if found:
        kept = {m: i for m, i in found.items() if i not in found and not _is_below(i, found)}
        return [
            Pair(
                storage.join(source.url, images) if images else source.url,
                storage.join(source.url, masks),
                [f for f in folders[images] if "/" not in f or not masks.startswith(f"{images}/" if images else "")],
                folders[masks],
            )
            for masks, images in kept.items()
        ]
    stems = {posixpath.splitext(file)[0] for file in files}
    masks = [file for file in files if posixpath.splitext(file)[0].removesuffix("_mask") in stems - {file}]
    masks = [file for file in masks if posixpath.splitext(file)[0].endswith("_mask")]
    if masks:
        return [Pair(source.url, source.url, [f for f in files if f not in set(masks)], masks)]
    return _beside(source, files)


def _is_below(folder: str, others: Collection[str]) -> bool:
    """Return whether a folder lies in one of others."""
    parts = folder.split("/")
    return any("/".join(parts[:depth]) in others for depth in range(1, len(parts)))


def _partner(folder: str, siblings: dict[str, str], folders: dict[str, list[str]]) -> str | None:
    """Return the folder of images that a folder of masks belongs to; None where it is none by its name.

    ``siblings`` are the folders beside it by their names, ``folders`` the files in all.
    """
    parent, _, name = folder.rpartition("/")
    if name.lower() in MASKS:
        of_usual_name = next((path for other, path in siblings.items() if other.lower() in _IMAGES), None)
        if of_usual_name is not None:
            return of_usual_name
        return parent if any("/" not in rest for rest in folders.get(parent, ())) else None
    for end in _ENDS:
        if name.lower().endswith(end) and name[: -len(end)] in siblings:
            return siblings[name[: -len(end)]]
    return None


def _beside(source: Source, files: list[str]) -> list[Pair]:
    """Return the folder of masks beside the source, which holds the images alone."""
    if not files or not source.is_folder:
        return []
    parent, _, name = source.url.rpartition("/")
    above, _, parent_name = parent.rpartition("/")
    usual = MASKS if name.lower() in _IMAGES else ()
    places = [f"{source.url}{end}" for end in _ENDS] + [storage.join(parent, mask) for mask in usual]
    if parent_name.lower() in _IMAGES:
        places += [storage.join(above, mask, name) for mask in MASKS]
    there = {folder: set(source.names(folder)) for folder in {place.rpartition("/")[0] for place in places}}
    for place in places:
        folder, _, last = place.rpartition("/")
        if last in there[folder] and storage.is_dir(place):
            masks = [file for file in storage.files_below(place) if is_image(file)]
            if masks:
                return [Pair(source.url, place, files, masks)]
    return []
