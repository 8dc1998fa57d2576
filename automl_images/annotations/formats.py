"""The formats by name, and which of them a source is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automl_images import storage
from automl_images.annotations import coco, jsonl, voc
from automl_images.annotations.records import Record
from automl_images.annotations.values import Broken, refuse
from automl_images.errors import UserError, nearest

READERS: dict[str, Callable[[str, str | None, Broken], Iterator[Record]]] = {
    "jsonl": jsonl.read,
    "coco": coco.read,
    "voc": voc.read,
}
_CANDIDATES = {"jsonl": jsonl.candidates, "coco": coco.candidates, "voc": voc.candidates}


def read(source: str, format: str = "auto", images: str | None = None, broken: Broken = refuse) -> Iterator[Record]:
    """Yield the records of a source.

    Args:
        source: a file or folder, local or any fsspec URL.
        format: ``jsonl``, ``coco``, ``voc`` or ``auto``.
        images: the images' root, ``PREFIX=URL``, or None for the source's folder.
        broken: is called with the error of each record that cannot be read; the default raises it.

    Raises:
        UserError: the source is missing, or in no format or another than was said.
    """
    if format != "auto" and format not in READERS:
        raise UserError(f"format: '{format}' is unknown; {nearest(format, [*READERS, 'auto'])}")
    if not storage.exists(source):
        raise UserError(f"{storage.redact(source)}: no such file or folder")
    source = storage.absolute(source)
    return READERS[detect(source) if format == "auto" else format](source, images, broken)


def detect(source: str) -> str:
    """Return the format of a source.

    Raises:
        UserError: it is in none that is known, or could be in several.
    """
    fitting = [name for name, candidates in _CANDIDATES.items() if candidates(source)]
    if len(fitting) == 1:
        return fitting[0]
    said = storage.redact(source)
    if fitting:
        raise UserError(f"{said}: could be {' or '.join(fitting)}; set format")
    raise UserError(f"{said}: holds no Pascal VOC (.xml), COCO (.json) or JSONL (.jsonl) annotations; set format")
