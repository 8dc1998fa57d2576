"""Where a trained model goes: names, versions, aliases, and what each is made of."""

from __future__ import annotations

import re

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry.content import pull, verify
from automl_images.registry.embedded import READY, Registry

__all__ = ["READY", "Registry", "open_registry", "parse_address", "pull", "resolve", "verify"]

_ADDRESS = re.compile(
    r"(?P<registry>.+)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<alias>[^/@:]+)|:(?P<version>\d+))?"
)


def open_registry(url: str) -> Registry:
    """Return the registry at an address: a folder on any store."""
    return Registry(url)


def parse_address(address: str) -> tuple[str, str, str | None]:
    """Return the registry, the name, and the alias or version (None: not said) of ``REGISTRY/NAME[@ALIAS | :VERSION]``.

    Raises:
        UserError: it is none.
    """
    found = _ADDRESS.fullmatch(address.rstrip("/"))
    if found is None:
        raise UserError(f"{storage.redact(address)}: write REGISTRY/NAME, REGISTRY/NAME@ALIAS or REGISTRY/NAME:VERSION")
    return found["registry"], found["name"], found["alias"] or found["version"]


def resolve(model: str) -> str:
    """Return the address of a model folder, given that or ``REGISTRY/NAME@ALIAS`` or ``REGISTRY/NAME:VERSION``.

    A folder of such a name is taken for itself.

    Raises:
        UserError: the registry has no such model, alias or version.
    """
    found = _ADDRESS.fullmatch(model.rstrip("/"))
    if found is None or not (found["alias"] or found["version"]) or storage.exists(model):
        return model
    registry, name, version = parse_address(model)
    return open_registry(registry).get(name, version or "latest")["uri"]
