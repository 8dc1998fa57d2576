"""A served model, and the swap for its new version while requests are answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from automl_images import registry, storage
from automl_images.errors import UserError, first_line
from automl_images.faults import explained
from automl_images.serving.batching import Batcher, Batching, Room
from automl_images.serving.requests import MODELS, find_model

log = logging.getLogger("automl_images.serving")
Load = Callable[[Path], Any]


@dataclass(frozen=True)
class Version:
    """What answers: a name (12 digits of its weights' SHA-256), the task, and the queue before the model."""

    name: str
    task: str
    batcher: Batcher


class Threads:
    """The thread in which all models predict, one after the other, and the one in which they are loaded.

    OpenMP gives each thread that computes a team of workers. Once there are more of all teams than cores, each worker
    sleeps between any two operations, and a prediction takes half as long again: so that one thread alone has a team.
    """

    def __init__(self, computing: Callable[[int], Any] = id, count: int = 1):
        """``computing`` sets how many threads the caller computes with: ``count`` where models predict, 1 to load."""
        self.model = ThreadPoolExecutor(1, "model", computing, (count,))
        self.load = ThreadPoolExecutor(1, "load", computing, (1,))


class Served:
    """A model under a name. A request is answered by the version that was there when it came."""

    def __init__(
        self,
        name: str,
        address: str,
        load: Load,
        batching: Batching,
        room: Room,
        decoders: Executor,
        metrics: Any,
        threads: Threads | None = None,
    ):
        """Load the model; ``address`` is a folder, here or on a store, or `REGISTRY/NAME@ALIAS`.

        ``threads``: None are threads of its own.

        Raises:
            UserError: there is no such model, or it does not load.
        """
        self.name, self.address = name, address
        self._load, self._batching, self._room, self._decoders = load, batching, room, decoders
        self._metrics, self._threads = metrics, threads or Threads()
        self._looked_at = self._mark()
        self.version = self._threads.load.submit(self._loaded).result()

    async def refresh(self) -> str | None:
        """Take over what the address leads to, if that changed since it was last looked at.

        A version that does not load, is of another task or does not predict leaves the one that answers where it is.

        Returns:
            ``"swapped"``, ``"failed"``, or None if nothing changed.
        """
        loop = asyncio.get_running_loop()
        try:
            mark = await loop.run_in_executor(self._threads.load, self._mark)
            if mark == self._looked_at:
                return None
            self._looked_at = mark
            new = await loop.run_in_executor(self._threads.load, self._loaded)
            if new.task != self.version.task:
                raise UserError(f"it is of the task {new.task}; what is served is of {self.version.task}")
        except Exception as error:
            log.error("%s: the new version is left out: %s", self.name, first_line(error))
            self._metrics.swaps.labels(self.name, "failed").inc()
            return "failed"
        if new.name == self.version.name:
            log.info("%s: its files changed, its weights %s did not; loaded again", self.name, new.name)
        old, self.version = self.version, new
        old.batcher.close()
        log.info("%s: version %s took the place of %s", self.name, new.name, old.name)
        self._metrics.swaps.labels(self.name, "swapped").inc()
        return "swapped"

    def _mark(self) -> Any:
        """Return what differs once there is another version at the address."""
        with explained():
            url = registry.resolve(self.address)
            if storage.is_local(url):
                folder = find_model(storage.local_path(url)).resolve()
                files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir())
                return str(folder), files
            told = storage.listed(url)
            times = ("mtime", "LastModified", "last_modified", "updated", "ETag", "etag")
            return url, sorted((n, i.get("size"), str([i.get(k) for k in times])) for n, i in told.items())

    def _loaded(self) -> Version:
        """Return the version that the address leads to, which has predicted once."""
        with explained(), tempfile.TemporaryDirectory() as scratch:
            url = registry.resolve(self.address)
            root = storage.local_path(url) if storage.is_local(url) else storage.get_folder(url, Path(scratch))
            folder = find_model(root)
            predictor = self._load(folder)
            predictor.predict([Image.new("RGB", (64, 64), "grey")])
            weights = next(folder / name for name in MODELS if (folder / name).exists())
            with weights.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        seen = self._metrics.batch.labels(self.name).observe
        batcher = Batcher(predictor.predict, self._batching, self._room, self._decoders, seen, self._threads.model)
        return Version(digest, predictor.task, batcher)
