"""What a task brings to the loop, and what the machine brings."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from joblib import cpu_count
from torch import nn
from torch.utils.data import DataLoader

from automl_images.data.sampler import EpochSampler
from automl_images.training.module import Trial


@dataclass(frozen=True)
class Machine:
    """The processes that train one trial: one a GPU; without GPUs one, or as many as are asked for.

    Attributes:
        on_gpu: whether there is a GPU.
        processes: how many train together.
        rank: which of them this is.
    """

    on_gpu: bool
    processes: int
    rank: int

    @classmethod
    def here(cls) -> Machine:
        """Return this machine: all GPUs that CUDA shows; ``AUTOML_IMAGES_PROCESSES`` asks for processes on a CPU."""
        on_gpu = torch.cuda.is_available()
        processes = torch.cuda.device_count() if on_gpu else int(os.environ.get("AUTOML_IMAGES_PROCESSES", "1"))
        return cls(on_gpu, processes, rank())

    def share(self, batch_size: int) -> int:
        """Return the images of a batch that each process takes, rounded up."""
        return math.ceil(batch_size / self.processes)

    def part(self, size: int) -> range:
        """Return the indices of a data set that this process evaluates; each is one process's alone.

        With fewer images than processes some are evaluated twice: a process without any would not take part.
        """
        return range(self.rank % size, size, self.processes)

    def loading(self, most: int = 8) -> dict[str, Any]:
        """Return how a loader works: in processes of its own beside a GPU; a CPU has its hands full."""
        lanes = int(os.environ.get("AUTOML_IMAGES_LANES_HERE", "1"))
        cores = cpu_count() // (lanes * self.processes) - 1
        workers = max(1, min(most, cores)) if self.on_gpu else 0
        more = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
        return {"num_workers": workers, "pin_memory": self.on_gpu, **more}


def loaders(
    machine: Machine,
    settings: Mapping[str, Any],
    training: Any,
    validation: Any,
    collate: Callable[[Any], Any],
    seed: int,
    workers: int = 8,
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return the loaders of this process's share of training batches and of validation images.

    Args:
        machine: whose processes share them.
        settings: complete settings.
        training: a data set by (epoch, index).
        validation: a data set by index.
        collate: makes a batch of what they give.
        seed: the trial's; the order of training images depends on it.
        workers: processes that load training batches beside a GPU, at most.
    """
    learned: DataLoader[Any] = DataLoader(
        training,
        batch_size=machine.share(settings["training_batch_size"]),
        sampler=EpochSampler(len(training), seed, machine.processes, machine.rank),
        collate_fn=collate,
        **machine.loading(workers),
    )
    scored: DataLoader[Any] = DataLoader(
        validation,
        batch_size=settings["validation_batch_size"],
        sampler=machine.part(len(validation)),
        collate_fn=collate,
        **machine.loading(2),
    )
    return learned, scored


def rank() -> int:
    """Return which of a trial's processes this is; 0 is the one that reports."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@dataclass
class Problem:
    """A task's network and data, ready for the loop.

    Attributes:
        model: the network as training starts.
        said: what its weights are, for people.
        classes: the labels.
        training: the loader of batches that are learned from.
        validation: the loader of what evaluations score, or None for none.
        trial: makes the Lightning module from (steps an epoch, primary metric, seed).
        precision: Lightning's.
        layout: how the network computes, where that was measured; a resumed trial is given it again.
    """

    model: nn.Module
    said: str
    classes: list[str]
    training: DataLoader
    validation: DataLoader | None
    trial: Callable[[int, str, int], Trial]
    precision: str = "32-true"
    layout: dict[str, Any] = field(default_factory=dict)
