"""Early termination: Azure's worked examples, when rules act, what they say."""

import pytest

from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.sweep.score import Evaluation, Score, latest
from automl_images.sweep.termination import RULE, Unstopped


def at(number, *values):
    """Return a trial's score after these values."""
    return Score(number, number, values[-1], max(values), sum(values) / len(values))


def judged(rule, mine, peers):
    return RULE.validate_python(rule).stop(mine, peers)


def stops(rule, mine, *peers):
    return judged(rule, mine, {i: at(mine.number, p) for i, p in enumerate(peers, 1)})


@pytest.mark.parametrize(
    ("slack", "best", "mine", "stopped"),
    [
        ({"slack_factor": 0.2}, 0.8, 0.66, True),
        ({"slack_factor": 0.2}, 0.8, 0.667, False),
        ({"slack_factor": 0.1}, 1.0, 0.909, True),
        ({"slack_factor": 0.1}, 1.0, 0.91, False),
        ({"slack_factor": 0}, 0.8, 0.79, True),
        ({"slack_factor": 0}, 0.8, 0.8, False),
        ({"slack_amount": 0.2}, 0.8, 0.59, True),
        ({"slack_amount": 0.2}, 0.8, 0.61, False),
        ({"slack_factor": 0.1}, 0.66, 0.6, False),  # exactly best / (1 + slack_factor): only less than it stops
        ({"slack_factor": 0.1}, 0.66, 0.66 / 1.1, False),
        ({"slack_factor": 0.5}, 0.9, 0.6, False),
        ({"slack_factor": 0.5}, 0.9, 0.5999, True),
        ({"slack_amount": 0.2}, 0.8, 0.6, False),
        ({"slack_factor": 0.2}, -0.8, -0.9, False),
        ({"slack_factor": 0.2}, -0.8, -0.95, True),
    ],
)
def test_bandit(slack, best, mine, stopped):
    said = stops({"policy": "bandit", **slack}, at(1, mine), best, best - 0.5)
    assert bool(said) is stopped
    if said:
        assert (f"its best {mine:.4g} is below" in said and "trial 1" in said) or best < 0


def test_bandit_compares_bests_not_last_values():
    assert not stops({"policy": "bandit", "slack_amount": 0.1}, at(3, 0.8, 0.2, 0.1), 0.85)


def test_median_stopping_compares_the_best_with_running_means():
    rule = {"policy": "median_stopping"}
    peers = {i: at(5, *[v] * 5) for i, v in enumerate((0.3, 0.4, 0.5), 1)}
    mine = at(5, 0.1, 0.2, 0.34, 0.2, 0.2)
    assert "below 0.35, the median of the running means of 4 trials" in judged(rule, mine, peers)
    better = at(5, 0.1, 0.2, 0.36, 0.2, 0.2)
    assert judged(rule, better, peers) is None


def test_truncation_stops_the_lowest_share():
    rule = {"policy": "truncation_selection", "truncation_percentage": 20}
    others = [0.1 * i for i in range(1, 10)]
    assert "among the lowest 2 of 10 trials (20 %)" in stops(rule, at(1, 0.05), *others)
    assert stops(rule, at(1, 0.15), *others)
    assert not stops(rule, at(1, 0.25), *others)
    assert not stops(rule, at(1, 0.01), 0.5, 0.6), "a fifth of three is none"
    assert not stops(rule, at(1, 0.5), *[0.5] * 9), "equal trials are not the lowest"


PERIODIC = [
    {"policy": "bandit", "slack_amount": 0},
    {"policy": "median_stopping"},
    {"policy": "truncation_selection", "truncation_percentage": 60},
]


@pytest.mark.parametrize("rule", PERIODIC, ids=lambda r: r["policy"])
def test_when_rules_act(rule):
    def acting(**when):
        return [n for n in range(1, 13) if stops({**rule, **when}, at(n, 0.1), 0.9)]

    assert acting() == list(range(1, 13))
    assert acting(evaluation_interval=0) == list(range(1, 13))
    assert acting(evaluation_interval=2, delay_evaluation=6) == [6, 8, 10, 12]
    assert acting(delay_evaluation=5) == list(range(5, 13))
    assert judged(rule, at(3, 0.1), {}) is None, "nobody to be judged by"


def test_asha_acts_at_rungs_within_the_first_wave():
    rule = {"policy": "asha", "reduction_factor": 3, "min_evaluations": 2}
    acting = [n for n in range(1, 60) if stops(rule, at(n, 0.1), 0.5, 0.6)]
    assert acting == [2, 6, 18, 54]
    assert not stops(rule, at(2, 0.1), 0.5), "the first at a rung go on"
    assert not stops(rule, at(2, 0.55), 0.5, 0.1)
    assert stops(rule, at(2, 0.55), 0.6, 0.1)
    assert not stops(rule, at(2, 0.55), 0.6, 0.1, 0.2, 0.3, 0.4), "two of six go on"
    assert judged(rule, at(2, 0.1), {9: at(1, 0.9), 1: at(2, 0.5)}) is None


@pytest.mark.parametrize("rule", [None, {}, {"policy": None}, {"policy": "none"}])
def test_none_stops_nothing(rule):
    assert RULE.validate_python(rule) == Unstopped()
    assert not stops(rule, at(5, 0.1), 0.9)


@pytest.mark.parametrize(
    "rule",
    [
        {"policy": "hyperband"},
        {"slack_factor": 0.1},
        {"policy": "bandit", "slack_factor": "nan"},
        {"policy": "bandit"},
        {"policy": "bandit", "slack_factor": 0.1, "slack_amount": 0.1},
        {"policy": "bandit", "slack_factor": -0.1},
        {"policy": "bandit", "slack_factor": True},
        {"policy": "median_stopping", "slack_factor": 0.1},
        {"policy": "median_stopping", "evaluation_interval": 1.5},
        {"policy": "median_stopping", "delay_evaluation": -1},
        {"policy": "truncation_selection"},
        {"policy": "truncation_selection", "truncation_percentage": 0},
        {"policy": "truncation_selection", "truncation_percentage": 100},
        {"policy": "asha", "reduction_factor": 1},
        {"policy": "asha", "min_evaluations": 0},
    ],
    ids=str,
)
def test_wrong_rules_are_refused_with_their_place(rule):
    with pytest.raises(UserError, match=r"^sweep\.early_termination"):
        Experiment.read({"task": "image-object-detection", "sweep": {"early_termination": rule}})


def test_an_evaluation_is_its_name():
    one = Evaluation(7, 2, Score(5, 10, 0.612345678, 2 / 3, -1e-12))
    assert Evaluation.parse(one.name()) == one
    assert Evaluation.parse("0007.2~superseded") is None
    assert Evaluation.parse("0007.2~") is None
    again = Evaluation(7, 3, Score(1, 2, 0.1, 0.1, 0.1))
    assert latest([again, one]) == {7: again.score}
