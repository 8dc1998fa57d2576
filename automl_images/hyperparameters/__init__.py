"""The hyperparameters: name, range, default and effect of each, per task and model."""

from automl_images.hyperparameters.catalogue import (
    CATALOGUE,
    check_inference,
    check_model,
    described,
    find,
    hyperparameters,
    inference_settings,
)
from automl_images.hyperparameters.hyperparameter import Hyperparameter
from automl_images.hyperparameters.resolve import default_model, in_one_line, resolve, without_effect

__all__ = ["CATALOGUE", "Hyperparameter", "check_inference", "check_model", "default_model", "described", "find"]
__all__ += ["hyperparameters", "in_one_line", "inference_settings", "resolve", "without_effect"]
