"""The model server under hostile requests: what it answers, and what memory and time it needs afterwards.

    python -m benchmarks.server_abuse [MODEL]

Needs the extra ``serve``. Without a model folder it serves an untrained classifier. Sent are, with a fixed seed, 1,200
malformed requests of V1 and V2 and 300 over gRPC, images that are larger than they look, 60 requests whose clients hang
up, 100 whose bodies do not arrive, and 32 clients at once; all the while it is asked whether it is ready.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import report
from benchmarks.serve.hostile import b64, bomb, jpeg, malformed, malformed_v2, messages, png

SEED = 12
NO_HEADERS: Mapping[str, str] = {}
SERVER = (sys.executable, "-m", "automl_images.serving.server")


def main() -> None:
    """Print a table, and as the last line the figures as JSON."""
    if importlib.util.find_spec("kserve") is None:
        print("left out: KServe is not installed here; make setup")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) > 1 else str(_model(Path(scratch)))
        with Server(folder, Path(scratch, "log")) as server:
            _measure(server)


class Server:
    """The server in a process of its own, on free ports."""

    def __init__(self, folder: str, log: Path, *options: str, command: Sequence[str] = SERVER):
        self.port, grpc = _free_port(), _free_port()
        command = [*command, "--model_dir", folder, "--model_name", "m", *options]
        command += ["--http_port", str(self.port), "--grpc_port", str(grpc)]
        self.grpc, self.log = grpc, log
        self.child = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        self.process = psutil.Process(self.child.pid)

    def __enter__(self) -> Server:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                with urllib.request.urlopen(f"http://localhost:{self.port}/v1/models/m", timeout=5):
                    return self
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise RuntimeError(self.log.read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in self.process.children(recursive=True):  # which a server's death does not always end
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
        self.child.kill()
        self.child.wait()

    def memory(self) -> float:
        """Return the server's resident MiB."""
        return self.process.memory_info().rss / 2**20

    def post(self, body: bytes, path: str = "/v1/models/m:predict", headers: Mapping[str, str] = NO_HEADERS) -> int:
        """Send a request; return the status, 0 for a connection that was closed without one."""
        request = urllib.request.Request(f"http://localhost:{self.port}{path}", body, dict(headers), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            error.read()
            return error.code
        except (OSError, ValueError):
            return 0

    def abandon(self, body: bytes) -> None:
        """Send a whole request and hang up."""
        head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("localhost", self.port)) as connection:
            connection.sendall(head + body)

    def begin(self, body: bytes) -> socket.socket:
        """Send the first bytes of a request, and no more."""
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection = socket.create_connection(("localhost", self.port))
        connection.sendall(head + body[:99])
        return connection

    def call(self, message: bytes) -> str:
        """Send bytes over gRPC as a request for a prediction; return the status."""
        import grpc

        with grpc.insecure_channel(f"localhost:{self.grpc}") as channel:
            try:
                channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message, timeout=60)
            except grpc.RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]
        return "OK"

    def ready(self) -> bool:
        """Return whether the server and its model say that they are ready, within 10 s."""
        try:
            for path in ("/v2/health/ready", "/v2/models/m/ready"):
                with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=10) as answer:
                    if not json.load(answer)["ready"]:
                        return False
        except OSError:
            return False
        return True

    def next_answer(self, body: bytes) -> float:
        """Return the seconds that an ordinary request takes now."""
        begun = time.monotonic()
        while (status := self.post(body)) == 503:
            time.sleep(0.05)
        if status != 200:
            raise RuntimeError(f"an ordinary request is answered with {status}")
        return time.monotonic() - begun


