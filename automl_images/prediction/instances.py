"""Predict with a detector that gives masks: detection's, with polygons or mask images in its answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from automl_images.annotations.labels.polygons import Rle
from automl_images.annotations.shapes import decoded
from automl_images.annotations.tracing import outlined
from automl_images.prediction import detection

_PILLOW = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP"}


class Predictor(detection.Predictor):
    """A detector with masks that predicts."""

    def respond(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """Return Azure's response for what was found on an image.

        ``{"boxes": [{"box", "label", "score", "polygon": [[x, y, ...], ...]}, ...]}``: the polygons of an object are
        fractions of the image with six decimals, and together its mask, holes left out. With ``export_as_image``
        ``mask`` stands in their place, ``{"image_type", "image"}``: the base64 of a file of the image's size, white
        inside.
        """
        threshold = self.settings["box_score_thresh"]
        answer = detection.response(output, self.classes, threshold)
        above = [mask for mask, score in zip(output["masks"], output["scores"], strict=True) if score > threshold]
        for one, mask in zip(answer["boxes"], above, strict=True):
            height, width = mask["size"]
            one.update(self._outline(decoded(Rle(height, width, mask["counts"].decode()))))
        return answer

    def _outline(self, inside: np.ndarray) -> dict[str, Any]:
        if not self.settings["export_as_image"]:
            polygons = outlined(inside, self.settings["max_number_of_polygon_points"])
            return {"polygon": [[round(v, 6) for v in polygon] for polygon in polygons]}
        kind, file = self.settings["image_type"], io.BytesIO()
        Image.fromarray(np.where(inside, np.uint8(255), np.uint8(0))).save(file, _PILLOW[kind])
        return {"mask": {"image_type": kind, "image": base64.b64encode(file.getvalue()).decode()}}
