"""The same verbs on Kubeflow's Model Registry: it keeps addresses, and no files.

A version is one of the service's, its number the name, with a model artifact that holds the model folder's address,
and custom properties: the single figures, and as JSON (``automl_images``) what else the embedded registry keeps. An
alias is a custom property ``alias.<name>`` of the registered model, a move of one ``move.<n>``, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from automl_images import storage
from automl_images.errors import UserError, first_line, redact, refusal, say
from automl_images.registry.champion import check_promote, figure, verdict
from automl_images.registry.content import WEIGHTS, content_digest, hashes
from automl_images.registry.embedded import (
    CHAMPION,
    LATEST,
    READY,
    chosen,
    moved,
    now,
    valid_alias,
    valid_name,
)

SCHEME = "kubeflow://"
_FORMAT = "automl-images"
_TOLD = ("evaluated", "ledger", "run", "trial", "epoch")  # of the lineage; the model folder has the rest


class KubeflowRegistry:
    """A model registry at ``kubeflow://HOST[:PORT]``: HTTPS without a port or with one that ends in 443, else HTTP.

    The client reads a token from the file that ``KF_PIPELINES_SA_TOKEN_PATH`` names, or a pod's own; HTTPS needs one.
    The service cannot compare and swap: of two who move aliases at once, one may have to do it again, and is told.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self._client: Any = None

    def register(
        self,
        name: str,
        model: str,
        metrics: Mapping[str, Any],
        lineage: Mapping[str, Any],
        metric: str,
        promote: str = "if_better",
    ) -> dict[str, Any]:
        """Register the address of a model folder as the next version of ``name``; nothing is copied.

        Arguments, results and errors are those of :meth:`automl_images.registry.Registry.register`.
        """
        valid_name(name)
        check_promote(promote)
        files = hashes(model)
        if storage.is_local(model):
            say(
                f"note: {redact(self.url)} keeps addresses alone, and {model} is on this machine; others cannot read it"
            )
        kept: dict[str, Any] = {
            "digest": files[WEIGHTS],
            "content": content_digest(files),
            "files": files,
            "metric": metric,
        }
        kept |= {"created": now(), "lineage": {k: lineage[k] for k in _TOLD if k in lineage}}
        figures = {k: value for k, one in metrics.items() if (value := figure(one)) is not None}
        left = [f"metrics.{k}" for k in metrics if k not in figures] + [
            f"lineage.{k}" for k in lineage if k not in _TOLD
        ]
        kept["left_out"] = left
        content = self._claim(name, model, figures | {"automl_images": json.dumps(kept)}, kept["content"])

        def wins(current: int | None) -> str | None:
            champion = None if current is None else self._whole(name).get(current)
            better, why[0] = verdict(content, champion, promote)
            return why[0] if better else None

        why = ["it was made champion before"]
        if not any((m["alias"], m["version"]) == (CHAMPION, content["version"]) for m in self.moves(name)):
            self._move(name, CHAMPION, content["version"], wins)
        aliases = sorted(a for a, version in self.aliases(name).items() if version == content["version"])
        told = {key: content[key] for key in ("name", "version", "uri")}
        return {**told, "aliases": aliases, "promotion": why[0]}

    def models(self) -> list[str]:
        """Return the names of all models that have a whole version of ours."""
        with self._asked() as client:
            names = [m.name for m in client.get_registered_models()]
        return sorted(n for n in names if self._whole(n))

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return what is kept of each version of a name, by number; versions that others registered are left out."""
        with self._asked() as client:
            if client.get_registered_model(name) is None:
                return []
            found = [self._told(client, name, v) for v in client.get_model_versions(name)]
        return sorted((v for v in found if v), key=lambda v: v["version"])

    def get(self, name: str, version: int | str = LATEST) -> dict[str, Any]:
        """Return what is kept of a version, as :meth:`automl_images.registry.Registry.get` does."""
        return chosen(self.url, name, version, self._whole(name), lambda: self.aliases(name))

    def moves(self, name: str) -> list[dict[str, Any]]:
        """Return every move of an alias, the oldest first."""
        found = [json.loads(v) for k, v in self._properties(name).items() if k.startswith("move.")]
        return sorted(found, key=lambda m: m["number"])

    def aliases(self, name: str) -> dict[str, int]:
        """Return the version that each alias points to; ``latest`` is the newest whole one."""
        found = {k.removeprefix("alias."): v for k, v in self._properties(name).items() if k.startswith("alias.")}
        whole = self._whole(name)
        return {a: int(v) for a, v in found.items()} | ({LATEST: max(whole)} if whole else {})

    def promote(self, name: str, version: int | str, alias: str, note: str = "") -> dict[str, Any]:
        """Point an alias at a version, as :meth:`automl_images.registry.Registry.promote` does."""
        valid_alias(alias)
        number = self.get(name, version)["version"]
        return self._move(name, alias, number, lambda current: None if current == number else note)

    def _claim(self, name: str, model: str, properties: Mapping[str, Any], content: str) -> dict[str, Any]:
        """Return the version of a folder's content, finished if it has no artifact, or register the next number."""
        for _ in range(100):
            taken = self.versions(name)
            same = [v for v in taken if v.get("content") == content]
            if same and same[0]["state"] == READY:
                return same[0]
            with self._asked() as client:
                number = same[0]["version"] if same else self._next(client, name)
                try:
                    if same:  # its registration was cut short between the two requests
                        self._finish(client, name, number, model)
                    else:
                        told = {"model_format_name": _FORMAT, "model_format_version": "1", "metadata": dict(properties)}
                        client.register_model(name, model, version=str(number), **told)
                except _errors():
                    # another was there first, which a look tells; whatever else it is stays an error
                    if client.get_registered_model(name) is None or client.get_model_version(name, str(number)) is None:
                        raise
                    if same and client.get_model_artifact(name, str(number)) is None:
                        raise
        raise UserError(f"{redact(self.url)}: others take every next version of {name}; try again")

    def _next(self, client: Any, name: str) -> int:
        if client.get_registered_model(name) is None:
            return 1
        return max((int(v.name) for v in client.get_model_versions(name) if v.name.isdecimal()), default=0) + 1

    def _finish(self, client: Any, name: str, number: int, model: str) -> None:
        version = client.get_model_version(name, str(number))
        told = {"model_format_name": _FORMAT, "model_format_version": "1"}
        client.async_runner(
            client._register_model_artifact(version, name, model, **told)
        )  # the client has no other way

    def _told(self, client: Any, name: str, version: Any) -> dict[str, Any] | None:
        properties = dict(version.custom_properties or {})
        if "automl_images" not in properties or not version.name.isdecimal():
            return None
        kept = json.loads(properties.pop("automl_images"))
        # the public get_model_artifact asks for the model and the version again, by their names
        artifact = client.async_runner(client._api.get_model_artifact_by_params(name, version.id))
        state = {"uri": artifact.uri if artifact else None, "state": READY if artifact else "pending"}
        return {"name": name, "version": int(version.name), **state, **kept, "metrics": properties}

    def _whole(self, name: str) -> dict[int, dict[str, Any]]:
        return {v["version"]: v for v in self.versions(name) if v["state"] == READY}

    def _properties(self, name: str) -> dict[str, Any]:
        with self._asked() as client:
            found = client.get_registered_model(name)
        return dict((found and found.custom_properties) or {})

    def _move(self, name: str, alias: str, number: int, decide: Callable[[int | None], str | None]) -> dict[str, Any]:
        moves, current = self.moves(name), self.aliases(name).get(alias)
        note = decide(current)
        move = moved(moves, alias, number, current, note)
        if note is None:
            return move
        with self._asked() as client:
            found = client.get_registered_model(name)
            new = {f"alias.{alias}": str(number), f"move.{move['number']}": json.dumps(move)}
            found.custom_properties = {**(found.custom_properties or {}), **new}
            client.update(found)
        if move not in self.moves(name):
            raise UserError(f"{redact(self.url)}: another moved an alias of {name} at the same time; do it again")
        return move

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Any]:
        """Give the client.

        Raises:
            UserError: it is not installed, or the service gives no answer or refuses.
        """
        try:
            errors = _errors()
        except ImportError:
            needed = "needs the extra 'registry': pip install 'automl-images[registry]'"
            raise UserError(f"{redact(self.url)}: {needed}") from None
        try:
            self._client = self._client or self._connected()
            yield self._client
        except errors as error:
            why = refusal(error) or f"Kubeflow's Model Registry gives no answer that can be used: {first_line(error)}"
            raise UserError(f"{redact(self.url)}: {redact(why)}") from error

    def _connected(self) -> Any:
        import logging

        from model_registry import ModelRegistry

        try:
            address = urlsplit(self.url)
            host, port = address.hostname, address.port or 443
        except ValueError:
            host = None
        if not host or address.path or "@" in address.netloc:
            raise UserError(f"{redact(self.url)}: write kubeflow://HOST or kubeflow://HOST:PORT")
        secure = str(port).endswith("443")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no token: the service says so where it needs one
            return ModelRegistry(
                f"{'https' if secure else 'http'}://{host}",
                port,
                author="automl-images",
                is_secure=secure,
                log_level=logging.ERROR,
                async_runner=_run,
            )


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def _errors() -> tuple[type[Exception], ...]:
    """Return what the client raises."""
    from aiohttp import ClientError
    from model_registry.exceptions import StoreError
    from mr_openapi.exceptions import OpenApiException

    return (ClientError, StoreError, OpenApiException, OSError)
