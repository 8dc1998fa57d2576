"""register: a model folder under a name and version."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import open_registry
from automl_images.tasks import TASKS

NEEDED = ("model.pt", "settings.json", "labels.json")


def register_model(
    model: str,
    name: str,
    registry: str,
    metrics: Mapping[str, Any],
    lineage: Mapping[str, Any],
    minimum: float | None = None,
    promote: str = "if_better",
) -> dict[str, Any]:
    """Register a model folder; a retry with the same folder returns the version that it has already.

    Args and returns are those of :meth:`automl_images.registry.Registry.register`; ``registry`` is its address, and
    ``champion`` is chosen by the primary metric of the model's task. To the lineage is added what ``metrics``, of
    evaluate, say of the test set (``evaluated``), and the model folder's ``settings`` unless it has some.

    Raises:
        UserError: ``model`` is not a model folder, the name is not allowed, or the primary metric is below ``minimum``.
    """
    check_model_folder(model)
    settings = json.loads(storage.read_text(storage.join(model, "settings.json")))
    task = TASKS.get(settings.get("task"))
    metric = task.primary_metric if task else ""
    if minimum is not None:
        value = metrics.get(metric)
        if not isinstance(value, int | float) or not value >= minimum:  # nor is NaN enough
            reached = f"{value:.4f}" if isinstance(value, int | float) else "not known"
            raise UserError(f"register.minimum: {metric or 'the primary metric'} is {reached}, less than {minimum:g}")
    origin = {"settings": settings, **lineage, **_evaluated(metrics)}
    result = open_registry(registry).register(name, storage.absolute(model), metrics, origin, metric, promote)
    also = f" ({', '.join(result['aliases'])})" if result["aliases"] else ""
    print(f"registered {name} version {result['version']}{also}: {storage.redact(result['uri'])}", file=sys.stderr)
    crowned = "champion" if "champion" in result["aliases"] else "not champion"
    print(f"{crowned}: {result['promotion']}", file=sys.stderr)
    return result


def _evaluated(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return which test set the metrics are of, and how they were measured; nothing if they do not say."""
    if "data_digest" not in metrics:
        return {}
    told = {"digest": metrics["data_digest"]}
    told |= {key: metrics[key] for key in ("data", "images", "set", "iou_threshold", "metric_type") if key in metrics}
    return {"evaluated": told}


def check_model_folder(model: str) -> None:
    """Check that an address is a model folder's.

    Raises:
        UserError: a file is missing there.
    """
    missing = [n for n in NEEDED if not storage.exists(storage.join(model, n))]
    if missing:
        raise UserError(f"{storage.redact(model)}: has no {', '.join(missing)}; is it a model folder?")


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    return f"{result['name']} version {result['version']}"
