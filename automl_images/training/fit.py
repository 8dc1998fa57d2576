"""Fit one trial: from records and settings to the best epoch's model, resuming where a checkpoint says."""

from __future__ import annotations

import gc
import json
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

from automl_images.annotations.records import Record
from automl_images.errors import UserError
from automl_images.models import folder as model_folder
from automl_images.models.freeze import freeze
from automl_images.tasks import get_task
from automl_images.training.callbacks import (
    Background,
    Checkpoints,
    DelayedEarlyStopping,
    Evaluations,
    Journal,
    KeptEpochs,
    say,
)
from automl_images.training.problem import Machine, Problem
from automl_images.training.together import together

_LAYOUT = "AUTOML_IMAGES_LAYOUT"  # from a trial's first process to its others


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

    All GPUs that CUDA shows train together, and share each batch. A batch that is too large for the memory of one GPU
    is halved, and twice as many are accumulated, from the first epoch on; of several GPUs that is an error.

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
    if not validation:
        raise UserError("validation data: has no image; raise split_ratio or give data.validation")
    machine = Machine.here()
    layout = json.loads(os.environ[_LAYOUT]) if machine.rank and _LAYOUT in os.environ else {}
    if checkpoint:
        resumed = json.loads((checkpoint / "layout.json").read_text())
        layout, settings = resumed, {**settings, **resumed.get("batch", {})}
    with together(machine):
        while True:
            try:
                pl.seed_everything(seed % 2**32, verbose=False)  # numpy takes no more; a trial's seed may be above
                with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
                    problem = _problem(
                        task, settings, training, validation, weights, seed, machine, Path(scratch), layout
                    )
                    return _fit(task, settings, problem, journal, seed, machine, Path(scratch), checkpoint)
            except torch.OutOfMemoryError:
                pass  # the error holds the frames that hold the memory, until here
            problem = None
            gc.collect()  # a trainer and its module know each other
            torch.cuda.empty_cache()
            size = settings["training_batch_size"]
            if size == 1 or machine.processes > 1:
                raise UserError(f"out of GPU memory with training_batch_size {size}; lower it, or use a smaller model")
            smaller = {
                "training_batch_size": math.ceil(size / 2),
                "grad_accumulation_step": 2 * settings["grad_accumulation_step"],
            }
            settings, checkpoint = {**settings, **smaller}, None
            layout = {**layout, "batch": smaller}
            said = ", ".join(f"{name} {value}" for name, value in smaller.items())
            say(f"out of GPU memory with training_batch_size {size}: beginning again with {said}")


def _problem(
    task: str,
    settings: Mapping[str, Any],
    training: Sequence[Record],
    validation: Sequence[Record],
    weights: Mapping[str, Any],
    seed: int,
    machine: Machine,
    scratch: Path,
    layout: dict[str, Any],
) -> Problem:
    if get_task(task).label == "boxes":
        from automl_images.training.detection import detection_problem

        problem = detection_problem(task, settings, training, validation, weights, seed, machine)
        problem.layout = layout
    else:
        from automl_images.training.classification import classification_problem

        problem = classification_problem(task, settings, training, validation, weights, seed, machine, scratch, layout)
        os.environ[_LAYOUT] = json.dumps(problem.layout)
    frozen = freeze(problem.model, settings["model_name"], settings["layers_to_freeze"])
    if frozen:
        problem.said += f"; frozen: {', '.join(frozen)}"
    return problem


def _fit(
    task: str,
    settings: Mapping[str, Any],
    problem: Problem,
    journal: Journal,
    seed: int,
    machine: Machine,
    scratch: Path,
    checkpoint: Path | None,
) -> Fitted:
    metric = get_task(task).primary_metric
    steps = math.ceil(len(problem.training) / settings["grad_accumulation_step"])
    module = problem.trial(steps, metric, seed)
    evaluated, background = problem.validation is not None, Background()

    def save(folder: Path, trained: pl.LightningModule, metrics: Mapping[str, Any]) -> None:
        model_folder.save(folder, trained.model, task=task, settings=settings, classes=problem.classes, metrics=metrics)

    evaluations = Evaluations(journal, scratch / "model", save, settings["evaluation_frequency"], background)
    stopping = DelayedEarlyStopping(
        metric, *(settings[f"early_stopping_{n}"] for n in ("patience", "delay", "min_epochs", "tolerance"))
    )
    callbacks: list[pl.Callback] = [
        *([evaluations] if evaluated else []),
        *([stopping] if evaluated and settings["early_stopping"] else []),
        *([KeptEpochs(evaluations, settings["checkpoint_frequency"])] if settings["checkpoint_frequency"] else []),
        Checkpoints(journal, scratch / "checkpoint", background, problem.layout),
    ]
    trainer = _trainer(settings, callbacks, problem, machine)
    if not machine.rank:
        sizes = (len(loader.dataset) if loader else 0 for loader in (problem.training, problem.validation))
        say(
            "{}: {} training and {} validation images, {} classes, on {}; {}".format(
                settings["model_name"], *sizes, len(problem.classes), _where(machine, trainer), problem.said
            )
        )
    trainer.fit(
        module,
        problem.training,
        problem.validation,
        ckpt_path=checkpoint / "trainer.ckpt" if checkpoint else None,
        weights_only=True,
    )
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
    settings: Mapping[str, Any], callbacks: list[pl.Callback], problem: Problem, machine: Machine
) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if machine.on_gpu else "cpu",
        devices=machine.processes,
        strategy="ddp" if machine.processes > 1 else "auto",
        precision=problem.precision,  # type: ignore[arg-type]
        max_epochs=settings["number_of_epochs"],
        accumulate_grad_batches=settings["grad_accumulation_step"],
        check_val_every_n_epoch=settings["evaluation_frequency"],
        limit_val_batches=None if problem.validation is not None else 0,
        gradient_clip_val=problem.model.gradient_clip,
        callbacks=callbacks,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _where(machine: Machine, trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    return f"{machine.processes} {device.type} processes" if machine.processes > 1 else str(device)


def _quiet() -> None:
    """Silence Lightning's notes on hardware and workers, which tell a user of a trial nothing to act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # all processes log the same metric, scored on what all have found, so there is nothing to synchronise
    for text in (
        "does not have many workers",
        "number of training batches",
        "lr_scheduler.step",
        "no `val_data",
        "sync_dist=True",
        "in eval mode at the start",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
