"""The samplers: each expression's distribution, equal draws for equal arguments, Bayesian proposals."""

import json
import subprocess
import sys
from statistics import median

import numpy as np
import pytest
from scipy import stats

from automl_images.sweep.sampling.bayesian import Bayesian
from automl_images.sweep.sampling.independent import Grid, Random, Sobol
from automl_images.sweep.space import parse_space
from automl_images.sweep.trial import State, Trial

DRAWS = 10_000
CONTINUOUS = {
    "uniform": ([2, 5], stats.uniform(2, 3)),
    "loguniform": ([-9.2, -4.6], stats.loguniform(np.exp(-9.2), np.exp(-4.6))),
    "normal": ([1, 2], stats.norm(1, 2)),
    "lognormal": ([-1, 0.5], stats.lognorm(0.5, scale=np.exp(-1))),
}
STEPPED = {
    "quniform": ([0, 10, 2], stats.uniform(0, 10)),
    "qloguniform": ([0, 3, 2], stats.loguniform(1, np.exp(3))),
    "qnormal": ([0, 3, 2], stats.norm(0, 3)),
    "qlognormal": ([1, 0.5, 1], stats.lognorm(0.5, scale=np.exp(1))),
}


def draws(kind, arguments, sampling="random"):
    space = parse_space({"x": {kind: arguments}})
    if sampling == "random":
        return [Random().propose(space, 1, i)["x"] for i in range(DRAWS)]
    return [space[0]["x"].quantile((i + 0.5) / DRAWS) for i in range(DRAWS)]


@pytest.mark.parametrize("sampling", ["random", "quantile"])
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_continuous_expressions(kind, sampling):
    arguments, law = CONTINUOUS[kind]
    assert stats.kstest(draws(kind, arguments, sampling), law.cdf).pvalue > 0.01


def chi_square(values, shares):
    """Compare how often each value was drawn with its share; rare ones are put together."""
    found = np.array([values.count(v) for v in shares])
    assert found.sum() == len(values), "a value outside the definition"
    expected = np.array(list(shares.values())) * len(values)
    few = expected < 8
    found, expected = (np.append(a[~few], a[few].sum()) if few.any() else a for a in (found, expected))
    return stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("sampling", ["random", "quantile"])
@pytest.mark.parametrize("kind", STEPPED)
def test_stepped_expressions(kind, sampling):
    arguments, law = STEPPED[kind]
    q = arguments[2]
    values = draws(kind, arguments, sampling)
    assert all(v % q == 0 for v in values)
    points = np.arange(min(values), max(values) + q, q)
    shares = {float(p): law.cdf(p + q / 2) - law.cdf(p - q / 2) for p in points}
    assert chi_square(values, {k: v for k, v in shares.items() if v > 0}) > 0.01


@pytest.mark.parametrize("sampling", ["random", "quantile"])
def test_discrete_expressions(sampling):
    assert chi_square(draws("choice", ["a", None, 3], sampling), dict.fromkeys(["a", None, 3], 1 / 3)) > 0.01
    assert chi_square(draws("randint", [7], sampling), dict.fromkeys(range(7), 1 / 7)) > 0.01


SPACE = [
    {
        "model_name": {"choice": ["yolov5"]},
        "learning_rate": {"loguniform": [-9, -4]},
        "training_batch_size": {"quniform": [2, 16, 2]},
    },
    {"model_name": {"choice": ["other"]}, "learning_rate": {"normal": [0.01, 0.001]}, "momentum": {"randint": [5]}},
]
GRID = [{"a": {"choice": [1, 2]}, "b": {"choice": ["x", "y", "z"]}}, {"c": {"choice": [0, 1]}}]
CODE = """
import json, sys
from automl_images.sweep.sampling import SAMPLING
from automl_images.sweep.space import parse_space
sampling, space, seed = json.loads(sys.argv[1])
print(json.dumps([SAMPLING.validate_python(sampling).propose(parse_space(space), seed, i) for i in (7, 0, 3)]))
"""


