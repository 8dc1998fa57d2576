"""A detector's trial: its data, its losses, its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from automl_images.annotations.records import Record
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.detection import EvaluationSet, Samples, TrainingSet, as_lists, labels_of
from automl_images.metrics import detection_metrics
from automl_images.models import catalogue
from automl_images.prediction.detector import detect
from automl_images.training.module import Trial
from automl_images.training.problem import Machine, Problem, loaders

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class DetectionTrial(Trial):
    """A detector being trained; ``validation`` are the samples that evaluations score."""

    validation: Samples

    def loss_parts(self, batch: Batch) -> dict[str, Tensor]:  # noqa: D102
        return self.model.losses(*batch)

    def validation_step(self, batch: tuple[list[Tensor], list[int]], _: int) -> None:  # noqa: D102
        images, indices = batch
        self._found.update(zip(indices, detect(self.model, images, self.device), strict=True))

    def score(self, found: Mapping[int, Any]) -> dict[str, Any]:  # noqa: D102
        order = sorted(found)
        return detection_metrics(
            [self.validation.truth(i) for i in order],
            [found[i] for i in order],
            self.classes,
            self.settings["validation_metric_type"],
            self.settings["validation_iou_threshold"],
            self.settings["box_score_thresh"],
        )


def detection_problem(
    task: str,
    settings: Mapping[str, Any],
    training: Sequence[Record],
    validation: Sequence[Record],
    weights: Mapping[str, Any],
    seed: int,
    machine: Machine,
) -> Problem:
    """Return a detector's network and data; see :class:`automl_images.training.problem.Problem`.

    Raises:
        UserError: the data or the weights do not work.
    """
    classes = labels_of(training)
    samples, scored = Samples(training, classes), Samples(validation, classes)
    model, said = catalogue.initial(task, settings, classes, weights)
    augment = model.augmentation(samples.training, len(samples)) or rcnn_augmentation(samples.training)
    training_loader, validation_loader = loaders(
        machine, settings, TrainingSet(samples, augment, seed), EvaluationSet(scored), as_lists, seed
    )

    def trial(*arguments: Any) -> Trial:
        made = DetectionTrial(model, settings, classes, *arguments)
        made.validation = scored
        return made

    evaluated = settings["validation_metric_type"] != "none"
    precision = "bf16-mixed" if machine.on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    return Problem(model, said, classes, training_loader, validation_loader if evaluated else None, trial, precision)
