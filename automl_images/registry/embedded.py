"""Models by name and version in a folder on any store, without a server.

<registry>/<name>/versions/<n>.json  what version n is, and the SHA-256 of each of its files
<registry>/<name>/<n>/model/         its model folder
<registry>/<name>/moves/<n>.json     the n-th move of an alias: which, to what version, by whom, when and why
<registry>/<name>/aliases/<alias>    of registries of before there were moves: a text file that holds a version
"""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry.champion import PROMOTE, is_better
from automl_images.registry.content import WEIGHTS, content_digest, copy, hashes

READY = "ready"
LATEST, CHAMPION = "latest", "champion"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Registry:
    """A model registry: the folder ``url``, local or on any store, made when the first model is registered."""

    def __init__(self, url: str):
        self.url = storage.absolute(url)

    def register(
        self,
        name: str,
        model: str,
        metrics: Mapping[str, Any],
        lineage: Mapping[str, Any],
        metric: str,
        promote: str = "if_better",
    ) -> dict[str, Any]:
        """Copy a model folder into the registry as the next version of ``name``.

        A folder whose files are all there already keeps its version and what is written of it; a copy that was cut
        short is finished, and until then the version is not to be seen. When several register at once, numbers have
        neither gaps nor doubles. ``latest`` is always the newest whole version.

        Args:
            name, model: letters, digits, ``.``, ``_`` and ``-``; the address of a model folder.
            metrics, lineage: what the model reached and where it comes from, JSON-serialisable.
            metric: the one of ``metrics`` that the champion is chosen by; higher is better.
            promote: ``if_better``: it becomes ``champion`` by :func:`automl_images.registry.champion.is_better`;
                ``always``, or ``never``. A version that its registration made champion once is not made so again.

        Returns:
            ``name``, ``version`` (from 1), ``uri`` of the registered model folder, ``aliases`` that now point to it,
            ``promotion``: why it became champion or did not.

        Raises:
            UserError: the name is not allowed, the folder has no ``model.pt`` or changes meanwhile, or the store
                cannot keep two writers apart and there is another one.
        """
        self._at(name)
        if promote not in PROMOTE:
            raise UserError(f"promote: is '{promote}'; use one of {', '.join(PROMOTE)}")
        files = hashes(model)
        with self._alone(name):
            content = self._claim(name, files, metrics, lineage, metric)
            if content["state"] != READY:
                copy(model, content["uri"], files)
                content = {**content, "state": READY}
                address = self._at(name, "versions", f"{content['version']}.json")
                storage.write(address, json.dumps(content, indent=1))
            promotion = self._crown(name, content, promote)
        aliases = sorted(a for a, version in self.aliases(name).items() if version == content["version"])
        told = {key: content[key] for key in ("name", "version", "uri")}
        return {**told, "aliases": aliases, "promotion": promotion}

    def models(self) -> list[str]:
        """Return the names of all models that have a whole version."""
        return [n for n in storage.names(self.url) if _NAME.fullmatch(n) and self._whole(n)]

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return what is written of each version of a name, by number; ``state`` says which are not whole yet."""
        found = self._numbered(name, "versions")
        return [{**c, "uri": self._at(name, str(c["version"]), "model")} for c in found]

    def get(self, name: str, version: int | str = LATEST) -> dict[str, Any]:
        """Return what is written of a version, by number or alias.

        That is ``name, version, uri, state, created, metrics, lineage``, ``metric`` (the champion's), ``digest`` (of
        the weights), ``files`` (the SHA-256 of each), ``content`` (one digest of them). The last three but ``digest``
        are missing in versions of before files were hashed.

        Raises:
            UserError: there is no such name, version or alias, or the version is not whole.
        """
        whole = self._whole(name)
        if not whole:
            raise UserError(f"{storage.redact(self.url)}: has no model {name}")
        aliases = {} if str(version).isdecimal() else self.aliases(name)
        number = int(version) if str(version).isdecimal() else aliases.get(str(version))
        if number not in whole:
            also = f"; its aliases: {', '.join(sorted(aliases))}" if aliases else ""
            raise UserError(f"{storage.redact(self.url)}: {name} has no '{version}'; its versions: {[*whole]}{also}")
        return whole[number]

    def moves(self, name: str) -> list[dict[str, Any]]:
        """Return every move of an alias, the oldest first: ``number, alias, version, before, by, at, note``."""
        return self._numbered(name, "moves")

    def aliases(self, name: str) -> dict[str, int]:
        """Return the version that each alias points to; ``latest`` is the newest whole one."""
        earlier = [a for a in storage.names(self._at(name, "aliases")) if _NAME.fullmatch(a)]
        texts = {a: storage.read_text(self._at(name, "aliases", a)).strip() for a in earlier}
        found = {a: int(text) for a, text in texts.items() if text.isdecimal()}
        found |= {move["alias"]: move["version"] for move in self.moves(name)}
        found.pop(LATEST, None)
        whole = self._whole(name)
        return found | ({LATEST: max(whole)} if whole else {})

    def promote(self, name: str, version: int | str, alias: str, note: str = "") -> dict[str, Any]:
        """Point an alias at a version, and keep who did it, when and why.

        Returns:
            The move; one that is there already if the alias points there: nothing is written then.

        Raises:
            UserError: there is no such version, the alias is none or moves by itself, or as :meth:`register`.
        """
        if not _NAME.fullmatch(alias) or alias.isdecimal():
            raise UserError(f"the alias '{alias}': use letters, digits, '.', '_' and '-', and not a number alone")
        if alias == LATEST:
            raise UserError(f"the alias '{LATEST}' is always the newest version; name another")
        number = self.get(name, version)["version"]
        with self._alone(name):
            return self._move(name, alias, number, lambda current: None if current == number else note)

    def _crown(self, name: str, content: Mapping[str, Any], promote: str) -> str:
        number = content["version"]
        if any(m["alias"] == CHAMPION and m["version"] == number for m in self.moves(name)):
            return "it was made champion before"
        if promote == "never":
            return "not asked to be champion"
        reasons = ["asked to be champion always"]

        def decide(current: int | None) -> str | None:
            if current == number:
                reasons.append("it is the champion")
                return None
            if promote == "always":
                return reasons[-1]
            champion = None if current is None else self._whole(name).get(current)
            better, why = is_better(content, champion, content.get("metric") or "")
            reasons.append(why)
            return why if better else None

        self._move(name, CHAMPION, number, decide)
        return reasons[-1]

    def _move(self, name: str, alias: str, number: int, decide: Callable[[int | None], str | None]) -> dict[str, Any]:
        """Point an alias at a version if ``decide``, given where it points, returns a note.

        Moves are numbered, and each number is taken once: who comes second decides again on what the first wrote.
        """
        while True:
            moves, current = self.moves(name), self.aliases(name).get(alias)
            following = moves[-1]["number"] + 1 if moves else 1
            move = {"number": following, "alias": alias, "version": number, "before": current}
            move |= {"by": _who(), "at": _now()}
            note = decide(current)
            if note is None:
                made = [m for m in moves if (m["alias"], m["version"]) == (alias, number)]
                return made[-1] if made else {**move, "note": ""}
            move["note"] = note
            if storage.create(self._at(name, "moves", f"{following}.json"), json.dumps(move, indent=1)):
                return move

    def _whole(self, name: str) -> dict[int, dict[str, Any]]:
        return {c["version"]: c for c in self.versions(name) if c["state"] == READY}

    def _at(self, name: str, *parts: str) -> str:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"the model name '{name}': use letters, digits, '.', '_' and '-', a letter or digit first, at most 128"
            )
        return storage.join(self.url, name, *parts)

    def _numbered(self, name: str, kind: str) -> list[dict[str, Any]]:
        listed = (n.removesuffix(".json") for n in storage.names(self._at(name, kind)) if n.endswith(".json"))
        numbers = sorted(int(n) for n in listed if n.isdecimal())
        found = storage.read_many([self._at(name, kind, f"{n}.json") for n in numbers])
        return [json.loads(c) for c in found if c is not None]

    def _claim(
        self, name: str, files: Mapping[str, str], metrics: Mapping, lineage: Mapping, metric: str
    ) -> dict[str, Any]:
        """Return the version of a folder, or take the next number: each is looked at, so no folder takes two."""
        whole, weights = content_digest(files), files[WEIGHTS]

        def same(content: Mapping[str, Any]) -> bool:
            return content["content"] == whole if "content" in content else content["digest"] == weights

        taken = self.versions(name)
        for content in taken:
            if same(content):
                return content
        written = {"digest": weights, "content": whole, "files": dict(files), "metric": metric}
        written |= {"metrics": dict(metrics), "lineage": dict(lineage), "created": _now()}
        number = taken[-1]["version"] if taken else 0
        while True:
            number += 1
            uri = self._at(name, str(number), "model")
            content = {"name": name, "version": number, "uri": uri, "state": "pending", **written}
            address = self._at(name, "versions", f"{number}.json")
            if storage.create(address, json.dumps(content, indent=1)):
                return content
            content = {**json.loads(storage.read_bytes(address)), "uri": uri}
            if same(content):
                return content

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Write beside others where the store creates an object once; else each says that it writes, then looks.

        Raises:
            UserError: it does not, and another writer is there.
        """
        if storage.creates_once(storage.join(self.url, ".probe")):
            yield
            return
        mine = uuid.uuid4().hex
        storage.write(self._at(name, "writers", mine), json.dumps({"by": _who(), "at": _now()}))
        try:
            if others := [w for w in storage.names(self._at(name, "writers")) if w != mine]:
                raise UserError(
                    f"{storage.redact(self.url)}: another writes to {name}, and this store cannot keep two apart (it "
                    "has no write that fails where an object is); try again when it has ended, and if it is dead, "
                    f"remove {storage.redact(self._at(name, 'writers', others[0]))}"
                )
            yield
        finally:
            storage.remove(self._at(name, "writers", mine))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
