"""From the settings that a person gave to the complete settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import canonical, check_model, find, hyperparameters
from automl_images.hyperparameters.sizes import check_layers, check_sizes
from automl_images.tasks import get_task

PROFILES = ("azure", "sagemaker")
_DEFAULT_MODELS = {("sagemaker", "classification"): "resnet152"}  # where it is not the task's


def resolve(task: str, given: Mapping[str, Any], profile: str = "azure") -> dict[str, Any]:
    """Return the complete settings of a trial: what was given, checked, and the defaults for the rest.

    Args:
        task: the task's name.
        given: settings by name or alias; ``model_name`` may be left out.
        profile: whose defaults stand for what is not given; one of :data:`PROFILES`.

    Raises:
        UserError: a name is unknown or given twice, a value is out of range, or two values do not go together.
    """
    model = check_model(task, given.get("model_name") or default_model(task, profile))
    own = canonical(given, model)
    settings: dict[str, Any] = {"model_name": model, **own}
    for name, row in hyperparameters(model).items():
        settings.setdefault(name, row.default_for(task, model, profile))
    if profile == "sagemaker" and settings["optimizer"].startswith("adam") and "weight_decay" not in own:
        settings["weight_decay"] = 0.0
    for row in hyperparameters(model).values():
        row.check_beside(settings)
    check_layers(model, settings["layers_to_freeze"])
    check_sizes(settings)
    _check_files(settings)
    return settings


def default_model(task: str, profile: str = "azure") -> str:
    """Return the model that is trained when none is named."""
    kind = get_task(task)
    return _DEFAULT_MODELS.get((profile, kind.family)) or str(kind.default_model)


def without_effect(settings: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a line for each given setting that the other settings leave without effect."""
    rows = (find(name, settings["model_name"]) for name in given if name != "model_name" and given[name] is not None)
    return [line for row in rows for line in row.without_effect(settings)]


def _check_files(settings: Mapping[str, Any]) -> None:
    run, folder, file = (settings[f"checkpoint_{n}"] for n in ("run_id", "dataset_id", "filename"))
    if bool(folder) != bool(file):
        raise UserError("checkpoint_dataset_id: goes together with checkpoint_filename, the file in it; give both")
    if run and folder:
        raise UserError(
            "checkpoint_run_id: is another source of weights than checkpoint_dataset_id; give one of the two"
        )
