"""The server under load, against the bare model and against plain servers of the same model.

    python -m benchmarks.serving [--seconds 4] [--models resnet18 yolov5]

Needs the extra ``serve``. A second process on this machine serves; 1, 8 and 32 clients send KServe V1's JSON with one
photograph-like JPEG of 500 x 375, each its next request once it has an answer. The models are untrained.

``p50_ratio``: one client's median over that of decoding and predicting the same bytes in this process, in turns.
``batching_gain``: answers a second of 32 clients with batches over those without. ``bare_gain``: images a second that
the bare model predicts in batches of 8 over those one by one, decoding included: what a batch can gain here.
``gain_of_bare``: the one over the other. ``kserve_gain``: our answers a second of 32 clients over those of KServe's
plain example, a model that predicts what a request holds; ``litserve_gain``: over LitServe's, where it is installed.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import importlib.util
import io
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import report
from benchmarks.server_abuse import Server

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("image-classification", {"model_name": "resnet18"}),
    "yolov5": ("image-object-detection", {"model_name": "yolov5", "model_size": "small", "img_size": 320}),
}
CLIENTS = (1, 8, 32)
TURNS = 3


def main() -> None:
    """Print a table, and as the last line the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4, help="how long each load lasts")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments = parser.parse_args()
    if importlib.util.find_spec("kserve") is None:
        print("left out: KServe is not installed here; make setup")
        return
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.models:
            folder = _model(Path(scratch, name), name)
            figures |= {
                f"{name}_{k}": v for k, v in _measure(name, folder, Path(scratch), arguments.seconds, rows).items()
            }
    report("serving", ("model", "server", "clients", "p50, ms", "p99, ms", "a second", "failed"), rows, figures)


def _measure(name: str, folder: str, scratch: Path, seconds: float, rows: list[tuple[object, ...]]) -> dict[str, float]:
    from automl_images.prediction import load_model

    photograph, predictor = _photograph(), load_model(folder)
    body = json.dumps({"instances": [{"image": {"b64": base64.b64encode(photograph).decode()}}]}).encode()

    def bare(count: int) -> None:
        predictor.predict([Image.open(io.BytesIO(photograph)) for _ in range(count)])

    rates: dict[str, float] = {}

    def load(what: str, port: int, path: str = "/v1/models/m:predict") -> None:
        for clients in CLIENTS:
            took, rates[what], failed = _load(port, path, body, clients, seconds)
            rows.append((name, what, clients, *_percentiles(took), rates[what], failed))

    with Server(folder, scratch / "log") as server:
        alone, served = [], []
        _load(server.port, "/v1/models/m:predict", body, 1, 1.0)
        for _ in range(TURNS):  # in turns: a machine's speed changes
            alone += _times(lambda: bare(1), seconds / 2)
            served += _load(server.port, "/v1/models/m:predict", body, 1, seconds / 2)[0]
        load("batches", server.port)
    rows.append((name, "bare", 1, *_percentiles(alone), 1 / statistics.mean(alone), 0))
    eight = _times(lambda: bare(8), seconds)
    rows.append((name, "bare, 8 together", 1, *_percentiles(eight), 8 / statistics.mean(eight), 0))
    with Server(folder, scratch / "log", "--max_batch", "1") as server:
        load("one by one", server.port)
    peers = {"kserve": "/v1/models/m:predict", "litserve": "/predict"}
    for peer in [p for p in peers if importlib.util.find_spec(p)]:
        command = (sys.executable, "-m", "benchmarks.serve.peers", peer)
        with Server(folder, scratch / "log", command=command) as server:
            load(peer, server.port, peers[peer])
    gain, own = rates["batches"] / rates["one by one"], 8 * statistics.median(alone) / statistics.median(eight)
    return {
        "p50_ratio": statistics.median(served) / statistics.median(alone),
        "batching_gain": gain,
        "bare_gain": own,
        "gain_of_bare": gain / own,
        **{f"{peer}_gain": rates["batches"] / rates[peer] for peer in peers if peer in rates},
    }


def _load(port: int, path: str, body: bytes, clients: int, seconds: float) -> tuple[list[float], float, int]:
    """Return how long each answer took in seconds, answers a second, and how many requests had no answer of 200."""
    took: list[float] = []
    failed = [0]
    begun = time.monotonic()

    def client() -> None:
        connection = http.client.HTTPConnection("localhost", port, timeout=60)
        while time.monotonic() < begun + seconds:
            sent = time.monotonic()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            with connection.getresponse() as answer:
                answer.read()
            if answer.status == 200:
                took.append(time.monotonic() - sent)
            else:
                failed[0] += 1
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return took, len(took) / (time.monotonic() - begun), failed[0]


def _times(work: Callable[[], None], seconds: float) -> list[float]:
    work()
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        work()
        took.append(time.monotonic() - begun)
    return took


def _percentiles(took: list[float]) -> tuple[float, float]:
    return tuple(1000 * float(q) for q in np.quantile(took, (0.5, 0.99)))  # type: ignore[return-value]


def _photograph() -> bytes:
    """Return a JPEG whose spectrum is like that of a photograph, so that decoding it costs as much."""
    draw, file = np.random.default_rng(0), io.BytesIO()
    image = np.zeros((375, 500, 3))
    for side in (4, 16, 64, 256):
        layer = Image.fromarray(draw.integers(0, 255, (side, side, 3), dtype=np.uint8))
        image += np.asarray(layer.resize((500, 375), Image.Resampling.BICUBIC), float) / side**0.5
    Image.fromarray((255 * image / image.max()).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _model(folder: Path, name: str) -> str:
    from automl_images.hyperparameters import resolve
    from automl_images.models import catalogue
    from automl_images.models import folder as model_folder

    task, given = MODELS[name]
    settings, classes = resolve(task, given), ["cat", "dog"]
    network = catalogue.build(task, settings, classes)
    model_folder.save(folder, network, task=task, settings=settings, classes=classes, metrics={"epoch": 1})
    return str(folder)


if __name__ == "__main__":
    main()
