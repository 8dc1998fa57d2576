"""LitServe's part of `benchmarks.serve.peers`: its workers are processes, which import the class from a module."""

from __future__ import annotations

from typing import Any

import litserve

from automl_images.prediction import load_model
from benchmarks.serve.peers import images


class Plain(litserve.LitAPI):
    """A model folder's predictor, with batches."""

    def __init__(self, model_dir: str, **batching: Any):
        super().__init__(**batching)
        self.model_dir = model_dir

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.predictor = load_model(self.model_dir)

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """Return the request's one image; an annotation would make LitServe ask for a query parameter."""
        return images(request)[0]

    def predict(self, batch: Any) -> Any:
        """Return a prediction for each image."""
        return self.predictor.predict(batch)

    def encode_response(self, output: Any) -> Any:
        """Return an image's answer."""
        return {"predictions": [output]}
