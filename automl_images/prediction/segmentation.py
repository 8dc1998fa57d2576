"""Predict the class of each pixel: used by training's evaluations, the evaluate step, score files and the server."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from automl_images.annotations.shapes import encoded
from automl_images.data.images import to_rgb
from automl_images.models.compute import full_precision
from automl_images.prediction import ModelPredictor

_PILLOW = {"png": "PNG", "bmp": "BMP"}


@torch.inference_mode()
def segment(model: Any, images: Sequence[torch.Tensor], device: torch.device) -> list[dict[str, np.ndarray]]:
    """Return for each of uint8 [3, H, W] images of any sizes ``mask``: uint8 [H, W], places of classes.

    The model is a `models.segmenter.Segmenter` in eval mode, on ``device``.
    """
    with full_precision(device):
        masks = model.predict([image.to(device, non_blocking=True) for image in images])
    return [{"mask": mask.cpu().numpy()} for mask in masks]


class Predictor(ModelPredictor):
    """A model that gives each pixel a class."""

    def outputs(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """Yield what :func:`segment` returns for each of uint8 [H, W, 3] images, batch by batch."""
        for batch in batches:
            images = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in batch]
            yield from segment(self.model, images, self.device)

    def predict(self, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Return the response for each Pillow image, by :func:`response`, or with ``export_as_image`` an image.

        That is ``{"classes": [...], "mask": {"image_type", "image"}}``: the base64 of a file of the image's size, whose
        grey values are places in ``classes``.
        """
        return [self.respond(found) for found in self.outputs([to_rgb(image)] for image in images)]

    def respond(self, output: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the response for an image's mask, as :meth:`predict` has it."""
        mask = output["mask"]
        if not self.settings["export_as_image"]:
            return response(mask, self.classes)
        kind, file = self.settings["image_type"], io.BytesIO()
        Image.fromarray(mask).save(file, _PILLOW[kind])
        image = {"image_type": kind, "image": base64.b64encode(file.getvalue()).decode()}
        return {"classes": list(self.classes), "mask": image}


def response(mask: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return a mask uint8 [H, W] of places in ``classes`` as JSON, each class that occurs with its region.

    ``{"classes": [...], "regions": [{"label", "rle": {"size": [height, width], "counts": "..."}}, ...]}``: COCO's
    compressed run lengths, exact to the pixel; each pixel is in one region.
    """
    places = np.unique(mask).tolist()
    regions = [{"label": classes[c], "rle": encoded(mask == c).to_json()} for c in places]
    return {"classes": list(classes), "regions": regions}
