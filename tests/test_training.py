"""What the optimiser's and the schedule's settings do to weights, against their formulas, through fit()."""

import math

import numpy as np
import pytest
from torch import nn

from automl_images.hyperparameters import resolve
from automl_images.training.optimization import build_optimizer
from tests.helpers.training_probe import PLAIN, PULLS, TASK, named, trainer


@pytest.fixture
def train(squares, tmp_path, monkeypatch):
    return trainer(squares, tmp_path, monkeypatch)


def sgd(grads, rate=0.1, momentum=0.9, nesterov=True, decay=0.0, w=1.0):
    path, v = [w], 0.0
    for i, pull in enumerate(grads):
        g = pull + decay * w
        v = momentum * v + g if i else g
        w -= rate * (g + momentum * v if nesterov else v)
        path.append(w)
    return path


def rmsprop(grads, rate=0.1, gamma=0.9, eps=1e-8, w=1.0):
    path, v = [w], 0.0
    for g in grads:
        v = gamma * v + (1 - gamma) * g * g
        w -= rate * g / (math.sqrt(v) + eps)
        path.append(w)
    return path


def adam(grads, rate=0.1, beta1=0.9, beta2=0.999, amsgrad=False, decay=0.0, decoupled=False, w=1.0, eps=1e-8):
    path, m, v, top = [w], 0.0, 0.0, 0.0
    for t, pull in enumerate(grads, 1):
        w, g = (w * (1 - rate * decay), pull) if decoupled else (w, pull + decay * w)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        top = max(top, v)
        w -= rate * m / (1 - beta1**t) / (math.sqrt((top if amsgrad else v) / (1 - beta2**t)) + eps)
        path.append(w)
    return path


def cosine(step, warmup, total, cycles, rate=0.1):
    passed = (step - warmup) / max(1, total - warmup)
    return rate * (step / warmup if step < warmup else (1 + math.cos(2 * math.pi * cycles * passed)) / 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, sgd(PULLS)),
        ({"learning_rate": 0.03}, sgd(PULLS, 0.03)),
        ({"learning_rate": 0}, [1.0] * 9),
        ({"momentum": 0, "nesterov": 0}, sgd(PULLS, momentum=0, nesterov=False)),
        ({"momentum": 0.5}, sgd(PULLS, momentum=0.5)),
        ({"nesterov": 0}, sgd(PULLS, nesterov=False)),
        ({"optimizer": "nag"}, sgd(PULLS)),
        ({"optimizer": "nag", "nesterov": 0, "momentum": 0.5}, sgd(PULLS, momentum=0.5)),
        ({"optimizer": "nag", "weight_decay": 0.2}, sgd(PULLS, decay=0.2)),
        ({"optimizer": "rmsprop"}, rmsprop(PULLS)),
        ({"optimizer": "rmsprop", "gamma": 0.3}, rmsprop(PULLS, gamma=0.3)),
        ({"optimizer": "rmsprop", "gamma": 0}, rmsprop(PULLS, gamma=0)),
        ({"optimizer": "rmsprop", "eps": 1}, rmsprop(PULLS, eps=1)),
        ({"optimizer": "adam"}, adam(PULLS)),
        ({"optimizer": "adam", "eps": 0.5}, adam(PULLS, eps=0.5)),
        ({"optimizer": "adamw", "eps": 1}, adam(PULLS, eps=1)),
        ({"optimizer": "adam", "beta1": 0.2}, adam(PULLS, beta1=0.2)),
        ({"optimizer": "adam", "beta2": 0.5}, adam(PULLS, beta2=0.5)),
        ({"optimizer": "adam", "beta2": 0.5, "amsgrad": 1}, adam(PULLS, beta2=0.5, amsgrad=True)),
        ({"weight_decay": 0.2}, sgd(PULLS, decay=0.2)),
        ({"optimizer": "adam", "weight_decay": 0.2}, adam(PULLS, decay=0.2)),
        ({"optimizer": "adamw", "weight_decay": 0.2}, adam(PULLS, decay=0.2, decoupled=True)),
    ],
    ids=named,
)
def test_weights_follow_the_optimizer_asked_for(train, given, expected):
    probe, _, _ = train({"training_batch_size": 3, "number_of_epochs": 4, **given})
    np.testing.assert_allclose(probe.path, expected, rtol=1e-6)
    assert (float(probe.still.detach()) < 1) is ("weight_decay" in given)
    assert float(probe.bias.detach()) == 1


