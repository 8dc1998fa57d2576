"""The one record type: an image and its label. Every reader makes records, every writer takes them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from automl_images.annotations.labels import Label
from automl_images.annotations.values import UNREADABLE, Broken, FlawError, LabelError, placed
from automl_images.errors import DiskFullError, StoreError, UserError

L = TypeVar("L", bound=Label)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record(Generic[L]):
    """One labelled image. ``Record[Boxes]`` is one whose label is boxes.

    Attributes:
        image_url: an absolute path or any fsspec URL.
        label: of the task's kind.
        width, height: the size in pixels as annotated, or None where the source does not say.
        format: the image's format as Azure names it (``jpg``, ``png``, ...), or None.
        where: the place the record came from, for error lines: ``file.xml`` or ``file.jsonl, line 7``.
        digest: of the image file's bytes, by :func:`automl_images.annotations.imaging.digest_of`; None where it is not
            read.
        metadata: what else is known of the image, text or numbers by their names, such as ``{"patient": "p7"}``.
    """

    image_url: str
    label: L
    width: int | None = None
    height: int | None = None
    format: str | None = None
    where: str = field(default="", compare=False)
    digest: str | None = field(default=None, compare=False)
    metadata: Mapping[str, str | int | float] | None = field(default=None, hash=False)


def metadata_of(value: Any) -> dict[str, str | int | float] | None:
    """Return what an object of JSON says in text and finite numbers; None where it is none, or says nothing so."""
    if not isinstance(value, dict):
        return None
    known = {key: one for key, one in value.items() if isinstance(one, str | int | float) and not isinstance(one, bool)}
    return {key: one for key, one in known.items() if isinstance(one, str) or math.isfinite(one)} or None


def records_of(items: Iterable[tuple[str, T]], make: Callable[[T, str], Record], broken: Broken) -> Iterator[Record]:
    """Yield what ``make`` makes of each (place, item), given the item and its place.

    ``broken`` is called with each UserError that ``make`` raises, after the place.
    """
    for where, item in items:
        try:
            record = make(item, where)
        except (StoreError, DiskFullError):  # the machine's lack, and no flaw of the record
            raise
        except UserError as error:
            broken(placed(error, where))
            continue
        yield record


@contextlib.contextmanager
def labelling(image: str) -> Iterator[None]:
    """Read what is said of an image, by its address, in the block.

    Raises:
        LabelError: in place of any UserError.
    """
    try:
        yield
    except (StoreError, DiskFullError):
        raise
    except UserError as error:
        flaw = error.flaw if isinstance(error, FlawError) else UNREADABLE
        raise LabelError(str(error), image, flaw) from None


def size_of(url: str, width: int | None = None, height: int | None = None) -> tuple[int, int]:
    """Return an image's width and height in pixels as annotated, or as its file has it where either is not told.

    Raises:
        UserError: the file is asked, and is missing or does not open.
    """
    if width is not None and height is not None:
        return width, height
    from automl_images.annotations.imaging import open_image

    return open_image(url, decode=False).shown
