"""Evaluation of instance segmentation: detection's, of masks, with the boxes' figures beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automl_images.evaluation import Evaluated
from automl_images.evaluation.detection import evaluated, headline, measured, scalars, summary_lines

if TYPE_CHECKING:
    from automl_images.annotations import Record
    from automl_images.prediction import ModelPredictor

__all__ = ["evaluate", "headline", "measured", "scalars", "summary_lines"]


def evaluate(predictor: ModelPredictor, records: Sequence[Record]) -> Evaluated:
    """Score a detector with masks on records; see :func:`automl_images.evaluation.detection.evaluate`."""
    from automl_images.data.instances import checked_instances

    return evaluated(predictor, records, checked_instances)
