"""Batches, epochs, stopping, rates and optimisers."""

import itertools
import math

import numpy as np
import pytest
import torch

from tests.effects.lab import differ, effect, refused


@effect
def of_number_of_epochs(lab):
    for count in (1, 3):
        seen = lab.tiny(number_of_epochs=count)
        assert sorted(set(seen.epochs)) == list(range(count))
        assert [e for e, *_ in seen.journal.evaluations] == [*range(1, count + 1)]


@effect
def of_training_batch_size(lab):
    for size, batches in ((1, [1] * 8), (3, [3, 3, 2]), (100, [8])):
        seen = lab.run(training_batch_size=size)
        assert seen.batches == batches


@effect
def of_validation_batch_size(lab):
    runs = [lab.run(validation_batch_size=size) for size in (1, 3, 100)]
    assert [[len(images) for images in seen.scored] for seen in runs] == [[1] * 4, [3, 1], [4]]
    for seen in runs[1:]:
        assert seen.fitted.best["value"] == runs[0].fitted.best["value"]
        assert seen.fitted.best["metrics"]["log_loss"] == pytest.approx(
            runs[0].fitted.best["metrics"]["log_loss"], abs=1e-6
        )
        for i, probs in runs[0].found.items():
            np.testing.assert_allclose(seen.found[i], probs, atol=1e-6)


@effect
def of_grad_accumulation_step(lab):
    apart, together, most = (
        lab.tiny(learning_rate=0, training_batch_size=3, grad_accumulation_step=n, number_of_epochs=1)
        for n in (1, 2, 50)
    )
    g = [step["layer.weight"] for step in apart.gradients]
    for seen, expected in ((together, [(g[0] + g[1]) / 2, g[2]]), (most, [sum(g) / 3])):
        assert len(seen.gradients) == len(expected)
        for step, gradient in zip(seen.gradients, expected, strict=True):
            torch.testing.assert_close(step["layer.weight"], gradient)


@effect
def of_early_stopping(lab):
    assert (lab.evaluations(), lab.evaluations(early_stopping=0)) == ([1, 2, 3], [*range(1, 10)])


@effect
def of_early_stopping_patience(lab):
    assert [len(lab.evaluations(early_stopping_patience=n)) for n in (1, 4, 100)] == [2, 5, 9]


@effect
def of_early_stopping_delay(lab):
    assert [len(lab.evaluations(early_stopping_delay=n)) for n in (1, 4, 100)] == [3, 6, 9]


@effect
def of_early_stopping_min_epochs(lab):
    assert [len(lab.evaluations(early_stopping_min_epochs=n)) for n in (1, 6, 100)] == [3, 6, 9]


@effect
def of_early_stopping_tolerance(lab):
    rising = [0.1 * 1.3**i for i in range(7)]
    assert [len(lab.evaluations(rising, early_stopping_tolerance=n)) for n in (0, 0.35, 0.75, 1)] == [7, 7, 3, 3]


@effect
def of_learning_rate(lab):
    start = lab.tiny(number_of_epochs=1, training_batch_size=8, learning_rate=0)
    assert torch.equal(start.end["layer.weight"], start.start["layer.weight"])
    ends = [lab.follows(number_of_epochs=1, training_batch_size=8, learning_rate=r) for r in (0.1, 0.2, 1)]
    moved = [end - start.end["layer.weight"] for end in ends]
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved[2], 10 * moved[0], rtol=1e-4, atol=1e-6)


@effect
def of_lr_scheduler(lab):
    assert lab.rates(lr_scheduler="step") == [0.1] * 8
    rates = lab.rates(lr_scheduler="warmup_cosine")
    assert rates[:3] == pytest.approx([0, 0.05, 0.1])
    assert all(a > b for a, b in itertools.pairwise(rates[2:]))


@effect
def of_step_lr_gamma(lab):
    for gamma in (0, 0.5, 1):
        rates = lab.rates(step_lr_gamma=gamma, step_lr_step_size=1)
        assert rates == pytest.approx([0.1 * gamma**epoch for epoch in (0, 0, 1, 1, 2, 2, 3, 3)])


@effect
def of_step_lr_step_size(lab):
    for size, steps in ((1, [0, 1, 2, 3]), (3, [0, 0, 0, 1]), (100, [0] * 4)):
        rates = lab.rates(step_lr_gamma=0.5, step_lr_step_size=size)
        assert rates[::2] == pytest.approx([0.1 * 0.5**n for n in steps])


