"""Whether another process still trains a trial: seen at once on this machine, elsewhere by the beats that it writes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import Trial

BEAT = 10.0  # seconds between two beats of a trial
STALE = 60.0  # seconds without a new one after which it counts as dead


def identity(process: int | None = None) -> str:
    """Return what tells a process of this machine, this one by default, from all others; a pid alone comes again."""
    pid = process or os.getpid()
    try:
        return f"{_machine()} {pid} {_status(pid)[1]}"
    except OSError:
        return f"{socket.gethostname()} {pid}"


def _machine() -> str:
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115


def _status(pid: int) -> tuple[str, str]:
    """Return a process's state, one letter, and when it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]


def runs_here(process: str) -> bool | None:
    """Return whether a process runs on this machine, neither ended nor stopped; None: it is another machine's."""
    state = _state_here(process)
    return None if state is None else state not in "TtX"


def died_here(process: str) -> bool:
    """Return whether a process of this machine has ended; False too if it is another machine's."""
    return _state_here(process) == "X"


def _state_here(process: str) -> str | None:
    """Return a process's state, one letter, X if it has ended; None: it is another machine's."""
    with contextlib.suppress(OSError):
        machine, _, rest = process.rpartition(" ")[0].rpartition(" ")
        if machine != _machine():
            return None
        with contextlib.suppress(OSError):
            state, began = _status(int(rest))
            return state if state != "Z" and process.endswith(f" {began}") else "X"
        return "X"
    return None


class Others:
    """The trials that other submissions train, as one lane sees them; it judges by its own clock how beats go on.

    Args:
        ledger: the ledger.
        run: this lane's submission.
    """

    def __init__(self, ledger: Ledger, run: str):
        self.ledger, self.run = ledger, run
        self._beats: dict[tuple[int, int], tuple[str | None, float]] = {}

    def train(self, trial: Trial) -> bool:
        """Return whether another submission trains a running trial; an older version does not tell, and counts as dead.

        A lane of this submission that had the trial before is this lane, started again.
        """
        return trial.run != self.run and self.alive(trial)

    def alive(self, trial: Trial) -> bool:
        """Return whether the process that trains a running trial lives, of this submission or another."""
        if trial.process is None:
            return False
        here = runs_here(trial.process)
        if here is not None:
            return here
        beat, now = self.ledger.last_beat(trial), time.monotonic()
        before, since = self._beats.get((trial.index, trial.attempt), (None, now))
        if (trial.index, trial.attempt) not in self._beats or beat != before:
            self._beats[trial.index, trial.attempt] = beat, now
            return True
        return now - since < STALE
