"""Early termination on simulated learning curves: the epochs that each policy saves, and what it costs.

    python benchmarks/early_termination.py [--sweeps 200]

A sweep has 40 trials of 20 to 60 epochs. A trial's curve is a power law with noise, ``a - b * epoch ** -c``; the faster
it starts (c from 0.25 to 1.5), the lower it tends to end, as with a high learning rate: curves cross, and those that
lead early are often not the best. Trials run so many at a time, an epoch a step, and judge themselves as in a real
sweep: by what others had at the same evaluation, and by the last numbers of those that ended.
The regret is the best value without a policy less the best with it, as a share of the metric's range, which is 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from automl_images.sweep.score import Evaluation, Score, latest
from automl_images.sweep.termination import RULE
from benchmarks.report import report

TRIALS = 40
POLICIES = {
    "bandit 0.1": {"policy": "bandit", "slack_factor": 0.1, "delay_evaluation": 5},
    "bandit 0.2": {"policy": "bandit", "slack_factor": 0.2, "evaluation_interval": 2, "delay_evaluation": 6},
    "median": {"policy": "median_stopping", "delay_evaluation": 5},
    "truncation 20": {"policy": "truncation_selection", "truncation_percentage": 20, "delay_evaluation": 5},
    "truncation 50": {
        "policy": "truncation_selection",
        "truncation_percentage": 50,
        "delay_evaluation": 5,
        "evaluation_interval": 5,
    },
    "asha 3": {"policy": "asha", "reduction_factor": 3, "min_evaluations": 3},
    "asha 2": {"policy": "asha", "reduction_factor": 2, "min_evaluations": 4},
}


def curves(rng: np.random.Generator) -> list[np.ndarray]:
    """Return the curves of a sweep's trials, values in [0, 1]."""
    made = []
    for _ in range(TRIALS):
        epochs = np.arange(1, int(rng.integers(20, 61)) + 1)
        haste = rng.uniform()
        speed, start = 0.25 * 6**haste, rng.uniform(0.5, 1)
        top = float(np.clip(0.85 - 0.3 * haste + rng.normal(0, 0.1), 0.05, 0.98))
        values = top - top * start * epochs**-speed + rng.normal(0, 0.008, len(epochs))
        made.append(values.clip(0, 1))
    return made


def sweep(made: list[np.ndarray], described: dict | None, concurrency: int) -> tuple[int, float]:
    """Return the epochs trained and the best value found."""
    rule = RULE.validate_python(described)
    at: dict[int, list[Evaluation]] = {}
    ended: list[Evaluation] = []
    waiting, running = list(range(len(made))), []
    values: dict[int, list[float]] = {i: [] for i in waiting}
    spent, best = 0, 0.0
    while waiting or running:
        while waiting and len(running) < concurrency:
            running.append(waiting.pop(0))
        for trial in list(running):
            seen = values[trial]
            seen.append(float(made[trial][len(seen)]))
            spent, best, n = spent + 1, max(best, seen[-1]), len(seen)
            mine = Evaluation(trial, 1, Score(n, n, seen[-1], max(seen), sum(seen) / n))
            peers = {**latest(e for e in ended if e.score.number < n), **latest(at.setdefault(n, []))}
            at[n].append(mine)
            stopped = rule.stop(mine.score, peers)
            if stopped or n == len(made[trial]):
                running.remove(trial)
                ended.append(mine)
    return spent, best


def main() -> None:
    """Measure each policy at both concurrencies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=200)
    sweeps = parser.parse_args().sweeps
    drawn = [curves(np.random.default_rng(seed)) for seed in range(sweeps)]
    rows, good = [], []
    for concurrency in (4, 16):
        full = [sweep(made, None, concurrency) for made in drawn]
        for name, described in POLICIES.items():
            found = [sweep(made, described, concurrency) for made in drawn]
            pairs = list(zip(full, found, strict=True))
            saved = 1 - sum(f[0] for f in found) / sum(f[0] for f in full)
            regrets = sorted(a[1] - b[1] for a, b in pairs)
            regret = statistics.median(regrets)
            rows.append((name, concurrency, saved, regret, regrets[int(0.9 * len(regrets))]))
            good.append((name, concurrency, saved, regret))
    report("early_termination", ("policy", "concurrency", "saved", "median regret", "90 %"), rows, _figures(good))


def _figures(good: list[tuple[str, int, float, float]]) -> dict[str, float]:
    """Return what the best policy reaches at the worse of its concurrencies: the most saved within 1 % of regret."""
    worst = {}
    for name in {g[0] for g in good}:
        mine = [g for g in good if g[0] == name]
        worst[name] = (min(g[2] for g in mine), max(g[3] for g in mine))
    saved, regret = max((w for w in worst.values() if w[1] <= 0.01), default=(0.0, 1.0))
    return {"saved_epochs": saved, "median_regret": regret}


if __name__ == "__main__":
    main()
