"""Predict with a classifier: used by training's evaluations, the evaluate step, score files and the server alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from automl_images.data.classification import evaluation_image, is_multilabel
from automl_images.data.images import to_rgb
from automl_images.hyperparameters.sizes import check_sizes
from automl_images.models.compute import full_precision
from automl_images.prediction import ModelPredictor


@torch.inference_mode()
def classify(model: nn.Module, images: torch.Tensor, multilabel: bool) -> np.ndarray:
    """Return the probability of each class for each image of a batch: float32 [B, C].

    Args:
        model: a `models.classifier.Classifier` in eval mode.
        images: uint8 [B, 3, H, W], as :func:`automl_images.data.classification.evaluation_image` sizes them, on any
            device; they are moved to the model's.
        multilabel: whether an image may have any number of labels: a sigmoid for each logit, else a row's softmax.
    """
    device = next(model.parameters()).device
    with full_precision(device):
        logits = model(images.to(device, non_blocking=True)).float()
    return (logits.sigmoid() if multilabel else logits.softmax(dim=1)).cpu().numpy()


class Predictor(ModelPredictor):
    """A classifier that predicts; UserError if the model does not take a size among the settings."""

    def __init__(self, *loaded: Any):
        super().__init__(*loaded)
        check_sizes(self.settings)
        self.multilabel = is_multilabel(self.task)

    def outputs(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        """Yield the probabilities float32 [C] of each of uint8 [H, W, 3] images of any sizes, batch by batch."""
        for batch in batches:
            sized = np.stack([evaluation_image(image, self.settings) for image in batch])
            images = torch.from_numpy(sized.transpose(0, 3, 1, 2).copy())
            yield from classify(self.model, images, self.multilabel)

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image: ``{"probs": [one for each class], "labels": [the classes]}``.

        One label an image: the probabilities add up to 1. Multi-label: each is on its own.
        """
        size = self.settings["validation_batch_size"]
        batches = ([to_rgb(i) for i in images[k : k + size]] for k in range(0, len(images), size))
        return [self.respond(probs) for probs in self.outputs(batches)]

    def respond(self, output: np.ndarray) -> dict[str, Any]:
        """Return Azure's response for the probabilities of an image."""
        return response(output, self.classes)


def response(probs: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the probabilities [C] of one image in Azure's response shape, with six decimals."""
    return {"probs": [round(float(p), 6) for p in probs], "labels": list(classes)}
