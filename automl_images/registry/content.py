"""What a registered model folder holds: hashed, copied and pulled, and no half of it ever seen."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.errors import UserError

WEIGHTS = "model.pt"


def hashes(model: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a model folder, hex digits by the path below it; hidden files have none.

    Raises:
        UserError: the folder has no ``model.pt``.
    """
    found = {name: _sha256(storage.join(model, name)) for name in storage.files_below(model)}
    if WEIGHTS not in found:
        raise UserError(f"{storage.redact(model)}: has no {WEIGHTS}; is it a model folder?")
    return found


def content_digest(files: Mapping[str, str]) -> str:
    """Return one digest, hex digits, of what :func:`hashes` returns."""
    return hashlib.sha256(json.dumps(dict(sorted(files.items()))).encode()).hexdigest()


def _sha256(url: str) -> str:
    if not storage.is_local(url):
        return hashlib.sha256(storage.read_bytes(url)).hexdigest()
    storage.check_regular(url)
    with storage.local_path(url).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(source: str, target: str, files: Mapping[str, str]) -> None:
    """Copy the files that have hashes, each read once and compared before it is written.

    Raises:
        UserError: a file is gone or is another by now.
    """
    for name, wanted in files.items():
        storage.write(storage.join(target, name), _checked(source, name, wanted, "has changed while it was registered"))


def _checked(folder: str, name: str, wanted: str, otherwise: str) -> bytes:
    try:
        data = storage.read_bytes(storage.join(folder, name))
    except FileNotFoundError:
        raise UserError(f"{storage.redact(folder)}: {name} is gone") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise UserError(f"{storage.redact(folder)}: {name} {otherwise}")
    return data


def pull(version: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Copy a registered model folder to this machine: whole and with the hashes that it was registered with, or not.

    Args:
        version: what a registry says of it: ``uri``; ``files``, the hashes; of a version that was registered before
            files were hashed ``digest`` alone, of ``model.pt``.
        folder: not there yet, or empty.

    Returns:
        ``folder``; ``files``, how many were copied; ``unverified``, the names of those that no hash was known of.

    Raises:
        UserError: the folder is on a store, holds something, or a file is gone or has another hash.
    """
    if not storage.is_local(folder):
        raise UserError(f"{storage.redact(folder)}: a model is pulled to a folder on this machine")
    target = storage.local_path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target}: is there and not empty; name another folder")
    source, known = version["uri"], version.get("files") or {WEIGHTS: version["digest"]}
    unverified = [] if version.get("files") else [n for n in storage.files_below(source) if n not in known]
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        for name, wanted in known.items():
            _put(fresh / name, _checked(source, name, wanted, "is not what was registered: its SHA-256 differs"))
        for name in unverified:
            _put(fresh / name, storage.read_bytes(storage.join(source, name)))
        if target.exists():
            target.rmdir()
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return {"folder": str(target), "files": len(known) + len(unverified), "unverified": unverified}


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def verify(version: Mapping[str, Any]) -> list[str]:
    """Return what differs from the hashes that a version was registered with, a line a file; none: all is as it was."""
    known = version.get("files") or {WEIGHTS: version["digest"]}
    return [line for name, wanted in known.items() for line in _differs(version["uri"], name, wanted)]


def _differs(folder: str, name: str, wanted: str) -> Iterable[str]:
    try:
        if _sha256(storage.join(folder, name)) != wanted:
            yield f"{name}: its SHA-256 differs"
    except FileNotFoundError:
        yield f"{name}: is gone"
