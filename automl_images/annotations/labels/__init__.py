"""The kinds of label, each in a file of its own: what a record says of its image.

``KINDS`` has them by the name that ``tasks.Task.label`` gives them. To add one is a file and its import here.
"""

from __future__ import annotations

from typing import Any

from automl_images.annotations.labels.base import Label
from automl_images.annotations.labels.boxes import Box, Boxes
from automl_images.annotations.labels.classes import Classes
from automl_images.annotations.labels.mask import Mask
from automl_images.annotations.labels.one_class import OneClass
from automl_images.annotations.labels.polygons import Instance, Polygons, Rle
from automl_images.errors import UserError, nearest

__all__ = [
    "KINDS",
    "Box",
    "Boxes",
    "Classes",
    "Instance",
    "Label",
    "Mask",
    "OneClass",
    "Polygons",
    "Rle",
    "kind_of",
    "restored",
]

KINDS: dict[str, type[Label]] = {kind.kind: kind for kind in (OneClass, Classes, Boxes, Polygons, Mask)}


def kind_of(name: str) -> type[Label]:
    """Return the kind of label of a name, such as ``boxes``.

    Raises:
        UserError: there is none.
    """
    if name not in KINDS:
        raise UserError(f"label: '{name}' is no kind of label in this version; {nearest(name, KINDS)}")
    return KINDS[name]


def restored(value: Any) -> Label:
    """Return the label that some kind's ``to_json`` wrote: of the first kind that it fits.

    An empty list fits several, and is the same in a file whichever is taken.

    Raises:
        ValueError: no kind wrote that.
    """
    for kind in KINDS.values():
        try:
            return kind.restored(value)
        except (ValueError, TypeError, KeyError):
            continue
    raise ValueError(value)
