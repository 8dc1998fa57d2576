"""A classifier's trial: its data, its loss, its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from automl_images.annotations.records import Record
from automl_images.data.augment_batch import augment_batch
from automl_images.data.classification import (
    EvaluationBatches,
    TrainingBatches,
    as_it_is,
    class_weights,
    classes_of,
    evaluation_image,
    kept_image,
    longest_needed,
    shape_of,
    truth_of,
)
from automl_images.data.store import ImageStore, memory_budget
from automl_images.errors import UserError
from automl_images.metrics import classification_metrics
from automl_images.models import catalogue
from automl_images.models.classifier import Classifier
from automl_images.models.layout import apply, fastest
from automl_images.prediction.classifier import classify
from automl_images.tasks import get_task
from automl_images.training.module import Trial
from automl_images.training.problem import Machine, Problem, loaders

_VALIDATION_SHARE = 0.2  # of the memory for decoded images


class ClassificationTrial(Trial):
    """A classifier being trained.

    Attributes:
        multilabel: whether an image may have any number of classes.
        validation: the truth of the validation images, as `truth_of` returns it.
        weights: what a class's loss is multiplied by, or None.
        channels_last: whether images lie with channels last in memory, as the network's weights do.
    """

    multilabel: bool
    validation: np.ndarray
    weights: Tensor | None
    channels_last: bool

    def loss_parts(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:  # noqa: D102
        images, truth = batch
        images = augment_batch(images, self._colours())
        logits = self.model(self._laid_out(images))
        weights = None if self.weights is None else self.weights.to(logits.device, non_blocking=True)
        if self.multilabel:
            return {"loss": F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights)}
        # divided by the images rather than their weights, so that batches that are accumulated add up to their mean
        return {"loss": F.cross_entropy(logits, truth, weight=weights, reduction="sum") / len(truth)}

    def _colours(self) -> str | None:
        kind = self.settings["augmentation_type"]
        return "crop" if kind is None and self.settings["image_shape"] else kind

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:  # noqa: D102
        images, indices = batch
        probs = classify(self.model, self._laid_out(images), self.multilabel)
        self._found.update(zip(indices.tolist(), probs, strict=True))

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


def classification_problem(
    task: str,
    settings: Mapping[str, Any],
    training: Sequence[Record],
    validation: Sequence[Record],
    weights: Mapping[str, Any],
    seed: int,
    machine: Machine,
    scratch: Path,
    layout: Mapping[str, Any],
) -> Problem:
    """Return a classifier's network and data; see :class:`automl_images.training.problem.Problem`.

    ``layout`` is what an earlier attempt computed with, or empty: then a short probe finds what is fastest here.

    Raises:
        UserError: the data or the weights do not work.
    """
    multilabel = get_task(task).label == "classes"
    classes = classes_of(training, multilabel)
    _check_counts(settings, classes, training)
    truth, scored = (truth_of(records, classes, multilabel) for records in (training, validation))
    model, said = catalogue.initial(task, settings, classes, weights)
    budget = memory_budget() // machine.processes
    kept = ImageStore(
        training,
        lambda image: kept_image(image, settings),
        scratch / f"training-{machine.rank}",
        int(budget * (1 - _VALIDATION_SHARE)),
        longest_needed(settings),
    )
    whole = ImageStore(
        validation,
        lambda image: evaluation_image(image, settings),
        scratch / f"validation-{machine.rank}",
        int(budget * _VALIDATION_SHARE),
    )
    kept.fill()
    whole.fill()
    threads = 1 if machine.loading()["num_workers"] else torch.get_num_threads()
    batches = TrainingBatches(kept, truth, settings, seed, threads)
    training_loader, validation_loader = loaders(
        machine, settings, batches, EvaluationBatches(whole), as_it_is, seed, workers=16
    )
    chosen = {**layout, **_layout(model, settings, training_loader, layout, machine)}
    apply(model, chosen)

    def trial(*arguments: Any) -> Trial:
        made = ClassificationTrial(model, settings, classes, *arguments)
        made.multilabel, made.validation = multilabel, scored
        made.weights = class_weights(truth, len(classes), settings["weighted_loss"])
        made.channels_last = chosen["channels_last"]
        return made

    said = f"{said}; {chosen['said']}"
    precision = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}[chosen["dtype"]]
    return Problem(model, said, classes, training_loader, validation_loader, trial, precision, chosen)


def _layout(
    model: Classifier, settings: Mapping[str, Any], loader: DataLoader, before: Mapping[str, Any], machine: Machine
) -> dict[str, Any]:
    if "dtype" in before:
        return {}
    shape = shape_of(settings) or (settings["train_crop_size"], settings["train_crop_size"])
    size = min(loader.batch_size or 1, len(loader.dataset))  # type: ignore[arg-type]
    device = torch.device("cuda", machine.rank) if machine.on_gpu else torch.device("cpu")
    batch = torch.zeros(size, 3, *shape, dtype=torch.uint8, device=device)
    steps = len(loader) * settings["number_of_epochs"]
    return fastest(model.to(device), batch, device, steps=steps, precision=settings["precision_dtype"])


def _check_counts(settings: Mapping[str, Any], classes: Sequence[str], training: Sequence[Record]) -> None:
    for name, found in (("num_classes", len(classes)), ("num_training_samples", len(training))):
        if settings[name] not in (None, found):
            raise UserError(f"{name}: {settings[name]} was said, and the training data has {found}; leave it out")
    if settings["top_k"] and settings["top_k"] > len(classes):
        raise UserError(f"top_k: {settings['top_k']} is more than the {len(classes)} classes of the training data")
