"""One function a step, joining the rooms, and the table of the steps: what components, pipeline and commands go by.

A step's module has ``headline(result)``, what the step came to in a line; ``result`` is what its component returns.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from automl_images import __version__, environment

STEPS = ("convert", "split", "plan", "train", "select", "evaluate", "register", "serve")
HEAVY = ("train", "evaluate", "predict", "score")  # commands that compute with torch: in the image GPU, with resources

# the images' names, in this one place; a variable replaces one when the components are imported, an experiment's
# cluster.images when its pipeline is built
LIGHT = os.environ.get(environment.LIGHT_IMAGE, f"automl-images/light:{__version__}")
GPU = os.environ.get(environment.GPU_IMAGE, f"automl-images/gpu:{__version__}")
SERVE = os.environ.get(environment.SERVE_IMAGE, f"automl-images/serve:{__version__}")


def headline(step: str, result: Any) -> str:
    """Return in a line what a step came to, by what its component returned."""
    return importlib.import_module(f"automl_images.steps.{step}").headline(result)
