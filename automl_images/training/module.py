"""One trial as a Lightning module: losses, evaluation and optimiser, whatever the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from automl_images.data.detection import Samples
from automl_images.errors import UserError
from automl_images.metrics import detection_metrics
from automl_images.prediction.detector import detect
from automl_images.training.optimization import build_optimizer, build_scheduler, seed_step

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class DetectionTrial(pl.LightningModule):
    """A detector being trained.

    Args:
        model: the network, of :func:`automl_images.models.catalogue.initial`.
        settings: complete settings.
        classes: the labels.
        validation: the samples that evaluations score.
        steps_per_epoch: optimiser steps in an epoch.
        primary_metric: the name under which the figure that ranks is logged.
        seed: the trial's seed.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        validation: Samples,
        steps_per_epoch: int,
        primary_metric: str,
        seed: int,
    ):
        super().__init__()
        self.model, self.settings, self.classes = model, dict(settings), list(classes)
        self.validation, self.steps_per_epoch = validation, steps_per_epoch
        self.primary_metric, self.seed = primary_metric, seed
        self.metrics: dict[str, Any] = {}
        self._found: dict[int, dict[str, np.ndarray]] = {}
        self._losses: dict[str, Tensor] = {}
        self._batches = 0

    def configure_optimizers(self) -> dict[str, Any]:  # noqa: D102
        optimizer = build_optimizer(self.model, self.settings)
        scheduler, interval = build_scheduler(optimizer, self.settings, self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def on_train_epoch_start(self) -> None:  # noqa: D102
        self._losses, self._batches = {}, 0

    def training_step(self, batch: Batch, index: int) -> Tensor:  # noqa: D102
        seed_step(self.seed, self.current_epoch, index)
        images, targets = batch
        losses = self.model.losses(images, targets)
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, 0) + value.detach()
        self._batches += 1
        # Lightning divides by the batches of a full step; an epoch's last step may have fewer, and is their average too
        full, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        here = min(full, batches - index // full * full)
        return sum(losses.values()) * (full / here)

    def on_train_epoch_end(self) -> None:  # noqa: D102
        self._check_losses()

    def _check_losses(self) -> None:
        """Refuse to go on once a loss is not a number; it is looked at once an epoch, so as not to wait for the GPU."""
        losses = self.losses()
        if not all(np.isfinite(v) for v in losses.values()):
            said = ", ".join(f"{k} {v:.3g}" for k, v in losses.items())
            raise UserError(
                f"training diverged in epoch {self.current_epoch + 1} ({said}); "
                f"lower learning_rate ({self.settings['learning_rate']:g})"
            )

    def losses(self) -> dict[str, float]:
        """Return the mean of each part of the loss over the epoch so far."""
        return {name: float(total) / max(1, self._batches) for name, total in self._losses.items()}

    def on_validation_epoch_start(self) -> None:  # noqa: D102
        self._check_losses()  # before a model without use is scored and kept
        self._found = {}

    def validation_step(self, batch: tuple[list[Tensor], list[int]], _: int) -> None:  # noqa: D102
        images, indices = batch
        self._found.update(zip(indices, detect(self.model, images, self.device), strict=True))

    def on_validation_epoch_end(self) -> None:
        """Score the validation samples and log the primary metric."""
        order = sorted(self._found)
        self.metrics = detection_metrics(
            [self.validation.truth(i) for i in order],
            [self._found[i] for i in order],
            self.classes,
            self.settings["validation_metric_type"],
            self.settings["validation_iou_threshold"],
            self.settings["box_score_thresh"],
        )
        self._found = {}
        self.log(self.primary_metric, torch.tensor(self.metrics[self.primary_metric] or 0.0, dtype=torch.float64))
