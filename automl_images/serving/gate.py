"""What stands before the server's application: which requests it sees, how many at a time, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PASSING = 10.0  # seconds that a body which nobody reads may take
log = logging.getLogger("automl_images.serving")
_PREDICT = re.compile(r"/v1/models/[^/]+:predict")


@dataclass(frozen=True)
class Queue:
    """How much waits: requests, the one that is answered among them, and bytes, of one and of all together."""

    requests: int = 64
    body: int = 64 << 20
    bodies: int = 256 << 20
    seconds: float = 60.0  # for a body to arrive


class Refused(Exception):
    """A request that the application does not see: an HTTP status and a line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


class Gate:
    """An ASGI middleware.

    Of what is not only read, predictions alone pass: a model is not loaded, unloaded or explained over the network. A
    body is limited before it is read, and what would wait behind too much is answered with 503 and Retry-After. Once a
    client has hung up its request is cancelled.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], queue: Queue = Queue()):
        self.app, self.queue = app, queue
        self.requests = self.bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection's request, or pass it on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        taken = 0
        try:
            taken = self._admit(scope)
            self.requests, self.bytes = self.requests + 1, self.bytes + taken
            try:
                async with asyncio.timeout(self.queue.seconds):
                    body = await self._body(receive, taken)
                if body is not None:
                    await self._pass(scope, body, receive, send)
            finally:
                self.requests, self.bytes = self.requests - 1, self.bytes - taken
        except Refused as refused:
            await self._refuse(scope, refused, receive, send)
        except TimeoutError:
            late = Refused(408, f"no whole body in {self.queue.seconds:.0f} s")
            await self._refuse(scope, late, None, send)

    def _admit(self, scope: Message) -> int:
        """Return how many bytes are kept for a request's body.

        Raises:
            Refused: it is not to pass, too large, or too much waits.
        """
        if scope["method"] != "POST" or not _PREDICT.fullmatch(scope["path"]):
            raise Refused(403, "nothing but POST /v1/models/NAME:predict is taken")
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        if length and (not length.isdecimal() or len(length) > 18 or int(length) > self.queue.body):
            raise Refused(413, f"the body is larger than {self.queue.body} bytes")
        size = int(length or self.queue.body)
        if self.requests >= self.queue.requests or self.bytes + size > self.queue.bodies:
            raise Refused(503, f"{self.requests} requests wait; come again")
        return size

    async def _body(self, receive: Receive, limit: int) -> bytes | None:
        """Return a request's body, or None if its client hung up."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > limit:
                raise Refused(413, f"the body is larger than {limit} bytes")
        return b"".join(parts)

    async def _pass(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        """Have the application answer, until it has or the client hangs up."""
        begun = asyncio.Event()

        async def replay() -> Message:
            if not begun.is_set():
                begun.set()
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.Future()  # never: who hangs up is seen below

        # neither form of cloud event is taken: each has failures of its own
        headers = [(k, v) for k, v in scope["headers"] if not k.startswith(b"ce-")]
        answering = asyncio.ensure_future(self.app({**scope, "headers": headers}, replay, send))
        hanging_up = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                log.info("%s: the client hung up", scope["path"])
                answering.cancel()
            await asyncio.wait({answering})
            if not answering.cancelled():
                answering.result()
        finally:
            hanging_up.cancel()
            answering.cancel()

    async def _refuse(self, scope: Message, refused: Refused, receive: Receive | None, send: Send) -> None:
        """Answer, once the body has been passed over: a client that is still sending would not read the answer."""
        if receive and b"expect" not in dict(scope["headers"]):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PASSING):
                    size, more = 0, True
                    while more and size <= self.queue.bodies:
                        message = await receive()
                        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        log.warning("%s %s: %s: %s", scope["method"], one_line(scope["path"]), refused.status, refused)
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        if refused.status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"error": str(refused)}).encode()})


def one_line(text: Any) -> str:
    """Return a text as a line for a log, at most 300 characters long."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:300]
