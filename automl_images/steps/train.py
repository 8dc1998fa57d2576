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
from collections.abc import Iterable, Mapping
from typing import Any

from automl_images import memory, storage, store
from automl_images.environment import STOP, lanes_here
from automl_images.errors import number, say
from automl_images.steps.interruption import Interruption
from automl_images.steps.plan import plan_sweep
from automl_images.steps.repeat import limit_threads
from automl_images.steps.select import select_trial
from automl_images.steps.trial import EXIT_SUPERSEDED
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.liveness import Others
from automl_images.sweep.sampling import evolving
from automl_images.sweep.submission import Lane, again_with_seeds
from automl_images.sweep.trial import State

_WEEK = 168 * 3600
POLL = 5.0  # seconds between two looks at what another submission trains
GRACE = 300.0  # seconds without a sign of a trial that another lane has taken, after which it is not waited for
SUPERSEDED = "superseded"  # of a trial that a later attempt, by another submission, has taken over


def train_lane(lane: str) -> str:
    """Run the trials of one lane, one of the JSON objects that :func:`automl_images.steps.plan.plan_sweep` returned.

    Returns:
        A JSON object: ``{"ledger": address, "lane": i, "trials": {index: state}}``. A trial that another submission
        has taken over is ``superseded``.

    Raises:
        UserError: this is no lane, or its ledger is not there.
        Interrupted: a signal ended it; the trial that ran was told and resumes, and no other was started.
    """
    mine = Lane.of_json(lane)
    with store.patience(store.LONG), Interruption() as interruption:
        done = _Lane(mine, Ledger(mine.ledger), interruption).run()
        interruption.check()
    return json.dumps({"ledger": storage.absolute(mine.ledger), "lane": mine.index, "trials": done})


class _Lane:
    def __init__(self, mine: Lane, ledger: Ledger, interruption: Interruption):
        self.mine, self.ledger, self.submission = mine, ledger, ledger.run(mine.run)
        left, self.times = ledger.time_left(mine.run)
        self.deadline = time.monotonic() + left
        self.interruption = interruption
        self.others = Others(ledger, mine.run)
        self.ended = bool(os.environ.get(STOP))
        self.done: dict[int, str] = {}

    def run(self) -> dict[int, str]:
        """Run the trials, then those that train the best again, and return what became of those that it ran."""
        if os.environ.get(STOP):
            self.ledger.stop_others(self.mine.run)
        self._through(range(self.submission.iterations))
        if self.submission.confirm:
            seeds = self.submission.confirm_seeds
            self._through(again_with_seeds([0], seeds))  # the starting point, which waits for nobody
            if self.submission.confirming is None:
                self._wait_for_lanes()
            self._through(self.ledger.decide(self.mine.run, again_with_seeds(self._to_confirm(), seeds)))
        return self.done

    def _through(self, trials: Iterable[int]) -> None:
        """Run what nobody else does, then wait for what other submissions run."""
        elsewhere = [trial for trial in trials if not self._settled(trial)]
        if elsewhere:
            theirs, last = ", ".join(map(str, elsewhere)), os.environ.get(STOP)
            then = "which is its last, and not waited for (--stop-after-current)" if last else "waiting for it"
            say(f"lane {self.mine.index}: another run of this experiment trains trial {theirs}; {then}")
        while elsewhere and time.monotonic() < self.deadline and not self._ends():
            time.sleep(POLL)
            elsewhere = [trial for trial in elsewhere if not self._settled(trial)]

    def _wait_for_lanes(self) -> None:
        """Wait until no other lane trains a trial that may be among the best; one whose lane is lost is left out."""
        quiet: dict[int, float] = {}  # since when nothing was seen of a trial
        left = [trial for trial in range(self.submission.iterations) if self._may_end(trial, quiet)]
        if left:
            say(f"lane {self.mine.index}: waiting for trial {', '.join(map(str, left))}, to train the best again")
        while left and time.monotonic() < self.deadline and not self._ends():
            time.sleep(POLL)
            self.interruption.check()
            left = [trial for trial in left if self._may_end(trial, quiet)]
        for trial, since in quiet.items():
            if time.monotonic() - since >= GRACE:
                say(f"lane {self.mine.index}: trial {trial}: its lane is lost; the best are chosen without it")

    def _may_end(self, trial: int, quiet: dict[int, float]) -> bool:
        before, _ = self.ledger.latest(trial)
        ended = before and (before.finished or (before.ended or 0.0) >= self.submission.started)
        if before and (ended or (before.state is State.RUNNING and self.others.alive(before))):
            quiet.pop(trial, None)
            return not ended
        return time.monotonic() - quiet.setdefault(trial, time.monotonic()) < GRACE

    def _to_confirm(self) -> list[int]:
        experiment = self.ledger.experiment()
        sampler = evolving(experiment)
        assert sampler, "the plan gives none but an evolution trials to confirm"
        trials = [t for t in self.ledger.written() if t.index < self.submission.iterations]
        return sampler.to_confirm(trials, experiment["space"], self.submission.confirm)

    def _ends(self) -> bool:
        """Return whether no further trial is started: this run is to end the sweep, or another has ended this one."""
        if not self.ended and (by := self.ledger.stopped_by(self.mine.run)):
            say(f"lane {self.mine.index}: run {by} ends the sweep (--stop-after-current), so no further trial starts")
            self.ended = True
        return self.ended

    def _settled(self, trial: int) -> bool:
        """Run a trial if it is this lane's to run; return False as long as another submission runs it."""
        self.interruption.check()
        before, attempt = self.ledger.latest(trial)
        if before and before.finished:
            return True
        if before and before.state is State.RUNNING and self.others.train(before):
            return False
        run, lane = self.mine.run, self.mine.index
        if not (self.ledger.claim(run, trial, lane) if self.submission.claims else trial % self.mine.count == lane):
            return True
        if self._ends():
            self.done[trial] = end_early(self.ledger, trial)
            return True
        if time.monotonic() > self.deadline:
            if before is None:
                reason = f"out of time: {self.times}, and timeout_hours was over before it started"
                self.ledger.write_unstarted(trial, attempt, State.SKIPPED, reason=reason)
            self.done[trial] = State.SKIPPED
            return True
        self.done[trial] = _run(self.ledger, run, trial, attempt, self.interruption)
        if self.done[trial] != SUPERSEDED:
            return True
        say(f"lane {lane}: another run of this experiment has taken trial {trial} over; it goes on there")
        return self.ledger.trial(trial) is None


