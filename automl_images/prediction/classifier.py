"""Predict with a classifier: used by training's evaluations, the evaluate step, score files and the server alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from automl_images.data.classification import evaluation_image
from automl_images.data.images import to_rgb
from automl_images.hyperparameters.sizes import check_sizes
from automl_images.models import folder as model_folder
from automl_images.tasks import TASKS


def probabilities(logits: torch.Tensor, multilabel: bool) -> torch.Tensor:
    """Return float32 [B, C]: the sigmoid of each logit for multi-label, else the softmax of each row."""
    logits = logits.float()
    return logits.sigmoid() if multilabel else logits.softmax(dim=1)


@torch.inference_mode()
def classify(model: nn.Module, images: torch.Tensor, multilabel: bool) -> np.ndarray:
    """Return the probability of each class for each image of a batch: float32 [B, C].

    Args:
        model: a `models.classifier.Classifier` in eval mode.
        images: uint8 [B, 3, H, W], as :func:`automl_images.data.classification.evaluation_image` sizes them, on any
            device; they are moved to the model's.
        multilabel: whether an image may have any number of labels.
    """
    device = next(model.parameters()).device
    return probabilities(model(images.to(device, non_blocking=True)), multilabel).cpu().numpy()


class ClassifierPredictor:
    """A classifier's model folder that predicts.

    Args:
        folder: the model folder.
        overrides: settings to use instead of the folder's, such as ``validation_batch_size``.
        device: ``cpu``, ``cuda`` or None for the GPU if there is one.

    Raises:
        UserError: the folder is not a model folder, or the model does not take a size among the overrides.
    """

    def __init__(self, folder: Path, overrides: Mapping[str, Any] | None = None, device: str | None = None):
        model, self.task, self.settings, self.classes = model_folder.load(Path(folder), overrides)
        if overrides:
            check_sizes(self.settings)
        self.multilabel = TASKS[self.task].label == "classes"
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device)

    def probabilities(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        """Yield the probabilities float32 [B, C] of batches of uint8 [H, W, 3] images of any sizes."""
        for batch in batches:
            sized = np.stack([evaluation_image(image, self.settings) for image in batch])
            images = torch.from_numpy(sized.transpose(0, 3, 1, 2).copy())
            yield classify(self.model, images, self.multilabel)

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image: ``{"probs": [one for each class], "labels": [the classes]}``.

        One label an image: the probabilities add up to 1. Multi-label: each is on its own.
        """
        size = self.settings["validation_batch_size"]
        batches = ([to_rgb(i) for i in images[k : k + size]] for k in range(0, len(images), size))
        return [response(row, self.classes) for probs in self.probabilities(batches) for row in probs]


def response(probs: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the probabilities [C] of one image in Azure's response shape, with six decimals."""
    return {"probs": [round(float(p), 6) for p in probs], "labels": list(classes)}
