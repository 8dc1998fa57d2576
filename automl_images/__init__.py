"""automl-images: labelled images in; a trained, evaluated, registered and served vision model out.

From Python::

    from automl_images import Experiment, load_model

    run = Experiment(task="image-object-detection", data="photos/", iterations=10).run()
    load_model(run).predict("a.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_images.api.experiment import Experiment, Run
    from automl_images.api.model import Model, load_model

__version__ = "0.1.0"
__all__ = ["Experiment", "Model", "Run", "__version__", "load_model"]

_HOMES = {"Experiment": "experiment", "Run": "experiment", "Model": "model", "load_model": "model"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that a command that needs none of it starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.api.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
