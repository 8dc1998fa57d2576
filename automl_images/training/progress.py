"""What a person reads of a trial while the next evaluation is far away."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from automl_images.errors import say
from automl_images.training.module import Module

QUIET = 10.0  # seconds without a line after which an epoch that is not evaluated says one


class Progress(Callback):
    """Says at the end of an epoch its loss, images a second and the time left, if nothing was said for a while.

    Args:
        images: how many an epoch trains on.
        frequency: epochs between evaluations, which have lines of their own; 0: there are none.
    """

    def __init__(self, images: int, frequency: int):
        self.images, self.frequency = images, frequency
        self._began = self._spoke = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: D102
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(module, Module)
        now, epoch, epochs = time.monotonic(), trainer.current_epoch + 1, trainer.max_epochs or 0
        if self.frequency and (epoch % self.frequency == 0 or epoch == epochs):
            self._spoke = now
        elif trainer.is_global_zero and now - self._spoke >= QUIET:
            self._spoke, seconds = now, now - self._began
            loss, left = sum(module.losses().values()), (epochs - epoch) * seconds
            rate = self.images / max(seconds, 1e-9)
            say(f"epoch {epoch}/{epochs}: loss {loss:.3f}, {rate:.1f} images/s, about {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{hours:.1f} h"