def test_rmsprop_decays_no_weight(train):
    probe, _, _ = train({"training_batch_size": 3, "number_of_epochs": 1, "optimizer": "rmsprop", "weight_decay": 1})
    assert float(probe.still.detach()) == 1


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    groups = build_optimizer(model, resolve(TASK, {**PLAIN, "weight_decay": 0.1})).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {n for n, p in model.named_parameters() if decays[id(p)]} == {"0.weight", "2.weight"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"step_lr_gamma": 0.5, "step_lr_step_size": 1}, [0.1 * 0.5 ** (i // 2) for i in range(8)]),
        ({"step_lr_gamma": 0.2, "step_lr_step_size": 3}, [0.1] * 6 + [0.02] * 2),
        ({"step_lr_gamma": 0, "step_lr_step_size": 2}, [0.1] * 4 + [0] * 4),
        ({"lr_scheduler_step": "1,3"}, [0.1] * 2 + [0.01] * 4 + [0.001] * 2),
        ({"lr_scheduler_step": "2", "lr_scheduler_factor": 0.5}, [0.1] * 4 + [0.05] * 4),
        ({"lr_scheduler_step": "2", "lr_scheduler_factor": 0}, [0.1] * 4 + [0] * 4),
        ({"lr_scheduler_step": "2", "lr_scheduler_factor": 1}, [0.1] * 8),
        *(
            (
                {"lr_scheduler": "warmup_cosine", "warmup_cosine_lr_warmup_epochs": w, "warmup_cosine_lr_cycles": c},
                [cosine(i, 2 * w, 8, c) for i in range(8)],
            )
            for w, c in ((1, 0.45), (2, 0.45), (1, 1), (1, 0), (4, 0.5))
        ),
    ],
    ids=named,
)
def test_the_learning_rate_follows_the_schedule(train, given, expected):
    given = {"training_batch_size": 3, "number_of_epochs": 4, "momentum": 0, "nesterov": 0, **given}
    probe, _, _ = train(given, pulls=[1.0])
    np.testing.assert_allclose(-np.diff(probe.path), expected, atol=1e-12)


def test_the_schedule_counts_the_steps_that_accumulation_leaves(train):
    given = {
        "training_batch_size": 2,
        "number_of_epochs": 4,
        "grad_accumulation_step": 2,
        "lr_scheduler": "warmup_cosine",
    }
    probe, _, _ = train({**given, "momentum": 0, "nesterov": 0}, pulls=[1.0])
    expected = [[0, cosine(2 * e, 4, 8, 0.45), cosine(2 * e + 1, 4, 8, 0.45)] for e in range(4)]
    np.testing.assert_allclose(-np.diff(probe.path), np.ravel(expected), atol=1e-12)


@pytest.mark.parametrize(
    ("accumulated", "groups"), [(1, [[0], [1], [2]]), (2, [[0, 1], [2]]), (3, [[0, 1, 2]]), (9, [[0, 1, 2]])]
)
def test_gradients_of_accumulated_batches_are_averaged(train, accumulated, groups):
    given = {"training_batch_size": 2, "grad_accumulation_step": accumulated, "number_of_epochs": 1}
    probe, _, _ = train(given)
    np.testing.assert_allclose(sorted(set(probe.path)), sorted(sgd([np.mean([PULLS[i] for i in g]) for g in groups])))


@pytest.mark.parametrize(
    ("training", "validation", "sizes", "evaluated"), [(4, 1, [4, 2], [1] * 3), (1, 2, [1] * 6, [2, 1])]
)
def test_batches_have_the_sizes_asked_for(train, training, validation, sizes, evaluated):
    given = {"training_batch_size": training, "validation_batch_size": validation, "number_of_epochs": 2}
    probe, fitted, _ = train(given)
    assert ([n for n, _, _ in probe.calls], probe.predicted) == (sizes * 2, evaluated * 2)
    assert fitted.best["value"] == pytest.approx(1 / 3)
