"""The trial of a segmentation network: its data, its losses, its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from automl_images.data.segmentation import EvaluationSet, Samples, TrainingSet, as_lists, classes_of
from automl_images.errors import UserError
from automl_images.metrics.segmentation import baseline, confusion, segmentation_metrics
from automl_images.models import catalogue
from automl_images.models.compute import apply, cpu_has_bfloat16, full_precision
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine, loaders
from automl_images.training.module import Module, Prepared


class SegmentationModule(Module):
    """A segmentation network being trained; ``validation`` is scored, which has so many ``pixels`` of each class.

    What is found is added up image by image in one confusion matrix, so that memory does not grow with their number.
    """

    def __init__(self, *shared: Any, validation: EvaluationSet, pixels: np.ndarray):
        super().__init__(*shared)
        self.validation, self.pixels = validation, pixels

    def loss_parts(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:  # noqa: D102
        images, truth = batch
        return self.model.losses(images, truth.long())

    @torch.inference_mode()
    def find(self, images: list[Tensor]) -> list[np.ndarray]:
        """Return the class of each pixel of a batch of images, or of crops of one size, uint8 [H, W]."""
        on_device = [image.to(self.device, non_blocking=True) for image in images]
        with full_precision(self.device):
            if self.validation.crop:
                return list(self.model.logits(torch.stack(on_device)).argmax(1).to(torch.uint8).cpu().numpy())
            return [mask.cpu().numpy() for mask in self.model.predict(on_device)]

    def validation_step(self, batch: tuple[list[Tensor], list[Tensor], list[int]], _: int) -> None:
        """Add a batch up, which has the index of each image last."""
        images, truths, _indices = batch
        rank, count = self.global_rank, len(self.classes)
        if rank >= len(self.validation):  # its images are another process's too
            return
        total = self._found.setdefault(rank, np.zeros((count, count), np.int64))
        for truth, found in zip(truths, self.find(images), strict=True):
            total += confusion(truth.cpu().numpy(), found, count)

    def score(self, found: Mapping[int, np.ndarray]) -> dict[str, Any]:
        """Return all metrics, by the confusion matrix of each process."""
        metrics = segmentation_metrics(sum(found.values()), self.classes)  # type: ignore[arg-type]
        del metrics["confusion_matrix"]  # the evaluate step's; every trial would carry it, classes squared
        return metrics

    def baseline(self) -> dict[str, float | None]:  # noqa: D102
        return baseline(np.diag(self.pixels), self.classes)


def prepare(job: Job, compute: Compute, machine: Machine, scratch: Path) -> Prepared:
    """Return a segmentation network and its data; see :class:`automl_images.training.Family`."""
    settings, classes = job.settings, classes_of(job.training)
    job.check_counts(classes)
    memory = machine.image_memory()
    samples, scored = Samples(job.training, classes, memory[0]), Samples(job.validation, classes, memory[1])
    model, note = catalogue.initial(job.task, settings, classes, job.weights)
    if settings["syncbn"] and machine.processes > 1:
        if not machine.on_gpu:
            raise UserError("syncbn: 1 needs GPUs; this trial runs in several processes without one")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    samples.fill()
    scored.fill()
    evaluated = EvaluationSet(scored, settings, crop=settings["validation_batch_size"] > 1)
    pixels = evaluated.pixels(len(classes))
    if not pixels.any():
        raise UserError("validation data: all pixels of its masks are ignored, so mean_iou is undefined")
    training, validation = loaders(
        machine, job, TrainingSet(samples, settings, job.seed), evaluated, default_collate, scored_collate=as_lists
    )
    if not compute.dtype:
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if machine.on_gpu else cpu_has_bfloat16()
        compute = dataclasses.replace(
            compute, dtype="bfloat16" if fast else "float32", channels_last=machine.on_gpu or fast
        )
    apply(model, vars(compute))
    module = SegmentationModule(job, model, classes, len(training), validation=evaluated, pixels=pixels)
    return Prepared(module, training, validation, compute, note)
