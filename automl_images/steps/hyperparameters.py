"""hyperparameters: what a model can be set to."""

from __future__ import annotations

from typing import Any

from automl_images.errors import UserError, nearest
from automl_images.hyperparameters import check_model, default_model, described
from automl_images.hyperparameters.vendors import VENDORS
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


def list_of_vendor(vendor: str, task: str, model: str | None = None) -> list[dict[str, Any]]:
    """Return a vendor's hyperparameters of a task by its names: range, default, and where ours is.

    ``ours`` is a path in an experiment, such as ``settings.number_of_epochs``.

    Raises:
        UserError: there is no such vendor, task or model, or the vendor has none for them.
    """
    if vendor not in VENDORS:
        raise UserError(f"--vendor: no vendor is called '{vendor}'; {nearest(vendor, VENDORS)}")
    kind, reader = get_task(task), VENDORS[vendor]
    name = check_model(kind.name, model or default_model(kind.name, "sagemaker" if vendor == "sagemaker" else "azure"))
    rows = reader.table(kind.name, name)
    if not rows:
        raise UserError(f"--vendor {vendor}: {reader.TITLE} has no hyperparameters of {kind.name} with {name}")
    return [
        {
            "name": theirs,
            "ours": named.ours,
            "type": named.row.type,
            "range": named.row.range_text(),
            "default": named.default,
            "description": named.row.effect,
        }
        for theirs, named in rows.items()
    ]
