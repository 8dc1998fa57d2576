"""From the settings that a person gave to the complete settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images.errors import UserError
from automl_images.hyperparameters.catalogue import check_model, find, hyperparameters
from automl_images.tasks import get_task


def resolve(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete settings of a trial: what was given, checked, and the defaults for the rest.

    Args:
        task: the task's name.
        given: settings by name or alias; ``model_name`` may be left out.

    Raises:
        UserError: a name is unknown or given twice, a value is out of range, or two values do not go together.
    """
    model = check_model(task, given.get("model_name") or str(get_task(task).default_model))
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
        settings.setdefault(name, row.default_for(task, model))
    _check_together(settings)
    return settings


def without_effect(settings: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a line for each given setting that the other settings leave without effect."""
    lines = []
    for name in given:
        if name == "model_name":
            continue
        row = find(name, settings["model_name"])
        if row.needs and settings[row.needs[0]] not in row.needs[1]:
            other, values = row.needs
            lines.append(
                f"{row.name} has no effect with {other}: {settings[other]}; it needs {' or '.join(map(str, values))}"
            )
    return lines


def _check_together(settings: Mapping[str, Any]) -> None:
    if settings["optimizer"] == "sgd" and settings["nesterov"] and settings["momentum"] == 0:
        raise UserError(
            "momentum: 0 leaves nesterov nothing to look ahead along; set nesterov: 0 or a momentum above 0"
        )
    if settings["optimizer"] in ("adam", "adamw"):
        for beta in ("beta1", "beta2"):
            if settings[beta] == 1:
                raise UserError(f"{beta}: 1 would never take in a new gradient; use a value below 1")
    if "min_size" in settings and settings["min_size"] > settings["max_size"]:
        raise UserError(
            f"min_size: {settings['min_size']} is above max_size {settings['max_size']}; lower it or raise max_size"
        )
