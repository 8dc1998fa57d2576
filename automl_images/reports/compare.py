"""Models side by side on one test set or several: a table for the terminal, and an HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from automl_images import storage
from automl_images.reports.html import render
from automl_images.reports.trials import figure
from automl_images.tasks import get_task

# of the figures of an evaluation: where less is better, and where neither is
_LESS = ("log_loss", "log_average_miss_rate")
_NEITHER = ("best_f1_threshold",)
_BY_CLASS = {"classification": "f1_score", "segmentation": "iou"}  # of other families the average precision


def comparison(
    task: str, models: Sequence[str], data: Sequence[str], cells: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Return what several evaluations come to side by side.

    Args:
        task: the task's name.
        models, data: how the models and the test sets are called.
        cells: for each set, for each model, ``metrics.json`` with ``scalars``, its single figures by name.

    Returns:
        ``task``, ``metric`` (the primary one), ``by_class`` (the figure that ``classes`` has), ``models`` and ``data``:
        for each set ``name``, ``images``, ``baseline`` (of the metric, or None), ``best`` (the indexes of the models
        with the highest value of the metric), ``figures`` and ``classes`` ({name: a value a model; None: undefined, or
        the model does not know the class}), ``milliseconds`` an image and ``reports`` a model. JSON-serialisable.
    """
    found = get_task(task)
    by_class = _BY_CLASS.get(found.family, "average_precision")
    sets = []
    for name, row in zip(data, cells, strict=True):
        figures = {n: [r["scalars"].get(n) for r in row] for n in dict.fromkeys(n for r in row for n in r["scalars"])}
        known = dict.fromkeys(c for r in row for c in r["per_label_metrics"])
        classes = {c: [(r["per_label_metrics"].get(c) or {}).get(by_class) for r in row] for c in known}
        baseline = next((r["baseline"].get(found.primary_metric) for r in row if r.get("baseline")), None)
        sets.append(
            {
                "name": name,
                "images": row[0]["images"],
                "baseline": baseline,
                "best": best(found.primary_metric, [r[found.primary_metric] for r in row]),
                "figures": {found.primary_metric: [r[found.primary_metric] for r in row]} | figures,
                "classes": classes,
                "milliseconds": [1000 * r["seconds"] / r["images"] for r in row],
                "reports": [r["report"] for r in row],
            }
        )
    return {"task": found.name, "metric": found.primary_metric, "by_class": by_class, "models": [*models], "data": sets}


def best(name: str, values: Sequence[float | None]) -> list[int]:
    """Return the indexes of the best values of a figure, several if they are equal; none if there is nothing to choose.

    That is: fewer than two are defined, all are equal, or neither more nor less of this figure is better.
    """
    defined = [v for v in values if v is not None]
    if name in _NEITHER or len(defined) < 2 or min(defined) == max(defined):
        return []
    top = min(defined) if name in _LESS else max(defined)
    return [i for i, v in enumerate(values) if v == top]


def comparison_lines(found: Mapping[str, Any]) -> list[str]:
    """Return a comparison for the terminal: for each set a line a model, the best marked with a star."""
    metric, lines = found["metric"], []
    wide = max(len(name) for name in found["models"])
    for data in found["data"]:
        names = [
            n for n, values in data["figures"].items() if n not in _NEITHER and any(v is not None for v in values)
        ][:4]
        beside = "" if data["baseline"] is None else f"; baseline {figure(data['baseline'])}"
        lines += ["", f"{data['name']}: {data['images']} images{beside}"]
        widths = [max(len(n), 8) for n in names]
        heads = "  ".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True))
        lines.append(f"    {'model':{wide}}  {heads}  ms/image")
        for i, model in enumerate(found["models"]):
            cells = "  ".join(f"{figure(data['figures'][n][i]):>{w}}" for n, w in zip(names, widths, strict=True))
            star = "*" if i in data["best"] else " "
            lines.append(f"  {star} {model:{wide}}  {cells}  {data['milliseconds'][i]:8.1f}")
    return [
        *lines[1:],
        f"* the best {metric} of a set" if any(d["best"] for d in found["data"]) else "no best: all equal",
    ]


def write_comparison(path_html: str, found: Mapping[str, Any], title: str) -> None:
    """Write a comparison as a page to any fsspec URL; it links the evaluations' reports by their relative addresses."""
    here = storage.local_path(path_html).resolve().parent if storage.is_local(path_html) else None

    def link(report: str) -> str:
        if here is not None and storage.is_local(report):
            return quote(os.path.relpath(storage.local_path(report).resolve(), here))
        return "/".join(quote(part) for part in report.rsplit("/", 2)[-2:])  # both lie in one folder

    sets = [
        {
            **data,
            "links": [link(report) for report in data["reports"]],
            "rows": [(name, values, best(name, values)) for name, values in data["figures"].items()],
            "class_rows": [(name, values, best(found["by_class"], values)) for name, values in data["classes"].items()],
        }
        for data in found["data"]
    ]
    page = render("compare.html.j2", scripted=True, title=title, found=found, sets=sets, less=_LESS)
    storage.write(path_html, page)
