"""train: one lane of a sweep runs trial after trial, each in a child process of its own.

A trial that fails, or is killed, is recorded and never takes the lane with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from automl_images import memory, storage
from automl_images.environment import STOP, lanes_here
from automl_images.errors import say
from automl_images.steps.interruption import Interruption
from automl_images.steps.plan import plan_sweep
from automl_images.steps.repeat import limit_threads
from automl_images.steps.select import select_trial
from automl_images.steps.trial import EXIT_SUPERSEDED
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.submission import Lane
from automl_images.sweep.trial import State

SUPERSEDED = "superseded"  # of a trial that a later attempt, by another submission, has taken over


def train_lane(lane: str) -> str:
    """Run the trials of one lane, one of the JSON objects that :func:`automl_images.steps.plan.plan_sweep` returned.

    Returns:
        A JSON object: ``{"ledger": address, "lane": i, "trials": {index: state}}``. A trial that another submission
        has taken over is ``superseded``, and the lane's last.

    Raises:
        UserError: this is no lane, or its ledger is not there.
        Interrupted: a signal ended it; the trial that ran was told and resumes, and no other was started.
    """
    mine = Lane.of_json(lane)
    shared = Ledger(mine.ledger)
    submission = shared.run(mine.run)
    done: dict[int, str] = {}
    with Interruption() as interruption:
        for trial in range(submission.iterations):
            interruption.check()
            before = shared.trial(trial)
            if before and before.finished:
                continue
            own = trial % mine.count == mine.index
            if not (shared.claim(mine.run, trial, mine.index) if submission.claims else own):
                continue
            if os.environ.get(STOP):
                done[trial] = end_early(shared, trial)
                continue
            if time.time() > submission.deadline:
                reason = "timeout_hours: the time of the sweep was over before it started"
                shared.write_unstarted(trial, State.SKIPPED, reason=reason)
                done[trial] = State.SKIPPED
                continue
            done[trial] = _run(shared, mine.run, trial, interruption)
            if done[trial] == SUPERSEDED:
                taken = f"another run of this experiment has taken trial {trial} over"
                say(f"lane {mine.index}: {taken}, so this lane ends; its trials go on there")
                break
        interruption.check()
    return json.dumps({"ledger": shared.url, "lane": mine.index, "trials": done})


def repeated(lane: str, folder: str | None = None) -> str:
    """Return the lane with a copy of its ledger that lacks its trials: running it trains them once more.

    ``folder`` is the copy's address; None: ``reruns/<ledger>-<time>``, beside the folder of ledgers.
    """
    mine = Lane.of_json(lane)
    ledger = Ledger(mine.ledger)
    if folder is None:
        root, _, name = ledger.url.rpartition("/")
        folder = f"{root.rpartition('/')[0]}/reruns/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    copy = ledger.copy_without(folder, mine.run, mine.index)
    return dataclasses.replace(mine, ledger=copy.url).to_json()


def train_once(
    task: str,
    training: str,
    validation: str,
    model: str,
    *,
    settings: Mapping[str, Any],
    weights: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Train one setting: a sweep of one trial, whose ledger lies beside the model folder as ``<model>.ledger``.

    Args:
        task: the task's name.
        training, validation: addresses of records (JSONL).
        model: the address of the model folder to write.
        settings, weights, seed: as in an experiment.

    Returns:
        What :func:`automl_images.steps.select.select_trial` returns, with ``model`` as asked for.

    Raises:
        UserError: something is wrong with the arguments or the data.
    """
    experiment = {"task": task, "settings": settings, "weights": weights, "sweep": {"seed": seed}}
    ledger = f"{model.rstrip('/')}.ledger"
    for lane in plan_sweep(experiment, training, validation, ledger=ledger):
        train_lane(lane)
    best = select_trial(ledger)
    storage.copy_folder(best["model"], storage.absolute(model))
    return {**best, "model": storage.absolute(model)}


def end_early(shared: Ledger, trial: int) -> str:
    """End a trial that does not run, as ``--stop-after-current`` asks: with its best model so far, if it has one.

    One that has not begun is skipped, and one without a model left as it is: a further submission runs both.
    """
    why = "--stop-after-current: the sweep was ended"
    before, model = shared.trial(trial), shared.model_url(trial)
    if before is None:
        shared.write_unstarted(trial, State.SKIPPED, reason=f"{why} before it started")
        return State.SKIPPED
    if before.attempt and storage.exists(storage.join(model, "metrics.json")):
        metrics = json.loads(storage.read_text(storage.join(model, "metrics.json")))
        name, epoch = shared.experiment()["primary_metric"], metrics.pop("epoch")
        best = {"metric": name, "value": metrics[name], "epoch": epoch, "metrics": metrics} if name in metrics else None
        before = shared.end_trial(before, State.TERMINATED, best=best, error=None, reason=why, model=model)
        shared.remove_checkpoints(trial)
    return before.state


def _run(shared: Ledger, run: str, trial: int, interruption: Interruption) -> str:
    command = [sys.executable, "-m", "automl_images.steps.trial", shared.url, run, str(trial)]
    lines = []
    with (
        tempfile.TemporaryDirectory(prefix="automl-images-", ignore_cleanup_errors=True) as scratch,
        subprocess.Popen(
            command,
            env=limit_threads({**os.environ, "TMPDIR": scratch}),  # a killed trial leaves its files there
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child,
        memory.guarded(child.pid, lanes_here()) as guard,
    ):
        assert child.stdout is not None
        interruption.tells(child)
        for line in child.stdout:
            say(f"trial {trial}: {line.rstrip()}")
            lines.append(line)
    log = storage.join(shared.trial_folder(trial), "log")
    storage.write(log, (storage.read_text(log) if storage.exists(log) else "") + "".join(lines))
    if child.returncode == EXIT_SUPERSEDED:
        return SUPERSEDED
    ended = shared.trial(trial)
    if child.returncode and (ended is None or ended.state is State.RUNNING):
        error, resumes = _died(child.returncode, lines) if guard.ended is None else (_too_much(guard.ended), False)
        if ended:
            ended = shared.end_trial(ended, State.FAILED, error=error, resumes=resumes)
        else:
            ended = shared.write_unstarted(trial, State.FAILED, error=error, resumes=resumes)
    state = str(ended and ended.state)
    say(f"trial {trial}: {state}")
    return state


def _too_much(used: memory.Memory) -> str:
    mib = [f"{n / 2**20:.0f}" for n in (used.used, used.limit)]
    return f"out of memory: lower training_batch_size ({mib[0]} of the container's {mib[1]} MiB were in use)"


def _died(code: int, lines: list[str]) -> tuple[str, bool]:
    """Return an error for a trial that did not write its own end, and whether it resumes."""
    if code > 0:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"ended with exit code {code}: {last}", False
    name = signal.Signals(-code).name
    hint = "; often the kernel, out of memory: lower training_batch_size" if -code == signal.SIGKILL else ""
    return f"killed by {name}{hint}", True


def gpus() -> list[str]:
    """Return the visible GPUs' names for CUDA_VISIBLE_DEVICES, found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [g for g in visible.split(",") if g and g != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def headline(lane: Mapping[str, Any]) -> str:
    """Return in a line what one lane came to."""
    return f"{len(lane['trials'])} trials"
