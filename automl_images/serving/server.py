"""The model server: KServe's, which brings the protocols, health checks and Prometheus metrics.

python -m automl_images.serving.server --model_dir /mnt/models --model_name NAME [any other option of KServe's]
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automl_images.errors import UserError
from automl_images.faults import explained
from automl_images.prediction import load_model
from automl_images.serving.gate import Gate, Queue, one_line
from automl_images.serving.requests import Limits, answer, find_model


def main() -> None:
    """Serve the model folder that the command line names, until the process is told to end.

    ``POST /v1/models/NAME:predict`` takes KServe V1's JSON and answers in the task's shape, boxes or probabilities (see
    `automl_images.serving.requests`); a malformed request is answered with 400 and one line.

    Raises:
        UserError: KServe is not installed, an option is missing, or the folder is not a model folder.
    """
    try:
        import kserve
        from kserve.errors import InvalidInput, ModelNotFound
        from kserve.model_server import app
    except ImportError:
        raise UserError("the server needs KServe: pip install 'automl-images[serve]'") from None

    class Fixed(kserve.ModelRepository):
        """The one model, which nobody loads or unloads over the network."""

        def load(self, name: str) -> bool:
            raise InvalidInput("a model is not loaded over the network")

        def unload(self, name: str) -> None:
            raise InvalidInput("a model is not unloaded over the network")

    class Served(kserve.Model):
        def __init__(self, name: str, folder: str, limits: Limits):
            super().__init__(name)
            self.predictor, self.limits = load_model(find_model(folder)), limits
            self.one_at_a_time = ThreadPoolExecutor(1)  # apart from the loop, so that health checks are answered
            self.ready = True

        async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            gone = threading.Event()
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(
                    self.one_at_a_time, _answer, self.predictor, payload, self.limits, lambda: not gone.is_set()
                )
            except UserError as error:
                raise InvalidInput(str(error)) from None
            finally:
                gone.set()  # one that was cancelled ends before its next batch, or never begins

    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_dir", required=True, help="the model folder, or one at most two levels above it")
    for limit, (default, text) in _LIMITS.items():
        parser.add_argument(f"--{limit}", type=int, default=default, help=f"{text} (default: {default})")
    options = parser.parse_args()
    body = options.max_request_bytes
    app.add_middleware(Gate, queue=Queue(options.max_waiting, body, max(body, Queue.bodies)))
    limits = Limits(options.max_instances, options.max_pixels)
    server = kserve.ModelServer(registered_models=Fixed())
    _say_it_in_a_line(InvalidInput, ModelNotFound)  # after KServe's own configuration
    server.start([Served(options.model_name, options.model_dir, limits)])


_LIBC = ctypes.CDLL(None)
_LIMITS = {
    "max_instances": (Limits.instances, "images in a request"),
    "max_pixels": (Limits.pixels, "pixels of an image"),
    "max_request_bytes": (Queue.body, "bytes of a request"),
    "max_waiting": (Queue.requests, "requests that wait; more are answered with 503"),
}


def _answer(*arguments: Any) -> Any:
    """Answer, and give back to the machine the memory that decoded images took; glibc keeps it otherwise."""
    try:
        return answer(*arguments)
    finally:
        if hasattr(_LIBC, "malloc_trim"):
            _LIBC.malloc_trim(0)


def _say_it_in_a_line(*mended_by_the_client: type[Exception]) -> None:
    """Keep one line in the log for a malformed request: KServe's own has a traceback, and two of times."""

    def reason(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, mended_by_the_client):
            record.msg, record.args, record.exc_info = f"refused: {one_line(error)}", (), None
        return True

    def access(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and record.args[-1:] in ((400,), (403,), (408,), (413,), (503,)))

    logging.getLogger("kserve").addFilter(reason)
    logging.getLogger("uvicorn.access").addFilter(access)
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)


if __name__ == "__main__":
    try:
        with explained():
            main()
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
