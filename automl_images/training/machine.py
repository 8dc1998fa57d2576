"""What the machine brings to the loop: processes, loaders, memory."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count
from torch.utils.data import DataLoader

from automl_images.data.sampler import EpochSampler
from automl_images.data.store import memory_budget
from automl_images.environment import PROCESSES, lanes_here, rank
from automl_images.models.compute import cpu_has_bfloat16
from automl_images.training.job import Job

_VALIDATION_SHARE = 0.2  # of the memory for decoded images


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
        processes = torch.cuda.device_count() if on_gpu else int(os.environ.get(PROCESSES, "1"))
        return cls(on_gpu, processes, rank())

    def kind(self) -> str:
        """Return the name of what computes: the GPU's, or the processor's with whether it multiplies bfloat16."""
        if self.on_gpu:
            return torch.cuda.get_device_name(self.rank)
        names: list[str] = []
        with contextlib.suppress(OSError):
            lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else platform.processor() or platform.machine()
        return name + (" with bfloat16" if cpu_has_bfloat16() else "")

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
        cores = cpu_count() // (lanes_here() * self.processes) - 1
        workers = max(1, min(most, cores)) if self.on_gpu else 0
        more = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
        return {"num_workers": workers, "pin_memory": self.on_gpu, **more}

    def image_memory(self) -> tuple[int, int]:
        """Return the bytes of decoded training and validation images that this process may keep for its loaders."""
        budget = memory_budget() // self.processes
        validation = int(budget * _VALIDATION_SHARE)
        return budget - validation, validation


def loaders(
    machine: Machine,
    job: Job,
    training: Any,
    validation: Any,
    collate: Callable[[Any], Any],
    workers: int = 8,
    aspects: Sequence[float] | None = None,
    scored_collate: Callable[[Any], Any] | None = None,
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return the loaders of this process's share of training batches and of validation images.

    Args:
        machine: whose processes share them.
        job: the trial; the order of training images depends on its seed.
        training, validation: data sets, by (epoch, index) and by index.
        collate: makes a batch of what they give.
        workers: processes that load training batches beside a GPU, at most.
        scored_collate: makes a batch of what is scored, if that is made otherwise.
        aspects: each training image's width by its height, if batches are to be of like shapes.
    """
    batch = machine.share(job.settings["training_batch_size"])
    learned: DataLoader[Any] = DataLoader(
        training,
        batch_size=batch,
        sampler=EpochSampler(len(training), job.seed, machine.processes, machine.rank, aspects, batch),
        collate_fn=collate,
        **machine.loading(workers),
    )
    scored: DataLoader[Any] = DataLoader(
        validation,
        batch_size=job.settings["validation_batch_size"],
        sampler=machine.part(len(validation)),
        collate_fn=scored_collate or collate,
        **machine.loading(2),
    )
    return learned, scored
