"""Metrics on arrays, without torch."""

from automl_images.metrics.arrays import truth_arrays
from automl_images.metrics.classification import baseline, classification_metrics
from automl_images.metrics.coco import coco_map
from automl_images.metrics.detection import METRIC_TYPES, detection_metrics
from automl_images.metrics.voc import voc_map

__all__ = [
    "METRIC_TYPES",
    "baseline",
    "classification_metrics",
    "coco_map",
    "detection_metrics",
    "truth_arrays",
    "voc_map",
]
