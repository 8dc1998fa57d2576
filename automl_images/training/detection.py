"""A detector's trial: its data, its losses, its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automl_images.annotations.records import size_of
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.augment_yolo import yolo_augmentation
from automl_images.data.detection import EvaluationSet, Samples, TrainingSet, as_lists, classes_of
from automl_images.data.tiles import Tiling, tiled
from automl_images.errors import UserError
from automl_images.metrics import detection_metrics
from automl_images.metrics.arrays import Sample
from automl_images.metrics.matching import best_thresholds, paired
from automl_images.models import catalogue
from automl_images.prediction.detection import detect
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine, loaders
from automl_images.training.module import Module, Prepared

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class DetectionModule(Module):
    """A detector being trained; ``validation`` are the samples that evaluations score."""

    def __init__(self, *shared: Any, validation: Samples):
        super().__init__(*shared)
        self.validation = validation

    def loss_parts(self, batch: Batch) -> dict[str, Tensor]:  # noqa: D102
        return self.model.losses(*batch)

    def find(self, images: list[Tensor]) -> list[dict[str, Any]]:  # noqa: D102
        return detect(self.model, images, self.device, Tiling.of(self.settings))

    def score(self, found: Mapping[int, Any]) -> dict[str, Any]:  # noqa: D102
        order = sorted(found)
        truth, detections = [self.validation.truth(i, found[i]["size"]) for i in order], [found[i] for i in order]
        kind, iou = self.settings["validation_metric_type"], self.settings["validation_iou_threshold"]
        metrics = detection_metrics(truth, detections, self.classes, kind, iou, self.settings["box_score_thresh"])
        pairing = paired(truth, detections, self.classes, iou)
        return metrics | {"thresholds": best_thresholds(pairing, self.classes, iou)}

    def baseline(self) -> dict[str, float | None]:  # noqa: D102
        return {self.primary_metric: 0.0}  # of a model that finds nothing


def prepare(job: Job, compute: Compute, machine: Machine, scratch: Path) -> Prepared:
    """Return a detector's network and data; see :class:`automl_images.training.Family`."""
    return prepared(job, compute, machine, scratch, Samples)


def prepared(job: Job, compute: Compute, machine: Machine, scratch: Path, kind: type[Samples]) -> Prepared:
    """Return a detector's network and data; ``kind`` makes samples of records."""
    classes, settings = classes_of(job.training), job.settings
    memory = machine.image_memory()
    scored = kind(job.validation, classes, memory[1])
    evaluated = settings["validation_metric_type"] != "none"
    if evaluated and all(one.isCrowd for objects in scored.objects for one in objects):
        raise UserError(
            "validation data: no image has an object to find, so mean_average_precision is undefined; give images "
            "with objects, or set validation_metric_type: none to train without evaluations"
        )
    model, note = catalogue.initial(job.task, settings, classes, job.weights)
    # of squares nothing larger is seen, but on tiles
    shrunk = {"longest": model.size, "scratch": scratch / f"training-{machine.rank}"}
    samples = kind(job.training, classes, memory[0], **({} if not model.size or Tiling.of(settings) else shrunk))
    samples.store.fill()
    if evaluated:
        scored.store.fill()
    learned = tiled(samples, settings)
    if more := len(learned) // len(samples) - 1:
        note += f"; each image with {more} tiles"
    note += model.adapt(lambda: _shapes(samples, settings))
    if model.size:
        augment = yolo_augmentation(learned.training, len(learned), model.size, settings)
    else:
        augment = rcnn_augmentation(learned.training)
    training, validation = loaders(
        machine,
        job,
        TrainingSet(learned, augment, job.seed),
        EvaluationSet(scored),
        as_lists,
        aspects=None if model.size else learned.aspects(),
    )
    if not compute.dtype:
        dtype = "bfloat16" if machine.on_gpu and torch.cuda.is_bf16_supported() else "float32"
        compute = dataclasses.replace(compute, dtype=dtype)
    module = DetectionModule(job, model, classes, len(training), validation=scored)
    return Prepared(module, training, validation if evaluated else None, compute, note)


class _Outlines:
    """Samples without pixels: what tiles leave of the objects is known without decoding an image."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def training(self, i: int) -> Sample:
        """Return image ``i``, black, with its objects but crowds."""
        record = self.samples.store.records[i]
        width, height = size_of(record.image_url, record.width, record.height)
        truth = self.samples.truth(i, (width, height))
        keep = ~truth["crowd"]
        black = np.broadcast_to(np.uint8(0), (height, width, 3))
        return Sample(black, truth["boxes"][keep].astype(np.float32), truth["labels"][keep])

    def aspects(self) -> list[float]:
        """Return the width by the height of each image."""
        return self.samples.aspects()


def _shapes(samples: Samples, settings: Mapping[str, Any]) -> np.ndarray:
    """Return width and height of each object that is learned, [n, 2], as shares of its image's longer side."""
    learned = tiled(_Outlines(samples), settings)
    shapes = [np.zeros((0, 2))]
    for i in range(len(learned)):
        one = learned.training(i)
        shapes.append((one.boxes[:, 2:] - one.boxes[:, :2]) / max(one.image.shape[:2]))
    return np.concatenate(shapes)
