"""Fit one trial: from records and settings to the best epoch's model, resuming where a checkpoint says."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from automl_images.annotations.records import Record
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.detection import EpochSampler, EvaluationSet, Samples, TrainingSet, as_lists, labels_of
from automl_images.errors import UserError
from automl_images.models import catalogue
from automl_images.models import folder as model_folder
from automl_images.tasks import get_task
from automl_images.training.callbacks import (
    Background,
    Checkpoints,
    DelayedEarlyStopping,
    Evaluations,
    Journal,
    say,
)
from automl_images.training.module import DetectionTrial


@dataclass(frozen=True)
class Fitted:
    """What a trial came to.

    Attributes:
        best: ``metric``, ``value``, ``epoch`` and all ``metrics`` of the best evaluation; None without evaluations.
        reason: why it ended before its last epoch, or None.
        stopped: whether something outside the trial ended it (the journal), rather than its own early stopping.
    """

    best: dict[str, Any] | None
    reason: str | None
    stopped: bool


def fit(
    task: str,
    settings: Mapping[str, Any],
    training: Sequence[Record],
    validation: Sequence[Record],
    journal: Journal,
    *,
    weights: Mapping[str, Any],
    seed: int,
    checkpoint: Path | None = None,
) -> Fitted:
    """Train a model and hand the best epoch's model folder to the journal.

    Args:
        task: the task's name.
        settings: complete settings, of :func:`automl_images.hyperparameters.resolve`.
        training, validation: the records.
        journal: takes evaluations, models and checkpoints, and may stop the trial.
        weights: the experiment's ``weights``.
        seed: all that is drawn depends on it and on the epoch.
        checkpoint: a checkpoint folder to resume from.

    Raises:
        UserError: the data, the weights or the settings do not work, or training diverged.
    """
    _quiet()
    classes = labels_of(training)
    samples, scored = Samples(training, classes), Samples(validation, classes)
    if not validation:
        raise UserError("validation data: has no image; raise split_ratio or give data.validation")
    pl.seed_everything(seed % 2**32, verbose=False)  # numpy takes no more; a trial's seed may be above
    model, said = catalogue.initial(task, settings, classes, weights)
    brings_its_own = getattr(model, "augmentation", None)
    augment = brings_its_own(samples.training, len(samples)) if brings_its_own else rcnn_augmentation(samples.training)
    workers = _workers()
    training_loader: DataLoader = DataLoader(
        TrainingSet(samples, augment, seed),
        batch_size=settings["training_batch_size"],
        sampler=EpochSampler(len(samples), seed),
        **_loading(workers),
    )
    validation_loader: DataLoader = DataLoader(
        EvaluationSet(scored), batch_size=settings["validation_batch_size"], **_loading(min(workers, 2))
    )
    metric = get_task(task).primary_metric
    steps = math.ceil(len(training_loader) / settings["grad_accumulation_step"])
    module = DetectionTrial(model, settings, classes, scored, steps, metric, seed)
    evaluated = settings["validation_metric_type"] != "none"
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        background = Background()

        def save(folder: Path, trained: pl.LightningModule, metrics: Mapping[str, Any]) -> None:
            model_folder.save(folder, trained.model, task=task, settings=settings, classes=classes, metrics=metrics)

        evaluations = Evaluations(journal, Path(scratch, "model"), save, settings["evaluation_frequency"], background)
        stopping = DelayedEarlyStopping(metric, settings["early_stopping_patience"], settings["early_stopping_delay"])
        trainer = _trainer(
            settings,
            [
                *([evaluations] if evaluated else []),
                *([stopping] if evaluated and settings["early_stopping"] else []),
                Checkpoints(journal, Path(scratch, "checkpoint"), background),
            ],
            evaluated,
            getattr(model, "gradient_clip", None),
        )
        say(
            f"{settings['model_name']}: {len(samples)} training and {len(scored)} validation images, "
            f"{len(classes)} classes, on {trainer.strategy.root_device}; {said}"
        )
        try:
            trainer.fit(
                module,
                training_loader,
                validation_loader if evaluated else None,
                ckpt_path=checkpoint / "trainer.ckpt" if checkpoint else None,
                weights_only=True,
            )
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"out of GPU memory with training_batch_size {settings['training_batch_size']}; "
                "lower it and raise grad_accumulation_step"
            ) from None
        if not evaluated:
            evaluations.keep(module, {"epoch": trainer.current_epoch})
        background.wait()
    reason = evaluations.reason
    if not reason and stopping.stopped_epoch:
        patience = settings["early_stopping_patience"]
        reason = (
            f"early_stopping: no better {metric} in {patience} evaluations up to epoch {stopping.stopped_epoch + 1}"
        )
    return Fitted(evaluations.best, reason, bool(evaluations.reason))


def _trainer(
    settings: Mapping[str, Any], callbacks: list[pl.Callback], evaluated: bool, clip: float | None
) -> pl.Trainer:
    on_gpu = torch.cuda.is_available()
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision="bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true",
        max_epochs=settings["number_of_epochs"],
        accumulate_grad_batches=settings["grad_accumulation_step"],
        check_val_every_n_epoch=settings["evaluation_frequency"],
        limit_val_batches=None if evaluated else 0,
        gradient_clip_val=clip,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _workers() -> int:
    """Return the processes that decode images: none on a CPU, which has its hands full, else this trial's share."""
    lanes = int(os.environ.get("AUTOML_IMAGES_LANES_HERE", "1"))
    return max(1, min(8, (os.cpu_count() or 1) // lanes - 1)) if torch.cuda.is_available() else 0


def _loading(workers: int) -> dict[str, Any]:
    more = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    return {"collate_fn": as_lists, "num_workers": workers, "pin_memory": torch.cuda.is_available(), **more}


def _quiet() -> None:
    """Silence Lightning's notes on hardware and workers, which tell a user of a trial nothing to act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in ("does not have many workers", "number of training batches", "lr_scheduler.step", "no `val_data"):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
