"""compare: several models on several test sets, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.evaluation import family
from automl_images.reports.compare import comparison, write_comparison
from automl_images.steps.convert import convert
from automl_images.steps.evaluate import evaluate_model
from automl_images.tasks import get_task


def compare_models(
    models: Mapping[str, str],
    data: Sequence[str],
    output: str,
    *,
    format: str = "auto",
    images: str | None = None,
    on_error: str = "fail",
    title: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Evaluate each model on each set of labelled images; write ``compare.json`` and ``compare.html``.

    Each set is read once, so that all models see the same records; each evaluation has its own folder in ``output``,
    with what :func:`automl_images.steps.evaluate.evaluate_model` writes.

    Args:
        models: the address of each model folder, by the name it is shown by; all are of one task.
        data: labelled images in any format that is read, records too.
        output: the folder to write to, local or on a store.
        format, images, on_error: as for :func:`automl_images.steps.convert.convert`, of all sets.
        title: the page's heading.
        tell: is given a line after each evaluation.

    Returns:
        What :func:`automl_images.reports.compare.comparison` does, with ``report``, the page's address.

    Raises:
        UserError: a model is there twice or none, two are of different tasks, a set is there twice, or one cannot be
            read or does not fit a model.
    """
    for twice in {name for name in data if data.count(name) > 1}:
        raise UserError(f"{storage.redact(twice)}: is there twice; give each set once")
    for name, folder in models.items():
        if other := next((n for n in models if n != name and models[n].rstrip("/") == folder.rstrip("/")), None):
            raise UserError(f"{name}: is the same model folder as {other}; give each model once")
    tasks = {name: _task(folder) for name, folder in models.items()}
    first, task = next(iter(tasks.items()))
    for name, other in tasks.items():
        if other != task:
            raise UserError(f"{name}: is for {other}, and {first} for {task}; only models of one task compare")
    cells: list[list[dict[str, Any]]] = []
    for d, source in enumerate(data, 1):
        records = storage.join(output, f"data-{d}.jsonl")
        summary = convert(source, records, task, format=format, images=images, on_error=on_error)
        row = []
        for m, (name, folder) in enumerate(models.items(), 1):
            shown = f"{name} on {storage.redact(source)}"
            result = evaluate_model(folder, records, storage.join(output, f"data-{d}-model-{m}"), title=shown)
            row.append({**result, "scalars": family(task).scalars(result), "annotations": summary})
            tell(f"{shown}: {_figure(row[-1], task)}")
        cells.append(row)
    found = comparison(task, list(models), [storage.redact(source) for source in data], cells)
    report = storage.join(storage.absolute(output), "compare.html")
    write_comparison(report, found, title or f"{len(models)} models on {len(data)} test sets")
    found |= {"report": report}
    storage.write(storage.join(output, "compare.json"), json.dumps(found, indent=1))
    return found


def _task(model: str) -> str:
    """Return the task of a model folder, by its settings.json alone."""
    try:
        task = json.loads(storage.read_text(storage.join(model, "settings.json")))["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{storage.redact(model)}: has no settings.json with a task; is it a model folder?") from None
    return get_task(str(task)).name


def _figure(result: Mapping[str, Any], task: str) -> str:
    metric = get_task(task).primary_metric
    value = result[metric]
    return f"{metric} {'undefined' if value is None else f'{value:.4f}'}, {result['images']} images"
