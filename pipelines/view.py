"""What a person sees while a pipeline runs here: a line a step, and the trials."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from automl_images.errors import number
from automl_images.pipelines.local import Runner, Task
from automl_images.reports.terminal import TrialTable
from automl_images.steps import headline
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Lane, Submission
from automl_images.sweep.trial import Trial

_TAIL = 20
# of a lane's log: training's lines of epochs; the baseline, once; what the lane itself says
_EPOCH, _LANE = re.compile(r"trial (\d+): epoch \d+/\d+: .* images/s"), re.compile(r"lane \d+: ")
_BASELINE = re.compile(r"trial \d+: (baseline: .*)")
_LONGEST = 15.0  # seconds between two listings of a ledger, however slow its store


class View:
    """Follows a runner on a console; ``metric`` is the primary one.

    It is live on a terminal and in a notebook, whose console is no terminal; elsewhere there are plain lines.

    Attributes:
        logged: whether the lanes' logs can be read, which have the lines of epochs.
    """

    logged = True

    def __init__(self, runner: Runner, metric: str, console: Console):
        self.runner, self.console, self.live = runner, console, console.is_terminal or console.is_jupyter
        self.table = TrialTable(metric)
        self._said: set[str] = set()
        self._read: dict[Path, int] = {}  # how far, of a lane's log
        self._epochs: dict[int, list[str]] = {}
        self._trials: list[Trial] = []
        self._ledger: Ledger | None = None
        self._submission: Submission

    def follow(self, running: Callable[[], bool]) -> None:
        """Show steps and trials until ``running`` says no."""
        live: Live | None = None
        listed, cost, on = 0.0, 0.0, True
        try:
            while on:
                on = running()
                training = self._training()
                if training and live is None and self.live:
                    # not what is written elsewhere: standard output is the log of kfp
                    live = Live(console=self.console, transient=True, redirect_stdout=False, redirect_stderr=False)
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
            ledger = Ledger(lane.ledger)
            self._submission = submission = ledger.run(lane.run)
            self._ledger = ledger
            self.table.since = submission.started
            trials = [t for t in ledger.trials() if submission.counts(t.index)]
            self._trials = [t for t in trials if (t.ended or t.started or 0) < submission.started]
            if kept := sum(t.finished for t in self._trials):
                self._print(f"  {number(kept, 'trial')} kept from an earlier run")
        if self._submission.confirm and self._submission.confirming is None:  # it is decided once all have ended
            self._submission = self._ledger.run(self._submission.run)
        self.table.expect(self._submission)
        trials = self._ledger.trials()
        paces = self._ledger.paces(trials)
        told = self._show_progress()
        if self.live:
            told.clear()  # the table has them
        if live is not None:
            live.update(self.table.render(trials, paces))
        else:
            for line in self.table.lines(trials, self._trials, paces, told if self.logged else None):
                self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        self._trials = trials

    def _show_progress(self) -> dict[int, list[str]]:
        """Print what a person is to read of what lanes have said since the last look at their logs.

        Returns:
            The lines of trials' epochs that are not shown yet, by index; who shows some takes them out.
        """
        for task in [t for t in self.runner.tasks if t.step == "train" and t.log.is_file()]:
            with task.log.open("rb") as log:
                log.seek(self._read.get(task.log, 0))
                whole = log.read().rpartition(b"\n")[0]
            self._read[task.log] = self._read.get(task.log, 0) + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                simplest = _BASELINE.match(line)
                if _LANE.match(line):
                    self._print(f"  {line}")
                elif epoch := _EPOCH.match(line):
                    self._epochs.setdefault(int(epoch[1]), []).append(line)
                elif simplest and simplest[1] not in self._said:
                    self._said.add(simplest[1])
                    self._print(f"  {simplest[1]}")
        return self._epochs

    @property
    def trained(self) -> bool:
        """Whether a trial has begun."""
        return self._ledger is not None and any(t.attempt for t in self._ledger.trials())

    def kept(self) -> str:
        """Return in words what an interrupted run keeps."""
        if self._ledger is None:
            return "nothing was trained yet"
        trials = [t for t in self._ledger.trials() if self._submission.counts(t.index)]
        done = sum(t.finished for t in trials)
        begun = sum(t.attempt > 0 and not t.finished for t in trials)
        return f"{done} of {self.table.total} trials are done and kept, {begun} go on from their last checkpoint"

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
                if self.live:
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
            return f"{number(len(self._trials), 'trial')}"
        result = outputs.get("Output")
        return headline(step, json.loads(result) if isinstance(result, str) else result)


def tail(task: Task) -> list[str]:
    """Return the last lines of a task's log."""
    return task.log.read_text(errors="replace").rstrip().splitlines()[-_TAIL:]
