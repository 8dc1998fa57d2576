"""Trials to see effects by, and the effects by name."""

import json

import pytest
import torch

from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger
from tests.effects.probe import (
    SINGLE,
    SMALL,
    STEADY,
    Tiny,
    draw_classes,
    replayed,
    watched,
    write_labels,
)

EFFECTS = {}
FLAT = [0.5] * 9
PLAIN = {**STEADY, "learning_rate": 0.1, "number_of_epochs": 2}


def effect(check):
    EFFECTS[check.__name__.removeprefix("of_")] = check
    return check


class Lab:
    """Trials on the same eight training and four validation images."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        drawn = draw_classes(folder / "images", ["blue", "green", "red"] * 4)
        self.data = drawn[:8], drawn[8:]

    def run(self, data=None, **more):
        """Train resnet20; settings by name, and ``watched``'s other arguments."""
        self.count += 1
        known = {n: more.pop(n) for n in ("task", "network", "scores", "seed", "checkpoint") if n in more}
        return watched(self.folder / str(self.count), data or self.data, more, **known)

    def tiny(self, **more):
        return self.run(**{"network": Tiny, **PLAIN, **more})

    def follows(self, **given):
        """Train the linear classifier, compare its weights' path with the formula, and return where they end."""
        seen = self.tiny(**given)
        for name, weight in seen.weights[0].items():
            path = replayed(seen.settings, name, seen.gradients, seen.rates, weight)
            for now, expected in zip(seen.weights, path, strict=True):
                torch.testing.assert_close(now[name], expected, rtol=1e-5, atol=1e-6)
        return seen.weights[-1]["layer.weight"]

    def rates(self, epochs=4, **given):
        """Return the rate of each of two steps an epoch."""
        return self.tiny(number_of_epochs=epochs, **given).rates

    def evaluations(self, scores=FLAT, **given):
        """Return the epochs that are evaluated under early stopping."""
        given = {"early_stopping": 1, "early_stopping_delay": 1, "early_stopping_patience": 2, **given}
        seen = self.tiny(number_of_epochs=len(scores), scores=scores, training_batch_size=8, **given)
        return [epoch for epoch, *_ in seen.journal.evaluations]


def refused(line, **given):
    with pytest.raises(UserError, match=line):
        resolve(given.pop("task", SINGLE), {**SMALL, **given})


def differ(*ends):
    return all(not torch.equal(a, b) for i, a in enumerate(ends) for b in ends[:i])


def said_of(**given):
    return without_effect(resolve(SINGLE, {**SMALL, **given}), given)


def planned_weights(lab, **settings):
    data = [write_labels(lab.folder / f"{n}.jsonl", records) for n, records in zip("tv", lab.data, strict=True)]
    content = {"task": SINGLE, "settings": {**SMALL, **settings}, "weights": {"pretrained": False}}
    (lane,) = plan_sweep(content, *data, default_storage=str(lab.folder))
    lane = json.loads(lane)
    source = Ledger(lane["ledger"]).run(lane["run"]).weights["source"]
    return source and torch.load(source, weights_only=True)
