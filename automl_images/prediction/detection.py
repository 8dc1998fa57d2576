"""Predict with a detector: used by training's evaluations, the evaluate step, score files and the server alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from automl_images.data.detection import image_tensor
from automl_images.data.images import to_rgb
from automl_images.models.compute import full_precision
from automl_images.prediction import ModelPredictor

_NUMPY = {"boxes": np.float64, "scores": np.float64, "labels": np.int64}


@torch.inference_mode()
def detect(model: Any, images: Sequence[torch.Tensor], device: torch.device) -> list[dict[str, Any]]:
    """Return all detections of a batch of uint8 [3, H, W] images, those of very low score included.

    The detector is in eval mode, on ``device``. For each image ``boxes`` float64 [n, 4] in its pixels, ``scores``
    float64 [n] falling, ``labels`` int64 [n]; ``size``: its width and height; of a model with masks ``masks``, a list
    of n of COCO's run lengths of the whole image, ``{"size": [height, width], "counts": bytes}``.
    """
    with full_precision(device):
        outputs = model.predict([image.to(device, non_blocking=True) for image in images])
    return [
        {k: output[k].float().cpu().numpy().astype(t) for k, t in _NUMPY.items()}
        | ({"masks": output["masks"]} if "masks" in output else {})
        | {"size": (image.shape[2], image.shape[1])}
        for output, image in zip(outputs, images, strict=True)
    ]


def response(found: Mapping[str, Any], classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return what :func:`detect` found on an image in Azure's response shape, scores above ``threshold``, best first.

    Corners are fractions of the image in [0, 1], here alone; both have six decimals.
    """
    corners = np.clip(found["boxes"] / (*found["size"], *found["size"]), 0, 1)
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


class Predictor(ModelPredictor):
    """A detector that predicts."""

    def outputs(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[dict[str, Any]]:
        """Yield what :func:`detect` finds on each of uint8 [H, W, 3] images, batch by batch."""
        for batch in batches:
            yield from detect(self.model, [image_tensor(i) for i in batch], self.device)

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image: ``{"boxes": [{"box", "label", "score"}, ...]}``."""
        found = self.outputs([to_rgb(image)] for image in images)
        return [response(f, self.classes, self.settings["box_score_thresh"]) for f in found]
