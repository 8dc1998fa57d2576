"""What a person reads of a trial while the next evaluation is far away."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from automl_images.errors import say
from automl_images.training.module import Module

QUIET, LONG = 10.0, 300.0  # seconds
PARTS = 10  # of a training


class Progress(Callback):
    """Says at the end of an epoch its loss, images a second and the time left, if nothing was said for a while.

    The first epoch says it, and then one that comes a tenth of the training and :data:`QUIET` seconds after the last
    line, or :data:`LONG` seconds.

    Args:
        images: how many an epoch trains on.
        frequency: epochs between evaluations, which have lines of their own; 0: there are none.
    """

    def __init__(self, images: int, frequency: int):
        self.images, self.frequency = images, frequency
        self._began = self._spoke = time.monotonic()
        self._last: int | None = None  # the epoch of the last line

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: D102
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(module, Module)
        now, epoch, epochs = time.monotonic(), trainer.current_epoch + 1, trainer.max_epochs or 0
        if self.frequency and (epoch % self.frequency == 0 or epoch == epochs):
            self._spoke, self._last = now, epoch
        elif trainer.is_global_zero and self._due(now - self._spoke, epoch, epochs):
            self._spoke, self._last, seconds = now, epoch, now - self._began
            loss, left = sum(module.losses().values()), (epochs - epoch) * seconds
            rate = self.images / max(seconds, 1e-9)
            say(f"epoch {epoch}/{epochs}: loss {loss:.3f}, {rate:.1f} images/s, about {_duration(left)} left")

    def _due(self, quiet: float, epoch: int, epochs: int) -> bool:
        if self._last is None or quiet >= LONG:
            return True
        return quiet >= QUIET and PARTS * (epoch - self._last) >= epochs


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{hours:.1f} h"
