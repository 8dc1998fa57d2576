"""The space that is searched when an experiment names none: data, one file a task, in ``spaces/``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import resources
from typing import Any

import yaml

from automl_images.errors import UserError
from automl_images.sweep.canonical import canonical_space

AUTO = "auto"


def curated_space(task: str, fixed: Mapping[str, Any], without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a task's curated space, one conditional branch a model, the first one's model being the baseline's.

    Args:
        task: the task's name.
        fixed: the experiment's settings, which are not searched; a ``model_name`` among them leaves its branches alone.
        without: models that cannot be trained here.

    Raises:
        UserError: the task has no curated space, or nothing is left of it.
    """
    file = resources.files("automl_images.sweep") / "spaces" / f"{task}.yaml"
    if not file.is_file():
        raise UserError(f"sweep.space: {task} has no curated space; give one")
    branches = []
    for branch in canonical_space(yaml.safe_load(file.read_text(encoding="utf-8"))):
        models = [m for m in branch["model_name"]["choice"] if m not in without]
        if fixed.get("model_name") in (None, *models) and models:
            rest = {name: e for name, e in branch.items() if name not in fixed and name != "model_name"}
            name = {} if "model_name" in fixed else {"model_name": {"choice": models}}
            branches.append({**name, **rest})
    if not any(branches):
        raise UserError("sweep.space: the settings leave nothing of the curated space to search; give a space")
    return branches


def baseline(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the first trial has beside the settings: the first branch's model; all else is default."""
    names = branches[0].get("model_name")
    return {"model_name": names["choice"][0]} if names else {}
