"""What happens beside the training loop: the ledger, the best model, checkpoints, early stopping."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping

from automl_images.sweep.pace import Pace
from automl_images.sweep.score import Score
from automl_images.training.job import Compute
from automl_images.training.module import Module
from automl_images.training.progress import Progress


class Journal(Protocol):
    """Where a trial reports to; the ledger, or nothing for a single training."""

    def evaluated(self, score: Score) -> str | None:
        """Take an evaluation; return the reason to stop now, or None."""

    def progressed(self, pace: Pace) -> None:
        """Take what an epoch came to; returns at once."""

    def save_model(self, folder: Path) -> None:
        """Keep a copy of the best epoch's model folder."""

    def save_epoch(self, folder: Path, epoch: int) -> None:
        """Keep a copy of the model folder after ``epoch`` epochs, for good."""

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        """Keep a copy of the checkpoint after ``epoch`` epochs, in place of the one before."""


class Background:
    """One thread that copies files away while training goes on, in order; an error surfaces at the next call."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Wait for the last piece of work, then begin this one."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until all work is done."""
        if self._last:
            self._last.result()
            self._last = None


class History(Callback):
    """What each epoch's losses and learning rate were, for the model folder."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self.rows = list(state["rows"])

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add the epoch, unless its evaluation has."""
        assert isinstance(module, Module)
        self.add(trainer, module)

    def add(self, trainer: pl.Trainer, module: Module) -> None:
        """Add the epoch, once."""
        epoch = trainer.current_epoch + 1
        if not self.rows or self.rows[-1]["epoch"] != epoch:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.rows.append({"epoch": epoch, "learning_rate": rate, "losses": module.losses()})


class Evaluations(Callback):
    """Reports each evaluation, keeps the best epoch's model, and stops when the journal says so.

    ``save`` writes a module's model folder with its metrics into ``scratch``, from where ``background`` copies it. The
    last epoch is evaluated whatever the ``frequency``.
    """

    def __init__(
        self,
        journal: Journal,
        scratch: Path,
        save: Callable[[Path, Module, Mapping[str, Any]], None],
        frequency: int,
        background: Background,
        history: History,
        progress: Progress,
    ):
        self.journal, self.scratch, self.save = journal, scratch, save
        self.frequency, self.background, self.history, self.progress = frequency, background, history, progress
        self.best: dict[str, Any] | None = None
        self.epoch = 0  # the last that was evaluated
        self.values: list[float] = []
        self.reason: str | None = None

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"best": self.best, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self.best, self.values = state["best"], list(state["values"])

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Have the last epoch evaluated, whatever the frequency."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if last else self.frequency

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(module, Module)
        epoch, name = trainer.current_epoch + 1, module.primary_metric
        self.epoch = epoch
        self.history.add(trainer, module)
        value = float(trainer.callback_metrics[name])
        self.values.append(value)
        if self.best is None or value > self.best["value"]:
            self.best = {"metric": name, "value": value, "epoch": epoch, "metrics": module.metrics}
            self.keep(module, {"epoch": epoch, **module.metrics}, self.journal.save_model)
        mean = sum(self.values) / len(self.values)
        losses = module.losses()
        parts = ", ".join(f"{k} {v:.3f}" for k, v in losses.items())
        loss = f"loss {sum(losses.values()):.3f}" + f" ({parts})" * (len(losses) > 1)
        reason = None
        if trainer.is_global_zero:
            figure = f"{name} {value:.4f} (best {self.best['value']:.4f})"
            words = self.progress.measured(trainer, module)
            say(f"epoch {epoch}/{trainer.max_epochs}: {figure}; {loss}; {words}")
            number = -(-epoch // self.frequency)
            reason = self.journal.evaluated(Score(number, epoch, value, self.best["value"], mean))
        reason = trainer.strategy.broadcast(reason)
        if reason:
            self.reason = reason
            trainer.should_stop = True

    def keep(self, module: Module, metrics: Mapping[str, Any], copy: Callable[[Path], None]) -> None:
        """Write the module's model folder and have it copied away."""
        if not module.trainer.is_global_zero:
            return
        self.background.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.save(self.scratch, module, {**metrics, "history": self.history.rows})
        self.background.submit(lambda: copy(self.scratch))


class KeptEpochs(Callback):
    """Keeps a model folder every so many epochs, beside the best one."""

    def __init__(self, evaluations: Evaluations, every: int):
        self.evaluations, self.every = evaluations, every

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the epoch's model folder; runs after its evaluation, if it has one."""
        assert isinstance(module, Module)
        epoch, to = trainer.current_epoch + 1, self.evaluations
        if epoch % self.every == 0:
            own = module.metrics if to.epoch == epoch else {}  # else they are of an epoch before
            to.keep(module, {"epoch": epoch, **own}, lambda f: to.journal.save_epoch(f, epoch))


class DelayedEarlyStopping(EarlyStopping):
    """Lightning's early stopping by Azure's and SageMaker's rules.

    Of the settings: ``early_stopping_patience`` evaluations without improvement end the trial; during the first
    ``early_stopping_delay`` ones that is not counted; before ``early_stopping_min_epochs`` it is counted and ends
    nothing; an improvement is above the share ``early_stopping_tolerance`` of the best value. More is better.
    """

    def __init__(self, monitor: str, settings: Mapping[str, Any]):
        patience, self.delay, self.min_epochs, self.tolerance = (
            settings[f"early_stopping_{name}"] for name in ("patience", "delay", "min_epochs", "tolerance")
        )
        super().__init__(monitor=monitor, patience=patience, mode="max", check_on_train_epoch_end=False)
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {**super().state_dict(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self.seen = state["seen"]
        super().load_state_dict({k: v for k, v in state.items() if k != "seen"})

    def _run_early_stopping_check(self, trainer: pl.Trainer) -> None:
        self.seen += 1
        patience = self.patience
        if self.seen <= self.delay or trainer.current_epoch + 1 < self.min_epochs:
            self.patience = sys.maxsize
        best = float(self.best_score)
        self.min_delta = self.tolerance * abs(best) if math.isfinite(best) else 0.0
        super()._run_early_stopping_check(trainer)
        self.patience = patience
        if self.seen <= self.delay:
            self.wait_count = 0


class Checkpoints(Callback):
    """Writes what a killed trial resumes from, at ends of epochs, so rarely that it costs a twentieth of the time."""

    SHARE = 20

    def __init__(self, journal: Journal, scratch: Path, background: Background, compute: Compute):
        self.journal, self.scratch, self.background, self.compute = journal, scratch, background, compute
        self._written, self._cost = time.monotonic(), 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write a checkpoint if enough time has passed; runs after the epoch's evaluation."""
        now = time.monotonic()
        last = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        due = not last and now - self._written >= self.SHARE * self._cost
        if not trainer.strategy.broadcast(due):
            return
        if trainer.is_global_zero:
            self.background.wait()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(parents=True)
            (self.scratch / Compute.FILE).write_text(self.compute.to_json())
        trainer.save_checkpoint(self.scratch / "trainer.ckpt")  # by all processes
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero:
            self.background.submit(lambda: self.journal.save_checkpoint(self.scratch, epoch))
        self._written = time.monotonic()
        self._cost = self._written - now


def say(line: str) -> None:
    """Print one line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)
