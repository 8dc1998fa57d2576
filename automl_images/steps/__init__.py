"""One function a step, joining the rooms, and the table of the steps: what components, pipeline and commands go by.

A step's module has ``headline(result)``, what the step came to in a line; ``result`` is what its component returns.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

from automl_images import __version__, environment


@dataclass(frozen=True)
class Step:
    """One step of the pipeline.

    Attributes:
        name: the component's, the command's and this package's module.
        heavy: whether it trains or predicts: it runs in the image GPU, with what ``resources`` asks for.
    """

    name: str
    heavy: bool = False


STEPS = {
    step.name: step
    for step in (
        Step("convert"),
        Step("split"),
        Step("plan"),
        Step("train", heavy=True),
        Step("select"),
        Step("evaluate", heavy=True),
        Step("register"),
        Step("serve"),
    )
}
_PREDICTING = ("predict", "score")  # commands that are no steps

# the images' names, in this one place; a variable replaces one when the components are imported, an experiment's
# cluster.images when its pipeline is built
LIGHT = os.environ.get(environment.LIGHT_IMAGE, f"automl-images/light:{__version__}")
GPU = os.environ.get(environment.GPU_IMAGE, f"automl-images/gpu:{__version__}")
SERVE = os.environ.get(environment.SERVE_IMAGE, f"automl-images/serve:{__version__}")


def is_heavy(command: str) -> bool:
    """Return whether a step, or another command of ``automl-images``, computes with torch."""
    return command in _PREDICTING or (command in STEPS and STEPS[command].heavy)


def headline(step: str, result: Any) -> str:
    """Return in a line what a step came to, by what its component returned."""
    return importlib.import_module(f"automl_images.steps.{step}").headline(result)
