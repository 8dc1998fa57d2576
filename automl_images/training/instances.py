"""The trial of a detector with masks: detection's, on samples with masks."""

from __future__ import annotations

from pathlib import Path

from automl_images.data.instances import InstanceSamples
from automl_images.training.detection import prepared
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine
from automl_images.training.module import Prepared


def prepare(job: Job, compute: Compute, machine: Machine, scratch: Path) -> Prepared:
    """Return the network and data of a detector with masks; see :class:`automl_images.training.Family`."""
    return prepared(job, compute, machine, scratch, InstanceSamples)
