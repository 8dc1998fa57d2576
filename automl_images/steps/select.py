"""select: the best trial by the primary metric, read from the ledger."""

from __future__ import annotations

from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.sweep import ledger as states
from automl_images.sweep.ledger import Ledger

UNFINISHED = "another run has taken it over, or its machine was lost; submit again"


def select_trial(
    ledger: str, run: str | None = None, *, report: str | None = None, title: str | None = None
) -> dict[str, Any]:
    """Return the best trial of a sweep and the leaderboard.

    Args:
        ledger: the ledger's address.
        run: the submission; its iterations bound the trials that count. None: all of them.
        report: where to write the leaderboard as HTML; any fsspec URL.
        title: the leaderboard's heading.

    Returns:
        ``trial``, ``metric``, ``value``, ``epoch``, ``settings``, ``model`` (the address of its model folder), and
        ``trials``, all of them, best first and those without a model last.

    Raises:
        UserError: no trial has a model; the line says why each failed.
    """
    shared = Ledger(ledger)
    trials = shared.trials()
    if run:
        trials = [t for t in trials if t["trial"] < shared.run(run)["iterations"]]
    candidates = [t for t in trials if t["state"] in (states.COMPLETED, states.TERMINATED) and t["model"]]
    if not candidates:
        why = "; ".join(f"trial {t['trial']} {t['state']}: {t['error'] or t['reason'] or UNFINISHED}" for t in trials)
        raise UserError(f"no trial of {storage.redact(shared.url)} has a model: {why or 'none has started'}")
    ranked = sorted(candidates, key=lambda t: (-(t["best"] or {}).get("value", 0.0), t["trial"]))
    best = ranked[0]
    figures = best["best"] or {"metric": shared.experiment()["primary_metric"], "value": None, "epoch": best["epochs"]}
    ordered = ranked + [t for t in trials if t not in candidates]
    if report:
        from automl_images.reports.leaderboard import write_leaderboard

        heading = title or "Leaderboard"
        write_leaderboard(report, title=heading, metric=figures["metric"], trials=ordered, best=best["trial"])
    return {
        "trial": best["trial"],
        "metric": figures["metric"],
        "value": figures["value"],
        "epoch": figures["epoch"],
        "settings": best["settings"],
        "model": best["model"],
        "trials": ordered,
    }
