"""plan: what a sweep will train, written to its ledger, and the lanes that will train it."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.sweep import ledger as states
from automl_images.sweep.curated import AUTO, baseline, curated_space
from automl_images.sweep.ledger import Ledger, fingerprint
from automl_images.sweep.sampling import SAMPLERS, grid_size
from automl_images.sweep.space import Branch, check_space, parse_space
from automl_images.sweep.termination import early_termination
from automl_images.tasks import check_primary_metric, get_task

MOST_LANES = 100
HOURS = 3600.0


def check_experiment(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trial depends on, checked: all of an experiment but its data, its budget and where it runs.

    Args:
        experiment: the experiment's content as plain values; absent keys have their defaults.

    Raises:
        UserError: a name or a value is wrong; the line starts with its path in the experiment.
    """
    task = get_task(experiment["task"])
    metric = check_primary_metric(task, experiment.get("primary_metric"))
    sweep = experiment.get("sweep") or {}
    settings = dict(experiment.get("settings") or {})
    space = sweep.get("space")
    sampling = sweep.get("sampling") or "random"
    iterations = int(sweep.get("iterations") or 1)
    if sampling not in SAMPLERS:
        raise UserError(f"sweep.sampling: '{sampling}' is not built in this version; use {' or '.join(SAMPLERS)}")
    weights = {"pretrained": True, "source": None, **(experiment.get("weights") or {})}
    first: dict[str, Any] | None = None
    if space == AUTO or (iterations > 1 and not space):
        published_only = weights["pretrained"] and not weights["source"]
        space = curated_space(task.name, settings, ["yolov5"] if published_only else [])
        first = baseline(space)
    branches = parse_space(space)
    if sampling == "grid":
        grid_size(branches)
    if not any("model_name" in branch for branch in branches):
        try:
            _say_without_effect(task.name, settings, {n for branch in branches for n in branch})
        except UserError as error:
            raise UserError(f"settings.{error}") from None
    check_space(task.name, branches, settings, conditional=isinstance(space, list))
    if iterations > 1 and settings.get("validation_metric_type") == "none":
        raise UserError("settings.validation_metric_type: none leaves the trials of a sweep unranked; use voc or coco")
    if int(sweep.get("seed") or 0) < 0:
        raise UserError(f"sweep.seed: {sweep['seed']} is negative; use a whole number from 0")
    rule = dict(sweep.get("early_termination") or {})
    if early_termination(rule) and settings.get("validation_metric_type") == "none":
        raise UserError("sweep.early_termination: has nothing to judge by with validation_metric_type: none")
    _check_weights(task.name, settings, branches, weights)
    return {
        "task": task.name,
        "primary_metric": metric,
        "settings": settings,
        "weights": weights,
        "sampling": sampling,
        "space": space or {},
        "baseline": first,
        "seed": int(sweep.get("seed") or 0),
        "early_termination": rule,
    }


def _say_without_effect(task: str, settings: Mapping[str, Any], swept: set[str]) -> None:
    complete = resolve(task, settings)
    for line in without_effect(complete, settings):
        if not any(name in line for name in swept):
            print(f"note: settings: {line}", file=sys.stderr)


def _check_weights(task: str, settings: Mapping[str, Any], branches: list[Any], weights: Mapping[str, Any]) -> None:
    if weights["source"] or not weights["pretrained"]:
        return
    default = settings.get("model_name") or get_task(task).default_model
    models = {m for b in branches for m in (b["model_name"].arguments if "model_name" in b else (default,))}
    if "yolov5" in models:
        raise UserError(
            "weights.pretrained: yolov5 has no published weights that load without pickle; name a state_dict in "
            "weights.source, or set weights.pretrained: false"
        )


