"""What 60 trials find on standard test functions: our samplers at three concurrencies, and Optuna's TPE in sequence.

    python benchmarks/sweep_quality.py [--seeds 100]

Ours propose from the ledger's trials, as in a sweep whose trials take 0.5 to 1.5 units of time, so many at once; the
peer is Optuna's in-memory study with its default sampler, one trial after another. The table has medians over 20 seeds
of the best value's distance to the optimum. The figures are probabilities of superiority over paired seeds (0.5:
equal), the worst function's, each with its 95 % bootstrap interval: bayesian at concurrency 4 against the peer, and
against random. ``evolve_vs_random`` is evolution against random at 200 trials, 8 at once, on the two functions whose
parameters are all numbers; the classic form and the other parents stand beside it in the table.

Branin; Hartmann-6; a mixed one, two choices that add up three known surfaces (after Func-2C of Ru et al. 2020); and a
conditional one (Jenatton et al. 2017).
"""

from __future__ import annotations

import argparse
import heapq
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images.sweep.sampling import SAMPLING
from automl_images.sweep.space import parse_space
from automl_images.sweep.trial import State, Trial
from benchmarks.report import report

TRIALS, TABLE_SEEDS = 60, 20
GENERATIONS, EVOLVED_AT_ONCE = 200, 8
NUMERIC = ("branin", "hartmann6")
EVOLUTIONS: dict[str, Any] = {
    "evolve": "evolve",
    "evolve, weighted": {"by": "evolve", "parents": "weighted"},
    "evolve, crossover": {"by": "evolve", "parents": "crossover"},
    "evolve, classic": {"by": "evolve", "form": "classic"},
}
UNIT = {"uniform": [0, 1]}
AROUND = {"uniform": [-1, 1]}


@dataclass(frozen=True)
class Function:
    """A function to maximize, its greatest value, its space in our expressions, and how Optuna is asked for a point."""

    value: Callable[[Mapping[str, Any]], float]
    optimum: float
    space: Any
    suggest: Callable[[Any], dict[str, Any]]


