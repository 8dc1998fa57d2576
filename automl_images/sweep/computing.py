"""What the trials of a sweep compute with, so that they can be compared: chosen once for each kind of machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from automl_images import storage

FOLDER = "compute"  # in the ledger


class Computing:
    """The choices in a sweep's ledger, ``compute/<digest of the machine>.json``.

    Args:
        ledger: the ledger's address.
    """

    def __init__(self, ledger: str):
        self.ledger = ledger

    def chosen(self, machine: str, choose: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what trials compute with on a kind of machine; the first trial to ask makes the choice, in JSON.

        Of two that choose at the same time both take the one that the store kept.
        """
        digest = hashlib.sha256(machine.encode()).hexdigest()[:12]
        url = storage.join(self.ledger, FOLDER, f"{digest}.json")
        try:
            return json.loads(storage.read_bytes(url))["choice"]
        except FileNotFoundError:
            storage.create(url, json.dumps({"machine": machine, "choice": choose()}, indent=1))
            return json.loads(storage.read_bytes(url))["choice"]
