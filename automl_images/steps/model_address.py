"""Where the model is that a person names: by a run, a trial, a registered name, or the folder itself."""

from __future__ import annotations

import json
import re

from automl_images import storage
from automl_images.errors import UserError, say
from automl_images.registry import open_registry, resolve

_ATTEMPT = re.compile(r"model-(\d+)")


def model_address(model: str) -> str:
    """Return the address of a model folder, or of an exported ``.onnx`` file.

    Args:
        model: that address; the folder of a run that has ended (its best model) or of a trial in a ledger (that of its
            best epoch so far), or ``REGISTRY/NAME``, ``REGISTRY/NAME@ALIAS``, ``REGISTRY/NAME:VERSION``. Of a name
            alone it is the champion, or the latest version where there is none; standard error says which.

    Raises:
        UserError: the run has not ended, the trial has no model, or the registry has none.
    """
    address = resolve(model)
    if address != model or address.lower().endswith(".onnx") or not storage.is_dir(address):
        return address
    names = set(storage.names(address))
    if names & {"model.pt", "settings.json"}:
        return address
    shown = storage.redact(address)
    if "summary.json" in names:
        try:
            return str(json.loads(storage.read_text(storage.join(address, "summary.json")))["model"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{shown}/summary.json: is not what a run writes; name its model folder") from None
    if {"tasks", "logs"} <= names:
        raise UserError(f"{shown}: is a run that has not ended: it has no summary.json; name a trial's folder")
    if "versions" in names:
        registry, _, name = address.rstrip("/").rpartition("/")
        opened = open_registry(registry or ".")
        alias = "champion" if "champion" in opened.aliases(name) else "latest"
        found = opened.get(name, alias)
        say(f"{name}: version {found['version']}, its {alias}")
        return str(found["uri"])
    attempts = sorted((int(found[1]) for found in map(_ATTEMPT.fullmatch, names) if found), reverse=True)
    for attempt in attempts:
        folder = storage.join(address, f"model-{attempt}")
        if storage.exists(storage.join(folder, "metrics.json")):  # which is written last
            return folder
    if attempts or {"log", "epochs"} & names:
        raise UserError(f"{shown}: is a trial that has no model yet")
    return address
