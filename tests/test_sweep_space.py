"""Search spaces and samplers: the expressions' mathematics, refusals, and equal trials everywhere."""

import json
import subprocess
import sys

import numpy as np
import pytest

from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.sweep.sampling.bayesian import Bayesian
from automl_images.sweep.sampling.independent import Grid, Random, Sobol
from automl_images.sweep.space import check_space, parse_space
from automl_images.sweep.trial import State, Trial

TASK = "image-object-detection"
SPACE = [
    {"model_name": {"choice": ["yolov5"]}, "learning_rate": {"loguniform": [-9.2, -4.6]}, "model_size": "small"},
    {"model_name": {"choice": ["fasterrcnn_resnet18_fpn"]}, "learning_rate": {"uniform": [0.0001, 0.01]}},
]


def draws(expression, n=4000):
    branch = parse_space({"x": expression})[0]
    rng = np.random.default_rng(0)
    return np.array([branch["x"].draw(rng) for _ in range(n)])


@pytest.mark.parametrize(
    ("expression", "low", "high", "mean"),
    [
        ({"uniform": [2, 4]}, 2, 4, 3),
        ({"loguniform": [0, 1]}, 1, np.e, np.e - 1),
        ({"randint": 5}, 0, 4, 2),
        ({"quniform": [0, 10, 5]}, 0, 10, 5),
        ({"qloguniform": [0, 3, 2]}, 2, 20, None),
        ({"choice": [1, 2, 3]}, 1, 3, 2),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_draws_fill_their_range(expression, low, high, mean):
    values = draws(expression)
    assert values.min() == pytest.approx(low, abs=0.02 * (high - low))
    assert values.max() == pytest.approx(high, abs=0.02 * (high - low))
    if mean is not None:
        assert values.mean() == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_normal_draws_have_their_mean_and_deviation(kind):
    values = draws({kind: [1, 0.5]})
    values = np.log(values) if kind == "lognormal" else values
    assert values.mean() == pytest.approx(1, abs=0.05)
    assert values.std() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "expression", [{"quniform": [0, 1, 0.25]}, {"qnormal": [0, 3, 0.25]}, {"qlognormal": [0, 1, 0.25]}]
)
def test_q_draws_are_multiples_of_q(expression):
    assert np.allclose(draws(expression, 500) % 0.25, 0)


def test_equal_seed_and_index_give_equal_trials_in_another_process():
    branches = parse_space(SPACE)
    here = [Random().propose(branches, 3, i) for i in (7, 2, 7)]
    code = (
        "import json,sys\nfrom automl_images.sweep.sampling.independent import Random\n"
        "from automl_images.sweep.space import parse_space\n"
        "print(json.dumps([Random().propose(parse_space(json.loads(sys.argv[1])), 3, i) for i in (7, 2, 7)]))"
    )
    there = subprocess.run([sys.executable, "-c", code, json.dumps(SPACE)], capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == here
    assert here[0] == here[2] != here[1]
    assert Random().propose(branches, 4, 7) != here[0]


def test_conditional_branches_are_sampled_whole():
    models = set()
    for i in range(30):
        trial = Random().propose(parse_space(SPACE), 0, i)
        models.add(trial["model_name"])
        assert ("model_size" in trial) == (trial["model_name"] == "yolov5")
    assert models == {"yolov5", "fasterrcnn_resnet18_fpn"}


def test_a_grid_counts_through_every_point_once():
    space = [
        {"model_name": "yolov5", "optimizer": {"choice": ["sgd", "adam"]}, "img_size": {"choice": [64, 96, 128]}},
        {"model_name": "fasterrcnn_resnet18_fpn", "optimizer": {"choice": ["sgd", "adamw"]}},
    ]
    branches = parse_space(space)
    points = [tuple(sorted(Grid().propose(branches, 0, i).items())) for i in range(Grid().points(branches))]
    assert len(points) == len(set(points)) == 8
    with pytest.raises(UserError, match="8 points, so there is no trial 8"):
        Grid().propose(branches, 0, 8)


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            {"learning_rate": {"unifrom": [0, 1]}},
            "sweep.space.learning_rate: no expression is called 'unifrom'; did you mean 'uniform'",
        ),
        ({"learning_rate": {"uniform": [0]}}, "uniform takes 2 numbers"),
        ({"learning_rate": {"uniform": [1, 0]}}, "lower bound 1 above its upper bound 0"),
        ({"learning_rate": {"choice": []}}, "choice has no values"),
        ({"learning_rate": [0.1, 0.2]}, "write {choice: [0.1, 0.2]}"),
        ({"learning_rate": {"uniform": [0, 2]}}, "sweep.space.learning_rate: 2.0 is out of range; allowed: 0 to 1"),
        ({"learning_rat": {"uniform": [0, 1]}}, "did you mean 'learning_rate'"),
        (
            [{"model_name": {"choice": ["yolov6"]}}],
            "sweep.space[0].model_name: image-object-detection has no model 'yolov6'",
        ),
        ({"min_size": {"choice": [64]}}, "does not apply to yolov5"),
        ({"validation_iou_threshold": {"choice": [0.5]}}, "must be one for the whole sweep"),
        ({"number_of_epochs": {"uniform": [1.5, 3]}}, "number_of_epochs: uniform draws fractions, and it takes at"),
        ({"number_of_epochs": {"normal": [8, 2]}}, "number_of_epochs: normal draws fractions"),
        ({"number_of_epochs": {"quniform": [2, 8, 0.5]}}, "number_of_epochs: quniform draws fractions"),
        ({"number_of_epochs": {"qnormal": [8, 2, 0.5]}}, "number_of_epochs: qnormal draws fractions"),
        ({"number_of_epochs": {"qnormal": [-80, 2, 1]}}, "qnormal hardly ever draws a value in its range, at least 1"),
        ({"nesterov": {"uniform": [0, 1]}}, "nesterov: uniform draws fractions, and it takes 0 or 1"),
        ({"optimizer": {"qnormal": [0, 1, 1]}}, "optimizer: qnormal draws numbers, and it takes one of"),
        ({"optimizer": {"randint": 2}}, "optimizer: 0 is out of range"),
        (
            {"layers_to_freeze": {"quniform": [8, 12, 1]}},
            "with layers_to_freeze 11: layers_to_freeze: 11 is more",
        ),
        ({"momentum": {"quniform": [0, 0.9, 0.1]}, "nesterov": 1}, "momentum: 0 leaves nesterov nothing"),
        (
            {"optimizer": {"choice": ["adam", "sgd"]}, "momentum": {"quniform": [0, 0.9, 0.1]}},
            "yolov5 with optimizer sgd: momentum: 0 leaves nesterov",
        ),
        (
            {
                "model_name": "fasterrcnn_resnet18_fpn",
                "min_size": {"quniform": [64, 512, 32]},
                "max_size": {"choice": [1333, 480]},
            },
            "with min_size 512, max_size 480: min_size: 512 is above max_size 480",
        ),
        ({"learning_rate": "uniform(0.0001, 0.01)"}, "is text; write {uniform: [0.0001, 0.01]}"),
        ({"img_size": {"choice": [64]}}, "is in settings too"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_a_wrong_space_is_refused_with_its_path(space, line):
    with pytest.raises(UserError) as refused:
        fixed = {} if "max_size" in space else {"img_size": 64}
        check_space(TASK, parse_space(space), fixed, isinstance(space, list))
    assert line in str(refused.value)


def test_grid_refuses_what_is_continuous():
    with pytest.raises(UserError, match="grid sampling takes choices only, and learning_rate is uniform"):
        Grid().points(parse_space({"learning_rate": {"uniform": [0, 1]}}))


def test_a_setting_that_is_judged_with_two_others_is_found_however_many_choices_there_are():
    space = {f"early_stopping_{n}": {"choice": list(range(1, 40))} for n in ("patience", "delay", "min_epochs")}
    space |= {"momentum": {"choice": [0.9, 0]}, "optimizer": {"choice": ["adam", "nag"]}}
    with pytest.raises(UserError, match="yolov5 with momentum 0, optimizer nag"):
        check_space(TASK, parse_space(space), {}, False)


@pytest.mark.parametrize(
    "space",
    [
        {"training_batch_size": {"quniform": [2, 8, 2]}, "layers_to_freeze": {"quniform": [1, 10, 1]}},
        {"training_batch_size": {"qnormal": [2, 8, 1]}, "learning_rate": {"normal": [-0.01, 0.01]}},
        {"learning_rate": {"lognormal": [0, 1]}, "momentum": {"uniform": [0, 0.9]}, "multi_scale": {"randint": 2}},
        {"number_of_epochs": {"qlognormal": [0, 2, 1]}, "weight_decay": {"qnormal": [0, 0.3, 0.25]}},
    ],
)
@pytest.mark.parametrize("sampler", [Random(), Sobol(), Bayesian(startup=2)], ids=lambda s: s.by)
def test_what_is_taken_can_be_run_by_every_trial(space, sampler):
    branches = parse_space(space)
    check_space(TASK, branches, {}, False)
    trials, drawn = [], []
    for i in range(60 if sampler.adaptive else 400):
        settings = sampler.propose(branches, 0, i, trials)
        drawn.append(resolve(TASK, {"model_name": "yolov5", **settings}))
        best = {"value": drawn[-1]["learning_rate"]}
        trials.append(Trial(i, State.COMPLETED, settings=settings, sampled=tuple(settings), best=best))
    assert all(len({d[name] for d in drawn}) > 1 for name in space)


def test_a_normal_expression_keeps_its_shape_within_the_range():
    expression = parse_space({"learning_rate": {"normal": [0, 0.1]}})[0]["learning_rate"]
    values = [expression.quantile((i + 0.5) / 1000) for i in range(1000)]
    assert min(values) > 0 and np.mean(values) == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.01)
    assert [expression.probability(v) for v in values[::100]] == pytest.approx([i / 10 + 0.0005 for i in range(10)])
