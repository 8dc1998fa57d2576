"""Fit one trial: from records and settings to the best epoch's model, resuming where a checkpoint says."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from automl_images.environment import COMPUTE
from automl_images.errors import CheckpointError, UserError
from automl_images.models import folder as model_folder
from automl_images.models.freeze import freeze
from automl_images.tasks import part
from automl_images.training import Family
from automl_images.training import callbacks as own
from automl_images.training.callbacks import Journal, say
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine
from automl_images.training.module import Module, Prepared
from automl_images.training.processes import together
from automl_images.training.progress import Progress

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}  # Lightning's names


@dataclass(frozen=True)
class Fitted:
    """What a trial came to."""

    best: dict[str, Any] | None  # `metric`, `value`, `epoch` and all `metrics` of the best evaluation
    reason: str | None  # why it ended before its last epoch
    stopped: bool  # by the journal, rather than by its own early stopping


def fit(job: Job, journal: Journal, callbacks: Sequence[pl.Callback] = ()) -> Fitted:
    """Train a model and hand the best epoch's model folder to the journal.

    All GPUs that CUDA shows train together, and share each batch. A batch that is too large for the memory of one GPU
    is halved, and twice as many are accumulated, from the first epoch on; of several GPUs that is an error.

    The journal takes evaluations, models and checkpoints, and may stop the trial. Lightning's ``callbacks`` are called
    after the trial's own.

    Raises:
        CheckpointError: the job's checkpoint is of another network or optimiser; nothing has been trained.
        UserError: the data, the weights or the settings do not work, or training diverged.
    """
    _quiet()
    if not job.validation:
        raise UserError("validation data: has no image; raise split_ratio or give data.validation")
    machine, compute = Machine.here(), Compute()
    if job.checkpoint:
        compute = Compute.read(job.checkpoint)
    elif machine.rank and COMPUTE in os.environ:
        compute = Compute.of_json(os.environ[COMPUTE])
    job = job.computed_with(compute, job.checkpoint)
    with together(machine):
        while True:
            try:
                return _attempt(job, compute, machine, journal, callbacks)
            except torch.OutOfMemoryError:
                pass  # the error holds the frames that hold the memory, until here
            gc.collect()  # a trainer and its module know each other
            torch.cuda.empty_cache()
            size = job.settings["training_batch_size"]
            if size == 1 or machine.processes > 1:
                raise UserError(f"out of GPU memory with training_batch_size {size}; lower it, or use a smaller model")
            compute = compute.halved(job.settings)
            job = job.computed_with(compute, None)
            smaller = ", ".join(f"{name} {value}" for name, value in compute.batch().items())
            say(f"out of GPU memory with training_batch_size {size}: beginning again with {smaller}")


def _attempt(
    job: Job, compute: Compute, machine: Machine, journal: Journal, callbacks: Sequence[pl.Callback]
) -> Fitted:
    pl.seed_everything(job.seed % 2**32, verbose=False)  # numpy takes no more; a trial's seed may be above
    with tempfile.TemporaryDirectory(prefix="automl-images-") as scratch:
        family: Family = part("training", job.task)
        prepared = family.prepare(job, compute, machine, Path(scratch))
        os.environ[COMPUTE] = prepared.compute.to_json()
        frozen = freeze(prepared.module.model, job.settings["model_name"], job.settings["layers_to_freeze"])
        if frozen:
            prepared.note += f"; frozen: {', '.join(frozen)}"
        return _fit(job, prepared, journal, machine, Path(scratch), callbacks)


def _fit(
    job: Job, prepared: Prepared, journal: Journal, machine: Machine, scratch: Path, more: Sequence[pl.Callback]
) -> Fitted:
    module, settings = prepared.module, job.settings
    described: dict[str, Any]
    metric, described = module.primary_metric, {"task": job.task, "settings": settings, "classes": module.classes}
    if job.checkpoint:
        _check_fits(job.checkpoint, module)
    evaluated, background, history = prepared.validation is not None, own.Background(), own.History()

    def save(folder: Path, trained: Module, metrics: Mapping[str, Any]) -> None:
        model_folder.save(folder, trained.model, **described, metrics=metrics)

    frequency = settings["evaluation_frequency"]
    progress = Progress(len(job.training), frequency if evaluated else 0, journal.progressed)
    evaluations = own.Evaluations(journal, scratch / "model", save, frequency, background, history, progress)
    stopping = own.DelayedEarlyStopping(metric, settings)
    callbacks: list[pl.Callback] = [
        history,
        *([evaluations] if evaluated else []),
        *([stopping] if evaluated and settings["early_stopping"] else []),
        *([own.KeptEpochs(evaluations, settings["checkpoint_frequency"])] if settings["checkpoint_frequency"] else []),
        own.Checkpoints(journal, scratch / "checkpoint", background, prepared.compute),
        progress,
        *more,
    ]
    trainer = _trainer(settings, callbacks, prepared, machine)
    if not machine.rank:
        device, processes = trainer.strategy.root_device, machine.processes
        where = f"{processes} {device.type} processes" if processes > 1 else str(device)
        images = f"{len(job.training)} training and {len(job.validation) if evaluated else 0} validation images"
        say(f"{settings['model_name']}: {images}, {len(module.classes)} classes, on {where}; {prepared.note}")
        simplest = module.baseline().get(module.primary_metric) if evaluated else None
        if simplest is not None:
            say(f"baseline: {module.primary_metric} {simplest:.4f}, which a model reaches that looks at no image")
    trainer.fit(
        module,
        prepared.training,
        prepared.validation,
        ckpt_path=job.checkpoint / "trainer.ckpt" if job.checkpoint else None,
        weights_only=True,
    )
    if not evaluated:
        evaluations.keep(module, {"epoch": trainer.current_epoch}, journal.save_model)
    background.wait()
    reason = evaluations.reason
    if not reason and stopping.stopped_epoch:
        evaluated_to = f"{stopping.patience} evaluations up to epoch {stopping.stopped_epoch + 1}"
        reason = f"early_stopping: no better {metric} in {evaluated_to}"
    return Fitted(evaluations.best, reason, bool(evaluations.reason))


def _check_fits(checkpoint: Path, module: Module) -> None:
    content = torch.load(checkpoint / "trainer.ckpt", map_location="cpu", weights_only=True, mmap=True)
    held, wanted = ({n: tuple(t.shape) for n, t in d.items()} for d in (content["state_dict"], module.state_dict()))
    if held != wanted:
        name = min(n for n in held.keys() | wanted.keys() if held.get(n) != wanted.get(n))
        raise CheckpointError(f"its {name} is {held.get(name)}, the network's {wanted.get(name)}")
    optimizer = module.configure_optimizers()["optimizer"]
    then, now = (
        [len(group["params"]) for group in groups]
        for groups in (content["optimizer_states"][0]["param_groups"], optimizer.param_groups)
    )
    if then != now:
        raise CheckpointError(f"its optimiser has groups of {then} parameters, this version's of {now}")


def _trainer(
    settings: Mapping[str, Any], callbacks: list[pl.Callback], prepared: Prepared, machine: Machine
) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if machine.on_gpu else "cpu",
        devices=machine.processes,
        strategy="ddp" if machine.processes > 1 else "auto",
        precision=_PRECISIONS[str(prepared.compute.dtype)],  # type: ignore[arg-type]
        max_epochs=settings["number_of_epochs"],
        accumulate_grad_batches=settings["grad_accumulation_step"],
        check_val_every_n_epoch=settings["evaluation_frequency"],
        limit_val_batches=None if prepared.validation is not None else 0,
        gradient_clip_val=prepared.module.model.gradient_clip,
        callbacks=callbacks,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _quiet() -> None:
    """Silence Lightning's notes on hardware and workers, which tell a user of a trial nothing to act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # all processes log the same metric, scored on what all have found, so there is nothing to synchronise
    texts = "does not have many workers|number of training batches|lr_scheduler.step|no `val_data|sync_dist=True"
    warnings.filterwarnings("ignore", message=f".*({texts}|in eval mode at the start)")
    warnings.filterwarnings("ignore", category=FutureWarning)
