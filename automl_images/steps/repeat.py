"""What a component does around its step: find its artifacts, say how to repeat it, end with one line for the user."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.annotations.reachable import addresses
from automl_images.environment import CREDENTIALS, IMAGE, MOUNTS, lanes_here
from automl_images.errors import UserError
from automl_images.faults import explained
from automl_images.steps import GPU, HEAVY, LIGHT
from automl_images.sweep.ledger import Ledger


@contextlib.contextmanager
def step(name: str, *commands: Sequence[str], stdin: str | None = None) -> Iterator[None]:
    """Log the ``docker run`` lines that repeat a step by itself, then run it.

    A :class:`UserError` ends the process with exit code 2 and one line on standard error. ``commands`` are arguments of
    ``automl-images <name>``: several where it takes several to do what the step does; they read ``stdin``.
    """
    for arguments in commands:
        print(f"repeat with: {docker_line(name, arguments, stdin=stdin)}", file=sys.stderr, flush=True)
    if name in HEAVY:
        limit_threads(os.environ)
    try:
        with explained():
            yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def limit_threads(environment: MutableMapping[str, str]) -> Any:
    """Set ``OMP_NUM_THREADS`` to the cores that a step may use, unless it is set; return the environment.

    These are its share of a machine that runs several lanes, and no more than its container's limit: a thread for each
    core of a large node would wait for the few that the pod is given.
    """
    from joblib import cpu_count  # knows of limits

    machine = os.cpu_count() or 1
    cores = min(cpu_count(), max(1, machine // lanes_here(environment)))
    if cores < machine:
        environment.setdefault("OMP_NUM_THREADS", str(cores))
    return environment


def docker_line(name: str, arguments: Sequence[str], *, stdin: str | None = None) -> str:
    """Return the shell line that runs one step in its container.

    The container is given the folders that the step's caller named in ``AUTOML_IMAGES_MOUNTS``, or else those that the
    arguments name; what it writes there is this user's. Credentials are passed on by name: the line has no value.
    """
    gpu = name in HEAVY
    image = os.environ.get(IMAGE) or (GPU if gpu else LIGHT)
    mounts = os.environ.get(MOUNTS, "").splitlines()
    words = ["docker", "run", "--rm", *(["-i"] if stdin is not None else [])]
    if mounts:
        words += ["-w", os.getcwd()]  # noqa: PTH109
    else:
        mounts = [f"{folder}:{folder}" for folder in folders(arguments)]
    words += ["--user", f"{os.getuid()}:{os.getgid()}"] if mounts else []
    words += [w for mount in mounts for w in ("-v", mount)]
    words += [w for key in CREDENTIALS if key in os.environ for w in ("-e", key)]
    words += ["--network", "host"] if store_is_here() else []
    words += ["--gpus", "all", "--shm-size", "2g"] if gpu else []  # loaders hand images over in shared memory
    line = shlex.join([*words, image, name, *arguments])
    if gpu:  # where there is no GPU, Docker refuses to look for one
        line = line.replace("--gpus all", "$(nvidia-smi -L >/dev/null 2>&1 && echo --gpus all)", 1)
    return storage.redact(f"printf %s {shlex.quote(stdin)} | {line}" if stdin is not None else line)


def folders(arguments: Sequence[str]) -> list[str]:
    """Return the folders of this machine that a command needs: of the absolute paths in its arguments, and of images.

    The images are those of the records that it reads. A lane's records, and the weights that it starts from, are named
    by its ledger.
    """
    local = [a for argument in arguments for a in _named(argument) if a.startswith("/")]
    images = [f for a in local if os.path.isfile(a) for f in _image_folders(a)]  # noqa: PTH113
    found = {a if storage.is_dir(a) else os.path.dirname(a) for a in local} | set(images)  # noqa: PTH120
    return sorted(f for f in found if not any(f != o and Path(f).is_relative_to(o) for o in found))


def _image_folders(file: str) -> set[str]:
    """Return the folders of the local images and masks that a file of records names; empty: it is no such file."""
    found: set[str] = set()
    with contextlib.suppress(UserError, UnicodeDecodeError, OSError):
        for record in read_records(file):
            found |= {str(storage.local_path(url).parent) for url in addresses(record) if storage.is_local(url)}
    return found


def store_is_here() -> bool:
    """Return whether the object store's address is this machine's own, which a container has under another name."""
    return urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in ("localhost", "127.0.0.1", "::1")


def _named(argument: str) -> list[str]:
    """Return the paths or URLs that an argument is, or names: a lane names its ledger."""
    if not argument.startswith("{"):
        return [argument]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        lane = json.loads(argument)
        with contextlib.suppress(UserError, OSError, KeyError):
            run = Ledger(lane["ledger"]).run(lane["run"])
            return [lane["ledger"], run.training, run.validation, str(run.weights.get("source") or "")]
        return [str(lane["ledger"])]
    return []


def address(artifact: Any) -> str:
    """Return where a KFP artifact lies: its path here, or on a cluster its URI, as the path is its pod's alone."""
    return artifact.path if storage.is_local(artifact.uri) else artifact.uri


def neighbour(artifact: Any, name: str) -> str:
    """Return the address of a file or folder beside a KFP artifact."""
    return f"{address(artifact).rpartition('/')[0]}/{name}"


def model_folder(artifact: Any) -> str:
    """Return where the model folder of a KFP artifact lies for good: where its metadata say, or at its own address."""
    return str(artifact.metadata.get("uri") or address(artifact))


def bucket_root(uri: str) -> str:
    """Return where ledgers and models lie when no storage is named: the bucket (or folder) that an artifact is in."""
    scheme, found, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/automl-images" if found else os.path.dirname(uri)  # noqa: PTH120
