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
        """Return a trial's network and data, ready for the loop; ``scratch`` is for files that it needs meanwhile.

        It computes as ``compute`` says, an earlier attempt's; where that does not say, this attempt chooses.

        Raises:
            UserError: the data or the weights do not work.
        """