@pytest.mark.parametrize(("sampling", "space"), [(Random(), SPACE), (Sobol(), SPACE), (Grid(), GRID)])
def test_equal_arguments_give_equal_settings_in_any_process(sampling, space):
    arguments = json.dumps([sampling.by, space, 3])
    done = subprocess.run([sys.executable, "-c", CODE, arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [sampling.propose(parse_space(space), 3, i) for i in (7, 0, 3)]
    if not isinstance(sampling, Grid):
        assert sampling.propose(parse_space(space), 4, 7) != sampling.propose(parse_space(space), 3, 7)


def test_sobol_is_more_even_than_random():
    space = parse_space({"x": {"uniform": [0, 1]}, "y": {"uniform": [0, 1]}})

    def unevenness(sampling, seed):
        points = [sampling.propose(space, seed, i) for i in range(64)]
        return stats.qmc.discrepancy([[p["x"], p["y"]] for p in points])

    assert all(unevenness(Sobol(), s) < 0.5 * unevenness(Random(), s) for s in range(5))


def ledger_trial(index, settings, value, state="completed"):
    best = None if value is None else {"value": value, "epoch": 1}
    return Trial(index, State(state), 1, settings, tuple(sorted(settings)), best)


def search(space, score, count, seed, running=()):
    trials = []
    for i in range(count):
        settings = Bayesian().propose(space, seed, i, [*trials, *running])
        trials.append(ledger_trial(i, settings, score(settings)))
    return trials


EVERY = [
    {
        "model_name": {"choice": ["yolov5", None, [1, 2]]},
        "a": {"uniform": [0, 1]},
        "b": {"quniform": [2, 17, 4]},
        "c": {"qloguniform": [0, 4, 1]},
    },
    {
        "model_name": {"choice": ["rcnn"]},
        "a": {"loguniform": [-9, -4]},
        "d": {"normal": [0, 1]},
        "e": {"qnormal": [0, 9, 2]},
        "f": {"lognormal": [0, 1]},
        "g": {"qlognormal": [0, 1, 1]},
        "h": {"randint": [4]},
    },
]


def test_bayesian_proposes_every_kind_on_conditional_spaces():
    space = parse_space(EVERY)
    trials = search(space, lambda s: s["a"] if "b" in s else 0.5, 40, seed=0)
    for trial in trials:
        s = trial.settings
        (branch,) = [b for b in space if set(b) == set(s)]
        for name, value in s.items():
            bounds = branch[name].bounds()
            assert bounds is None or bounds[0] <= value <= bounds[1]
        assert s.get("b", 4) % 4 == 0
        assert s.get("h", 0) in range(4)
    later = [t.settings for t in trials[20:]]
    assert sum("b" in s and s["a"] > 0.5 for s in later) > 12, "the better half of the better branch is sought"


def quadratic(settings):
    return -((settings["x"] - 0.3) ** 2) - (np.log10(settings["y"]) + 3) ** 2 - (settings["z"] != "b")


def test_bayesian_beats_random():
    space = parse_space(
        {"x": {"uniform": [0, 1]}, "y": {"loguniform": [-11.5, 0]}, "z": {"choice": ["a", "b", "c", "d"]}}
    )
    wins = []
    for seed in range(8):
        mine = max(t.value for t in search(space, quadratic, 40, seed))
        other = max(quadratic(Random().propose(space, seed + 100, i)) for i in range(40))
        wins.append(mine > other)
    assert sum(wins) >= 6


def test_running_trials_are_kept_away_from():
    space = parse_space({"x": {"uniform": [0, 1]}})
    distances = []
    for seed in range(12):
        done = search(space, lambda s: -((s["x"] - 0.5) ** 2), 14, seed)
        first = Bayesian().propose(space, seed, 14, done)
        running = [ledger_trial(14 + i, first, None, "running") for i in range(6)]
        second = Bayesian().propose(space, seed, 14, [*done, *running])
        distances.append(abs(first["x"] - second["x"]))
    assert median(distances) > 0.02


def test_trials_of_another_space_are_passed_over():
    space = parse_space({"x": {"uniform": [0, 1]}})
    foreign = [
        ledger_trial(90, {"x": 7.0}, 1.0),
        ledger_trial(91, {"y": 0.5}, 1.0),
        ledger_trial(92, {"x": "text"}, 1.0),
        ledger_trial(93, {"x": 0.5}, float("nan")),
        ledger_trial(94, {"x": 0.5}, None, "failed"),
        ledger_trial(95, {}, None, "skipped"),
    ]
    trials = search(space, lambda s: s["x"], 16, 0)
    assert 0 <= Bayesian().propose(space, 0, 20, [*foreign, *trials])["x"] <= 1


def test_importing_the_samplers_is_light():
    code = "import sys, automl_images.sweep.sampling; print({'torch', 'optuna', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
