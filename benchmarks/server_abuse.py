"""The model server under hostile requests: what it answers, and what memory and time it needs afterwards.

    python -m benchmarks.server_abuse [MODEL]

Needs the extra ``serve``. Without a model folder it serves an untrained classifier. Sent are, with a fixed seed, 1,000
malformed requests, images that are larger than they look, 60 requests whose clients hang up, and 32 clients at once.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.report import report

SEED = 12
SERVER = (sys.executable, "-m", "automl_images.serving.server")


def main() -> None:
    """Print a table, and as the last line the figures as JSON."""
    if importlib.util.find_spec("kserve") is None:
        print("left out: KServe is not installed here; pip install -c images/serve/constraints.txt '.[serve,train]'")
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
        raise RuntimeError(self.log.read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()

    def memory(self) -> float:
        """Return the server's resident MiB."""
        return self.process.memory_info().rss / 2**20

    def post(self, body: bytes, path: str = "/v1/models/m:predict", timeout: float = 120) -> int:
        """Send a request; return the status, 0 for a connection that was closed without one."""
        request = urllib.request.Request(f"http://localhost:{self.port}{path}", body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
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

    def next_answer(self, body: bytes) -> float:
        """Return the seconds that an ordinary request takes now."""
        begun = time.monotonic()
        while (status := self.post(body)) == 503:
            time.sleep(0.05)
        if status != 200:
            raise RuntimeError(f"an ordinary request is answered with {status}")
        return time.monotonic() - begun


def _measure(server: Server) -> None:
    ordinary = json.dumps({"instances": [_b64(_png(64, 64))]}).encode()
    many = json.dumps({"instances": [_b64(_jpeg(1500, 1500))] * 24}).encode()
    few = json.dumps({"instances": [_b64(_jpeg(1500, 1500))] * 4}).encode()
    for _ in range(5):
        server.post(ordinary)
        server.post(many)
    usual = statistics.median(server.next_answer(ordinary) for _ in range(9))
    before, peak, over = server.memory(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], server.memory())

    threading.Thread(target=watch, daemon=True).start()
    rows: list[tuple[str, float, float, str]] = [("before", usual, before, "")]
    statuses: Counter[int] = Counter()

    def phase(name: str, answers: list[int]) -> None:
        waited = server.next_answer(ordinary)
        statuses.update(answers)
        counted = ", ".join(f"{n} x {s}" for s, n in sorted(Counter(answers).items()))
        rows.append((name, waited, server.memory(), counted))

    lines = server.log.read_bytes().count(b"\n")
    hostile = _hostile(random.Random(SEED))
    phase(f"{len(hostile)} malformed requests", [server.post(body, path) for path, body in hostile])
    logged = (server.log.read_bytes().count(b"\n") - lines) / len(hostile)
    bomb = _bomb(12000, 12000)
    phase("six images of 12000 x 12000", [server.post(json.dumps({"instances": [_b64(bomb)] * 6}).encode())])
    phase("a body of 200 MB", [server.post(b" " * 200_000_000)])
    for _ in range(60):
        server.abandon(many)
    phase("60 clients that hung up", [])
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
        "connections_lost": statuses[0],
        "log_lines_a_malformed_request": logged,
    }
    report("server_abuse", ("", "next answer, s", "memory, MiB", "answers"), rows, figures)


def _hostile(draw: random.Random) -> list[tuple[str, bytes]]:
    """Return 1,000 malformed requests, each a path and a body."""
    png, predict = _png(32, 32), "/v1/models/m:predict"
    whole = json.dumps({"instances": [{"image": {"b64": _b64(png)}}]}).encode()
    table = json.dumps({"input_data": {"columns": ["image"], "data": [_b64(png)]}}).encode()
    odd = [
        None,
        1e308,
        -1,
        "",
        "\ud800",
        "\x00",
        [],
        {},
        [[]],
        {"b64": None},
        {"image": {"image": {}}},
        True,
        "A" * 99999,
    ]
    found: list[tuple[str, bytes]] = []
    while len(found) < 1000:
        kind = draw.randrange(7)
        if kind == 0:
            body = bytearray(draw.choice([whole, table, png]))
            for _ in range(draw.randint(1, 9)):
                body[draw.randrange(len(body))] = draw.randrange(256)
            found.append((predict, bytes(body)))
        elif kind == 1:
            body = draw.choice([whole, table, png])
            found.append((predict, body[: draw.randrange(len(body))]))
        elif kind == 2:
            key = draw.choice(["instances", "input_data", "inputs", "\u0000"])
            found.append((predict, json.dumps({key: draw.choice(odd)}).encode()))
        elif kind == 3:
            found.append((predict, json.dumps({"instances": draw.choices(odd, k=draw.randint(1, 5))}).encode()))
        elif kind == 4:
            columns = draw.choice([["image"], ["a", "image"], "image", None, [], [["image"]]])
            rows = {"columns": columns, "data": draw.choices(odd, k=3)}
            found.append((predict, json.dumps({"input_data": rows}).encode()))
        elif kind == 5:
            found.append((predict, draw.choice([b"[" * 99999, b'{"a":' * 9999, b"", b"\xff\xfe", b"NaN", b"9" * 400])))
        else:
            size = draw.choice([(65535, 65535), (1, 10**9), (10**9, 1), (0, 0), (20000, 20000)])
            cut = {"instances": [_b64(_claimed(*size))]}
            path = draw.choice([predict, "/v1/models/other:predict", "/v2/models/m/infer", "/v1/models/m:explain"])
            found.append((path, json.dumps(cut).encode()))
    return found


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


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(file, "JPEG", quality=60)
    return file.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """Return a whole PNG of zeros, of some hundred kilobytes."""
    packed, stream = [], zlib.compressobj(9)
    for _ in range(height):
        packed.append(stream.compress(bytes(1 + 3 * width)))
    return _chunks(width, height, b"".join(packed) + stream.flush())


def _claimed(width: int, height: int) -> bytes:
    """Return a PNG whose header alone says that it is large."""
    return _chunks(width, height, b"x")


def _chunks(width: int, height: int, data: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
