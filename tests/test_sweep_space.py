"""Search spaces and samplers: the expressions' mathematics, refusals, and equal trials everywhere."""

import json
import subprocess
import sys

import numpy as np
import pytest

from automl_images.errors import UserError
from automl_images.sweep.sampling.independent import Grid, Random
from automl_images.sweep.space import check_space, parse_space

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
        ({"number_of_epochs": {"uniform": [1.5, 3]}}, "1.5 is not a whole number"),
        ({"img_size": {"choice": [64]}}, "is in settings too"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_a_wrong_space_is_refused_with_its_path(space, line):
    with pytest.raises(UserError) as refused:
        check_space(TASK, parse_space(space), {"img_size": 64}, isinstance(space, list))
    assert line in str(refused.value)


def test_grid_refuses_what_is_continuous():
    with pytest.raises(UserError, match="grid sampling takes choices only, and learning_rate is uniform"):
        Grid().points(parse_space({"learning_rate": {"uniform": [0, 1]}}))
