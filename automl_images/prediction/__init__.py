"""A model folder in, predictions out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_images.prediction.detector import Predictor


def load_model(folder: Any, **overrides: Any) -> "Predictor":
    """Return the predictor of a model folder; keyword arguments replace its settings, such as ``box_score_thresh``."""
    from automl_images.prediction.detector import Predictor

    return Predictor(folder, overrides)


__all__ = ["load_model"]
