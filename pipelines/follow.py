"""A run on Kubeflow, seen as a run here is: its steps from the API, its trials from the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from automl_images import storage
from automl_images.errors import UserError, number
from automl_images.pipelines.kubeflow import ENDED, Kubeflow, Unavailable
from automl_images.pipelines.local import Task
from automl_images.pipelines.view import View
from automl_images.reports import trials as figures
from automl_images.steps import STEPS
from automl_images.steps.repeat import bucket_root
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Lane
from automl_images.sweep.trial import best_trial

DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"  # where Kubeflow Pipelines keeps artifacts, unless it is told
_PACE = 15.0  # seconds between two looks at the workflow, which is large
_PATIENCE = 600.0  # seconds that the API may be silent
_SEARCHES = 3  # for the ledger; a store that is not to be reached takes its time to say so


class Remote:
    """What a :class:`View` asks of a runner, told by the API of Kubeflow Pipelines.

    It looks at the run of that id every so many seconds, and for the ledger of the experiment of that name below
    ``root``; None: the bucket of the pipeline's artifacts.

    Attributes:
        tasks: the steps and lanes.
        state: the run's, in Kubeflow's words.
        terminated: whether a person ended it.
        waiting: by task, why its pod has not begun.
        cached: the steps whose outputs are those of an earlier run.
    """

    def __init__(self, kubeflow: Kubeflow, run: str, name: str, root: str | None, every: float):
        self.kubeflow, self.id, self.name, self.root, self.every = kubeflow, run, name, root, every
        self.tasks: list[Task] = []
        self.state, self.terminated = "PENDING", False
        self.waiting: dict[str, str] = {}
        self.cached: set[str] = set()
        self._lanes: list[str] = []
        self._searches = 0
        self._answered, self._looked, self._read = time.monotonic(), float("-inf"), float("-inf")

    def running(self) -> bool:
        """Look at the run, if it is time to; return whether it goes on.

        Raises:
            UserError: the API has not answered for ten minutes, or refuses to.
        """
        if self.state not in ENDED and time.monotonic() - self._looked >= self.every:
            try:
                run = self.kubeflow.run(self.id)
                self._answered = time.monotonic()
                ended = {t.step for t in self.tasks if t.code is not None}
                tasks = _tasks((run.run_details and run.run_details.task_details) or [])
                self._read_workflow(bool({t.step for t in tasks if t.code is not None} - ended))
                self.tasks = tasks
                planned = any(t.step == "plan" and t.code == 0 for t in self.tasks)
                if planned and not self._lanes and self._searches < _SEARCHES:
                    self._find_ledger(run)
                self.terminated = any(h.state == "CANCELING" for h in run.state_history or [])
                self.state = run.state or self.state
            except Unavailable as error:
                if time.monotonic() - self._answered > _PATIENCE:
                    raise UserError(f"{error}; the run goes on") from None
            self._looked = time.monotonic()
        return self.state not in ENDED

    def output(self, step: str) -> Any:
        """Return the lanes, once the ledger is found; of other steps nothing is known."""
        return self._lanes if step == "plan" else None

    def _read_workflow(self, at_once: bool) -> None:
        """Read what the workflow alone tells, if a step has just ended or it is time to."""
        if not at_once and time.monotonic() - self._read < _PACE:
            return
        with contextlib.suppress(UserError, KeyError, TypeError, ValueError):  # the next look tells
            workflow = self.kubeflow.workflow(self.id)
            self.waiting, self.cached = workflow.waiting(), workflow.cached()
        self._read = time.monotonic()

    def _find_ledger(self, run: Any) -> None:
        """Find the ledger with this submission: the run's id is the submission's name."""
        self._searches += 1
        root = self.root
        if not root:
            pipeline_root = run.runtime_config and run.runtime_config.pipeline_root
            root = bucket_root(pipeline_root or DEFAULT_ROOT)
        with contextlib.suppress(Exception):  # the driver's, of a store not to be read from here: no trials are shown
            names = storage.names(storage.join(root, "ledgers"))
            for ledger in (Ledger(storage.join(root, "ledgers", n)) for n in names if n.startswith(f"{self.name}-")):
                if storage.exists(storage.join(ledger.url, "runs", f"{self.id}.json")):
                    count = ledger.run(self.id).lanes
                    self._lanes = [Lane(ledger.url, self.id, i, count).to_json() for i in range(count)]


class RemoteView(View):
    """A view whose steps have no outputs: what it says of them is the ledger's."""

    runner: Remote  # type: ignore[assignment]
    logged = False

    def __init__(self, remote: Remote, metric: str, console: Console):
        super().__init__(remote, metric, console)  # type: ignore[arg-type]
        self._waited: dict[str, str] = {}

    def _show_trials(self, live: Live | None) -> None:
        with contextlib.suppress(Exception):  # the driver's: of a store that fails, the next look tells more
            super()._show_trials(live)

    def _show_steps(self) -> None:
        super()._show_steps()
        for task, why in self.runner.waiting.items():
            if self._waited.get(task) != why:
                self._print(f"{task} waits: {why}")
        self._waited = dict(self.runner.waiting)

    def _note(self, step: str, outputs: Mapping[str, Any]) -> str:
        lanes = self.runner.output("plan")
        best = best_trial(self._trials)
        if step in self.runner.cached:
            return "taken from an earlier run (Kubeflow's cache)"
        if step == "plan" and lanes:
            return f"{number(len(lanes), 'lane')}; ledger {storage.redact(Lane.of_json(lanes[0]).ledger)}"
        if step == "train" and lanes:
            return super()._note(step, outputs)
        return (
            f"trial {best.index}: {self.table.metric} {figures.figure(best.value)}" if step == "select" and best else ""
        )


def _tasks(details: list[Any]) -> list[Task]:
    """Return the steps' tasks. Argo's nodes stand behind them: drivers, executors and loops are none of ours."""
    tasks = []
    for detail in details:
        if detail.display_name not in STEPS or detail.state == "SKIPPED":
            continue
        task = Task(detail.display_name, Path("/dev/null"), started=_seconds(detail.start_time))
        if detail.state in ENDED:
            task.code, task.ended = int(detail.state != "SUCCEEDED"), _seconds(detail.end_time)
        tasks.append(task)
    states = {d.display_name or "": d.state for d in details}
    looping = any(n.startswith("for-loop") and "driver" not in n and s not in ENDED for n, s in states.items())
    if looping and any(t.step == "train" for t in tasks):
        tasks.append(Task("train", Path("/dev/null"), started=time.time()))  # lanes that have not begun
    return tasks


def _seconds(when: Any) -> float:
    return when.timestamp() if when else time.time()
