"""A ledger under many trials at once: what is lost, what an evaluation asks of the store, and how long it takes.

    python benchmarks/ledger_scale.py [--s3 seaweedfs|moto] [--quick]

1,000 trials, 100 at a time, 20 evaluations each, on a local folder; 200 trials, 20 at a time, on an S3 server in a
process of its own on this machine. That is SeaweedFS, which keeps objects on disk, if its ``weed`` is installed
(the extra ``bench``), else moto, which keeps them in memory and stands in for a store only in what it answers,
not in how fast. Trials are threads that wait a drawn time between evaluations.

``p99_vs_bare`` is the 99th percentile of ``Ledger.evaluate`` over that of one PUT and two LISTs as bare as can be (open
and os.listdir; one call of s3fs each), of folders with as many names, by the same threads in turn with the evaluations.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images import storage, store
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State
from benchmarks.report import report

EVALUATIONS = 20
PAUSE = 0.8  # seconds at most between two evaluations of a trial
SETTINGS = {"model_name": "yolov5", "number_of_epochs": EVALUATIONS, "learning_rate": 0.01}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}

# moto looks whether an object is there and writes it in two steps, a store in one
_MOTO = """
import sys, threading
from moto.s3.responses import S3Response
from moto.server import main
lock, put = threading.Lock(), S3Response.put_object
def put_object(self):
    with lock:
        return put(self)
S3Response.put_object = put_object
main(sys.argv[1:])
"""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def weed() -> str | None:
    """Return SeaweedFS's program, or None where it is not installed."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@contextlib.contextmanager
def s3_server(kind: str, folder: Path) -> Iterator[str]:
    """Run an S3 server, ``seaweedfs`` or ``moto``, and give its address, which AWS_ENDPOINT_URL names meanwhile."""
    ports = free_ports(8)
    url = f"http://127.0.0.1:{ports[0]}"
    if kind == "moto":
        command = [sys.executable, "-c", _MOTO, "-H", "127.0.0.1", "-p", str(ports[0])]
    else:
        names = [f"{part}.port{rpc}" for rpc in ("", ".grpc") for part in ("s3", "master", "volume", "filer")]
        options = {"dir": folder, "ip": "127.0.0.1", "master.volumeSizeLimitMB": 64, "volume.max": 20}
        options |= {"s3": "true", "s3.port.iceberg": 0, "s3.port.lance": 0, **dict(zip(names, ports, strict=True))}
        command = [str(weed()), "server", *(f"-{k}={v}" for k, v in options.items())]
    before = {k: os.environ.get(k) for k in (*CREDENTIALS, "AWS_ENDPOINT_URL")}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=url)
            _make_bucket(url, server)
            yield url
        finally:
            server.kill()  # it has nothing to keep
            for port in ports:
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()
            for key, value in before.items():
                os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def _make_bucket(url: str, server: subprocess.Popen) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}, read_timeout=5))
    for _ in range(300):
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket="bucket")
            client.put_object(Bucket="bucket", Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError):
            if server.poll() is not None:
                break
            time.sleep(0.2)
    raise RuntimeError(f"the S3 server {server.args} did not start")


@contextlib.contextmanager
def counted_requests(url: str) -> Iterator[list[str]]:
    """Give the list that the requests to a store go on: S3's by name, on a local folder one per operation."""
    made: list[str] = []
    if storage.is_local(url):
        owner, name = store, "filesystem"
        call = store.filesystem

        def wrapped(url: str):
            made.append("operation")
            return call(url)
    else:
        from aiobotocore.client import AioBaseClient as owner

        name = "_make_api_call"
        call = owner._make_api_call

        async def wrapped(self, operation: str, arguments: dict):
            made.append(operation)
            return await call(self, operation, arguments)

    setattr(owner, name, wrapped)
    try:
        yield made
    finally:
        setattr(owner, name, call)


