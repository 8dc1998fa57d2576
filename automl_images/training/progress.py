"""What a person reads of a trial: a line an epoch with its loss, images a second, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from automl_images.errors import say
from automl_images.sweep.pace import Pace
from automl_images.training.module import Module

_EPOCHS = 5  # by which the time left is estimated, at the least


class Progress(Callback):
    """Says at the end of an epoch its loss, images a second and the time left; an evaluation's line has them itself.

    The time left is that of the last epochs with their evaluations, without the first, which warms up.

    Args:
        images: how many an epoch trains on.
        frequency: epochs between evaluations, which have lines of their own; 0: there are none.
        tell: is given the pace of each epoch.
    """

    def __init__(self, images: int, frequency: int, tell: Callable[[Pace], None]):
        self.images, self.frequency, self.tell = images, frequency, tell
        self._began = self._ended = time.monotonic()  # of this epoch the beginning, and the end of the last
        self._trained: float | None = None  # when this epoch's training ended and its evaluation began
        self._lengths: list[float] = []
        self._epoch: int | None = None  # the last that was measured
        self._words = ""

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: D102
        self._began, self._trained = time.monotonic(), None
        if not self._lengths:
            self._ended = self._began

    def on_validation_start(self, *_: Any) -> None:  # noqa: D102
        self._trained = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(module, Module)
        if self._epoch != trainer.current_epoch + 1 and trainer.is_global_zero:
            words = self.measured(trainer, module)
            say(f"epoch {self._epoch}/{trainer.max_epochs}: loss {sum(module.losses().values()):.3f}, {words}")

    def measured(self, trainer: pl.Trainer, module: Module) -> str:
        """Measure the epoch that ends now, once, and return its images a second and the time left in words."""
        now, epoch = time.monotonic(), trainer.current_epoch + 1
        if self._epoch == epoch:
            return self._words
        self._epoch = epoch
        self._lengths.append(now - self._ended)
        self._ended = now
        usual = (self._lengths[1:] or self._lengths)[-max(_EPOCHS, self.frequency) :]
        left = ((trainer.max_epochs or 0) - epoch) * sum(usual) / len(usual)
        rate = self.images / max((self._trained or now) - self._began, 1e-9)
        self.tell(Pace(epoch, float(sum(module.losses().values())), rate, left))
        self._words = f"{rate:.1f} images/s, about {_duration(left)} left"
        return self._words


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{hours:.1f} h"