@effect
def of_lr_scheduler_step(lab):
    for epochs, steps in (("1,3", [0, 1, 1, 2]), ("2", [0, 0, 1, 1]), ("100", [0] * 4)):
        assert lab.rates(lr_scheduler_step=epochs)[::2] == pytest.approx([0.1 * 0.1**n for n in steps])
    for wrong in ("2,1", "0,1", "a", "1.5", ""):
        refused("^lr_scheduler_step: .* is not a list of epochs", lr_scheduler_step=wrong)


@effect
def of_lr_scheduler_factor(lab):
    for factor in (0, 0.5, 1):
        rates = lab.rates(lr_scheduler_step="1,2", lr_scheduler_factor=factor)
        assert rates[::2] == pytest.approx([0.1 * factor**n for n in (0, 1, 2, 2)])


@effect
def of_warmup_cosine_lr_cycles(lab):
    for cycles in (0, 0.45, 1):
        rates = lab.rates(lr_scheduler="warmup_cosine", warmup_cosine_lr_cycles=cycles)
        cosine = [0.05 * (1 + math.cos(2 * math.pi * cycles * p / 6)) for p in range(6)]
        assert rates == pytest.approx([0, 0.05, *cosine])


@effect
def of_warmup_cosine_lr_warmup_epochs(lab):
    for epochs in (1, 2, 4, 100):
        rates = lab.rates(lr_scheduler="warmup_cosine", warmup_cosine_lr_warmup_epochs=epochs)
        warm = 2 * epochs
        assert rates[: min(warm, 8)] == pytest.approx([0.1 * i / warm for i in range(min(warm, 8))])
        assert max(rates) <= 0.1


@effect
def of_optimizer(lab):
    ends = {name: lab.follows(optimizer=name, momentum=0.5) for name in ("sgd", "nag", "adam", "adamw", "rmsprop")}
    assert differ(ends["sgd"], ends["nag"], ends["adam"], ends["rmsprop"])
    assert torch.equal(ends["adam"], ends["adamw"]), "they differ by their decay alone"
    assert differ(*(lab.follows(optimizer=name, weight_decay=0.5) for name in ("adam", "adamw")))
    refused("optimizer: 'lion' is out of range; allowed: one of sgd, adam", optimizer="lion")


@effect
def of_momentum(lab):
    assert differ(*(lab.follows(momentum=m) for m in (0, 0.5, 1)))
    assert differ(*(lab.follows(optimizer="nag", momentum=m) for m in (0.5, 1)))
    refused("momentum: 0 leaves nag nothing", optimizer="nag", momentum=0)
    refused("momentum: 0 leaves nesterov nothing", nesterov=1, momentum=0)


@effect
def of_weight_decay(lab):
    for name in ("sgd", "nag", "adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, momentum=0.5, weight_decay=d) for d in (0, 0.1, 1)))
    ends = [lab.follows(optimizer="rmsprop", weight_decay=d) for d in (0, 1)]
    assert torch.equal(*ends)


@effect
def of_nesterov(lab):
    plain, ahead = (lab.follows(nesterov=n, momentum=0.5) for n in (0, 1))
    assert differ(plain, ahead)
    assert torch.equal(ahead, lab.follows(optimizer="nag", nesterov=0, momentum=0.5))


@effect
def of_beta1(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, beta1=b) for b in (0, 0.5, 0.99)))
        refused("^beta1: 1 would never take in a new gradient", optimizer=name, beta1=1)


@effect
def of_beta2(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, beta2=b) for b in (0, 0.5, 0.99)))
        refused("^beta2: 1 would never take in a new gradient", optimizer=name, beta2=1)


@effect
def of_eps(lab):
    for name in ("adam", "adamw", "rmsprop"):
        small, large = (lab.follows(optimizer=name, eps=e, number_of_epochs=1) for e in (1e-8, 1))
        start = lab.tiny(learning_rate=0, number_of_epochs=1).end["layer.weight"]
        assert (large - start).abs().max() < (small - start).abs().max()
        refused("^eps: 0 divides by nothing", optimizer=name, eps=0)


@effect
def of_gamma(lab):
    assert differ(*(lab.follows(optimizer="rmsprop", gamma=g) for g in (0, 0.5, 0.99)))
    refused("^gamma: 1 would never take in a new gradient", optimizer="rmsprop", gamma=1)


@effect
def of_amsgrad(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, amsgrad=a, beta2=0.3, number_of_epochs=4) for a in (0, 1)))