def repeated(lane: str, folder: str | None = None) -> str:
    """Return the lane with a copy of its ledger that lacks its trials: running it trains them once more.

    ``folder`` is the copy's address; None: ``reruns/<ledger>-<time>``, beside the folder of ledgers.
    """
    mine = Lane.of_json(lane)
    ledger = Ledger(mine.ledger)
    if folder is None:
        root, _, name = ledger.url.rpartition("/")
        folder = f"{root.rpartition('/')[0]}/reruns/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return dataclasses.replace(mine, ledger=_copy_without(ledger, folder, mine).url).to_json()


def _copy_without(ledger: Ledger, url: str, lane: Lane) -> Ledger:
    """Copy to ``url`` what a lane needs to run its trials of a submission once more, with a week to do it in.

    The copy lacks the lane's trials; records and weights stay where they are.
    """
    copy, submission = Ledger(url), ledger.run(lane.run)
    taken = storage.join(ledger.url, "runs", lane.run, "claims")
    claims = {n: storage.read_text(storage.join(taken, n)) for n in storage.names(taken)}
    own = {n for n, holder in claims.items() if holder == str(lane.index)}
    if not submission.claims:
        own = {f"{t:04d}" for t in range(lane.index, submission.iterations, submission.lanes)}
    copy.open(ledger.experiment(), ledger.head())
    copy.write_run(dataclasses.replace(submission, deadline=time.time() + _WEEK, started=time.time()))
    if submission.confirming is not None:
        copy.decide(lane.run, submission.confirming)
    for name in claims.keys() - own:
        storage.create(storage.join(url, "runs", lane.run, "claims", name), claims[name])
    files = [f"trials/{n}" for n in storage.names(storage.join(ledger.url, "trials")) if n.endswith(".json")]
    for folder in ("ended", "evaluations", "compute"):
        files += [f"{folder}/{n}" for n in storage.files_below(storage.join(ledger.url, folder))]
    for file in files:
        if file.rpartition("/")[2].partition(".")[0] not in own:
            storage.write(storage.join(url, file), storage.read_bytes(storage.join(ledger.url, file)))
    return copy


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
    before, attempt = shared.latest(trial)
    if before is None:
        shared.write_unstarted(trial, attempt, State.SKIPPED, reason=f"{why} before it started")
        return State.SKIPPED
    artifacts = shared.artifacts(trial)
    written = artifacts.metrics(before.attempt) if before.attempt else None
    if written is not None:
        metrics = json.loads(written)
        name, epoch = shared.experiment()["primary_metric"], metrics.pop("epoch")
        best = {"metric": name, "value": metrics[name], "epoch": epoch, "metrics": metrics} if name in metrics else None
        before = shared.end_trial(
            before, State.TERMINATED, best=best, error=None, reason=why, model=artifacts.model(before.attempt)
        )
        artifacts.clear(before.attempt)
    return before.state


def _run(shared: Ledger, run: str, trial: int, attempt: int, interruption: Interruption) -> str:
    command = [sys.executable, "-m", "automl_images.steps.trial", shared.url, run, str(trial), str(attempt)]
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
    log = shared.artifacts(trial).log()
    storage.write(log, (storage.read_text(log) if storage.exists(log) else "") + "".join(lines))
    if child.returncode == EXIT_SUPERSEDED:
        return SUPERSEDED
    ended, free = shared.latest(trial)
    if child.returncode and (free == attempt or (ended and free == attempt + 1 and ended.state is State.RUNNING)):
        error, resumes = _died(child.returncode, lines) if guard.ended is None else (_too_much(guard.ended), False)
        if ended and free > attempt:
            ended = shared.end_trial(ended, State.FAILED, error=error, resumes=resumes)
        else:
            ended = shared.write_unstarted(trial, attempt, State.FAILED, error=error, resumes=resumes)
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
    return number(len(lane["trials"]), "trial")
