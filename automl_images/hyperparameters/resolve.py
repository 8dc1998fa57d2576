"""From the settings that a person gave to the complete settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import check_model, find, hyperparameters
from automl_images.hyperparameters.names import CLASSIFIERS
from automl_images.hyperparameters.sizes import check_layers, check_sizes
from automl_images.tasks import get_task

PROFILES = ("azure", "sagemaker")


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
    settings: dict[str, Any] = {"model_name": model}
    spelt: dict[str, str] = {}
    for name, value in given.items():
        if name == "model_name":
            continue
        row = find(name, model)
        if row.name in spelt:
            raise UserError(f"{name}: is the same hyperparameter as {spelt[row.name]}; give one of the two")
        spelt[row.name] = name
        settings[row.name] = row.check(value)
    for name, row in hyperparameters(model).items():
        settings.setdefault(name, row.default_for(task, model, profile))
    if profile == "sagemaker" and settings["optimizer"].startswith("adam") and "weight_decay" not in spelt:
        settings["weight_decay"] = 0.0
    _check_optimizer(settings)
    _check_sizes(settings)
    _check_files(settings)
    return settings


def default_model(task: str, profile: str = "azure") -> str:
    """Return the model that is trained when none is named."""
    kind = get_task(task)
    return "resnet152" if profile == "sagemaker" and kind.label in ("class", "classes") else str(kind.default_model)


def without_effect(settings: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a line for each given setting that the other settings leave without effect."""
    lines = []
    for name in given:
        if name == "model_name" or given[name] is None:
            continue
        row = find(name, settings["model_name"])
        if row.name == "kv_store":
            lines.append("kv_store has no effect: a trial runs on one machine, whose GPUs agree at each step")
        epochs = settings["number_of_epochs"]
        if row.name == "checkpoint_frequency" and settings[row.name] > epochs:
            lines.append(f"checkpoint_frequency has no effect above number_of_epochs ({epochs}): the best is kept")
        if row.name in ("step_lr_gamma", "step_lr_step_size") and settings["lr_scheduler_step"]:
            lines.append(f"{row.name} has no effect with lr_scheduler_step")
        if not row.needs:
            continue
        other, values = row.needs
        value = settings[other]
        if value is None if values is None else value not in values:
            wanted = "" if values is None else " or ".join("none" if v is None else str(v) for v in values)
            lines.append(
                f"{row.name} has no effect with {other}: {'none' if value is None else value}; "
                f"it needs {wanted or 'one'}"
            )
    return lines


def _check_optimizer(settings: Mapping[str, Any]) -> None:
    optimizer = settings["optimizer"]
    if settings["momentum"] == 0 and (optimizer == "nag" or (optimizer == "sgd" and settings["nesterov"])):
        raise UserError(
            "momentum: 0 leaves nesterov nothing to look ahead along; set nesterov: 0 or a momentum above 0"
            if optimizer == "sgd"
            else "momentum: 0 leaves nag nothing to look ahead along; use sgd with nesterov: 0, or a momentum above 0"
        )
    for name, optimizers in (("beta1", ("adam", "adamw")), ("beta2", ("adam", "adamw")), ("gamma", ("rmsprop",))):
        if optimizer in optimizers and settings[name] == 1:
            raise UserError(f"{name}: 1 would never take in a new gradient; use a value below 1")
    if optimizer in ("adam", "adamw", "rmsprop") and settings["eps"] == 0:
        raise UserError("eps: 0 divides by nothing where a gradient is 0; use a value above 0, such as 1e-8")


def _check_sizes(settings: Mapping[str, Any]) -> None:
    check_layers(settings["model_name"], settings["layers_to_freeze"])
    if settings["model_name"] in CLASSIFIERS:
        check_sizes(settings)
    elif "min_size" in settings and settings["min_size"] > settings["max_size"]:
        raise UserError(
            f"min_size: {settings['min_size']} is above max_size {settings['max_size']}; lower it or raise max_size"
        )


def _check_files(settings: Mapping[str, Any]) -> None:
    run, folder, file = (settings[f"checkpoint_{n}"] for n in ("run_id", "dataset_id", "filename"))
    if bool(folder) != bool(file):
        raise UserError("checkpoint_dataset_id: goes together with checkpoint_filename, the file in it; give both")
    if run and folder:
        raise UserError(
            "checkpoint_run_id: is another source of weights than checkpoint_dataset_id; give one of the two"
        )
