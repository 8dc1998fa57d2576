"""A trial as a Lightning module: what all families share of losses, evaluation and optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from automl_images.errors import UserError
from automl_images.tasks import get_task
from automl_images.training.job import Compute, Job
from automl_images.training.optimization import build_optimizer, build_scheduler, seed_step


class Module(pl.LightningModule):
    """A network being trained; ``batches`` is how many an epoch has in this process.

    A family's own class has ``loss_parts``, ``find`` and ``score``.
    """

    def __init__(self, job: Job, model: nn.Module, classes: Sequence[str], batches: int):
        super().__init__()
        self.model: Any = model  # a detector has losses and predict, a classifier neither
        self.settings, self.classes = dict(job.settings), list(classes)
        self.steps_per_epoch = math.ceil(batches / self.settings["grad_accumulation_step"])
        self.primary_metric, self.seed = get_task(job.task).primary_metric, job.seed
        self.metrics: dict[str, Any] = {}
        self._found: dict[int, Any] = {}
        self._losses: dict[str, Tensor] = {}
        self._batches = 0

    def loss_parts(self, batch: Any) -> dict[str, Tensor]:
        """Return the parts whose sum is minimised, each the mean over the batch's images (see ``sums_batches``)."""
        raise NotImplementedError

    def find(self, images: Any) -> Iterable[Any]:
        """Return what the network finds on each image of a batch, as :meth:`score` takes it."""
        raise NotImplementedError

    def score(self, found: Mapping[int, Any]) -> dict[str, Any]:
        """Return all metrics of the validation images, by what was ``found`` on each."""
        raise NotImplementedError

    def baseline(self) -> dict[str, float | None]:
        """Return the metrics that a model reaches that looks at no image; those that are not there have none."""
        return {}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:  # noqa: D102
        optimizer = build_optimizer(self.model, self.settings)
        scheduler, interval = build_scheduler(optimizer, self.settings, self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients' norm.

        Lightning refuses to under autocast with a fused optimiser, lest a scaler has scaled them; bfloat16 has none.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            nn.utils.clip_grad_norm_(self.trainer.precision_plugin.main_params(optimizer), gradient_clip_val)

    def on_train_epoch_start(self) -> None:  # noqa: D102
        self._losses, self._batches = {}, 0

    def training_step(self, batch: Any, index: int) -> Tensor:  # noqa: D102
        seed_step(self.seed, self.current_epoch, index, self.global_rank)
        losses = self.loss_parts(batch)
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, 0) + value.detach()
        self._batches += 1
        # Lightning divides by the batches of a full step and by the processes. An epoch's last step may have fewer
        # batches; it is their average, or their sum, too
        full, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        here = min(full, batches - index // full * full)
        total: Any = sum(losses.values())
        return total * (full * self.trainer.world_size if self.model.sums_batches else full / here)

    def on_train_epoch_end(self) -> None:
        """Refuse to go on once a loss is not a number; it is looked at once an epoch, so as not to wait for the GPU.

        All processes refuse together, whosever loss it is: one that went on would wait for the others.
        """
        losses = self.losses()
        finite = all(np.isfinite(v) for v in losses.values())
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            figures = ", ".join(f"{k} {v:.3g}" for k, v in losses.items())
            raise UserError(
                f"training diverged in epoch {self.current_epoch + 1} ({figures}); "
                f"lower learning_rate ({self.settings['learning_rate']:g})"
            )

    def losses(self) -> dict[str, float]:
        """Return the mean of each part of the loss over the epoch so far."""
        return {name: float(total) / max(1, self._batches) for name, total in self._losses.items()}

    def on_validation_epoch_start(self) -> None:  # noqa: D102
        self.on_train_epoch_end()  # before a model without use is scored and kept
        self._found = {}

    def validation_step(self, batch: Any, _: int) -> None:  # noqa: D102
        images, indices = batch
        self._found.update(zip(indices, self.find(images), strict=True))

    def on_validation_epoch_end(self) -> None:
        """Score the validation images of all processes and log the primary metric."""
        found = self._found
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, found)
            found = {i: value for part in parts for i, value in part.items()}
        self.metrics = self.score(found)
        if simplest := self.baseline():
            self.metrics["baseline"] = simplest
        self._found = {}
        self.log(self.primary_metric, torch.tensor(self.metrics[self.primary_metric], dtype=torch.float64))


@dataclass
class Prepared:
    """What a family makes of a job, ready for the loop.

    Attributes:
        training, validation: the loaders of what is learned from, and of what evaluations score (None: nothing).
        compute: what it computes with, chosen in full.
        note: what its weights are and how it computes, for people.
    """

    module: Module
    training: DataLoader[Any]
    validation: DataLoader[Any] | None
    compute: Compute
    note: str
