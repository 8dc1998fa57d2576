"""The model server: KServe's ModelServer, with answers, batches and limits of our own.

python -m automl_images.serving.server --model_dir /mnt/models --model_name NAME [any other option of KServe's]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from joblib import cpu_count

from automl_images.errors import UserError
from automl_images.faults import explained
from automl_images.prediction import load_model
from automl_images.serving import open_inference
from automl_images.serving.batching import Batching, Room
from automl_images.serving.gate import Gate
from automl_images.serving.metrics import Metrics
from automl_images.serving.requests import Limits
from automl_images.serving.service import Queue, Service, one_line
from automl_images.serving.versions import Served, Threads

_DECODED = 32_000_000  # pixels that are decoded and not yet predicted, of all models


def main() -> None:
    """Serve the models that the command line names, until the process is told to end.

    ``POST /v1/models/NAME:predict`` takes an image's bytes or KServe V1's JSON, ``POST /v2/models/NAME/infer`` and gRPC
    the Open Inference Protocol (see `automl_images.serving.requests` and `open_inference`); a malformed request is
    answered with 400 and one line. SIGTERM ends the server once what runs is answered, within 30 s; SIGHUP looks for
    new versions.

    Raises:
        UserError: KServe is not installed, an option is missing or wrong, or a folder is not a model folder.
    """
    try:
        import kserve
        from kserve.errors import InvalidInput, ModelNotFound
        from kserve.model_server import app
        from kserve.protocol.model_repository_extension import ModelRepositoryExtension

        from automl_images.serving import rpc
    except ImportError:
        raise UserError("the server needs KServe: pip install 'automl-images[serve]'") from None

    class Fixed(ModelRepositoryExtension):
        """Models that nobody loads or unloads over the network."""

        async def load(self, model_name: str) -> Any:
            raise InvalidInput("a model is not loaded over the network")

        async def unload(self, model_name: str) -> Any:
            raise InvalidInput("a model is not unloaded over the network")

    class Described(kserve.Model):
        """What KServe tells of a model; predictions do not reach it."""

        def get_input_types(self) -> list[dict[str, Any]]:
            return open_inference.INPUTS

        def get_output_types(self) -> list[dict[str, Any]]:
            return open_inference.OUTPUTS

    options = _options(kserve.model_server.parser)
    _quiet(InvalidInput, ModelNotFound)
    import torch

    count = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        count = min(count, cpu_count())  # which knows a container's share
    threads = Threads(torch.set_num_threads, count)
    metrics, room, decoders = Metrics(), Room(_DECODED), ThreadPoolExecutor(cpu_count(), "decode")
    batching = Batching(options.max_batch, options.max_delay / 1000)
    models = {
        name: Served(name, address, load_model, batching, room, decoders, metrics, threads)
        for name, address in _models(options).items()
    }
    body = options.max_request_bytes
    queue = Queue(options.max_waiting, body, max(body, Queue.bodies))
    service = Service(models, metrics, queue, Limits(options.max_instances, options.max_pixels))
    app.add_middleware(Gate, service=service)
    server = kserve.ModelServer(enable_grpc=False)
    extension = server.model_repository_extension = Fixed(server.registered_models)
    _quiet(InvalidInput, ModelNotFound)  # again, after KServe's own configuration
    described = [Described(name) for name in models]
    for each in described:
        each.ready = True
    watcher = Watcher(service, options.reload_seconds)
    server.servers.append(watcher.start())
    if options.enable_grpc:
        calls = rpc.Server(options.grpc_port, service, server.dataplane, extension)
        server.servers.append(calls.start())
    stop = server.stop

    def stopped(sig: int) -> None:
        watcher.stop()
        if options.enable_grpc:
            server._grpc_server = calls  # which KServe waits for when it stops
        stop(sig)

    server.stop = stopped
    server.start(described)


class Watcher:
    """Looks for new versions of the models: on SIGHUP, and every so many seconds if that is not 0."""

    def __init__(self, service: Service, seconds: float):
        self.service, self.seconds = service, seconds
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look until stopped."""
        self._task = asyncio.create_task(self._watch())
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def stop(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.seconds or None):
                    await asked.wait()
            asked.clear()
            for served in self.service.models.values():
                await served.refresh()


_OPTIONS: dict[str, tuple[int, int, str]] = {
    "max_batch": (Batching.images, 1, "images that are predicted together; 1: none are"),
    "max_delay": (round(Batching.delay * 1000), 0, "milliseconds that an image waits for others"),
    "max_instances": (Limits.instances, 1, "images in a request"),
    "max_pixels": (Limits.pixels, 1, "pixels of an image"),
    "max_request_bytes": (Queue.body, 1, "bytes of a request"),
    "max_waiting": (Queue.requests, 1, "requests of a model that wait; more are answered with 503"),
    "reload_seconds": (0, 0, "how often new versions are looked for; 0: on SIGHUP alone"),
}


def _options(kserves: argparse.ArgumentParser) -> argparse.Namespace:
    parser = argparse.ArgumentParser(parents=[kserves], allow_abbrev=False)
    parser.add_argument("--model_dir", help="the model's folder, or one at most two levels above it, or an address")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME=DIR", help="several models, by name")
    for name, (default, _, text) in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    options = parser.parse_args()
    for name, (_, least, _) in _OPTIONS.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name}: is {getattr(options, name)}; give {least} or more")
    idle = ("predictor", "enable_predictor", "enable_latency", "protocol", "grpc_max", "max_threads")
    for name, value in vars(options).items():
        if name.startswith(idle) and value != kserves.get_default(name):
            raise UserError(f"--{name}: has no effect here; --max_request_bytes limits gRPC's messages, too")
    if options.workers != 1:
        raise UserError("--workers: one process serves; start more of them behind a balancer")
    return options


def _models(options: argparse.Namespace) -> dict[str, str]:
    """Return each model's address by its name."""
    if bool(options.model_dir) == bool(options.models):
        raise UserError("give --model_dir and --model_name, or --models NAME=DIR ...")
    if options.model_dir:
        return {options.model_name: options.model_dir}
    found: dict[str, str] = {}
    for each in options.models:
        name, _, address = each.partition("=")
        if not name or not address or "/" in name or name in found:
            raise UserError(f"--models: '{each}' is not NAME=DIR of a name that no other has")
        found[name] = address
    return found


def _quiet(*mended_by_the_client: type[Exception]) -> None:
    """Keep one line in the log for a request: KServe's own for a malformed one has a traceback."""

    def reason(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, mended_by_the_client):
            record.msg, record.args, record.exc_info = f"refused: {one_line(error)}", (), None
        return True

    def access(record: logging.LogRecord) -> bool:
        return not isinstance(record.args, tuple) or record.args[1:2] in (("GET",), ("HEAD",))

    ours = logging.getLogger("automl_images.serving")
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
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
