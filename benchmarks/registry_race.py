"""Many processes register at once, and some are killed in the middle: is a version lost, doubled, or half there?

    python -m benchmarks.registry_race [--processes 50] [--stores local s3] [--killed 10]

On a local folder and on an S3 server (moto) in a process of its own. Each process registers a model of its own under
one name, all at the same moment. Then some registrations, one after the other, are killed (SIGKILL) after one of their
writes, each after another one; nobody may see a version of theirs, and the same models registered again must finish
them. At the end every file of every version is compared with the hash that it was registered with.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from automl_images import storage
from automl_images.registry import READY, Registry, verify
from benchmarks.ledger_scale import s3_server
from benchmarks.report import report

METRIC = "mean_average_precision"
FORK = multiprocessing.get_context("fork")  # so that a process begins at once, with all imported


def main() -> None:
    """Run the race on each store and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--killed", type=int, default=10)
    parser.add_argument("--stores", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    asked = parser.parse_args()
    rows, figures = [], {}
    for store in asked.stores:
        with tempfile.TemporaryDirectory() as folder, _store(store, Path(folder)) as url:
            found = race(url, Path(folder), asked.processes)
            found |= killings(url, Path(folder), asked.killed)
        rows.append([store, *found.values()])
        figures |= {f"{store}_{key}": value for key, value in found.items()}
    report("registry_race", ["store", *found], rows, figures)
    if any(value for key, value in figures.items() if key.endswith(("lost", "half_seen", "unfinished", "differing"))):
        sys.exit(1)


@contextlib.contextmanager
def _store(kind: str, folder: Path) -> Iterator[str]:
    if kind == "local":
        yield str(folder / "registry")
        return
    import s3fs  # noqa: F401 (before the processes are forked)

    with s3_server("moto", folder):
        yield "s3://bucket/registry"


def race(url: str, folder: Path, processes: int) -> dict[str, float]:
    """Register one model a process, all at once; return how many versions there are, are lost, or differ, and the time.

    ``champion`` is 1 if it is the best of them.
    """
    models, barrier, results = (
        [_model(folder, f"m{i}") for i in range(processes)],
        FORK.Barrier(processes),
        FORK.Queue(),
    )
    started = time.perf_counter()
    workers = [FORK.Process(target=_racer, args=(url, m, i, barrier, results)) for i, m in enumerate(models)]
    for worker in workers:
        worker.start()
    told = dict(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    seconds, registry = time.perf_counter() - started, Registry(url)
    whole = [v for v in registry.versions("race") if v["state"] == READY]
    numbers = {v["version"] for v in whole}
    kept = {v["lineage"]["i"] for v in whole if told[v["lineage"]["i"]] == v["version"]}
    best = max(whole, key=lambda v: v["metrics"][METRIC])["version"]
    return {
        "versions": len(numbers & set(range(1, processes + 1))),
        "lost": processes - len(kept),
        "champion": int(registry.aliases("race") == {"latest": processes, "champion": best}),
        "differing": sum(bool(verify(v)) for v in whole),
        "seconds": seconds,
    }


def _racer(url, model, i, barrier, results):
    barrier.wait()
    results.put((i, _register(url, "race", model, i)))


def _register(url: str, name: str, model: Path, i: int) -> int:
    lineage = {"i": i, "evaluated": {"digest": "0"}}
    return Registry(url).register(name, str(model), {METRIC: i * 7 % 50 / 50}, lineage, METRIC)["version"]


def killings(url: str, folder: Path, count: int) -> dict[str, int]:
    """Kill registrations after their first, second, ... write; return what of them was seen, and stayed unfinished."""
    registry, half_seen, finished = Registry(url), 0, 0
    for i in range(count):
        model = _model(folder, f"killed{i}")
        before = set(registry.models())
        worker = FORK.Process(target=_killed, args=(url, f"killed{i}", model, i % 5 + 1))
        worker.start()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL, f"ended by itself: {worker.exitcode}"
        half_seen += set(registry.models()) != before
        version = _register(url, f"killed{i}", model, i)
        finished += version == 1 and registry.get(f"killed{i}", "champion")["version"] == 1
        half_seen += bool(verify(registry.get(f"killed{i}"))) or len(registry.versions(f"killed{i}")) != 1
    return {"killed": count, "half_seen": half_seen, "unfinished": count - finished}


def _killed(url: str, name: str, model: Path, most: int) -> None:
    done = 0

    def dying(call):
        def writes(address, data):
            nonlocal done
            if address.endswith(".probe"):
                return call(address, data)
            if done == most:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return call(address, data)

        return writes

    storage.write, storage.create = dying(storage.write), dying(storage.create)
    _register(url, name, model, 0)


def _model(folder: Path, content: str) -> Path:
    path = folder / content
    path.mkdir()
    (path / "model.pt").write_bytes(content.encode() * 10_000)
    for name in ("labels.json", "settings.json", "score.py"):
        (path / name).write_text(json.dumps([content, name]))
    return path


if __name__ == "__main__":
    main()