class Sweep:
    """Trials that evaluate at random times, each evaluation in turn with a bare PUT and two bare LISTs."""

    def __init__(self, url: str, trials: int):
        self.ledger, self.trials = Ledger(storage.join(url, "ledger")), trials
        self.bare_url = storage.join(url, "bare")
        self.evaluated: list[float] = []
        self.bare: list[float] = []
        self.ended: list[float] = []
        self.torn = self.reads = 0
        fs, self.bare_path = store.filesystem(self.bare_url)
        local = storage.is_local(url)
        self.put = (lambda path: Path(path).write_bytes(b"")) if local else (lambda path: fs.pipe_file(path, b""))
        self.list = os.listdir if local else (lambda path: fs.ls(path, detail=False))
        self.ledger.open({"benchmark": "ledger_scale"})
        for folder in ("ended", *(f"{n:04d}" for n in range(1, EVALUATIONS + 1))):
            storage.write(storage.join(self.bare_url, folder, ".keep"), "")

    def trial(self, index: int) -> None:
        """Live through one trial."""
        draw = random.Random(index)
        if not self.ledger.claim("run", index, index):
            raise RuntimeError(f"trial {index} is claimed already")
        content = self.ledger.start_trial(index, SETTINGS, ["learning_rate"])
        best = total = 0.0
        for n in range(1, EVALUATIONS + 1):
            time.sleep(draw.uniform(0, PAUSE))
            value = draw.random()
            best, total = max(best, value), total + value
            mine = Evaluation(index, 1, Score(n, n, value, best, total / n))
            for measure in draw.sample([self.evaluate, self.evaluate_bare], 2):
                measure(mine)
        before = time.perf_counter()
        self.ledger.end_trial(content, State.COMPLETED, mine.score, best={"metric": "m", "value": best, "epoch": n})
        self.ended.append(time.perf_counter() - before)
        self.put(f"{self.bare_path}/ended/{mine.name()}")

    def evaluate(self, mine: Evaluation) -> None:
        """Report one evaluation."""
        before = time.perf_counter()
        self.ledger.evaluate(mine)
        self.evaluated.append(time.perf_counter() - before)

    def evaluate_bare(self, mine: Evaluation) -> None:
        """Do the least that an evaluation can do."""
        folder = f"{self.bare_path}/{mine.score.number:04d}"
        before = time.perf_counter()
        self.put(f"{folder}/{mine.name()}")
        self.list(f"{self.bare_path}/ended")
        self.list(folder)
        self.bare.append(time.perf_counter() - before)

    def read(self, over: threading.Event) -> None:
        """Read trials as they are written, and count what is not whole."""
        while not over.wait(0.05):
            self.reads += 1
            try:
                self.ledger.trial(random.randrange(self.trials))
            except json.JSONDecodeError:
                self.torn += 1

    def run(self, at_once: int) -> None:
        """Run all trials."""
        over = threading.Event()
        reader = threading.Thread(target=self.read, args=(over,))
        reader.start()
        try:
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(self.trial, range(self.trials)))
        finally:
            over.set()
            reader.join()

    def lost(self) -> int:
        """Return how many evaluations, ends and whole trials the ledger does not have."""
        every = {(t, n) for t in range(self.trials) for n in range(1, EVALUATIONS + 1)}
        evaluations = every - {(e.trial, e.score.number) for e in self.ledger.evaluations()}
        ends = {int(name.partition(".")[0]) for name in storage.names(storage.join(self.ledger.url, "ended"))}
        whole = [
            t
            for t in self.ledger.trials()
            if t.state is State.COMPLETED and len(t.evaluations or ()) == EVALUATIONS and t.settings == SETTINGS
        ]
        return len(evaluations) + len(set(range(self.trials)) - ends) + self.trials - len(whole)


def percentile(values: list[float], share: float) -> float:
    """Return the least value that ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(store: str, url: str, trials: int, at_once: int) -> tuple[list[tuple[object, ...]], dict[str, float]]:
    """Run a sweep on a store; return the table's rows and the figures."""
    probe = Ledger(storage.join(url, "probe"))
    probe.open({})
    with counted_requests(url) as requests:
        for n in range(1, EVALUATIONS + 1):
            probe.evaluate(Evaluation(0, 1, Score(n, n, 0.5, 0.5, 0.5)))
    sweep, before = Sweep(url, trials), time.monotonic()
    sweep.run(at_once)
    seconds = time.monotonic() - before
    timed = (("evaluate", sweep.evaluated), ("bare PUT, 2 LISTs", sweep.bare), ("end_trial", sweep.ended))
    rows = [
        (store, trials, at_once, what, len(t), *(1e3 * percentile(t, share) for share in (0.5, 0.99, 1)), seconds)
        for what, t in timed
    ]
    return rows, {
        "lost": sweep.lost(),
        "torn": sweep.torn,
        "reads": sweep.reads,
        "requests_per_evaluation": len(requests) / EVALUATIONS,
        "p99_vs_bare": percentile(sweep.evaluated, 0.99) / percentile(sweep.bare, 0.99),
        "p50_vs_bare": percentile(sweep.evaluated, 0.5) / percentile(sweep.bare, 0.5),
    }


def main() -> None:
    """Measure a local folder, then S3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--s3", choices=("seaweedfs", "moto"), default="seaweedfs" if weed() else "moto")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the trials")
    arguments = parser.parse_args()
    scale = 20 if arguments.quick else 1
    header = ("store", "trials", "at once", "what", "times", "p50 ms", "p99 ms", "most ms", "run s")
    with tempfile.TemporaryDirectory() as scratch:
        rows, figures = measure("local", f"{scratch}/local", 1000 // scale, 100)
        Path(scratch, "s3").mkdir()
        with s3_server(arguments.s3, Path(scratch, "s3")):
            more, remote = measure(arguments.s3, "s3://bucket", 200 // scale, 20)
    report("ledger_scale", header, [*rows, *more], {**figures, **{f"{k}_s3": v for k, v in remote.items()}})


if __name__ == "__main__":
    main()
