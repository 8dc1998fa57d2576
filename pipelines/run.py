"""Run an experiment's pipeline on this machine, and say what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.environment import STOP
from automl_images.errors import StepFailed, UserError
from automl_images.evaluation import summary_lines
from automl_images.pipelines.experiment import Experiment
from automl_images.pipelines.local import Runner
from automl_images.pipelines.mounts import mounts
from automl_images.pipelines.pipeline import build
from automl_images.pipelines.view import View, tail
from automl_images.steps.interruption import Interrupted, raised
from automl_images.steps.train import gpus
from automl_images.sweep.ledger import Ledger
from automl_images.tasks import get_task

_GRACE = 20.0  # seconds that what a signal ends has to clean up


class RunInterrupted(Interrupted):
    """A signal ended a run; ``kept`` says what of it is kept, ``trained`` whether it has trained."""

    def __init__(self, number: int, view: View):
        super().__init__(number)
        self.kept, self.trained = view.kept(), view.trained


def run(
    experiment: Experiment,
    *,
    root: str = "runs",
    fresh: bool = False,
    runner: str = "subprocess",
    stop: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run all steps on this machine, and write ``<root>/<name>/<time>/summary.json``; return what it has.

    Args:
        experiment: the experiment.
        root: the folder of runs; ledgers, models and the registry too, unless the experiment names a storage.
        fresh: start another ledger even if there is one of this experiment.
        runner: ``subprocess``, or ``docker``: each step in its container.
        stop: train no further; the best of what an interrupted run has trained goes on to the end.
        console: where progress is shown; None: standard error.

    Raises:
        UserError: a step says what the user can mend.
        StepFailed: a step failed otherwise.
        RunInterrupted: SIGINT, SIGTERM or SIGHUP came; all that ran has ended.
    """
    started = time.monotonic()
    kind = runner_class(runner, experiment.cluster.images.light, experiment.cluster.images.gpu)
    folder = new_folder(storage.local_path(root) / experiment.name)
    visible, each = gpus(), experiment.resources.count
    here = max(1, len(visible) // each) if visible and each else os.cpu_count() or 1
    console = console or Console(stderr=True)
    if experiment.lanes() > here:
        console.print(f"{experiment.lanes()} lanes are asked for; {here} run at a time on this machine", markup=False)
    if 0 < len(visible) < each:
        console.print(f"{each} GPUs a lane are asked for; this machine has {len(visible)}", markup=False)
    place = kind(folder, min(experiment.lanes(), here), experiment.resources, visible, mounts(experiment, root))
    pipeline = build(experiment, here=place.parallelism)
    arguments = {"fresh": folder.name if fresh else "", "storage": experiment.storage or storage.absolute(root)}
    if stop:
        place.lane_variables[STOP] = "1"
    view = View(place, get_task(experiment.task).primary_metric, console)
    try:
        fault = watched(place, lambda: place.run(pipeline, **arguments), view.follow)
    except Interrupted as end:
        raise RunInterrupted(end.number, view) from None
    if fault:
        explain(place, fault)
    summary = _summary(experiment, place, folder, time.monotonic() - started)
    storage.write(str(folder / "summary.json"), json.dumps(summary, indent=1))
    return summary


def watched(
    place: Runner, work: Callable[[], Any], follow: Callable[[Callable[[], bool]], None]
) -> BaseException | None:
    """Do a runner's work in a thread while ``follow`` looks on, given what tells whether it goes on.

    Returns:
        What the work failed by, or None.

    Raises:
        Interrupted: a signal came; what ran was told and has ended, or was killed after 20 seconds or a further signal.
    """
    faults: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    try:
        with raised():
            follow(thread.is_alive)
            thread.join()
    except BaseException:
        place.stop()
        with contextlib.suppress(Interrupted), raised():
            thread.join(_GRACE)
        place.stop(at_once=True)
        thread.join(_GRACE)
        raise
    return faults[0] if faults else None


def new_folder(parent: Path, prefix: str = "") -> Path:
    """Make a folder named by the time below another, and return it."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = prefix + time.strftime("%Y%m%d-%H%M%S")
    for count in range(1000):
        folder = parent / (stamp + (f"-{count}" if count else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise RuntimeError(f"{parent}: a thousand runs began in one second")


def runner_class(name: str, *images: str) -> type[Runner]:
    """Return the runner of that name, once it is sure that the images that it runs are here."""
    if name == "subprocess":
        return Runner
    from automl_images.pipelines.containers import Containers, check_images

    check_images(images)
    return Containers


def explain(runner: Runner, fault: BaseException) -> None:
    """Raise what a run's first failed task says: a UserError, or a StepFailed with the last lines of its log."""
    task = runner.failed()
    if task is None:
        raise fault
    if known := task.error():
        raise UserError(f"{task.step}: {known}")
    lines = "\n".join(f"  {line}" for line in tail(task))
    raise StepFailed(f"{task.step} failed with exit code {task.code}; the end of {task.log}:\n{lines}")


def _summary(experiment: Experiment, runner: Runner, folder: Path, seconds: float) -> dict[str, Any]:
    chosen, evaluation = (json.loads(runner.output(step)) for step in ("select", "evaluate"))
    registered = json.loads(runner.output("register") or "null")
    served = json.loads(runner.output("serve") or "null")
    report = str(shutil.copy(evaluation["report"], folder / "report.html"))
    ledger = Ledger(chosen["ledger"])
    submission = ledger.run(chosen["run"])
    boards = sorted((folder / "steps").glob("*/select/leaderboard"))
    leaderboard = str(shutil.copy(boards[-1], folder / "leaderboard.html"))
    evolved = sorted((folder / "steps").glob("*/select/evolution"))
    for file in evolved[-1].iterdir() if evolved else ():
        shutil.copy(file, folder / file.name)
    looks = sorted((folder / "steps").glob("*/convert/report"))
    data_report = str(shutil.copy(looks[-1], folder / "data.html"))
    return {
        "experiment": experiment.name,
        "task": get_task(experiment.task).name,
        "seconds": round(seconds, 1),
        "trials": [t.to_json() for t in ledger.trials() if submission.counts(t.index)],
        "best": {k: chosen[k] for k in ("trial", "metric", "value", "epoch", "settings")},
        **{k: chosen[k] for k in ("confirmation",) if k in chosen},
        "evaluation": {**evaluation, "report": report},
        "registered": registered and {k: registered[k] for k in ("name", "version", "uri")},
        "served": served,
        "model": registered["uri"] if registered else chosen["model"],
        "report": report,
        "leaderboard": leaderboard,
        "data": data_report,
        "ledger": chosen["ledger"],
        "logs": str(runner.logs),
        "folder": str(folder),
    }


def summary_text(summary: dict[str, Any]) -> list[str]:
    """Return a run's summary as lines for people, the last a command to paste."""
    best = summary["best"]
    value = "unranked" if best["value"] is None else f"{best['metric']} {best['value']:.4f}"
    lines = [f"best: trial {best['trial']}, {value} at epoch {best['epoch']}", *summary_lines(summary["evaluation"])]
    lines += [f"leaderboard: {summary['leaderboard']}", f"data: {summary['data']}"]
    if summary["registered"]:
        lines.append(f"registered: {summary['registered']['name']} version {summary['registered']['version']}")
    lines.append(f"summary: {summary['folder']}/summary.json; logs: {summary['logs']}")
    example = next(read_records(storage.join(summary["ledger"], "records", "validation.jsonl"))).image_url
    lines.append(
        f"try it: {shlex.join([command(), 'predict', summary['model'], example, '--output', 'prediction.png'])}"
    )
    return lines


def command() -> str:
    """Return the command ``automl-images`` as a line to paste has it: by its path if the shell would not find it."""
    beside = Path(sys.executable).with_name("automl-images")
    return "automl-images" if shutil.which("automl-images") or not beside.exists() else str(beside)


def predict(summary: dict[str, Any], image: Path, output: Path) -> None:
    """Predict one image with the run's model, in a process of its own, and draw it.

    Raises:
        UserError: the image does not open.
    """
    words = [sys.executable, "-m", "automl_images.cli", "predict", summary["model"], str(image)]
    done = subprocess.run([*words, "--output", str(output)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"predict: {done.stderr.strip().splitlines()[-1].removeprefix('error: ')}")
