"""Processes that train one trial together: none waits for another that has failed, and one line says what failed."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl_images.environment import TOGETHER
from automl_images.errors import UserError
from automl_images.training.machine import Machine

_POLL = 0.2
_OWN = 2.0  # seconds that the first process has to fail by itself, by the same cause or as the cause
_LINGER = 30.0  # the launcher kills the first process, with no word, once another one is gone


@contextmanager
def together(machine: Machine) -> Iterator[None]:
    """Watch over the trial's other processes, or over the first one, while the block trains.

    A process that waits in a collective for one that is gone may wait for ever, so a thread ends it. What one of the
    others alone fails by becomes the first one's last line, with exit code 2 for a UserError, else 1. The others end
    after the first, without a word. If one is killed, the first dies by the same signal, so that the trial resumes.
    """
    if machine.processes == 1:
        yield
    elif machine.rank:
        first = os.getppid()
        threading.Thread(target=_end_after, args=(first,), daemon=True).start()
        try:
            yield
        except Exception as error:
            time.sleep(_OWN)
            if os.getppid() == first:
                _tell(error)
            _end_after(first, _LINGER)
    else:
        over = threading.Event()
        with tempfile.TemporaryDirectory(prefix="automl-images-") as folder:
            os.environ[TOGETHER] = folder
            threading.Thread(target=_end_with_others, args=(Path(folder), over), daemon=True).start()
            try:
                yield
            except UserError:
                raise
            except Exception:
                _die_as_another_did()
                raise
            finally:
                over.set()


def _end_with_others(folder: Path, over: threading.Event) -> None:
    told = folder / "failed"
    while not over.wait(_POLL):
        if told.exists():
            code, _, line = told.read_text().partition(" ")
            print(f"error: {line}", file=sys.stderr, flush=True)
            os._exit(int(code))


def _die_as_another_did() -> None:
    time.sleep(2 * _POLL)
    try:
        child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    if child and child.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
        os.kill(os.getpid(), child.si_status)


def _end_after(first: int, limit: float = float("inf")) -> None:
    until = time.monotonic() + limit
    while os.getppid() == first and time.monotonic() < until:
        time.sleep(_POLL)
    os._exit(1)


def _tell(error: Exception) -> None:
    known = isinstance(error, UserError)
    line = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0]
    folder = Path(os.environ[TOGETHER])
    try:
        (folder / "writing").write_text(f"{2 if known else 1} {line}")
        (folder / "writing").rename(folder / "failed")
    except OSError:  # the first process has failed and taken the folder away
        return
    if not known:
        traceback.print_exception(error)
