"""What a vendor's file becomes: an experiment's plain values, each with where it is from; what is left out, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from automl_images import storage
from automl_images.errors import UserError, redact
from automl_images.hyperparameters.hyperparameter import Hyperparameter


@dataclass(frozen=True)
class Document:
    """A file as it was read: its name, its text, what that is as YAML (None: none), the folder of relative paths."""

    file: str
    text: str
    content: Any
    folder: str


@dataclass(frozen=True)
class Named:
    """A vendor's hyperparameter: its row under the vendor's name and with its range, our name and place, its default.

    ``ours`` is a path in an experiment, such as ``settings.learning_rate`` or ``weights.pretrained``.
    """

    row: Hyperparameter
    ours: str
    default: Any

    def check(self, value: Any, key: str) -> Any:
        """Return a value of its type; raises UserError for another, or one out of range: the line begins with key."""
        return replace(self.row, name=key).check(value)


@dataclass
class Draft:
    """An experiment in the making."""

    vendor: str
    content: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)  # a path in the experiment: file and key
    notes: list[str] = field(default_factory=list)  # what does not act here, and why
    needed: dict[str, str] = field(default_factory=dict)  # a path, and why nothing runs unless it is given

    def put(self, path: str, value: Any, origin: str) -> None:
        """Set the value of a path; raises UserError if the path has another one already."""
        *parents, last = path.split(".")
        at = self.content
        for key in parents:
            at = at.setdefault(key, {})
        if last in at and at[last] != value:
            raise UserError(f"{origin}: {value!r} differs from {self.origins[path]}, {at[last]!r}; give one of the two")
        at[last] = value
        self.origins[path] = origin

    def note(self, key: str, why: str) -> None:
        """Say that what a file has at ``key`` does not act, and why."""
        self.notes.append(f"{key}: {redact(why)}")


class Maps:
    """What the vendor's references are here: ``A=B`` each; A is a whole reference, or the beginning of some."""

    def __init__(self, given: Sequence[str] = ()):
        self.pairs: dict[str, str] = {}
        for pair in given:
            reference, equals, place = pair.partition("=")
            if not (reference.strip() and equals and place.strip()):
                raise UserError(f"--map {pair}: write REFERENCE=PLACE, such as azureml:pets:1=images/pets")
            if self.pairs.setdefault(reference.strip(), place.strip()) != place.strip():
                raise UserError(f"--map {pair}: {reference} is mapped twice")
        self.used: set[str] = set()

    def place(self, reference: str) -> str | None:
        """Return what a reference is here; None: nothing says so."""
        if reference in self.pairs:
            self.used.add(reference)
            return self.pairs[reference]
        for start, place in sorted(self.pairs.items(), key=lambda pair: -len(pair[0])):
            rest = reference.removeprefix(start)
            if rest != reference and (start.endswith("/") or rest.startswith("/")):
                self.used.add(start)
                return storage.join(place, rest.strip("/"))
        return None

    def unused(self) -> dict[str, str]:
        """Return the pairs that no reference has had use of."""
        return {reference: place for reference, place in self.pairs.items() if reference not in self.used}


def local(document: Document, path: str) -> str:
    """Return the address of a path that a file names: a relative one lies beside the file."""
    outside = "://" in path or path.startswith(("/", "~"))
    return path if outside or not document.folder else storage.join(document.folder, path.removeprefix("./"))


def name_of(text: Any) -> str:
    """Return a vendor's name of a job as an experiment's name may be."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).lstrip("._-")[:63] or "experiment"


def mapping(value: Any, key: str) -> Mapping[str, Any]:
    """Return a mapping, nothing as an empty one; raises UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: is no mapping of names to values")
    return value
