"""The hyperparameters: name, range, default and effect of each, per task and model."""

from automl_images.hyperparameters.catalogue import (
    CATALOGUE,
    MODELS,
    Hyperparameter,
    check_model,
    find,
    hyperparameters,
)
from automl_images.hyperparameters.resolve import resolve, without_effect

__all__ = [
    "CATALOGUE",
    "MODELS",
    "Hyperparameter",
    "check_model",
    "find",
    "hyperparameters",
    "resolve",
    "without_effect",
]
