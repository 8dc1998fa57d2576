"""What stands before KServe's application: it answers predictions, lets what only reads pass, and refuses the rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from automl_images.serving import open_inference
from automl_images.serving.page import page, wanted
from automl_images.serving.service import Answer, HungUp, Refused, Service, request_id

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PASSING = 10.0  # seconds that a body which nobody reads may take
_ROUTES = {"v1": re.compile(r"/v1/models/([^/]+):predict"), "v2": re.compile(r"/v2/models/([^/]+)/infer")}
_VERSIONS = re.compile(r"/v2/models/[^/]+/versions/.*")


class Gate:
    """An ASGI middleware.

    Of what is not only read, predictions alone are taken: a model is not loaded, unloaded or explained over the
    network. A body is limited before it is read, and what would wait behind too much is answered with 503 and
    Retry-After. Once a client has hung up its request is cancelled. Predictions do not reach KServe's own handlers,
    which answer some malformed requests with 500; their ids, counts and lines in the log are `Service`'s.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], service: Service):
        self.app, self.service, self.queue = app, service, service.queue

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection's request, or pass it on."""
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if reads and wanted(scope):
            body, policy = page()
            told = [(b"content-security-policy", policy.encode()), (b"x-content-type-options", b"nosniff")]
            await _send(200, b"text/html; charset=utf-8", request_id(None), told, body, send)
            return
        if scope["type"] == "lifespan" or (reads and not _VERSIONS.fullmatch(scope["path"])):
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        own_id = request_id(headers.get("x-request-id"))
        protocol, model = _route(scope)
        said: dict[str, Any] = {}
        try:
            with self.service.told(protocol, model, own_id, said):
                answer = await self._answered(scope, headers, protocol, model, own_id, receive)
                said["images"] = answer.images
        except Refused as refused:
            late = refused.status == 408
            await self._refuse(refused, own_id, None if late or "expect" in headers else receive, send)
            return
        except HungUp:
            return
        more = [(b"inference-header-content-length", str(answer.json_length).encode())] if answer.json_length else []
        kind = b"application/octet-stream" if answer.json_length else b"application/json"
        told = [(b"x-model-version", answer.version.encode()), *more]
        await _send(200, kind, own_id, told, answer.body, send)

    async def _answered(
        self, scope: Message, headers: Mapping[str, str], protocol: str, model: str, own_id: str, receive: Receive
    ) -> Answer:
        if _VERSIONS.fullmatch(scope["path"]):
            raise Refused(404, "route", "a version is not chosen by its path; each answer says which one made it")
        if protocol == "http":
            line = "nothing but POST /v1/models/NAME:predict and /v2/models/NAME/infer is taken"
            raise Refused(403, "route", line)
        self.service.check(model)  # before the body is read, too
        limit, kept = self._size(headers), [0]
        try:
            try:
                async with asyncio.timeout(self.queue.seconds):
                    body = await self._body(receive, limit, kept)
            except TimeoutError:
                raise Refused(408, "slow", f"no whole body in {self.queue.seconds:.0f} s") from None
            with self.service.place(model):
                length = headers.get(open_inference.LENGTH)
                return await _until_hung_up(self.service.answer(protocol, model, length, body, own_id), receive)
        finally:
            self.service.drop(kept[0])

    def _size(self, headers: Mapping[str, str]) -> int:
        """Return how many bytes a request's body may have."""
        length = headers.get("content-length", "")
        if length and (not length.isdecimal() or len(length) > 18 or int(length) > self.queue.body):
            raise self._too_large()
        return int(length or self.queue.body)

    async def _body(self, receive: Receive, limit: int, kept: list[int]) -> bytes:
        """Return a request's body, and add to ``kept`` how many bytes the service counts; HungUp if its client did."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > limit:
                raise self._too_large(read=not more)
            self.service.keep(len(part), read=not more)
            kept[0] += len(part)
            parts.append(part)
        return b"".join(parts)

    def _too_large(self, read: bool = False) -> Refused:
        return Refused(413, "body", f"the body is larger than {self.queue.body} bytes", read)

    async def _refuse(self, refused: Refused, own_id: str, receive: Receive | None, send: Send) -> None:
        """Answer, once the body has been passed over: a client that is still sending would not read the answer."""
        if receive and not refused.read:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PASSING):
                    size, more = 0, True
                    while more and size <= self.queue.bodies:
                        message = await receive()
                        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        more_headers = [] if refused.status in (400, 500) else [(b"connection", b"close")]
        if refused.status == 503:
            more_headers.append((b"retry-after", b"1"))
        body = json.dumps({"error": str(refused)}).encode()
        await _send(refused.status, b"application/json", own_id, more_headers, body, send)


def _route(scope: Message) -> tuple[str, str]:
    """Return a prediction's protocol and model, or "http" and the path of what is none."""
    found = ((protocol, route.fullmatch(scope["path"])) for protocol, route in _ROUTES.items())
    named = ((protocol, match[1]) for protocol, match in found if match and scope["method"] == "POST")
    return next(named, ("http", scope["path"]))


async def _until_hung_up(answering: Awaitable[Answer], receive: Receive) -> Answer:
    """Return the answer; HungUp, and it is cancelled, if its client does before."""
    work, hanging_up = asyncio.ensure_future(answering), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({work, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise HungUp
        return work.result()
    finally:
        hanging_up.cancel()
        work.cancel()


async def _send(
    status: int, kind: bytes, own_id: str, more: list[tuple[bytes, bytes]], body: bytes, send: Send
) -> None:
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", kind), length, (b"x-request-id", own_id.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
