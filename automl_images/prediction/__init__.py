"""A model folder in, predictions out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from automl_images.tasks import TASKS

if TYPE_CHECKING:
    import torch
    from PIL import Image


class ModelPredictor(Protocol):
    """A loaded model folder, whatever its task.

    Attributes:
        task: the task's name.
        settings: complete settings, with what replaced the folder's own.
        classes: the labels, in the model's order.
        device: where it computes.
    """

    task: str
    settings: dict[str, Any]
    classes: list[str]
    device: torch.device

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image.

        Detection ``{"boxes": [{"box", "label", "score"}, ...]}``; classification ``{"probs": [...], "labels": [...]}``.
        """
        ...


def load_model(folder: str | Path, *, device: str | None = None, **overrides: Any) -> ModelPredictor:
    """Return the predictor of a model folder.

    Args:
        folder: a local model folder.
        device: ``cpu``, ``cuda`` or None for the GPU if there is one.
        overrides: settings to use instead of the folder's, such as ``box_score_thresh``.

    Raises:
        UserError: the folder is not a model folder, or its weights do not fit its settings.
    """
    if _label_kind(Path(folder)) in ("class", "classes"):
        from automl_images.prediction.classifier import ClassifierPredictor

        return ClassifierPredictor(Path(folder), overrides, device)
    from automl_images.prediction.detector import Predictor

    return Predictor(Path(folder), overrides, device)


def _label_kind(folder: Path) -> str | None:
    try:
        return TASKS[json.loads((folder / "settings.json").read_text())["task"]].label
    except (OSError, ValueError, LookupError, TypeError):
        return None  # loading says what is wrong with the folder


__all__ = ["ModelPredictor", "load_model"]
