"""select: the best trial by the primary metric, or an evolution's fitness, read from the ledger.

Of an evolution that trains its best again it is the best mean over seeds: the highest of many single trainings is in
part luck.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automl_images import storage
from automl_images.errors import UserError, say
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling import evolving
from automl_images.sweep.submission import Lane
from automl_images.sweep.trial import ranked

if TYPE_CHECKING:
    from automl_images.reports.evolution import Evolution

UNFINISHED = "another run has taken it over, or its machine was lost; submit again"


def select_trial(
    ledger: str,
    run: str | None = None,
    *,
    report: str | None = None,
    title: str | None = None,
    evolution: str | None = None,
) -> dict[str, Any]:
    """Return the best trial of a sweep and the leaderboard.

    Args:
        ledger: the ledger's address.
        run: the submission; its iterations bound the trials that count. None: all of them.
        report, title: where to write the leaderboard as HTML (any fsspec URL), and its heading.
        evolution: a folder for evolve.csv, hyp_evolve.yaml and evolve.png, if the sweep evolves, and confirm.csv, if it
            trains its best again (any fsspec URL).

    Returns:
        ``trial``, ``metric``, ``value``, ``epoch``, ``settings``, ``model`` (the address of its model folder), and
        ``trials``, all of them, best first and those without a model last; of an evolution ``fitness`` too, which
        decides. Of one that trains its best again ``confirmation``: each one's fitness with each seed, mean, standard
        deviation, what is lacking, and which is chosen; ``trial`` is then its training with the best seed.

    Raises:
        UserError: no trial has a model; the line says why each failed.
    """
    shared = Ledger(ledger)
    trials, submission = shared.trials(), shared.run(run) if run else None
    if submission:
        trials = [t for t in trials if submission.counts(t.index)]
    candidates = ranked(t for t in trials if t.succeeded and t.model)
    if not candidates:
        why = "; ".join(f"trial {t.index} {t.state}: {t.error or t.reason or UNFINISHED}" for t in trials)
        raise UserError(f"no trial of {storage.redact(shared.url)} has a model: {why or 'none has started'}")
    experiment = shared.experiment()
    sampler = evolving(experiment)
    fitness = {t.index: f for t in candidates if sampler and (f := sampler.fitness_of(t)) is not None}
    candidates.sort(key=lambda t: -fitness.get(t.index, -math.inf))  # stable: by the primary metric where none has one
    best = next((t for t in candidates if t.confirms is None), candidates[0])
    evolved = None
    if sampler:
        from automl_images.reports.evolution import evolution_of

        evolved = evolution_of(experiment, trials, submission)
        if evolved and evolved.without:
            count = sum(t.confirms is None for t in trials)
            say(f"evolution: {evolved.without} of {count} trials have no fitness and are left out")
        if evolved and evolution:
            write_evolution(evolved, evolution)
    confirmation = evolved and evolved.confirmation
    if submission and submission.confirm and not confirmation:
        say("confirm: nothing was trained again, so the best fitness of a single training is chosen; submit again")
    if confirmation:
        for line in confirmation.lines():
            say(f"confirm: {line}")
        if confirmed := confirmation.best:
            best = next(t for t in candidates if t.confirms == confirmed.trial and t.index in fitness)
    usable = {t.index for t in candidates}
    ordered = [best, *(t for t in candidates if t is not best), *(t for t in trials if t.index not in usable)]
    figures = best.best or {"metric": experiment["primary_metric"], "value": None, "epoch": best.epochs}
    if report:
        from automl_images.reports.leaderboard import write_leaderboard

        heading = title or "Leaderboard"
        write_leaderboard(
            report,
            title=heading,
            metric=figures["metric"],
            trials=ordered,
            best=best.index,
            evolution=evolved,
            ledger=shared,
        )
    return {
        "trial": best.index,
        "metric": figures["metric"],
        "value": figures["value"],
        "epoch": figures["epoch"],
        "settings": best.settings,
        "model": best.model,
        "trials": [t.to_json() for t in ordered],
        **({"fitness": fitness.get(best.index)} if sampler else {}),
        **({"confirmation": confirmation.to_json()} if confirmation else {}),
    }


def choose(lane: Lane, model: str, report: str, evolution: str, title: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Choose the best trial of a lane's submission, as the component does, and copy its model folder to ``model``.

    Returns:
        What :func:`select_trial` returns, with ``ledger`` and ``run``; and what an artifact's metadata say of it:
        ``uri``, where the ledger has the folder (unless that holds a password), ``trial``, ``epoch``, ``metric``,
        ``value``, and ``lineage``, a JSON text, because metadata make other numbers of whole ones.
    """
    origin = {"ledger": lane.ledger, "run": lane.run}
    chosen = select_trial(**origin, report=report, title=title or None, evolution=evolution)
    storage.copy_folder(chosen["model"], model)
    keys = ("trial", "epoch", "metric", "value")
    told = {key: chosen[key] for key in keys if chosen[key] is not None}
    lineage = {**origin, "trial": chosen["trial"], "epoch": chosen["epoch"], "settings": chosen["settings"]}
    if storage.redact(chosen["model"]) == chosen["model"]:
        told["uri"] = chosen["model"]
    return {**chosen, **origin}, {**told, "lineage": json.dumps(lineage)}


def write_evolution(evolution: Evolution, folder: str) -> None:
    """Write an evolution's files into a folder, on any store."""
    from automl_images.reports.evolution_picture import png

    storage.write(storage.join(folder, "evolve.csv"), evolution.csv())
    storage.write(storage.join(folder, "hyp_evolve.yaml"), evolution.yaml())
    storage.write(storage.join(folder, "evolve.png"), png(evolution))
    if evolution.confirmation:
        storage.write(storage.join(folder, "confirm.csv"), evolution.confirmation.csv())


def headline(result: Mapping[str, Any]) -> str:
    """Return in a line what the step came to."""
    figure = "unranked" if result["value"] is None else f"{result['metric']} {result['value']:.4f}"
    chosen = f"; chosen by its fitness, {result['fitness']:.4f}" if result.get("fitness") is not None else ""
    confirmed = result.get("confirmation") or {"chosen": None}
    if confirmed["chosen"] is not None:
        rows = {row["trial"]: row for row in confirmed["trials"]}
        figures = ", ".join(
            f"{'the starting point' if n == 0 else f'trial {n}'} {rows[n]['mean']:.4f} +/- {rows[n]['deviation']:.4f}"
            for n in dict.fromkeys([confirmed["chosen"], 0])
            if n in rows and rows[n]["deviation"] is not None
        )
        chosen = f"; chosen by its mean fitness over seeds: {figures}"
    return f"trial {result['trial']}: {figure} at epoch {result['epoch']}{chosen}"
