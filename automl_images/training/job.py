"""What is trained, and what it is computed with."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from automl_images.annotations.records import Record
from automl_images.errors import UserError


@dataclass(frozen=True)
class Job:
    """One trial.

    Attributes:
        task, settings: the task's name; complete settings, of :func:`automl_images.hyperparameters.resolve`.
        training, validation: the records.
        weights: the experiment's ``weights``.
        seed: all that is drawn depends on it and on the epoch.
        checkpoint: a checkpoint folder to resume from, or None.
        computing: from a kind of machine and a function that chooses to what is computed with there: the choice of the
            sweep's first trial, as `automl_images.sweep.computing.Computing.chosen` has it. A trial alone chooses.
    """

    task: str
    settings: Mapping[str, Any]
    training: Sequence[Record]
    validation: Sequence[Record]
    weights: Mapping[str, Any]
    seed: int
    checkpoint: Path | None = None
    computing: Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]] = lambda _, choose: choose()

    def computed_with(self, compute: Compute, checkpoint: Path | None) -> Job:
        """Return the job with the batch of ``compute``, resuming from ``checkpoint``."""
        return dataclasses.replace(self, settings={**self.settings, **compute.batch()}, checkpoint=checkpoint)

    def check_counts(self, classes: Sequence[str]) -> None:
        """Raise UserError if ``num_classes`` or ``num_training_samples`` are given and not the training data's."""
        for name, found in (("num_classes", len(classes)), ("num_training_samples", len(self.training))):
            if self.settings[name] not in (None, found):
                given = f"{name}: {self.settings[name]} is given"
                raise UserError(f"{given}, and the training data has {found}; leave it out")


@dataclass(frozen=True)
class Compute:
    """What a trial computes with and must compute with again when it resumes; None where nothing was chosen.

    Attributes:
        dtype: ``float32``, or ``bfloat16`` or ``float16`` under autocast.
        channels_last: whether weights and images lie with channels last in memory.
        training_batch_size, grad_accumulation_step: the settings' halved and doubled, once whole batches did not fit.
    """

    FILE: ClassVar[str] = "compute.json"  # in a checkpoint folder

    dtype: str | None = None
    channels_last: bool = False
    training_batch_size: int | None = None
    grad_accumulation_step: int | None = None

    def batch(self) -> dict[str, int]:
        """Return the settings that stand in place of the trial's own: those of a halved batch, or none."""
        return {name: value for name, value in vars(self).items() if name not in ("dtype", "channels_last") and value}

    def halved(self, settings: Mapping[str, Any]) -> Compute:
        """Return the same with half of the batch of ``settings`` and twice as many accumulated."""
        size, accumulated = math.ceil(settings["training_batch_size"] / 2), 2 * settings["grad_accumulation_step"]
        return dataclasses.replace(self, training_batch_size=size, grad_accumulation_step=accumulated)

    def to_json(self) -> str:
        """Return what :meth:`of_json` reads."""
        return json.dumps(vars(self))

    @classmethod
    def of_json(cls, text: str) -> Compute:
        """Return what :meth:`to_json` wrote, or an earlier version, with the batch in a mapping of its own."""
        content = json.loads(text)
        content |= content.pop("batch", {})
        return cls(**{f.name: content[f.name] for f in dataclasses.fields(cls) if f.name in content})

    @classmethod
    def read(cls, checkpoint: Path) -> Compute:
        """Return a checkpoint folder's; an earlier version named the file ``layout.json``."""
        file = checkpoint / cls.FILE
        return cls.of_json((file if file.exists() else checkpoint / "layout.json").read_text())
