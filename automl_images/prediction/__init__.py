"""A model folder in, predictions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from automl_images.tasks import part

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn


@dataclass
class ModelPredictor:
    """A loaded model folder, whatever its task; a family's own class has ``outputs``, ``respond`` and ``predict``.

    The network is in eval mode, on ``device``; the settings are complete, with what replaced the folder's own.
    ``working_point`` has the settings of the best F1 on validation, which what is shown to people goes by: an endpoint
    answers by ``settings`` alone. It is empty where none is known.
    """

    model: nn.Module
    task: str
    settings: dict[str, Any]
    classes: list[str]
    device: torch.device
    working_point: dict[str, Any] = field(default_factory=dict)

    def outputs(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[Any]:
        """Yield what the model finds on each of uint8 [H, W, 3] images of any sizes, as the task's metrics take it."""
        raise NotImplementedError

    def respond(self, output: Any) -> dict[str, Any]:
        """Return Azure's response for an image, of what ``outputs`` yielded for it."""
        raise NotImplementedError

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image.

        Detection ``{"boxes": [{"box", "label", "score"}, ...]}``; classification ``{"probs": [...], "labels": [...]}``;
        segmentation, which Azure lacks, ``{"classes": [...], "regions": [{"label", "rle"}, ...]}``.
        """
        raise NotImplementedError


class Family(Protocol):
    """What `prediction/<family>.py` has."""

    Predictor: type[ModelPredictor]


def load_model(folder: str | Path, *, device: str | None = None, **overrides: Any) -> ModelPredictor:
    """Return the predictor of a local model folder, on ``cpu``, ``cuda`` or, with None, the GPU if there is one.

    It may be an exported model too: an ``.onnx`` file, or a folder with ``model.onnx`` and without ``model.pt``.

    ``overrides`` are settings to use instead of the folder's, such as ``box_score_thresh``; what they say is no part of
    the predictor's ``working_point``.

    Raises:
        UserError: the folder is not a model folder, its weights do not fit its settings, or an override does not fit
            the model.
    """
    import torch

    from automl_images.hyperparameters import check_inference
    from automl_images.models import folder as model_folder
    from automl_images.models import onnx_models

    if file := onnx_models.file_in(Path(folder)):
        exported = onnx_models.load(file, overrides, gpu=device != "cpu")
        given = check_inference(exported.settings["model_name"], overrides)
        point = {n: value for n, value in exported.working_point.items() if n not in given}
        exported_family: Family = part("prediction", exported.task)
        return exported_family.Predictor(*exported[:4], torch.device("cpu"), point)
    model, task, settings, classes = model_folder.load(Path(folder), overrides)
    family: Family = part("prediction", task)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    given = check_inference(settings["model_name"], overrides)
    point = {n: value for n, value in model_folder.best_threshold(Path(folder)).items() if n not in given}
    return family.Predictor(model.to(chosen), task, settings, classes, chosen, point)