def _measure(server: Server) -> None:
    ordinary = json.dumps({"instances": [b64(png(64, 64))]}).encode()
    many = json.dumps({"instances": [b64(jpeg(1500, 1500))] * 24}).encode()
    few = json.dumps({"instances": [b64(jpeg(1500, 1500))] * 4}).encode()
    for _ in range(5):
        server.post(ordinary)
        server.post(many)
    usual = statistics.median(server.next_answer(ordinary) for _ in range(9))
    before, peak, over = server.memory(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], server.memory())

    ready: Counter[bool] = Counter()

    def ask() -> None:
        while not over.wait(0.5):
            ready[server.ready()] += 1

    for watching in (watch, ask):
        threading.Thread(target=watching, daemon=True).start()
    rows: list[tuple[str, float, float, str]] = [("before", usual, before, "")]
    statuses: Counter[int] = Counter()

    def phase(name: str, answers: list[int]) -> None:
        waited = server.next_answer(ordinary)
        statuses.update(answers)
        rows.append((name, waited, server.memory(), _counted(Counter(answers))))

    lines = server.log.read_bytes().count(b"\n")
    draw = random.Random(SEED)
    hostile = [*malformed(draw, 700), *malformed_v2(draw, 500)]
    phase(f"{len(hostile)} malformed requests", [server.post(body, path, headers) for path, body, headers in hostile])
    logged = (server.log.read_bytes().count(b"\n") - lines) / len(hostile)
    called = Counter(server.call(message) for message in messages(draw, 300))
    rows.append(("300 malformed calls", server.next_answer(ordinary), server.memory(), _counted(called)))
    large = b64(bomb(12000, 12000))
    phase("six images of 12000 x 12000", [server.post(json.dumps({"instances": [large] * 6}).encode())])
    phase("a body of 200 MB", [server.post(b" " * 200_000_000)])
    for _ in range(60):
        server.abandon(many)
    phase("60 clients that hung up", [])
    slow = [server.begin(many) for _ in range(100)]
    phase("100 clients that send slowly", [])
    for each in slow:
        each.close()
    phase("the same, once they have hung up", [])
    answers: list[int] = []

    def client() -> None:
        while (status := server.post(few)) == 503:
            answers.append(status)
            time.sleep(1)
        answers.append(status)

    clients = [threading.Thread(target=client) for _ in range(32)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    phase("32 clients at once, 4 images each", answers)
    phase("unload over HTTP", [server.post(b"", "/v2/repository/models/m/unload")])
    unloaded = _unload(server.grpc)
    rows.append(("unload over gRPC", server.next_answer(ordinary), server.memory(), unloaded))
    over.set()
    figures = {
        "memory_after_over_before": rows[-1][2] / before,
        "memory_peak_over_before": peak[0] / before,
        "longest_next_answer_s": max(row[1] for row in rows),
        "server_errors_but_503": sum(n for s, n in statuses.items() if s >= 500 and s != 503),
        "grpc_internal_errors": called["INTERNAL"] + called["UNKNOWN"],
        "connections_lost": statuses[0],
        "not_ready": ready[False],
        "log_lines_a_malformed_request": logged,
    }
    report("server_abuse", ("", "next answer, s", "memory, MiB", "answers"), rows, figures)


def _counted(answers: Mapping[Any, int]) -> str:
    return ", ".join(f"{n} x {s}" for s, n in sorted(answers.items()))


def _unload(port: int) -> str:
    """Ask over gRPC that the model be unloaded; return the status."""
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

    with grpc.insecure_channel(f"localhost:{port}") as channel:
        try:
            stub = service.GRPCInferenceServiceStub(channel)
            stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="m"), timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)  # type: ignore[attr-defined]
    return "UNLOADED"


def _model(folder: Path) -> Path:
    from automl_images.hyperparameters import resolve
    from automl_images.models import catalogue
    from automl_images.models import folder as model_folder

    task = "image-classification"
    settings, classes = resolve(task, {"model_name": "resnet18"}), ["cat", "dog"]
    network = catalogue.build(task, settings, classes)
    model_folder.save(folder / "model", network, task=task, settings=settings, classes=classes, metrics={"epoch": 1})
    return folder / "model"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
