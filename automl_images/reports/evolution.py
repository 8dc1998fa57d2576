"""What an evolution came to, as YOLOv5 writes it: evolve.csv, hyp_evolve.yaml, and the panels of evolve.png."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from automl_images import storage
from automl_images.sweep.confirmation import Confirmation, confirmation_of
from automl_images.sweep.genes import file_names, in_order, model_genes
from automl_images.sweep.sampling import evolving
from automl_images.sweep.sampling.evolve import figures
from automl_images.sweep.submission import Submission
from automl_images.sweep.trial import Trial

_METRICS = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
_TRAINING = "training.json"  # in a model folder: each epoch's losses
_BINS = 20
WIDE, HIGH, ACROSS = 190, 170, 5  # pixels of a panel, and panels in a row
_EDGES = (44, 10, 24, 30)  # of a panel: left, right, top, bottom
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))  # five of matplotlib's colours


@dataclass(frozen=True)
class Generation:
    """A trial that has a fitness, as a row: numbers by the names of `Evolution`, None where there is none."""

    trial: int
    fitness: float
    metrics: tuple[float | None, ...]
    losses: tuple[float | None, ...]
    genes: tuple[float | None, ...]


@dataclass(frozen=True)
class Evolution:
    """The generations that have a fitness, by trial, and how many trials have none."""

    metrics: tuple[str, ...]
    losses: tuple[str, ...]
    genes: tuple[str, ...]  # in a hyp file's order, by a hyp file's names
    rows: tuple[Generation, ...]
    last: int  # the last trial's index; -1: there is none
    without: int  # trials that failed, still run, or have an undefined figure
    confirmation: Confirmation | None = None  # what came of training the best again; None: they were not

    @property
    def best(self) -> Generation | None:
        """The generation with the highest mean over seeds, if some were confirmed; else with the highest fitness."""
        confirmed = self.confirmation and self.confirmation.best
        if confirmed:
            return next(row for row in self.rows if row.trial == confirmed.trial)
        return max(self.rows, key=lambda row: (row.fitness, -row.trial), default=None)

    def csv(self) -> str:
        """Return evolve.csv: a header, then a row a generation, fields of 20 characters with five digits."""
        rows: list[Iterable[Any]] = [[*self.metrics, *self.losses, *self.genes]]
        rows += [[*row.metrics, *row.losses, *row.genes] for row in self.rows]
        return "".join(",".join(f"{_digits(value):>20}" for value in row) + "\n" for row in rows)

    def yaml(self) -> str:
        """Return hyp_evolve.yaml: comments on the best generation, then its genes; it is a hyp file."""
        best = self.best
        if best is None:
            return f"# Hyperparameter evolution\n# No generation of {self.last + 1} has a fitness yet\n"
        names, values = [*self.metrics, *self.losses], [*best.metrics, *best.losses]
        lines = [
            "# Hyperparameter evolution",
            f"# Best generation: {best.trial}, fitness {best.fitness:.5g}",
            f"# Last generation: {self.last}",
            *(f"# {line}" for line in (self.confirmation.lines() if self.confirmation else ())),
            "# " + ", ".join(f"{name:>20}" for name in names),
            "# " + ", ".join(f"{_digits(value):>20}" for value in values),
            "",
        ]
        lines += [f"{n}: {_exact(value)}" for n, value in zip(self.genes, best.genes, strict=True)]
        return "\n".join(lines) + "\n"


def evolution_of(
    experiment: Mapping[str, Any], trials: Sequence[Trial], submission: Submission | None = None
) -> Evolution | None:
    """Return the evolution of a ledger's trials; None if its sampler is another.

    Args:
        experiment: what the ledger's fingerprint covers.
        trials: its trials, of any state; the training losses of each are read from its model folder.
        submission: which says how many are confirmed; None: those that there are.
    """
    sampler = evolving(experiment)
    if sampler is None:
        return None
    confirmation = confirmation_of(sampler, list(experiment["space"]), trials, submission)
    trials = [t for t in trials if t.confirms is None]
    rated = [(f, t) for t in sorted(trials, key=lambda t: t.index) if (f := sampler.fitness_of(t)) is not None]
    detects = sampler.fitness is not None
    metrics = _METRICS if detects else (f"metrics/{experiment['primary_metric']}",)
    settings = rated[0][1].settings if rated else {}
    model = settings.get("model_name")
    known = model_genes(model, settings) if model else []
    own = list(dict.fromkeys([*known, *in_order(experiment["space"])]))
    parts = _losses([t for _, t in rated])
    losses = list(dict.fromkeys(name for part in parts for name in part))
    rows = tuple(
        Generation(
            t.index,
            fitness,
            tuple(figures(t)) if detects else (t.value,),
            tuple(part.get(name) for name in losses),
            tuple(t.settings.get(name) for name in own),
        )
        for (fitness, t), part in zip(rated, parts, strict=True)
    )
    spelt = file_names(model) if model else {}
    names = tuple(spelt.get(name, name) for name in own)
    last = max((t.index for t in trials), default=-1)
    return Evolution(
        tuple(metrics),
        tuple(f"train/{n.removesuffix('_loss')}_loss" for n in losses),
        names,
        rows,
        last,
        len(trials) - len(rows),
        confirmation,
    )


def panels(evolution: Evolution) -> list[dict[str, Any]]:
    """Return a panel a gene, as places in pixels: its title, points with colours, the best, or a line if it is fixed.

    Colours go from purple to yellow by how many generations have about that value and fitness.
    """
    left, right, top, bottom = _EDGES
    best = evolution.best
    if best is None:
        return []
    fitness = np.array([row.fitness for row in evolution.rows])
    span, first = _span(fitness), evolution.rows.index(best)
    made = []
    for i, name in enumerate(evolution.genes):
        kept = [n for n, row in enumerate(evolution.rows) if row.genes[i] is not None]
        values = np.array([evolution.rows[n].genes[i] for n in kept], float)
        if not kept:
            continue
        reach = _span(values)
        x = left + (values - reach[0]) / (reach[1] - reach[0]) * (WIDE - left - right)
        y = HIGH - bottom - (fitness[kept] - span[0]) / (span[1] - span[0]) * (HIGH - top - bottom)
        at = kept.index(first) if first in kept else None
        own = best.genes[i]
        still = float(np.ptp(values)) == 0
        colours = _density(x, y)
        made.append(
            {
                "title": f"{name} = {'none' if own is None else f'{own:.3g}'}",
                "left": left,
                "right": WIDE - right,
                "top": top,
                "bottom": HIGH - bottom,
                "points": [(*_place(a, b), c) for a, b, c in zip(x, y, colours, strict=True)],
                "best": None if at is None else _place(x[at], y[at]),
                "fixed": round(float(x[0]), 1) if still else None,
                "ends": [f"{end:.3g}" for end in ((values[0],) if still else reach)],
                "fitness": [f"{end:.3g}" for end in span],
            }
        )
    return made


def _losses(trials: Sequence[Trial]) -> list[dict[str, float]]:
    """Return of each trial the training losses of its best epoch, by name; none where they were not kept."""
    urls = [storage.join(t.model, _TRAINING) for t in trials if t.model]
    found = dict(zip(urls, storage.read_many(urls), strict=True))
    return [_at_best(t, found.get(storage.join(t.model, _TRAINING)) if t.model else None) for t in trials]


def _at_best(trial: Trial, content: bytes | None) -> dict[str, float]:
    try:
        rows = json.loads(content or b"[]")
        epoch = (trial.best or {}).get("epoch")
        return next((dict(row["losses"]) for row in rows if row["epoch"] == epoch), {})
    except (ValueError, LookupError, TypeError):
        return {}


def _place(x: Any, y: Any) -> tuple[float, float]:
    return round(float(x), 1), round(float(y), 1)


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _density(x: np.ndarray, y: np.ndarray) -> list[str]:
    """Return a colour for each point by the share of points in its cell of a grid."""
    cells = [np.clip((v - v.min()) / (np.ptp(v) or 1) * _BINS, 0, _BINS - 1).astype(int) for v in (x, y)]
    counts = np.zeros((_BINS, _BINS))
    np.add.at(counts, tuple(cells), 1)
    shares = counts[tuple(cells)] / counts.max()
    where = np.linspace(0, 1, len(_VIRIDIS))
    channels = [np.interp(shares, where, [c[k] for c in _VIRIDIS]) for k in range(3)]
    return ["#{:02x}{:02x}{:02x}".format(*(round(float(v)) for v in rgb)) for rgb in zip(*channels, strict=True)]


def _digits(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, str) else f"{value:.5g}"


def _exact(value: Any) -> str:
    if value is None:
        return "null"
    return repr(value) if isinstance(value, int) else json.dumps(float(value))
