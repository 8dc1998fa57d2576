"""kfp's local runner, with its limits mended in this one place.

- A loop runs at most two branches at a time, whatever its parallelism: :func:`_lift_cap` raises the cap.
- The output of all tasks is mixed on standard output: :meth:`Runner.execute` gives each its file, and its exit code.
- A single component with an input artifact is refused: :mod:`.rerun` repeats a task from what is kept of it.
- A loop over a named output fails: ``plan`` returns its lanes as its one unnamed output.
- Numbers inside dictionaries come back as floats: parameters with a structure travel as JSON texts.
- Tasks that run at once leave an indenting print() behind: :meth:`Runner.run` puts the real one back.
- Limits that are parameters lose their wiring inside a loop: they are constants of the package.
- A step's shell stands between it and who ends it, and leaves a folder in /tmp: the step takes the shell's place, dies
  with this process, and has a TMPDIR of its own.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp.local
from kfp.local import subprocess_task_handler
from kfp.local.orchestrator import enhanced_dag_orchestrator

from automl_images import storage
from automl_images.environment import LANES_HERE, MOUNTS
from automl_images.experiment import Resources
from automl_images.steps.interruption import die_with_parent


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
        errors = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else None


class Runner:
    """Runs a pipeline in subprocesses of this interpreter.

    Args:
        folder: the run's: kfp's files go to ``steps`` below it, logs to ``logs``, what repeats a task to ``tasks``.
        parallelism: how many lanes run at a time.
        resources: what train and evaluate are given; of them a subprocess has the GPUs.
        gpus: the names of this machine's GPUs for CUDA.
        mounts: the local folders that containers need, as ``docker run -v`` takes them.
    """

    def __init__(
        self,
        folder: Path,
        parallelism: int,
        resources: Resources | None = None,
        gpus: Sequence[str] = (),
        mounts: Sequence[str] = (),
    ):
        self.folder, self.parallelism, self.gpus = folder, parallelism, list(gpus)
        self.resources = resources or Resources()
        within = any(folder.is_relative_to(m.partition(":")[0]) for m in mounts if not m.endswith(":ro"))
        self.mounts = list(mounts) if within else [f"{folder}:{folder}", *mounts]
        self.logs = folder / "logs"
        self.tasks: list[Task] = []
        self.lane_variables: dict[str, str] = {}  # given to lanes, and not kept for those who repeat one
        self._slots = list(range(parallelism))
        self._running: set[Any] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, pipeline: Any, **arguments: Any) -> None:
        """Run a pipeline to its end.

        Raises:
            RuntimeError: a task failed; :meth:`failed` says which.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        steps, workspace = (str(self.folder / name) for name in ("steps", "workspace"))  # KFP removes the workspace
        kfp.local.init(runner=self._kfp(), pipeline_root=steps, workspace_root=workspace, raise_on_error=True)
        with (
            (self.logs / "kfp.log").open("a") as log,
            contextlib.redirect_stdout(log),
            warnings.catch_warnings(),
            _lift_cap(self.parallelism),
            replaced(builtins, "print", print),
            self._hooked(),
        ):
            warnings.simplefilter("ignore")  # of limits that kfp does not pass on, and of images without Python
            pipeline(**arguments)

    def _kfp(self) -> Any:
        return kfp.local.SubprocessRunner(use_venv=False)

    def _hooked(self) -> AbstractContextManager[None]:
        def execute(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
            # kfp has put this interpreter's path into the command; what is kept runs in a container, too
            return self.execute([part.replace(sys.executable, "python3") for part in full_command], env_vars)

        return replaced(subprocess_task_handler, "run_local_subprocess", execute)

    def execute(self, command: list[str], variables: dict[str, str] | None = None) -> int:
        """Run a task's command, its output in a file of its own; return its exit code.

        What repeats it is kept in ``tasks/<name>.json``. A lane of ``train`` has its share of the machine's threads and
        GPUs for itself while it runs.
        """
        described = json.loads(command[command.index("--executor_input") + 1])
        step = name = command[command.index("--function_to_execute") + 1]
        command = [part.replace("_KFP_RUNTIME=true python3", "_KFP_RUNTIME=true exec python3") for part in command]
        variables = {"PYTHONUNBUFFERED": "1", MOUNTS: "\n".join(self.mounts), **(variables or {})}
        lane, slot, each = None, None, self.resources.count
        gpus = self.gpus[:each]
        if step == "train" and (of := described["inputs"].get("parameterValues", {}).get("lane")):
            plan = json.loads(of)
            lane = int(plan["lane"])
            name = f"train-{lane}"
            variables[LANES_HERE] = str(min(self.parallelism, int(plan["lanes"])))
            with self._lock:
                slot = self._slots.pop(0)
            gpus = self.gpus[slot * each :][:each]
        kept = {"command": command, "variables": variables, "resources": self.resources.model_dump()}
        storage.write(str(self.folder / "tasks" / f"{name}.json"), json.dumps(kept))
        variables = {**variables, **(self.lane_variables if step == "train" else {})}
        task = Task(step, self.logs / f"{name}.log", lane)
        try:
            with task.log.open("ab") as log:
                code = self._launch(task, command, variables, gpus, log)
        finally:
            if slot is not None:
                self._slots.append(slot)
        if code == 0:
            with contextlib.suppress(FileNotFoundError, ValueError):
                written = json.loads(Path(described["outputs"]["outputFile"]).read_text())
                task.outputs = written.get("parameterValues", {})
        task.ended, task.code = time.monotonic(), code
        return code

    def _launch(self, task: Task, command: list[str], variables: dict[str, str], gpus: list[str], log: Any) -> int:
        variables = {**variables, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        with tempfile.TemporaryDirectory(prefix="automl-images-", ignore_cleanup_errors=True) as scratch:
            with self._lock:
                if self._stopped:
                    return 1
                child = subprocess.Popen(
                    command,
                    env={**os.environ, **variables, "TMPDIR": scratch},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 (it takes no lock)
                )
                self._running.add(child)
                self.tasks.append(task)
            code = child.wait()
            with self._lock:
                self._running.discard(child)
        return code

    def stop(self, *, at_once: bool = False) -> None:
        """End all that runs: a lane tells its trial, waits for it and cleans up after it, unless ``at_once``."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                self._end(child, signal.SIGKILL if at_once else signal.SIGTERM)

    def _end(self, child: Any, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
            if number == signal.SIGKILL:
                os.killpg(child.pid, number)

    def failed(self) -> Task | None:
        """Return the task that failed first, or None."""
        return min((t for t in self.tasks if t.code), key=lambda t: t.ended or 0, default=None)

    def output(self, step: str) -> Any:
        """Return the one output parameter of a step that has ended well, or None."""
        return next((t.outputs.get("Output") for t in reversed(self.tasks) if t.step == step and t.code == 0), None)


@contextlib.contextmanager
def _lift_cap(parallelism: int) -> Iterator[None]:
    kind = enhanced_dag_orchestrator.ParallelExecutor
    original = kind.__init__

    def lifted(self: Any, max_workers: int | None = None) -> None:
        original(self, max_workers)
        self.conservative_max = self.max_workers = parallelism

    with replaced(kind, "__init__", lifted):
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
