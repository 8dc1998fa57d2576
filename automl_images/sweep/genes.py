"""What an evolution moves: the model's genes or the space's, where each starts, and what is scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from automl_images.errors import UserError, say
from automl_images.hyperparameters import Hyperparameter, check_model, default_model, find, hyperparameters, resolve
from automl_images.hyperparameters.catalogue import ALIASES, canonical, canonical_name
from automl_images.sweep.sampling.evolve import CONFIRM, Evolve
from automl_images.sweep.space import parse_space

WEIGHTS = [0.0, 0.0, 0.1, 0.9]
_SCORED, _WITH_COCO = "validation_metric_type", ("coco", "coco_voc")
_UNSET = {"anchors": 3}  # where a gene starts that is not set
_WIDE = 1000  # the ratio of its limits from which on a gene's range is logarithmic
# the order of the names in YOLOv5's files; the rest of it is the catalogue's
_FIRST = ("learning_rate", "lrf", "momentum", "weight_decay", "warmup_cosine_lr_warmup_epochs")
_START = "sweep.sampling.start"


def evolution(
    sampler: Evolve, task: str, settings: Mapping[str, Any], space: Any, profile: str
) -> tuple[Evolve, dict[str, Any], Any]:
    """Return the sampler with all that it needs to know, the settings of all trials, and the space.

    Args:
        sampler: as it was given.
        task, settings, space, profile: the experiment's; without a space the model's genes are it.

    Raises:
        UserError: a name is unknown or in two places, nothing is left to move, or the fitness cannot be scored.
    """
    model = check_model(task, settings.get("model_name") or default_model(task, profile))
    start = canonical(sampler.start, lambda name, value: _checked(name, value, model), f"{_START}.")
    for name in start:
        if name in settings:
            raise UserError(f"{_START}.{name}: is in settings too; give it in one of the two")
    fitness = _fitness(sampler, hyperparameters(model))
    weighs = fitness is not None and any(fitness[2:])
    settings = {**settings, **_scored(settings, weighs)}
    whole = resolve(task, {**settings, **start}, profile)
    head = str(whole.get("head"))
    rows = {n: row.variant(head) for n, row in hyperparameters(model).items()}
    named = {"genes": sampler.genes, "fixed": sampler.fixed, "gains": list(sampler.gains)}
    asked, fixed, gained = (_named(key, names, rows, model) for key, names in named.items())
    for name in set(asked) & set(fixed):
        raise UserError(f"sweep.sampling.genes: {name} is in fixed too; give it in one of the two")
    if space:
        branches = parse_space(space)
        sampler.points(branches)
        genes = list(branches[0])
        for key, names in (("genes", asked), ("fixed", [n for n in fixed if n in genes])):
            if names:
                raise UserError(f"sweep.sampling.{key}: {', '.join(names)}: sweep.space says what evolves")
    else:
        genes = _of_model(model, rows, whole, settings, asked, fixed)
        space = {n: _expression(rows[n]) for n in genes}
        branches = parse_space(space)
    unused = [name for name in gained if name not in genes]
    if unused:
        raise UserError(f"sweep.sampling.gains: {', '.join(unused)} does not evolve, so a gain has no effect")
    own = {canonical_name(n): g for n, g in sampler.gains.items()}
    gains = {n: own.get(n) or (rows[n].gene or (1.0,))[0] or 1.0 if n in rows else 1.0 for n in genes}
    starts = {n: _start(n, e, whole.get(n), n in start) for n, e in branches[0].items()}
    for line in of_another_head(start, whole):
        say(f"note: {_START}: {line}")
    constant = {n: v for n, v in start.items() if n not in genes and n != "model_name" and v is not None}
    completed = {**sampler.model_dump(exclude_unset=True), "start": starts, "gains": gains}
    completed = {n: v for n, v in completed.items() if n not in ("genes", "fixed", *CONFIRM)}
    if fitness is not None:
        completed["fitness"] = fitness
    return Evolve.model_validate(completed), {**settings, **constant}, space


def in_order(names: Iterable[str]) -> list[str]:
    """Return genes in the order of YOLOv5's hyperparameter files, all others as they come after those."""
    known = list(names)
    return [n for n in _FIRST if n in known] + [n for n in known if n not in _FIRST]


def file_names(model: str) -> dict[str, str]:
    """Return the names that hyp files have for a model's settings where they differ: ``learning_rate``: ``lr0``."""
    return {own: alias for alias, own in ALIASES.items() if alias in ("lr0", "warmup_epochs") and model == "yolov5"}