def branin(p: Mapping[str, Any]) -> float:
    """Return the negative of Branin's function; x in [-5, 10], y in [0, 15]."""
    x, y = p["x"], p["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return -(bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(p: Mapping[str, Any]) -> float:
    """Return the negative of Hartmann's function in six dimensions, each in [0, 1]."""
    x = np.array([p[f"x{i}"] for i in range(6)])
    return float(HEIGHTS @ np.exp(-(WIDTHS * (x - CENTRES) ** 2).sum(axis=1)))


SURFACES: dict[str, Callable[[float, float], float]] = {
    "rosenbrock": lambda x, y: (100 * (y - x**2) ** 2 + (1 - x) ** 2) / 300,
    "camel": lambda x, y: ((4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2) / 10,
    "beale": lambda x, y: ((1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2) / 50,
}


def mixed(p: Mapping[str, Any]) -> float:
    """Return the negative sum of two chosen surfaces at (x, y) in [-1, 1]; the best is twice the camel's least."""
    x, y = p["x"], p["y"]
    return -(SURFACES[p["first"]](x, y) + SURFACES[p["second"]](x, y))


def conditional(p: Mapping[str, Any]) -> float:
    """Return the negative of a function on the leaves of a tree: each leaf has a square and an offset of its own."""
    leaf = next(n for n in "4567" if f"x{n}" in p)
    return -(p[f"x{leaf}"] ** 2 + 0.1 * (int(leaf) - 3) + p["r8" if leaf in "45" else "r9"])


def suggest_conditional(trial: Any) -> dict[str, Any]:
    """Ask Optuna down the tree."""
    right = trial.suggest_categorical("x1", [0, 1])
    below = trial.suggest_categorical("x3" if right else "x2", [0, 1])
    names = f"x{4 + 2 * right + below}", "r9" if right else "r8"
    return {names[0]: trial.suggest_float(names[0], -1, 1), names[1]: trial.suggest_float(names[1], 0, 1)}


FUNCTIONS = {
    "branin": Function(
        branin,
        -0.397887,
        {"x": {"uniform": [-5, 10]}, "y": {"uniform": [0, 15]}},
        lambda t: {"x": t.suggest_float("x", -5, 10), "y": t.suggest_float("y", 0, 15)},
    ),
    "hartmann6": Function(
        hartmann,
        3.32237,
        {f"x{i}": UNIT for i in range(6)},
        lambda t: {f"x{i}": t.suggest_float(f"x{i}", 0, 1) for i in range(6)},
    ),
    "mixed": Function(
        mixed,
        2 * 0.10316285,
        {
            "first": {"choice": list(SURFACES)},
            "second": {"choice": list(SURFACES)},
            "x": AROUND,
            "y": AROUND,
        },
        lambda t: (
            {n: t.suggest_categorical(n, list(SURFACES)) for n in ("first", "second")}
            | {n: t.suggest_float(n, -1, 1) for n in "xy"}
        ),
    ),
    "conditional": Function(
        conditional,
        -0.1,
        [
            {"x4": AROUND, "r8": UNIT},
            {"x5": AROUND, "r8": UNIT},
            {"x6": AROUND, "r9": UNIT},
            {"x7": AROUND, "r9": UNIT},
        ],
        suggest_conditional,
    ),
}


def ours(name: str, sampling: Any, concurrency: int, seed: int, count: int = TRIALS) -> float:
    """Return the best of a sweep's trials."""
    function = FUNCTIONS[name]
    sampler, branches = SAMPLING.validate_python(sampling), parse_space(function.space)
    takes = np.random.default_rng([seed, 1]).uniform(0.5, 1.5, count)
    trials: list[Trial] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    for index in range(count):
        if len(running) == concurrency:
            now, done = heapq.heappop(running)
            trials[done] = _ended(trials[done], function)
        settings = sampler.propose(branches, seed, index, trials)
        trials.append(Trial(index, State.RUNNING, 1, settings, tuple(settings)))
        heapq.heappush(running, (now + takes[index], index))
    for _, done in running:
        trials[done] = _ended(trials[done], function)
    return max(t.value or -math.inf for t in trials)


def _ended(trial: Trial, function: Function) -> Trial:
    return replace(trial, state=State.COMPLETED, best={"value": function.value(trial.settings)})


def optuna_sequential(name: str, seed: int) -> float:
    """Return the best of Optuna's own study, run in sequence."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    function = FUNCTIONS[name]
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: function.value(function.suggest(trial)), n_trials=TRIALS)
    return float(study.best_value)


def run(job: tuple[str, str, int, int]) -> float:
    """Run one sweep: (function, sampler, concurrency, seed)."""
    name, sampling, concurrency, seed = job
    if concurrency == EVOLVED_AT_ONCE:
        return ours(name, EVOLUTIONS.get(sampling, sampling), concurrency, seed, GENERATIONS)
    return optuna_sequential(name, seed) if sampling == "optuna" else ours(name, sampling, concurrency, seed)


def superiority(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """Return the share of pairs that the first wins, a draw counting half, and its 95 % bootstrap interval."""
    wins = np.array([(a > b) + 0.5 * (a == b) for a, b in zip(one, other, strict=True)])
    again = np.random.default_rng(0).choice(wins, (10_000, len(wins))).mean(axis=1)
    low, high = np.quantile(again, (0.025, 0.975))
    return float(wins.mean()), float(low), float(high)


def main() -> None:
    """Run all sweeps on all cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="pairs that are compared, at least 20")
    seeds = max(parser.parse_args().seeds, TABLE_SEEDS)
    contenders = [(s, c) for s in ("random", "sobol", "bayesian") for c in (1, 4, 16)] + [("optuna", 1)]
    compared = {("random", 4), ("bayesian", 4), ("optuna", 1)}
    jobs = [
        (name, sampling, concurrency, seed)
        for name in FUNCTIONS
        for sampling, concurrency in contenders
        for seed in range(seeds if (sampling, concurrency) in compared else TABLE_SEEDS)
    ]
    evolving = [(s, EVOLVED_AT_ONCE) for s in ("random", *EVOLUTIONS)]
    jobs += [(name, *contender, seed) for name in NUMERIC for contender in evolving for seed in range(seeds)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        best = dict(zip(jobs, pool.map(run, jobs, chunksize=5), strict=True))

    rows: list[tuple[object, ...]] = []
    for sampling, concurrency in contenders:
        gaps = [
            statistics.median(f.optimum - best[name, sampling, concurrency, s] for s in range(TABLE_SEEDS))
            for name, f in FUNCTIONS.items()
        ]
        rows.append((sampling, concurrency, *gaps))
    figures: dict[str, float] = {}
    for figure, peer in (("bayesian_c4_vs_tpe", ("optuna", 1)), ("bayesian_vs_random", ("random", 4))):
        compared_with = {
            name: superiority(
                [best[name, "bayesian", 4, s] for s in range(seeds)], [best[name, *peer, s] for s in range(seeds)]
            )
            for name in FUNCTIONS
        }
        rows.append((figure, 4, *(f"{p:.2f} [{low:.2f}, {high:.2f}]" for p, low, high in compared_with.values())))
        worst = min(compared_with.values())
        figures |= dict(zip((figure, f"{figure}_low", f"{figure}_high"), worst, strict=True))
    for sampling, concurrency in evolving:
        found = [[best[name, sampling, concurrency, s] for s in range(seeds)] for name in NUMERIC]
        gaps = [
            statistics.median(FUNCTIONS[n].optimum - v for v in values)
            for n, values in zip(NUMERIC, found, strict=True)
        ]
        rows.append((f"{sampling}, {GENERATIONS} trials", concurrency, *gaps, "-", "-"))
    for sampling in EVOLUTIONS:
        pairs = [
            superiority(
                *([best[name, s, EVOLVED_AT_ONCE, seed] for seed in range(seeds)] for s in (sampling, "random"))
            )
            for name in NUMERIC
        ]
        rows.append(
            (f"{sampling} vs random", EVOLVED_AT_ONCE, *(f"{p:.2f} [{a:.2f}, {b:.2f}]" for p, a, b in pairs), "-", "-")
        )
        figure = {"evolve": "evolve_vs_random", "evolve, classic": "evolve_classic_vs_random"}.get(sampling)
        if figure:
            figures |= dict(zip((figure, f"{figure}_low", f"{figure}_high"), min(pairs), strict=True))
    report("sweep_quality", ("sampler", "at once", *FUNCTIONS), rows, figures)


if __name__ == "__main__":
    main()
