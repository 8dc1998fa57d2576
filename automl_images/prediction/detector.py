"""Predict with a detector: used by training's evaluations, the evaluate step, score files and the server alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from automl_images.data.detection import image_tensor
from automl_images.data.images import to_rgb
from automl_images.models import folder as model_folder

_NUMPY = {"boxes": np.float32, "scores": np.float32, "labels": np.int64}


@torch.inference_mode()
def detect(model: nn.Module, images: Sequence[torch.Tensor], device: torch.device) -> list[dict[str, np.ndarray]]:
    """Return all detections of a batch, those of very low score included.

    Args:
        model: a network of :func:`automl_images.models.catalogue.build`, in eval mode, on ``device``.
        images: uint8 [3, H, W] tensors.
        device: where to compute.

    Returns:
        For each image ``boxes`` float32 [n, 4] in its pixels, ``scores`` float32 [n] falling, ``labels`` int64 [n].
    """
    found = model.predict([image.to(device, non_blocking=True) for image in images])
    return [{k: f[k].float().cpu().numpy().astype(t) for k, t in _NUMPY.items()} for f in found]


def response(found: Mapping[str, np.ndarray], size: tuple[int, int], classes: Sequence[str], threshold: float) -> dict:
    """Return detections in Azure's response shape: corners in [0, 1], scores above ``threshold``, best first."""
    width, height = size
    corners = np.clip(found["boxes"] / np.array([width, height, width, height], dtype=np.float32), 0, 1)
    names = ("topX", "topY", "bottomX", "bottomY")
    return {
        "boxes": [
            {
                "box": dict(zip(names, (round(float(c), 6) for c in box), strict=True)),
                "label": classes[int(label)],
                "score": round(float(score), 6),
            }
            for box, label, score in zip(corners, found["labels"], found["scores"], strict=True)
            if score > threshold
        ]
    }


class Predictor:
    """A model folder that predicts.

    Args:
        folder: the model folder.
        overrides: settings to use instead of the folder's, such as ``box_score_thresh``.
        device: ``cpu``, ``cuda`` or None for the GPU if there is one.

    Raises:
        UserError: the folder is not a model folder.
    """

    def __init__(self, folder: Path, overrides: Mapping[str, Any] | None = None, device: str | None = None):
        model, self.task, self.settings, self.classes = model_folder.load(Path(folder), overrides)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device)

    def detections(self, batches: Iterable[list[np.ndarray]]) -> Iterable[dict[str, np.ndarray]]:
        """Yield the raw detections (see :func:`detect`) of uint8 [H, W, 3] images, batch by batch."""
        for batch in batches:
            yield from detect(self.model, [image_tensor(i) for i in batch], self.device)

    def predict(self, images: Sequence[Image.Image]) -> list[dict]:
        """Return Azure's response for each Pillow image: ``{"boxes": [{"box", "label", "score"}, ...]}``."""
        arrays = [to_rgb(image) for image in images]
        found = self.detections([[a] for a in arrays])
        threshold = self.settings["box_score_thresh"]
        return [
            response(f, (a.shape[1], a.shape[0]), self.classes, threshold) for f, a in zip(found, arrays, strict=True)
        ]
