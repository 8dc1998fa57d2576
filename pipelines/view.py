"""What a person sees while a pipeline runs here: a line a step, and the trials."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from automl_images.reports.terminal import TrialTable
from automl_images.steps import headline
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Lane
from automl_images.sweep.trial import Trial
from pipelines.local import Runner, Task

_TAIL = 20
_LONGEST = 15.0  # seconds between two listings of a ledger, however slow its store


class View:
    """Follows a runner on a console: live on a terminal, plain lines elsewhere; ``metric`` is the primary one."""

    def __init__(self, runner: Runner, metric: str, console: Console):
        self.runner, self.console = runner, console
        self.table = TrialTable(metric)
        self._said: set[str] = set()
        self._trials: list[Trial] = []
        self._ledger: Ledger | None = None

    def follow(self, running: Callable[[], bool]) -> None:
        """Show steps and trials until ``running`` says no."""
        live: Live | None = None
        listed, cost, on = 0.0, 0.0, True
        try:
            while on:
                on = running()
                training = self._training()
                if training and live is None and self.console.is_terminal:
                    live = Live(console=self.console, refresh_per_second=4, transient=True)
                    live.start()
                if training and time.monotonic() - listed > min(_LONGEST, max(1.0, 20 * cost)):
                    begun = time.monotonic()
                    self._show_trials(live)
                    listed = time.monotonic()
                    cost = listed - begun
                if not training and live is not None:
                    live.stop()
                    live = None
                self._show_steps()
                time.sleep(0.25 if training else 0.05)
        finally:
            if live is not None:
                live.stop()

    def _training(self) -> bool:
        lanes = [t for t in self.runner.tasks if t.step == "train"]
        return bool(lanes) and not self._ended(lanes)

    def _ended(self, lanes: list[Task]) -> bool:
        planned = self.runner.output("plan") or []
        return all(t.code is not None for t in lanes) and (len(lanes) >= len(planned) or any(t.code for t in lanes))

    def _show_trials(self, live: Live | None) -> None:
        if self._ledger is None:
            lanes = self.runner.output("plan")
            if not lanes:
                return
            lane = Lane.of_json(lanes[0])
            self._ledger = Ledger(lane.ledger)
            submission = self._ledger.run(lane.run)
            self.table.total, self.table.since = submission.iterations, submission.started
        trials = self._ledger.trials()
        if live is not None:
            live.update(self.table.render(trials))
        else:
            for line in self.table.lines(trials, self._trials):
                self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        self._trials = trials

    def _show_steps(self) -> None:
        steps: dict[str, list[Task]] = {}
        for task in list(self.runner.tasks):
            steps.setdefault(task.step, []).append(task)
        for step, tasks in steps.items():
            if step in self._said or any(t.code is None for t in tasks) or (step == "train" and self._training()):
                continue
            self._said.add(step)
            if step == "train":
                self._show_trials(None)
                if self.console.is_terminal:
                    self.console.print(self.table.render(self._trials))
            seconds = max(t.ended or 0 for t in tasks) - min(t.started for t in tasks)
            failed = any(t.code for t in tasks)
            line = f"{step:9} {seconds:8.1f} s  {'FAILED' if failed else self._note(step, tasks[-1].outputs)}"
            self._print(line.rstrip(), "red" if failed else None)

    def _print(self, line: str, style: str | None = None) -> None:
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def _note(self, step: str, outputs: Mapping[str, Any]) -> str:
        """Return in a few words what a step came to."""
        if step == "train":
            return f"{len(self._trials)} trials"
        result = outputs.get("Output")
        return headline(step, json.loads(result) if isinstance(result, str) else result)


def tail(task: Task) -> list[str]:
    """Return the last lines of a task's log."""
    return task.log.read_text(errors="replace").rstrip().splitlines()[-_TAIL:]
