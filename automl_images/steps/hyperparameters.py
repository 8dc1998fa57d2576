"""hyperparameters: what a model can be set to."""

from __future__ import annotations

from typing import Any

from automl_images.hyperparameters import check_model
from automl_images.hyperparameters import hyperparameters as rows_of
from automl_images.tasks import get_task


def list_hyperparameters(task: str, model: str | None = None) -> list[dict[str, Any]]:
    """Return name, type, range, default and description of each hyperparameter of a model.

    Raises:
        UserError: there is no such task or model.
    """
    kind = get_task(task)
    name = check_model(kind.name, model or str(kind.default_model))
    return [
        {
            "name": row.name,
            "type": row.type,
            "range": row.range_text(),
            "default": row.default_for(kind.name, name),
            "aliases": list(row.aliases),
            "description": row.effect,
        }
        for row in rows_of(name).values()
    ]
