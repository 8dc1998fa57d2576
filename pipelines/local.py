"""kfp's local runner, with its limits mended in this one place.

- A loop runs at most two branches at a time, whatever its parallelism: :func:`_lift_cap` raises the cap.
- The output of all tasks is mixed on standard output: :meth:`Runner.execute` gives each its file, and its exit code.
- A single component with an input artifact is refused: a step is repeated by its command instead, as its log says.
- A loop over a named output fails: ``plan`` returns its lanes as its one unnamed output.
- Numbers inside dictionaries come back as floats: parameters with a structure travel as JSON texts.
- Limits that are parameters lose their wiring inside a loop: they are constants of the package.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp.local
from kfp.local import subprocess_task_handler
from kfp.local.orchestrator import enhanced_dag_orchestrator


@dataclass
class Task:
    """A step, or one lane of ``train``, as it runs here.

    Attributes:
        step: the component's name.
        log: the file with all that it printed.
        lane: the lane's number, for ``train``.
        code: the exit code, or None while it runs.
        outputs: its output parameters, once it has ended well.
    """

    step: str
    log: Path
    lane: int | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    code: int | None = None
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return (self.ended or time.monotonic()) - self.started

    def error(self) -> str | None:
        """Return the line of a user's error that ended it, or None."""
        if self.code != 2:
            return None
        said = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        return said[-1].removeprefix("error: ") if said else None


class Runner:
    """Runs a pipeline in subprocesses of this interpreter.

    Args:
        folder: the run's folder; kfp's files go to ``steps`` below it, logs to ``logs``.
        parallelism: how many lanes run at a time.
        accelerators: how many GPUs a lane has, where there are any.
    """

    def __init__(self, folder: Path, parallelism: int, accelerators: int = 1):
        self.folder, self.parallelism, self.accelerators = folder, parallelism, accelerators
        self.logs = folder / "logs"
        self.tasks: list[Task] = []
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, pipeline: Any, **arguments: Any) -> None:
        """Run a pipeline to its end.

        Raises:
            RuntimeError: a task failed; :meth:`failed` says which.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        kfp.local.init(
            runner=kfp.local.SubprocessRunner(use_venv=False),
            pipeline_root=str(self.folder / "steps"),
            raise_on_error=True,
        )
        with (
            (self.logs / "kfp.log").open("a") as log,
            contextlib.redirect_stdout(log),
            warnings.catch_warnings(),
            _lift_cap(self.parallelism),
            _replaced(subprocess_task_handler, "run_local_subprocess", self.execute),
        ):
            warnings.simplefilter("ignore")  # of limits that have no effect here, and of images without Python
            pipeline(**arguments)

    def execute(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run a task's command, its output in a file of its own; return its exit code."""
        described = json.loads(full_command[full_command.index("--executor_input") + 1])
        step = full_command[full_command.index("--function_to_execute") + 1]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env_vars or {})}
        lane = None
        if step == "train":
            plan = json.loads(described["inputs"]["parameterValues"]["lane"])
            lane = int(plan["lane"])
            environment["AUTOML_IMAGES_LANES_HERE"] = str(min(self.parallelism, int(plan["lanes"])))
            environment["AUTOML_IMAGES_GPUS"] = str(self.accelerators)
        task = Task(step, self.logs / (step + (f"-{lane}" if lane is not None else "") + ".log"), lane)
        with task.log.open("ab") as log, self._lock:
            if self._stopped:
                return 1
            child = subprocess.Popen(
                full_command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._children.add(child)
            self.tasks.append(task)
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        if code == 0:
            with contextlib.suppress(FileNotFoundError, ValueError):
                task.outputs = json.loads(Path(described["outputs"]["outputFile"]).read_text())["parameterValues"]
        task.ended, task.code = time.monotonic(), code
        return code

    def stop(self) -> None:
        """End all that runs, trials included."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)

    def failed(self) -> Task | None:
        """Return the task that failed first, or None."""
        return min((t for t in self.tasks if t.code), key=lambda t: t.ended or 0, default=None)

    def output(self, step: str) -> Any:
        """Return the one output parameter of a step that has ended well, or None."""
        found = [t.outputs.get("Output") for t in self.tasks if t.step == step and t.code == 0]
        return found[-1] if found else None


@contextlib.contextmanager
def _lift_cap(parallelism: int) -> Iterator[None]:
    kind = enhanced_dag_orchestrator.ParallelExecutor
    original = kind.__init__

    def lifted(self: Any, max_workers: int | None = None) -> None:
        original(self, max_workers)
        self.conservative_max = self.max_workers = parallelism

    with _replaced(kind, "__init__", lifted):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