def model_genes(model: str, settings: Mapping[str, Any]) -> list[str]:
    """Return a model's settings that have limits as genes with the settings' head, in the order of hyp files."""
    head = settings.get("head")
    rows = ((n, row.variant(str(head))) for n, row in hyperparameters(model).items())
    return in_order(n for n, row in rows if row.gene and head in (row.needs.get("head") or (head,)))


def of_another_head(given: Mapping[str, Any], complete: Mapping[str, Any]) -> list[str]:
    """Return a line for each given number that is far from what it has with this head: its scale is another one's."""
    head, lines = str(complete.get("head")), []
    for name, row in hyperparameters(complete["model_name"]).items():
        if name in given and head in row.variants and complete[name] is not None:
            gene = row.variant(head).gene
            if gene and not gene[1] <= complete[name] <= gene[2]:
                lines.append(
                    f"{name}: {complete[name]:g} is another head's; with {head} it has {gene[1]:g} to {gene[2]:g}"
                )
    return lines


def _checked(name: str, value: Any, model: str) -> Any:
    try:
        return find(name, model).check(value)
    except UserError as error:
        raise UserError(f"{_START}.{error}") from None


def _named(key: str, names: list[str], rows: Mapping[str, Hyperparameter], model: str) -> list[str]:
    found = []
    for name in map(canonical_name, names):
        if name not in rows:
            try:
                find(name, model)
            except UserError as error:
                raise UserError(f"sweep.sampling.{key}: {error}") from None
        found.append(name)
    return found


def _of_model(
    model: str,
    rows: Mapping[str, Hyperparameter],
    whole: Mapping[str, Any],
    settings: Mapping[str, Any],
    asked: list[str],
    fixed: list[str],
) -> list[str]:
    """Return the model's rows that are genes here: those with a gain, less what is fixed, and those asked for."""
    for name in asked:
        row = rows[name]
        why = row.without_effect(whole)
        if row.gene is None:
            why = [f"{name} has no limits as a gene; give sweep.space"]
        elif name in settings:
            why = [f"{name} is in settings, which fixes it; start it by sampling.start"]
        if why:
            raise UserError(f"sweep.sampling.genes: {why[0]}")
    known = [n for n in model_genes(model, whole) if n not in fixed and n not in settings]
    moved = [n for n in known if n in asked or ((rows[n].gene or (0,))[0] and not rows[n].without_effect(whole))]
    moved = [n for n in moved if not (rows[n].type == "int" and whole.get(n) == 0)]  # 0: it is left to the model
    if not moved:
        raise UserError(
            f"sweep.space: {model} has no gene that is left to evolve: settings and fixed fix theirs (where they "
            "start is sampling.start); or give the numbers that evolve as a space"
        )
    return moved


def _expression(row: Hyperparameter) -> dict[str, list[float]]:
    assert row.gene
    _, low, high = row.gene
    if row.type == "int":
        return {"quniform": [low, high, 1]}
    if low > 0 and high / low >= _WIDE:
        return {"loguniform": [math.log(low), math.log(high)]}
    return {"uniform": [low, high]}


def _start(name: str, e: Any, value: Any, given: bool) -> Any:
    """Return where a gene starts: as given; else its default, or the middle of a range that the default is not in."""
    if value is None:
        value = _UNSET.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = e.bounds() or e.limits
        if given or low <= value <= high:
            return value
    return e.quantile(0.5)


def _fitness(sampler: Evolve, rows: Mapping[str, Hyperparameter]) -> list[float] | None:
    """Return the weights of the fitness; None: the primary metric."""
    if _SCORED in rows:
        weights = WEIGHTS if sampler.fitness is None else sampler.fitness
        if not any(weights):
            raise UserError("sweep.sampling.fitness: all weights are 0")
        return weights
    if sampler.fitness is not None:
        raise UserError("sweep.sampling.fitness: is of detectors; this task evolves by its primary metric")
    return None


def _scored(settings: Mapping[str, Any], weighs: bool) -> dict[str, Any]:
    """Return the setting by which evaluations have what the fitness weighs."""
    given = settings.get(_SCORED)
    if not weighs or given in _WITH_COCO:
        return {}
    if given is not None:
        raise UserError(
            f"settings.{_SCORED}: {given} has no COCO figures, and the fitness weighs mAP@0.5 and mAP@0.5:0.95; "
            "leave it out, or use coco_voc or coco"
        )
    say(f"note: {_SCORED}: coco_voc, for the fitness weighs COCO's figures")
    return {_SCORED: "coco_voc"}
