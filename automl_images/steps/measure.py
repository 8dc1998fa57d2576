"""A few steps of the real training, timed, in a process of its own: ``python -m automl_images.steps.measure FOLDER``.

FOLDER has ``training.jsonl`` and ``measure.json``: the ``task`` and the ``settings``. ``measured.json`` is written.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from automl_images.errors import UserError

BEGAN = time.monotonic()
STEPS, VALIDATED = 4, 8  # batches that train; images that validate


def measure(folder: Path) -> dict[str, Any]:
    """Train a few steps and return what they took.

    Returns:
        ``step``: seconds a training batch; ``steps``, how many were timed; ``image``: seconds an image on validation;
        ``start``: seconds before the first step; ``pretrained``: whether the model's published weights could be had;
        ``reason``: why not.

    Raises:
        UserError: the data or the settings do not train.
    """
    from lightning.pytorch.callbacks import Callback

    from automl_images.annotations import read_records
    from automl_images.annotations.overview import Overview
    from automl_images.hyperparameters import resolve
    from automl_images.tasks import get_task
    from automl_images.training.fit import fit
    from automl_images.training.job import Job

    class Clock(Callback):
        """When what of the epoch ended; a callback of Lightning's, which is imported here alone."""

        def __init__(self) -> None:
            self.steps: list[float] = []
            self.start = self.validation = self.validated = 0.0

        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = time.monotonic()

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps.append(time.monotonic())

        def on_validation_start(self, *_: Any) -> None:
            self.validation = time.monotonic()

        def on_validation_end(self, *_: Any) -> None:
            self.validated = time.monotonic()

    asked = json.loads((folder / "measure.json").read_text())
    settings = resolve(asked["task"], {**asked["settings"], "number_of_epochs": 1})
    pretrained, reason = _published(settings["model_name"])
    overview = Overview(read_records(str(folder / "training.jsonl"), get_task(asked["task"]).label))
    some = overview.examples(STEPS * settings["training_batch_size"])
    checked, clock = some[:VALIDATED], Clock()
    weights = {"pretrained": pretrained, "source": None}
    fit(Job(asked["task"], settings, some, checked, weights, seed=0), _Nowhere(), [clock])
    first, *later = clock.steps
    return {
        "step": (later[-1] - first) / len(later) if later else first - clock.start,
        "steps": len(later) or 1,  # the first warms up, and is left out where it can be
        "image": (clock.validated - clock.validation) / len(checked),
        "start": clock.start - BEGAN,
        "pretrained": pretrained,
        "reason": reason,
    }


def _published(model_name: str) -> tuple[bool, str | None]:
    """Return whether a model's published weights can be had, and why not; they are fetched if they can."""
    from automl_images.models.published import published

    try:
        published(model_name)
    except UserError as error:
        return False, str(error).removeprefix("weights.pretrained: ").partition(";")[0]
    return True, None


class _Nowhere:
    """A journal that keeps nothing."""

    def evaluated(self, score: Any) -> None:
        pass

    def progressed(self, pace: Any) -> None:
        pass

    def save_model(self, folder: Path) -> None:
        pass

    def save_epoch(self, folder: Path, epoch: int) -> None:
        pass

    def save_checkpoint(self, folder: Path, epoch: int) -> None:
        pass


def main() -> int:
    """Measure what the argument's folder asks for."""
    from automl_images.faults import explained

    folder = Path(sys.argv[1])
    try:
        with explained():
            measured = measure(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (folder / "measured.json").write_text(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
