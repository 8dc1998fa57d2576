"""What a component does around its step: say how to repeat it, and end with one line when the user can mend it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence

from automl_images import __version__, storage
from automl_images.errors import UserError


@contextlib.contextmanager
def step(name: str, arguments: Sequence[str], *, gpu: bool = False, stdin: str | None = None) -> Iterator[None]:
    """Log the ``docker run`` line that repeats a step by itself, then run it.

    A :class:`UserError` ends the process with exit code 2 and one line on standard error.

    Args:
        name: the sub-command of ``automl-images``.
        arguments: its arguments.
        gpu: whether the step's image is the one with a GPU.
        stdin: what the command reads from standard input.
    """
    print(f"repeat with: {docker_line(name, arguments, gpu=gpu, stdin=stdin)}", file=sys.stderr, flush=True)
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def docker_line(name: str, arguments: Sequence[str], *, gpu: bool = False, stdin: str | None = None) -> str:
    """Return the shell line that runs one step in its container, with the local folders it names mounted."""
    kind = "gpu" if gpu else "light"
    image = os.environ.get(f"AUTOML_IMAGES_{kind.upper()}_IMAGE", f"automl-images/{kind}:{__version__}")
    local = [a for a in (_address(a) for a in arguments) if a.startswith("/")]
    folders = sorted({a if storage.is_dir(a) else os.path.dirname(a) for a in local})  # noqa: PTH120
    words = ["docker", "run", "--rm", *(["-i"] if stdin is not None else [])]
    words += ["--gpus", "all", "--shm-size", "2g"] if gpu else []  # loaders hand images over in shared memory
    words += [w for folder in folders for w in ("-v", f"{folder}:{folder}")]
    line = shlex.join([*words, image, name, *arguments])
    return storage.redact(f"printf %s {shlex.quote(stdin)} | {line}" if stdin is not None else line)


def bucket_root(uri: str) -> str:
    """Return where ledgers and models lie when no storage is named: the bucket (or folder) that an artifact is in."""
    scheme, found, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/automl-images" if found else os.path.dirname(uri)  # noqa: PTH120


def _address(argument: str) -> str:
    """Return the path or URL that an argument is, or names: a lane names its ledger."""
    return json.loads(argument)["ledger"] if argument.startswith("{") else argument
