"""Models by name and version in a folder on any store, without a server.

<registry>/<name>/versions/<n>.json        what version n is
<registry>/<name>/<n>/model/               its model folder
<registry>/<name>/aliases/latest|champion  small text files that hold a version
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from automl_images import storage
from automl_images.errors import UserError

READY = "ready"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Registry:
    """A model registry: the folder ``url``, local or on any store, made when the first model is registered."""

    def __init__(self, url: str):
        self.url = storage.absolute(url)

    def register(
        self, name: str, model: str, metrics: Mapping[str, Any], lineage: Mapping[str, Any], metric: str
    ) -> dict[str, Any]:
        """Copy a model folder into the registry as the next version of ``name``.

        A ``model.pt`` that is there already keeps its version and what is written of it; a copy that was cut short is
        finished. ``latest`` moves to the newest version, ``champion`` only to a higher ``metric``. When several
        register at once, numbers have neither gaps nor doubles, and the aliases are right when all are done.

        Args:
            name, model: letters, digits, ``.``, ``_`` and ``-``; the address of a model folder.
            metrics, lineage: what the model reached and where it comes from, JSON-serialisable.
            metric: the one of ``metrics`` that the champion is chosen by; higher is better.

        Returns:
            ``name``, ``version`` (from 1), ``uri`` of the registered model folder, ``aliases`` that now point to it.

        Raises:
            UserError: the name is not allowed, or the folder has no ``model.pt``.
        """
        self._at(name)
        content = self._claim(name, _digest(model), metrics, lineage)
        if content["state"] != READY:
            storage.copy_folder(model, content["uri"])
            content = {**content, "state": READY}
            storage.write(self._at(name, "versions", f"{content['version']}.json"), json.dumps(content, indent=1))
        self._move(name, "latest", content, lambda c: c["version"])
        self._move(name, "champion", content, lambda c: _figure(c["metrics"].get(metric)))
        aliases = [a for a in storage.names(self._at(name, "aliases")) if self._alias(name, a) == content["version"]]
        return {"name": name, "version": content["version"], "uri": content["uri"], "aliases": aliases}

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return what is written of each version of a name, by number; ``state`` says which are not whole yet."""
        listed = (n.removesuffix(".json") for n in storage.names(self._at(name, "versions")) if n.endswith(".json"))
        numbers = sorted(int(n) for n in listed if n.isdecimal())
        found = storage.read_many([self._at(name, "versions", f"{n}.json") for n in numbers])
        return [json.loads(c) for c in found if c is not None]

    def get(self, name: str, version: int | str = "latest") -> dict[str, Any]:
        """Return ``name, version, uri, digest, metrics, lineage, created, state`` of a version, by number or alias.

        Raises:
            UserError: there is no such name, version or alias, or the version is not whole.
        """
        whole = {c["version"]: c for c in self.versions(name) if c["state"] == READY}
        if not whole:
            raise UserError(f"{storage.redact(self.url)}: has no model {name}")
        number = int(version) if str(version).isdecimal() else self._alias(name, str(version))
        if number not in whole:
            raise UserError(f"{storage.redact(self.url)}: {name} has no '{version}'; its versions: {[*whole]}")
        return whole[number]

    def _at(self, name: str, *parts: str) -> str:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"the model name '{name}': use letters, digits, '.', '_' and '-', a letter or digit first, at most 128"
            )
        return storage.join(self.url, name, *parts)

    def _claim(self, name: str, digest: str, metrics: Mapping, lineage: Mapping) -> dict[str, Any]:
        """Return the version of a digest, or take the next number: each is looked at, so no digest takes two."""
        taken = self.versions(name)
        for content in taken:
            if content["digest"] == digest:
                return content
        now = datetime.now(UTC).isoformat(timespec="seconds")
        written = {"digest": digest, "metrics": dict(metrics), "lineage": dict(lineage), "created": now}
        number = taken[-1]["version"] if taken else 0
        while True:
            number += 1
            uri = self._at(name, str(number), "model")
            content = {"name": name, "version": number, "uri": uri, "state": "pending", **written}
            address = self._at(name, "versions", f"{number}.json")
            if storage.create(address, json.dumps(content, indent=1)):
                return content
            content = json.loads(storage.read_bytes(address))
            if content["digest"] == digest:
                return content

    def _alias(self, name: str, alias: str) -> int | None:
        if not _NAME.fullmatch(alias):
            return None
        try:
            text = storage.read_text(self._at(name, "aliases", alias)).strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdecimal() else None

    def _move(self, name: str, alias: str, content: Mapping[str, Any], rank: Callable[[Any], float | None]) -> None:
        """Point an alias at a version if it ranks higher, and then at whichever ranks highest.

        Stores cannot compare and swap. So whoever writes looks again afterwards: a version that became ready before
        that look is seen by it, and one that becomes ready later is written by its own registration.
        """
        mine, current = rank(content), self._alias(name, alias)
        ready = {c["version"]: c for c in self.versions(name) if c["state"] == READY}
        before = rank(ready[current]) if current in ready else None
        if mine is None or (before is not None and mine <= before):
            return
        best = content["version"]
        while self._alias(name, alias) != best:
            storage.write(self._at(name, "aliases", alias), f"{best}\n")
            ranked = [(rank(c), -c["version"]) for c in self.versions(name) if c["state"] == READY]
            best = -max((r, v) for r, v in ranked if r is not None)[1]


def _digest(model: str) -> str:
    try:
        return hashlib.sha256(storage.read_bytes(storage.join(model, "model.pt"))).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{storage.redact(model)}: has no model.pt; is it a model folder?") from None


def _figure(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
