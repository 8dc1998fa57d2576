"""Dynamic batching: images of several requests, decoded beside each other, are predicted together."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from automl_images.serving.requests import load, size

_IDLE = 0.5  # seconds without a request after which memory is given back
_LIBC = ctypes.CDLL(None)
Predict = Callable[[list[Image.Image]], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Batching:
    """At most so many images are predicted together; the first of them waits for others at most so many seconds."""

    images: int = 8
    delay: float = 0.005


class Room:
    """So many pixels may be decoded at a time; who comes first goes first, and an image larger than all goes alone."""

    def __init__(self, pixels: int):
        self.pixels = self.left = pixels
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def of(self, pixels: int) -> AsyncIterator[None]:
        """Wait for room for so many pixels, and keep it for the block."""
        pixels = min(pixels, self.pixels)
        turn = asyncio.get_running_loop().create_future()
        self._line.append((pixels, turn))
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self.left += pixels
            else:
                self._line.remove((pixels, turn))
            self._next()

    def _next(self) -> None:
        while self._line and self._line[0][0] <= self.left and not self._line[0][1].cancelled():
            pixels, turn = self._line.popleft()  # a cancelled one takes itself out, and then looks again
            self.left -= pixels
            turn.set_result(None)


@dataclass(eq=False)
class _Waiting:
    image: Image.Image
    request: object
    found: asyncio.Future[dict[str, Any]]


class Batcher:
    """One model's queue.

    A request's images are decoded as soon as there is room, in any order with those of others. Whatever is decoded when
    the model is free goes together, up to a batch. The first waits for more only if some are being decoded, or if the
    batch before had several requests: a lone client does not wait.
    """

    def __init__(
        self,
        predict: Predict,
        batching: Batching,
        room: Room,
        decoders: Executor,
        seen: Callable[[int], Any] = id,
        thread: Executor | None = None,
    ):
        """Take a model's predict, which runs in ``thread`` (one of its own); ``seen`` gets each batch's size."""
        self._predict, self._batching, self._room, self._decoders, self._seen = predict, batching, room, decoders, seen
        self._thread = thread or ThreadPoolExecutor(1, "model")
        self._ready: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._coming = self._requests = 0
        self._crowd = self._closed = False
        self._running: asyncio.Task[None] | None = None

    async def answer(self, images: Sequence[tuple[Image.Image, str]]) -> list[dict[str, Any]]:
        """Return the predictions of a request's images, each opened and with the words for where it stands.

        Cancelled, it leaves nothing behind that waits.

        Raises:
            UserError: an image does not open.
        """
        if self._running is None or self._running.done():  # closed, and a request came that took it before
            self._running = asyncio.create_task(self._run())
        request = object()
        self._requests += 1
        work = [asyncio.ensure_future(self._one(image, where, request)) for image, where in images]
        try:
            return await asyncio.gather(*work)
        finally:
            for each in work:
                each.cancel()
            self._requests -= 1
            self._wake.set()

    def close(self) -> None:
        """Have the queue end once its last request is answered."""
        self._closed = True
        self._wake.set()

    async def _one(self, image: Image.Image, where: str, request: object) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        async with self._room.of(size(image)):
            self._coming += 1
            try:
                await loop.run_in_executor(self._decoders, load, image, where)
            finally:
                self._coming -= 1
                self._wake.set()
            waiting = _Waiting(image, request, loop.create_future())
            self._ready.append(waiting)
            try:
                return await waiting.found
            finally:
                with contextlib.suppress(ValueError):  # in case nobody waits any more
                    self._ready.remove(waiting)

    async def _run(self) -> None:
        used = False
        while True:
            while not self._ready:
                if self._closed and not self._requests:
                    return  # the thread ends with the last that holds this queue
                self._wake.clear()
                try:
                    async with asyncio.timeout(_IDLE if used else None):
                        await self._wake.wait()
                except TimeoutError:
                    used = False
                    await asyncio.get_running_loop().run_in_executor(self._thread, give_memory_back)
            await self._fill()
            batch = [self._ready.popleft() for _ in range(min(len(self._ready), self._batching.images))]
            if batch:
                used, self._crowd = True, len({id(waiting.request) for waiting in batch}) > 1
                self._seen(len(batch))
                await self._answer(batch)

    async def _fill(self) -> None:
        """Wait for more images, if more are to be expected."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._batching.delay):
                while 0 < len(self._ready) < self._batching.images and (self._coming or self._crowd):
                    self._wake.clear()
                    await self._wake.wait()

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Predict a batch; if that fails each alone, so that one image does not spoil the answers of others."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._predict, [waiting.image for waiting in batch])
            for waiting, answer in zip(batch, found, strict=True):
                if not waiting.found.done():
                    waiting.found.set_result(answer)
        except Exception as fault:
            if len(batch) == 1:
                if not batch[0].found.done():
                    batch[0].found.set_exception(fault)
                return
            for waiting in batch:
                if not waiting.found.done():
                    await self._answer([waiting])


def give_memory_back() -> None:
    """Give back to the machine the memory that decoded images took; glibc keeps it otherwise."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
