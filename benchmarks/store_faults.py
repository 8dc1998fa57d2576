"""A sweep on a real S3 server (moto's) behind a proxy that fails: is every trial finished, and finished once?

The store is away for 5, 20 and 60 seconds in mid-sweep, refuses 30 % of requests with 503, or takes 3 seconds for each
listing. Trials report through their journals as in a training, and save a model and a checkpoint at each evaluation.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State
from benchmarks.ledger_scale import CREDENTIALS, s3_server

TRIALS, LANES, EVALUATIONS, PAUSE = 4, 2, 6, 0.5
FAULTS = {"away 5 s": 5.0, "away 20 s": 20.0, "away 60 s": 60.0, "503 for 30 %": 0.3, "3 s a listing": 3.0}
STAND_IN = Path(__file__).parents[1] / "tests/helpers/stand_in_trial.py"


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a store, unless it is told to fail."""

    daemon_threads = True

    def __init__(self, store: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = urlsplit(store).netloc
        self.away_until, self.refused, self.listing = 0.0, 0.0, 0.0
        self.draw = random.Random(0)


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if time.monotonic() < self.server.away_until:
            self.close_connection = True
            return
        if self.server.draw.random() < self.server.refused:
            self._answer(503, [], b"<Error><Code>ServiceUnavailable</Code></Error>")
            return
        if "list-type=2" in self.path:
            time.sleep(self.server.listing)
        connection = http.client.HTTPConnection(self.server.store, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        skipped = ("transfer-encoding", "content-length", "connection", "date", "server")
        self._answer(
            answer.status, [h for h in answer.getheaders() if h[0].lower() not in skipped], answer.read(), answer
        )
        connection.close()

    def _answer(self, status: int, headers: list, body: bytes, answer: http.client.HTTPResponse | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        known = answer.getheader("Content-Length") if answer and self.command == "HEAD" else None
        self.send_header("Content-Length", known or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def proxied() -> Iterator[Proxy]:
    """Run moto's server behind a proxy, whose address AWS_ENDPOINT_URL names meanwhile."""
    with tempfile.TemporaryDirectory() as folder, s3_server("moto", Path(folder)) as url:
        proxy = Proxy(url)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.server_address[1]}")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # which has the address of the one before
        try:
            yield proxy
        finally:
            proxy.shutdown()


def finished_once(proxy: Proxy, fault: str, amount: float, folder: Path) -> int:
    """Run a sweep through a fault, and return how many trials are completed, by one attempt, with their model."""
    (folder / "records.jsonl").write_text("")
    space = {"beta1": {"uniform": [0.1, 0.9]}}
    experiment = {
        "task": "image-object-detection",
        "settings": {"number_of_epochs": EVALUATIONS, "model_name": "fasterrcnn_resnet18_fpn"},
        "weights": {"pretrained": False},
        "storage": f"s3://bucket/{os.urandom(4).hex()}",
        "sweep": {
            "iterations": TRIALS,
            "max_concurrent_iterations": LANES,
            "space": space,
        },
    }
    records = str(folder / "records.jsonl")
    planned = plan_sweep(experiment, records, records)
    ledger = Ledger(json.loads(planned[0])["ledger"])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "STAND_IN_PAUSE": str(PAUSE)}
    if not fault.startswith("away"):
        proxy.refused, proxy.listing = (amount, 0.0) if fault.startswith("503") else (0.0, amount)
    lanes = [
        subprocess.Popen([sys.executable, str(STAND_IN), lane], env=environment, stdout=subprocess.DEVNULL)
        for lane in planned
    ]
    if fault.startswith("away"):
        while not ledger.evaluations():
            time.sleep(0.2)
        proxy.away_until = time.monotonic() + amount
    for lane in lanes:
        lane.wait(500)
    proxy.refused = proxy.listing = 0.0
    whole = [t for t in ledger.written() if t.state is State.COMPLETED and t.attempt == 1 and t.model]
    return sum(ledger_epoch(t.model) == EVALUATIONS for t in whole)


def ledger_epoch(model: str | None) -> int:
    """Return the epoch of the model folder at an address."""
    from automl_images import storage

    return json.loads(storage.read_bytes(f"{model}/metrics.json"))["epoch"]


def main() -> None:
    """Print for each fault how many trials of the sweep are finished once."""
    figures = {}
    with proxied() as proxy, tempfile.TemporaryDirectory() as folder:
        for fault, amount in FAULTS.items():
            start = time.monotonic()
            figures[fault] = finished_once(proxy, fault, amount, Path(folder))
            print(f"{fault:16}{figures[fault]} of {TRIALS} trials finished once, in {time.monotonic() - start:.0f} s")
    print(json.dumps({"benchmark": "store_faults", "machine": "any", "figures": figures}))
    sys.exit(any(count != TRIALS for count in figures.values()))


if __name__ == "__main__":
    main()
