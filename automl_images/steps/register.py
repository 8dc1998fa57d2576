"""register: a model folder under a name and version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import Registry

NEEDED = ("model.pt", "settings.json", "labels.json")


def register_model(
    model: str, name: str, registry: str, metrics: Mapping[str, Any], lineage: Mapping[str, Any]
) -> dict[str, Any]:
    """Register a model folder; a retry with the same weights returns the version that they have already.

    Args:
        model: the address of a model folder.
        name: letters, digits, ``.``, ``_`` and ``-``.
        registry: the registry's address.
        metrics: what the model reached; ``champion`` is chosen by its ``mean_average_precision``.
        lineage: where the model comes from.

    Returns:
        ``name``, ``version``, ``uri``, ``aliases``.

    Raises:
        UserError: ``model`` is not a model folder, or the name is not allowed.
    """
    check_model_folder(model)
    result = Registry(registry).register(name, storage.absolute(model), metrics, lineage)
    also = f" ({', '.join(result['aliases'])})" if result["aliases"] else ""
    print(f"registered {name} version {result['version']}{also}: {storage.redact(result['uri'])}", file=sys.stderr)
    return result


def check_model_folder(model: str) -> None:
    """Check that an address is a model folder's.

    Raises:
        UserError: a file is missing there.
    """
    missing = [n for n in NEEDED if not storage.exists(storage.join(model, n))]
    if missing:
        raise UserError(f"{storage.redact(model)}: has no {', '.join(missing)}; is it a model folder?")