def plan_sweep(
    experiment: Mapping[str, Any],
    training: str,
    validation: str,
    *,
    run: str | None = None,
    default_storage: str = "runs",
    ledger: str | None = None,
    fresh: bool = False,
) -> list[str]:
    """Open the ledger, write this submission into it, and return the lanes.

    Args:
        experiment: the experiment's content.
        training, validation: addresses of the records (JSONL) that trials train on and are scored on.
        run: this submission's name; one is made up if None.
        default_storage: where ledgers lie when the experiment names no storage.
        ledger: the address of the ledger, instead of the one that name and fingerprint give.
        fresh: start another ledger even if there is one of this experiment.

    Returns:
        One JSON object a lane: ``{"ledger": address, "run": name, "lane": i, "lanes": n}``.

    Raises:
        UserError: the experiment is wrong, or the ledger is another experiment's.
    """
    covered = check_experiment(experiment)
    covered["data"] = {"digest": _digest(training, validation)}
    sweep = experiment.get("sweep") or {}
    iterations = int(sweep.get("iterations") or 1)
    if covered["sampling"] == "grid":
        points = grid_size(parse_space(covered["space"]))
        if points != iterations:
            print(f"grid: {points} points, {iterations} iterations: {min(points, iterations)} trials", file=sys.stderr)
        iterations = min(points, iterations)
    else:
        _say_repeats(parse_space(covered["space"]), iterations)
    run = run or f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    name = experiment.get("name") or "experiment"
    folder = f"{name}-{fingerprint(covered)}" + (f"-{run}" if fresh else "")
    root = experiment.get("storage") or default_storage
    shared = Ledger(ledger or storage.join(root, "ledgers", folder))
    shared.open(covered)
    staged = _stage(shared, covered["weights"]["source"])
    lanes = min(iterations, int(sweep.get("max_concurrent_iterations") or MOST_LANES))
    shared.write_run(
        run,
        {
            "run": run,
            "training": _keep(shared, "training", training),
            "validation": _keep(shared, "validation", validation),
            "weights": {**covered["weights"], "source": staged},
            "iterations": iterations,
            "lanes": lanes,
            "deadline": time.time() + float(sweep.get("timeout_hours") or 168) * HOURS,
            "claims": shared.can_claim(run),
        },
    )
    kept = [t["trial"] for t in shared.trials() if t["state"] in (states.COMPLETED, states.TERMINATED)]
    again = f"; {len(kept)} are done already" if kept else ""
    print(f"ledger {storage.redact(shared.url)}: {iterations} trials in {lanes} lanes{again}", file=sys.stderr)
    return [json.dumps({"ledger": shared.url, "run": run, "lane": i, "lanes": lanes}) for i in range(lanes)]


def _say_repeats(branches: list[Branch], iterations: int) -> None:
    """Say when a space of choices has fewer points than there are trials, so that some have equal settings."""
    if any(e.kind not in ("choice", "randint") for branch in branches for e in branch.values()):
        return
    sizes = [[e.arguments[0] if e.kind == "randint" else len(e.arguments) for e in b.values()] for b in branches]
    points = sum(math.prod(s) for s in sizes)
    if points < iterations and iterations > 1:
        print(
            f"note: the space has {points} points for {iterations} trials, so some repeat; grid tries each once",
            file=sys.stderr,
        )


def _keep(shared: Ledger, name: str, records: str) -> str:
    """Copy records into the ledger, where every lane reaches them, and return their address."""
    url = storage.join(shared.url, "records", f"{name}.jsonl")
    storage.create(url, storage.read_bytes(records))
    return url


def _stage(shared: Ledger, source: str | None) -> str | None:
    """Copy the weights that trials start from into the ledger, once, and return their address.

    Raises:
        UserError: there is no such file.
    """
    if not source:
        return None
    file = storage.join(source, "model.pt") if storage.is_dir(source) else source
    url = storage.join(shared.url, "weights", file.rpartition("/")[2])
    if not storage.exists(url):
        try:
            storage.write(url, storage.read_bytes(file))
        except FileNotFoundError:
            raise UserError(f"weights.source: {storage.redact(file)}: no such file") from None
    return url


def _digest(*urls: str) -> str:
    digest = hashlib.sha256()
    for url in urls:
        digest.update(storage.read_bytes(url) + b"\0")
    return digest.hexdigest()
