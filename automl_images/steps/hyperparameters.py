"""hyperparameters: what a model can be set to."""

from __future__ import annotations

from typing import Any

from automl_images.hyperparameters import check_model, described
from automl_images.tasks import get_task


def list_hyperparameters(task: str, model: str | None = None) -> list[dict[str, Any]]:
    """Return what there is to know of each hyperparameter of a model.

    ``place`` is where it is given if not among the settings; ``default_sagemaker`` is the default in that profile;
    ``inference`` says whether it acts at inference, and so can be changed in a trained model.

    Raises:
        UserError: there is no such task or model.
    """
    kind = get_task(task)
    name = check_model(kind.name, model or str(kind.default_model))
    rows = described(name)
    head = rows["head"].default if "head" in rows else None
    return [
        {
            "name": row.name,
            "type": row.type,
            "range": row.range_text(),
            "default": row.default_for(kind.name, name, head=head),
            "default_sagemaker": row.default_for(kind.name, name, "sagemaker", head),
            "inference": row.inference,
            "place": row.place or "settings",
            "aliases": list(row.aliases),
            "description": row.effect,
        }
        for row in rows.values()
    ]
