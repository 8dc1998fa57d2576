"""Predict with a detector: used by training's evaluations, the evaluate step, score files and the server alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from automl_images.data.detection import image_tensor
from automl_images.data.images import to_rgb
from automl_images.data.tiles import Tiling, Window
from automl_images.models.compute import full_precision
from automl_images.prediction import ModelPredictor
from automl_images.prediction.tiles import merged

_NUMPY = {"boxes": np.float64, "scores": np.float64, "labels": np.int64}


@torch.inference_mode()
def detect(
    model: Any, images: Sequence[torch.Tensor], device: torch.device, tiling: Tiling | None = None
) -> list[dict[str, Any]]:
    """Return all detections of a batch of uint8 [3, H, W] images, those of very low score included.

    The detector is in eval mode, on ``device``. With ``tiling`` it sees the whole images and their tiles, as many of
    them at a time as there are images, and what it finds is put together by :func:`merged`.

    For each image ``boxes`` float64 [n, 4] in its pixels, ``scores`` float64 [n] falling, ``labels`` int64 [n];
    ``size``: its width and height; of a model with masks ``masks``, a list of n of COCO's run lengths of the whole
    image, ``{"size": [height, width], "counts": bytes}``.
    """
    sizes = [(image.shape[2], image.shape[1]) for image in images]
    windows = [tiling.pieces(*size) if tiling else [Window(0, 0, *size)] for size in sizes]
    pieces = (
        image[:, w.top : w.bottom, w.left : w.right]
        for image, own in zip((i.to(device, non_blocking=True) for i in images), windows, strict=True)
        for w in own
    )
    found: list[dict[str, Any]] = []
    with full_precision(device):
        while batch := list(itertools.islice(pieces, len(images))):
            found += map(_arrays, model.predict(batch))
    parts = iter(found)
    return [
        {**(merged(list(itertools.islice(parts, len(own))), own, tiling) if tiling else next(parts)), "size": size}
        for own, size in zip(windows, sizes, strict=True)
    ]


def _arrays(output: Mapping[str, Any]) -> dict[str, Any]:
    masks = {"masks": output["masks"]} if "masks" in output else {}
    return {k: output[k].float().cpu().numpy().astype(t) for k, t in _NUMPY.items()} | masks


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
            yield from detect(self.model, [image_tensor(i) for i in batch], self.device, Tiling.of(self.settings))

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return Azure's response for each Pillow image: ``{"boxes": [{"box", "label", "score"}, ...]}``."""
        return [self.respond(found) for found in self.outputs([to_rgb(image)] for image in images)]

    def respond(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """Return Azure's response for what was found on an image."""
        return response(output, self.classes, self.settings["box_score_thresh"])
