"""A classifier's trial: its data, its loss, its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from automl_images.data import classification as data
from automl_images.data.augment_batch import augment_batch
from automl_images.data.classification import is_multilabel
from automl_images.data.store import ImageStore
from automl_images.errors import UserError
from automl_images.hyperparameters.sizes import input_shape
from automl_images.metrics import baseline, classification_metrics
from automl_images.models import catalogue
from automl_images.models.classifier import Classifier
from automl_images.models.compute import apply, describe, fastest, laid_out
from automl_images.prediction.classification import classify
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine, loaders
from automl_images.training.module import Module, Prepared


class ClassificationModule(Module):
    """A classifier being trained.

    ``validation`` is the truth of the validation images, as `truth_of` returns it; ``weights`` is what
    `class_weights` returns; with ``channels_last`` images lie so in memory, as the network's weights do.
    """

    def __init__(self, job: Job, *shared: Any, validation: np.ndarray, weights: Tensor | None, channels_last: bool):
        super().__init__(job, *shared)
        self.multilabel, self.validation = is_multilabel(job.task), validation
        self.weights, self.channels_last = weights, channels_last
        self._baseline: dict[str, float | None] | None = None

    def loss_parts(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:  # noqa: D102
        images, truth = batch
        kind = self.settings["augmentation_type"]
        kind = "crop" if kind is None and self.settings["image_shape"] else kind
        logits = self.model(self._laid_out(augment_batch(images, kind)))
        weights = None if self.weights is None else self.weights.to(logits.device, non_blocking=True)
        if self.multilabel:
            each = None if weights is None else torch.where(truth > 0, weights[1], weights[0])
            return {"loss": F.binary_cross_entropy_with_logits(logits, truth, each)}
        # divided by the images rather than their weights, so that batches that are accumulated add up to their mean
        return {"loss": F.cross_entropy(logits, truth, weight=weights, reduction="sum") / len(truth)}

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def find(self, images: Tensor) -> np.ndarray:  # noqa: D102
        return classify(self.model, self._laid_out(images), self.multilabel)

    def score(self, found: Mapping[int, Any]) -> dict[str, Any]:  # noqa: D102
        order = sorted(found)
        probs = np.stack([found[i] for i in order])
        if not np.isfinite(probs).all():
            raise UserError(
                f"training diverged by epoch {self.current_epoch + 1} (a probability is not a number); "
                f"lower learning_rate ({self.settings['learning_rate']:g})"
            )
        truth = self.validation[order]
        metrics = classification_metrics(truth, probs, self.classes, self.multilabel, self.settings["top_k"])
        del metrics["confusion_matrix"]  # the evaluate step's; every trial would carry it, classes squared
        return metrics

    def baseline(self) -> dict[str, float | None]:  # noqa: D102
        if self._baseline is None:
            self._baseline = baseline(self.validation, self.classes, self.multilabel, self.settings["top_k"])
        return self._baseline


def prepare(job: Job, compute: Compute, machine: Machine, scratch: Path) -> Prepared:
    """Return a classifier's network and data; see :class:`automl_images.training.Family`.

    Where ``compute`` does not say it, the precision and memory layout are those of the sweep's first trial on this kind
    of machine, which a short probe finds.
    """
    settings, multilabel = job.settings, is_multilabel(job.task)
    classes = data.classes_of(job.training, multilabel)
    job.check_counts(classes)
    if settings["top_k"] and settings["top_k"] > len(classes):
        raise UserError(f"top_k: {settings['top_k']} is more than the {len(classes)} classes of the training data")
    truth, scored = (data.truth_of(records, classes, multilabel) for records in (job.training, job.validation))
    model, note = catalogue.initial(job.task, settings, classes, job.weights)
    folders = [scratch / f"{part}-{machine.rank}" for part in ("training", "validation")]
    for_training, for_validation = machine.image_memory()
    longest = data.longest_needed(settings)
    kept = ImageStore(job.training, lambda i: data.kept_image(i, settings), folders[0], for_training, longest)
    whole = ImageStore(job.validation, lambda i: data.evaluation_image(i, settings), folders[1], for_validation)
    kept.fill()
    whole.fill()
    threads = 1 if machine.loading()["num_workers"] else torch.get_num_threads()
    batches = data.TrainingBatches(kept, truth, settings, job.seed, threads)
    training, validation = loaders(machine, job, batches, data.EvaluationBatches(whole), data.as_it_is, workers=16)
    compute, layout = _chosen(compute, model, job, training, machine)
    apply(model, vars(compute))
    weights = data.class_weights(truth, len(classes), settings["weighted_loss"])
    shared = model, classes, len(training)
    module = ClassificationModule(job, *shared, validation=scored, weights=weights, channels_last=compute.channels_last)
    return Prepared(module, training, validation, compute, f"{note}; {layout}")


def _chosen(
    compute: Compute, model: Classifier, job: Job, loader: DataLoader[Any], machine: Machine
) -> tuple[Compute, str]:
    """Return the precision and memory layout, and a line on them."""
    if compute.dtype:
        return compute, f"layout: {describe(vars(compute))} (as it began)"
    _, *shape = input_shape(job.settings)
    size = min(loader.batch_size or 1, len(job.training))
    device = torch.device("cuda", machine.rank) if machine.on_gpu else torch.device("cpu")
    batch = torch.zeros(size, 3, *shape, dtype=torch.uint8, device=device)
    steps, precision = len(loader) * job.settings["number_of_epochs"], job.settings["precision_dtype"]
    own: list[str] = []

    def choose() -> dict[str, Any]:
        choice = fastest(model.to(device), batch, device, steps=steps, precision=precision)
        own.append(choice.pop("note"))
        return choice

    # of one precision, or their figures could not be compared; one that is asked for is a setting
    shared = job.computing(f"{machine.kind()}, {precision or 'any'} precision", choose)
    choice = {"dtype": shared["dtype"], "channels_last": laid_out(model, shared, device)}
    note = own[0] if own else f"layout: {describe(choice)} (as the sweep's first trial chose)"
    return dataclasses.replace(compute, **choice), note
