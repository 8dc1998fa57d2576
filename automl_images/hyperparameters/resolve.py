"""From the settings that a person gave to the complete settings of one trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import check_model, checked, find, hyperparameters
from automl_images.hyperparameters.sizes import check_layers, check_sizes
from automl_images.tasks import get_task

_DEFAULT_MODELS = {("sagemaker", "classification"): "resnet152"}  # where it is not the task's


def resolve(task: str, given: Mapping[str, Any], profile: str = "azure") -> dict[str, Any]:
    """Return the complete settings of a trial: what was given, checked, and the defaults for the rest.

    Args:
        task: the task's name.
        given: settings by name or alias; ``model_name`` may be left out.
        profile: whose defaults stand for what is not given: ``azure`` or ``sagemaker``.

    Raises:
        UserError: a name is unknown or given twice, a value is out of range, or two values do not go together.
    """
    model = check_model(task, given.get("model_name") or default_model(task, profile))
    own, rows = checked(given, model), hyperparameters(model)
    settings: dict[str, Any] = {"model_name": model, **own}
    if "head" in rows:
        settings.setdefault("head", rows["head"].default)
    for name, row in rows.items():
        settings.setdefault(name, row.default_for(task, model, profile, settings.get("head")))
    if profile == "sagemaker":
        _as_sagemaker(settings, own, get_task(task).family)
    for row in rows.values():
        row.check_beside(settings)
    check_layers(model, settings["layers_to_freeze"])
    check_sizes(settings)
    return settings


def _as_sagemaker(settings: dict[str, Any], own: Mapping[str, Any], family: str) -> None:
    """Apply what SageMaker's algorithms do under some of their settings: ``own`` are those that are given."""
    segments, optimizer = family == "segmentation", settings["optimizer"]
    undecayed = optimizer != "sgd" if segments else optimizer.startswith("adam")
    if undecayed and "weight_decay" not in own:
        settings["weight_decay"] = 0.0
    stepless = settings["lr_scheduler"] == "step" and not settings["lr_scheduler_step"]
    if segments and stepless and "step_lr_gamma" not in own:
        raise UserError("lr_scheduler_step: is needed with lr_scheduler: step; name the epochs, such as 10,20")


def default_model(task: str, profile: str = "azure") -> str:
    """Return the model that is trained when none is named."""
    kind = get_task(task)
    return _DEFAULT_MODELS.get((profile, kind.family)) or str(kind.default_model)


def without_effect(settings: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a line for each given setting that the other settings leave without effect."""
    rows = (find(name, settings["model_name"]) for name in given if name != "model_name" and given[name] is not None)
    return [line for row in rows for line in row.without_effect(settings)]


def in_one_line(lines: Iterable[str]) -> list[str]:
    """Return the lines of :func:`without_effect` with one for all settings that have the same reason."""
    names: dict[str, list[str]] = {}
    for line in lines:
        name, marked, why = line.partition(" has no effect")
        names.setdefault(why if marked else line, []).append(name)
    return [
        each[0] if each[0] == why else f"{', '.join(each)} {'has' if len(each) == 1 else 'have'} no effect{why}"
        for why, each in names.items()
    ]
