"""Images read and decoded by threads before they are asked for, as many as memory allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from automl_images.data.images import load_image
from automl_images.errors import DiskFullError, StoreError, UserError

PIXELS = 64_000_000  # of the images that are read ahead, and of a batch; 3 bytes each
_THREADS = 8

Read = tuple[str, np.ndarray | UserError]


def read_ahead(urls: Iterable[str], most: int) -> Iterator[Read]:
    """Yield each address with its image, uint8 [H, W, 3], or with why it does not open; in their order.

    At most ``most`` images, and about :data:`PIXELS` of them, wait to be asked for: the next ones are taken to be as
    large as the largest so far.

    Raises:
        StoreError: a store gives no answer, which is no fault of an image.
    """
    rest, waiting, largest = iter(urls), deque[tuple[str, Future[np.ndarray | UserError]]](), PIXELS // _THREADS
    seen = 0
    pool = ThreadPoolExecutor(_THREADS)
    try:
        while True:
            while not waiting or (len(waiting) < most and (len(waiting) + 1) * largest <= PIXELS):
                if (url := next(rest, None)) is None:
                    break
                waiting.append((url, pool.submit(_read, url)))
            if not waiting:
                return
            url, future = waiting.popleft()
            image = future.result()
            if isinstance(image, np.ndarray):
                seen = max(seen, image.shape[0] * image.shape[1])
                largest = seen
            yield url, image
            del image  # while the next ones are read
    finally:
        pool.shutdown(cancel_futures=True)


def batches(read: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """Yield what is read in batches of ``size`` images, or fewer where they would be more than :data:`PIXELS`.

    What does not open comes in a batch of its own.
    """
    batch: list[Read] = []
    pixels = 0
    for url, image in read:
        more = image.shape[0] * image.shape[1] if isinstance(image, np.ndarray) else 0
        if batch and (not more or len(batch) == size or pixels + more > PIXELS):
            yield batch
            batch, pixels = [], 0
        if not more:
            yield [(url, image)]
            continue
        batch.append((url, image))
        pixels += more
        del image
    if batch:
        yield batch


def _read(url: str) -> np.ndarray | UserError:
    try:
        return load_image(url)
    except (StoreError, DiskFullError):
        raise
    except UserError as error:
        return error
