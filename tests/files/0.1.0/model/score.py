"""Scores requests with the model beside this file: init() once, then run(request) each time.

    python score.py image.jpg

Azure Machine Learning calls the same two functions and names the model's folder in AZUREML_MODEL_DIR.
"""

import os
import sys
from pathlib import Path

from automl_images.prediction import load_model
from automl_images.serving.requests import answer, command, find_model

# What is predicted with in place of what the model was trained with, which is what stands here: to change a setting,
# take the sign before its name away, and give it another value. The model is not trained again.
SETTINGS = {
    # Images in one forward pass at an evaluation; changes speed and memory, never a metric.
    # "validation_batch_size": 78,
    # The shorter side of a validation image before its centre crop; not below valid_crop_size.
    # "valid_resize_size": 32,
    # The side of the centre crop that a validation image is scored on; a ViT's is train_crop_size.
    # "valid_crop_size": 32,
    # SageMaker's sizes in place of the three above: training crops images to it and refuses smaller ones; validation
    # and prediction scale them to it without keeping the aspect. One channel makes images grey.
    # "image_shape": None,
}

predictor = None


def init():
    """Load the model."""
    global predictor
    folder = find_model(os.environ.get("AZUREML_MODEL_DIR") or Path(__file__).parent)
    predictor = load_model(folder, **SETTINGS)


def run(request):
    """Return the predictions for an image's bytes, or for JSON as KServe V1 or Azure write it."""
    return answer(predictor, request)


if __name__ == "__main__":
    sys.exit(command(init, run, sys.argv[1:]))
