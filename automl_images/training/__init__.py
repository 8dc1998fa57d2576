"""Fit one trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from automl_images.training.job import Compute, Job
    from automl_images.training.machine import Machine
    from automl_images.training.module import Prepared


class Family(Protocol):
    """What `training/<family>.py` has."""

    def prepare(self, job: Job, compute: Compute, machine: Machine, scratch: Path) -> Prepared:
        """Return a trial's network and data, ready for the loop.

        Args:
            job: the trial.
            compute: what an earlier attempt computed with; where it does not say, this attempt chooses.
            machine: the processes that train.
            scratch: a folder for files that the trial needs while it runs.

        Raises:
            UserError: the data or the weights do not work.
        """
        ...


__all__ = ["Family"]
