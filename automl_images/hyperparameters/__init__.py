"""The hyperparameters: name, range, default and effect of each, per task and model."""

from automl_images.hyperparameters.catalogue import CATALOGUE, check_model, described, find, hyperparameters
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.hyperparameters.names import MODELS
from automl_images.hyperparameters.resolve import default_model, resolve, without_effect

__all__ = [
    "CATALOGUE",
    "MODELS",
    "Hyperparameter",
    "check_model",
    "default_model",
    "described",
    "find",
    "hyperparameters",
    "resolve",
    "without_effect",
]
