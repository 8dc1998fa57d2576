"""select: the best trial by the primary metric, read from the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import ranked

UNFINISHED = "another run has taken it over, or its machine was lost; submit again"


def select_trial(
    ledger: str, run: str | None = None, *, report: str | None = None, title: str | None = None
) -> dict[str, Any]:
    """Return the best trial of a sweep and the leaderboard.

    Args:
        ledger: the ledger's address.
        run: the submission; its iterations bound the trials that count. None: all of them.
        report, title: where to write the leaderboard as HTML (any fsspec URL), and its heading.

    Returns:
        ``trial``, ``metric``, ``value``, ``epoch``, ``settings``, ``model`` (the address of its model folder), and
        ``trials``, all of them, best first and those without a model last.

    Raises:
        UserError: no trial has a model; the line says why each failed.
    """
    shared = Ledger(ledger)
    trials = shared.trials()
    if run:
        iterations = shared.run(run).iterations
        trials = [t for t in trials if t.index < iterations]
    candidates = ranked(t for t in trials if t.succeeded and t.model)
    if not candidates:
        why = "; ".join(f"trial {t.index} {t.state}: {t.error or t.reason or UNFINISHED}" for t in trials)
        raise UserError(f"no trial of {storage.redact(shared.url)} has a model: {why or 'none has started'}")
    best, usable = candidates[0], {t.index for t in candidates}
    ordered = candidates + [t for t in trials if t.index not in usable]
    figures = best.best or {"metric": shared.experiment()["primary_metric"], "value": None, "epoch": best.epochs}
    if report:
        from automl_images.reports.leaderboard import write_leaderboard

        heading = title or "Leaderboard"
        write_leaderboard(report, title=heading, metric=figures["metric"], trials=ordered, best=best.index)
    return {
        "trial": best.index,
        "metric": figures["metric"],
        "value": figures["value"],
        "epoch": figures["epoch"],
        "settings": best.settings,
        "model": best.model,
        "trials": [t.to_json() for t in ordered],
    }


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    figure = "unranked" if result["value"] is None else f"{result['metric']} {result['value']:.4f}"
    return f"trial {result['trial']}: {figure} at epoch {result['epoch']}"
