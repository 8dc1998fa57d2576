"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from automl_images.errors import say

QUIET = 10.0  # seconds


@contextlib.contextmanager
def counted(what: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Yield what is told how many more are done; standard error shows it.

    Where standard output is on the terminal too, its lines tell enough, and there is no bar between them.
    """
    if sys.stderr.isatty() and not sys.stdout.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda more: bar.advance(task, more)
        return
    done, began = 0, time.monotonic()
    spoke = began

    def more(count: int) -> None:
        nonlocal done, spoke
        done, now = done + count, time.monotonic()
        if now - spoke >= QUIET and done < total and not sys.stdout.isatty():
            spoke = now
            say(f"{what}: {done} of {total} {unit}, {done / (now - began):.1f} a second")

    yield more
