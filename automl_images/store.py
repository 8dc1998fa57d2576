"""A store is opened here, and asked again when it gives no answer, for as long as :func:`patience` says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_exponential

from automl_images import archive
from automl_images.errors import StoreError, UserError, first_line, redact, refusal, say

T = TypeVar("T")
LONG = 300.0  # seconds that lanes and trials ask a store again, before what they do ends and resumes another time
PATIENCE = ContextVar("patience", default=10.0)  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_ANSWERS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, NotImplementedError, UserError)
# one quick retry by the driver: asking again is ours, with one limit for every store
_S3 = {"config_kwargs": {"retries": {"total_max_attempts": 2}, "connect_timeout": 10, "read_timeout": 60}}


class _NoAnswerError(Exception):
    """A store gave no answer; the text says why."""


@contextlib.contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Ask a store that gives no answer again for so many seconds, while the block runs in this thread."""
    before = PATIENCE.set(seconds)
    try:
        yield
    finally:
        PATIENCE.reset(before)


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of ``url`` and the path in it, with listing caches off.

    Raises:
        UserError: the protocol is unknown, its driver is not installed, or the address is none.
        FileNotFoundError: it is in an archive (``zip://``) that is not there.
    """
    if url.startswith(archive.SCHEME):
        return archive.filesystem(url, ask)
    if url.startswith("minio://"):
        url = "s3://" + url.removeprefix("minio://")
    options: dict[str, Any] = {"use_listings_cache": False} if "://" in url else {}
    if url.startswith("s3://"):
        options |= _S3
    try:
        urlsplit(url if "://" in url else "")  # drivers raise what is wrong with a host whenever they come to it
        return fsspec.core.url_to_fs(url, **options)
    except Exception as error:  # a driver may ask for credentials here
        why = first_line(error) if isinstance(error, ImportError | ValueError) else refusal(error) or first_line(error)
        raise UserError(f"{redact(url)}: cannot be opened: {redact(why)}") from error


def ask(url: str, work: Callable[[Any, str], T]) -> T:
    """Return ``work(filesystem, path)``; a store that gives no answer is asked again, with growing pauses.

    Raises:
        StoreError: it gave none for as long as :func:`patience` says.
        UserError: it refused; the line says why.
    """
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        return work(fs, path)

    def answer() -> T:
        try:
            return work(fs, path)
        except _ANSWERS:
            raise
        except Exception as error:
            if refused := refusal(error):
                raise UserError(f"{redact(url)}: {refused}") from error
            raise _NoAnswerError(redact(first_line(error))) from error

    def said(state: RetryCallState) -> None:
        if state.upcoming_sleep == _LONGEST_PAUSE and state.outcome:
            left = seconds - (state.seconds_since_start or 0)
            say(f"{url}: the store gives no answer ({state.outcome.exception()}); asking again for {left:.0f} s")

    seconds = PATIENCE.get()
    again = Retrying(
        retry=retry_if_exception_type(_NoAnswerError),
        wait=wait_exponential(_FIRST_PAUSE, _LONGEST_PAUSE),
        stop=stop_before_delay(seconds),
        before_sleep=said,
        reraise=True,
    )
    try:
        return again(answer)
    except _NoAnswerError as error:
        raise StoreError(
            f"{redact(url)}: the store gives no answer ({error}); start again when it does"
        ) from error.__cause__
