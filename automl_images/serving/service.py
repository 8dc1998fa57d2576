"""What HTTP and gRPC share: who may wait, which model answers, and under which id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from automl_images.errors import UserError
from automl_images.serving import open_inference, requests
from automl_images.serving.open_inference import Inference
from automl_images.serving.requests import Asked, LimitError, Limits

log = logging.getLogger("automl_images.serving")
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True)
class Queue:
    """How much waits: requests of a model, those being answered among them; bytes, of one and of all together."""

    requests: int = 64
    body: int = 64 << 20
    bodies: int = 256 << 20
    seconds: float = 60.0  # for a body to arrive


class Refused(Exception):
    """A request that is not answered: an HTTP status, the reason in a word, for metrics, and a line.

    ``read``: whether its whole body was.
    """

    def __init__(self, status: int, reason: str, line: str, read: bool = False):
        super().__init__(line)
        self.status, self.reason, self.read = status, reason, read


class HungUp(Exception):
    """A request whose client is gone."""


class Service:
    """The models, by name, and what waits before them."""

    def __init__(self, models: Mapping[str, Any], metrics: Any, queue: Queue = Queue(), limits: Limits = Limits()):
        self.models, self.metrics, self.queue, self.limits = models, metrics, queue, limits
        self.waiting: Counter[str] = Counter()
        self.bytes = 0
        self._readers = ThreadPoolExecutor(4, "read")

    def check(self, model: str) -> None:
        """Raise Refused where there is no such model, or where too many wait for it."""
        if model not in self.models:
            raise Refused(404, "model", f"there is no model '{model:.80}'; there are {', '.join(sorted(self.models))}")
        if self.waiting[model] >= self.queue.requests:
            raise Refused(503, "busy", f"{self.waiting[model]} requests wait, which is the limit; come again")

    def keep(self, size: int, read: bool = True) -> None:
        """Count bytes of a body that have arrived; ``drop`` gives them back. Refused: too many of others wait."""
        if self.bytes + size > self.queue.bodies:
            line = f"bodies of {self.bytes} bytes wait, {self.queue.bodies} is the limit; come again"
            raise Refused(503, "busy", line, read)
        self.bytes += size

    def drop(self, size: int) -> None:
        """Give back bytes that were kept."""
        self.bytes -= size

    @contextlib.contextmanager
    def place(self, model: str) -> Iterator[None]:
        """Keep a place for a request whose body has arrived: who sends slowly takes none.

        Raises:
            Refused: as :func:`check`.
        """
        self.check(model)
        self._count(model, 1)
        try:
            yield
        finally:
            self._count(model, -1)

    async def infer(self, model: str, read: Callable[[], Inference]) -> tuple[Inference, list[dict[str, Any]], str]:
        """Return a V2 request as read, its predictions, and the version that made them."""
        return await self._predict(model, read)

    async def answer(self, protocol: str, model: str, length: str | None, body: bytes, request_id: str) -> Answer:
        """Answer a prediction over HTTP.

        Args:
            protocol: v1 or v2.
            model: one of the models' names.
            length: the header `Inference-Header-Content-Length`.
            body, request_id: of the request.

        Raises:
            UserError: the request is malformed or beyond a limit.
        """
        if protocol == "v1":
            asked, found, version = await self._predict(model, lambda: requests.read(body, self.limits))
            return Answer(json.dumps(asked.shaped(found)).encode(), len(found), version)
        inference, found, version = await self.infer(
            model, lambda: open_inference.read(body, length, model, self.limits)
        )
        written, size = open_inference.answer(inference, found, model, version, request_id)
        return Answer(written, len(found), version, size)

    @contextlib.contextmanager
    def told(self, protocol: str, model: str, request_id: str, said: dict[str, Any]) -> Iterator[None]:
        """Count a request and write its line in the log; what ends it is made a Refused, unless it was cancelled.

        ``said``: the block puts ``images`` into it.
        """
        begun, code = time.monotonic(), 200
        try:
            yield
        except Refused as refused:
            code = refused.status
            self._refuse(protocol, model, request_id, refused)
            raise
        except (LimitError, UserError) as error:
            code = 400
            told = Refused(400, "limit" if isinstance(error, LimitError) else "malformed", str(error), read=True)
            self._refuse(protocol, model, request_id, told)
            raise told from None
        except (HungUp, asyncio.CancelledError):
            code = 499  # as others number a client that hung up
            log.info("%s %s %s: the client hung up", request_id, protocol, one_line(model))
            raise
        except Exception as error:
            code = 500
            log.exception("%s %s %s: failed", request_id, protocol, one_line(model))
            line = f"the server failed; its log says why under the id {request_id}"
            raise Refused(500, "fault", line, read=True) from error
        else:
            took = time.monotonic() - begun
            log.info("%s %s %s: %s images in %.0f ms", request_id, protocol, model, said.get("images"), took * 1000)
            self.metrics.seconds.labels(model, protocol).observe(took)
        finally:
            known = model if model in self.models else ""
            self.metrics.requests.labels(known, protocol, code).inc()

    async def _predict(self, model: str, read: Callable[[], Any]) -> tuple[Any, list[dict[str, Any]], str]:
        version = self.models[model].version

        def opened() -> tuple[Asked | Inference, list[Any]]:
            asked = read()
            return asked, requests.opened(asked.images, self.limits)

        asked, images = await asyncio.get_running_loop().run_in_executor(self._readers, opened)
        return asked, await version.batcher.answer(images), version.name

    def _refuse(self, protocol: str, model: str, request_id: str, refused: Refused) -> None:
        self.metrics.refused.labels(refused.reason).inc()
        log.warning("%s %s %s: %d: %s", request_id, protocol, one_line(model), refused.status, one_line(refused))

    def _count(self, model: str, more: int) -> None:
        self.waiting[model] += more
        self.metrics.waiting.labels(model).set(self.waiting[model])


@dataclass(frozen=True)
class Answer:
    """JSON, or with ``json_length`` JSON and binary data; how many images; the version that answered."""

    body: bytes
    images: int
    version: str
    json_length: int | None = None


def request_id(given: str | None) -> str:
    """Return the id that a client gave, if it is 1 to 128 plain characters, else a new one."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex


def one_line(text: Any) -> str:
    """Return a text as a line for a log, at most 300 characters long."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:300]
