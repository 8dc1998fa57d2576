"""What ends a step from outside: Ctrl-C, SIGTERM, SIGHUP, or the death of the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Self

from automl_images.errors import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Interrupted(SystemExit):
    """A signal ended what ran; the exit code is the shell's, 128 and the signal's number."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


class Interruption:
    """Takes the signals that end a lane while the block runs; ``signal`` is the last one, or None.

    The child that runs is told by SIGINT, and by a second signal killed. Nothing is raised before :meth:`check`, so
    that what waits for the child waits on, and cleans up after it. Outside the main thread no signal is taken.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._child: subprocess.Popen[Any] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in _taken()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def tells(self, child: subprocess.Popen[Any]) -> None:
        """Name the child that a signal is for from now on; one that has come already is passed on."""
        self._child = child
        if self.signal is not None:
            child.send_signal(signal.SIGINT)

    def check(self) -> None:
        """Raise if a signal has come.

        Raises:
            Interrupted: one has.
        """
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            say(f"{name}: ends here; what has begun goes on when the same is run again")
            raise Interrupted(self.signal)

    def _take(self, number: int, _: object) -> None:
        again, self.signal = self.signal is not None, number
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGKILL if again else signal.SIGINT)


@contextlib.contextmanager
def raised() -> Any:
    """Raise :class:`Interrupted` where the main thread is when a signal comes, while the block runs.

    A further signal raises it again.
    """

    def take(number: int, _: object) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, take) for number in _taken()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _taken() -> list[signal.Signals]:
    """Return the signals to take: a hang-up is left alone where it is ignored, as under nohup.

    Outside the main thread, which alone may take them, there are none.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [n for n in SIGNALS if n is not signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]


def die_at_once() -> None:
    """Let signals, and the death of the parent, end this process at once, without a word: what it wrote is whole.

    Else Lightning would make a trial's failure of Ctrl-C, and wait for the end of a batch, or for other processes.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a function, which Lightning's own handler calls too
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _die)


def _die(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when the thread that started it ends; on Linux alone."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
