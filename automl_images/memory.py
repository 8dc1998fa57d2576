"""The memory of the container that this process is in, by its control group: what it may use, and what it uses.

Kubernetes and Docker end a container that would use more, and with cgroup v2 Kubernetes ends all its processes at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # cgroup v1 writes the largest multiple of a page
_MARGIN = 0.05  # of the limit, left free
_OWN = 0.5  # of what is used, that a process must hold to be ended: what another left goes by itself
_FASTEST = 4e9  # bytes a second that a process may take
_LONGEST, _SHORTEST = 0.25, 0.005  # seconds between two looks


@dataclass(frozen=True)
class Memory:
    """A container's memory, in bytes."""

    used: int  # what the kernel cannot take back at once: all but the cache of files
    limit: int  # what it may use


def container(root: Path | None = None) -> Memory | None:
    """Return the memory of this process's container by cgroup v2, or v1 below ``memory``; None: it has no limit."""
    root = root or ROOT
    v2 = (root / "memory.max").exists()
    folder = root if v2 else root / "memory"
    limit_file, used_file = (
        ("memory.max", "memory.current") if v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    try:
        limit = (folder / limit_file).read_text().strip()
        if not limit.isdigit() or int(limit) >= _NO_LIMIT:
            return None
        used = int((folder / used_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    names = ("file", "shmem", "slab_reclaimable") if v2 else ("total_cache", "total_shmem", "")
    cache, shared, kernel = (int(stat.get(name, 0)) for name in names)
    return Memory(used - max(0, cache - shared) - kernel, int(limit))


@dataclass
class Guard:
    """What :func:`guarded` did."""

    ended: Memory | None = None  # the memory at which it ended the process
    over: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def guarded(process: int, lanes: int = 1, root: Path | None = None) -> Iterator[Guard]:
    """End a process, by its id, and all that it started before its container's memory is used up.

    ``lanes`` such processes share the container; one that holds little is not ended. ``root``: see :func:`container`.
    """
    guard = Guard()
    watch = threading.Thread(target=_watch, args=(guard, process, lanes, root), daemon=True)
    watch.start()
    try:
        yield guard
    finally:
        guard.over.set()
        watch.join()


def _watch(guard: Guard, process: int, lanes: int, root: Path | None) -> None:
    pause = 0.0
    while not guard.over.wait(pause):
        memory = container(root)
        if memory is None:
            return
        room = memory.limit * (1 - _MARGIN) - memory.used
        if room <= 0 and _held(process) > memory.used * _OWN / lanes:
            guard.ended = memory
            for each in _tree(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, 9)
            return
        pause = min(_LONGEST, max(_SHORTEST, room / _FASTEST))


def _tree(process: int) -> list[int]:
    """Return a process and all below it, those that are gone left out."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return [process, *(child.pid for child in psutil.Process(process).children(recursive=True))]
    return []


def _held(process: int) -> int:
    import psutil

    held = 0
    for each in _tree(process):
        with contextlib.suppress(psutil.Error):
            held += psutil.Process(each).memory_info().rss
    return held
