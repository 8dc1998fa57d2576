"""Optimisers and learning-rate schedules by Azure's names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, StepLR

POWER = 0.9  # of the poly schedule (Chen et al. 2017, Zhao et al. 2017)
_UNDECAYED = ("rmsprop", "adagrad")
BIASES = "biases"  # marks the group of biases


def build_optimizer(model: nn.Module, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser that ``settings`` describe, over the parameters that learn.

    Biases and the weights of norms are not decayed, which is usual practice (He et al. 2018, "Bag of Tricks").
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    learning = [p for _, p in named]
    name, decay = settings["optimizer"], settings["weight_decay"]
    apart = "warmup_bias_lr" in settings
    biases = [p for n, p in named if p.ndim <= 1 and apart and n.endswith("bias")]
    norms = [p for n, p in named if p.ndim <= 1 and not (apart and n.endswith("bias"))]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.0 if name in _UNDECAYED else decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    if apart:
        groups.append({"params": biases, "weight_decay": 0.0, BIASES: True})
    rate, fused = settings["learning_rate"], all(p.is_cuda for p in learning)
    if name in ("sgd", "nag"):
        ahead = name == "nag" or bool(settings["nesterov"])
        return SGD(groups, lr=rate, momentum=settings["momentum"], nesterov=ahead, fused=fused)
    if name == "rmsprop":
        # classifiers and detectors have no momentum under it
        momentum = settings.get("gamma2", 0.0)
        return RMSprop(groups, lr=rate, alpha=settings["gamma"], eps=settings["eps"], momentum=momentum, foreach=fused)
    if name == "adagrad":
        return Adagrad(groups, lr=rate, eps=settings["eps"], foreach=fused)
    kind = Adam if name == "adam" else AdamW
    return kind(
        groups,
        lr=rate,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["eps"],
        amsgrad=bool(settings["amsgrad"]),
        fused=fused,
    )


def warmup_cosine(step: int, warmup: int, total: int, cycles: float) -> float:
    """Return the factor on the learning rate at an optimiser step, in [0, 1].

    ``step / warmup`` during the warm-up, then ``max(0, (1 + cos(2 pi cycles p)) / 2)`` with p the share of the rest
    that has passed: transformers' cosine schedule with warm-up, whose shape Azure's defaults follow.
    """
    if step < warmup:
        return step / warmup
    passed = (step - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1 + math.cos(2 * math.pi * cycles * passed)))


class WarmUp(LambdaLR):
    """A schedule of optimiser steps whose warm-up moves the biases' rate and the momentum too, as YOLOv5's does.

    Of the settings: while the rate of other weights rises from 0, that of the biases moves from ``warmup_bias_lr`` to
    the learning rate, and momentum, where the optimiser has one, from ``warmup_momentum`` to its value. An adaptive
    optimiser needs the biases' rate most: it moves a weight by about its rate a step, and the biases that make classes
    rare at first have far to go.
    """

    def __init__(
        self, optimizer: Optimizer, settings: Mapping[str, Any], warmup: float, factor: Callable[[int], float]
    ):
        self.warmup, rate = warmup, settings["learning_rate"]
        self.momentum = (settings["warmup_momentum"], settings["momentum"])
        first = settings["warmup_bias_lr"] / rate if rate else 0.0

        def of_biases(step: int) -> float:
            return first + (1 - first) * step / warmup if step < warmup else factor(step)

        super().__init__(optimizer, [of_biases if BIASES in g else factor for g in optimizer.param_groups])

    def step(self, epoch: int | None = None) -> None:  # noqa: D102
        super().step(epoch)
        passed = min(1.0, self.last_epoch / self.warmup) if self.warmup else 1.0
        first, last = self.momentum
        for group in self.optimizer.param_groups if isinstance(self.optimizer, SGD) else ():
            group["momentum"] = first + (last - first) * passed


def build_scheduler(optimizer: Optimizer, settings: Mapping[str, Any], steps_per_epoch: int) -> tuple[LRScheduler, str]:
    """Return the schedule and what it counts: ``step`` (optimiser steps) or ``epoch``."""
    if settings["lr_scheduler"] == "step" and settings["lr_scheduler_step"]:
        epochs = [int(e) for e in settings["lr_scheduler_step"].split(",")]
        return MultiStepLR(optimizer, epochs, settings["lr_scheduler_factor"]), "epoch"
    if settings["lr_scheduler"] == "step":
        return StepLR(optimizer, settings["step_lr_step_size"], settings["step_lr_gamma"]), "epoch"
    total = settings["number_of_epochs"] * steps_per_epoch
    if settings["lr_scheduler"] == "poly":
        return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total) ** POWER), "step"
    if settings["lr_scheduler"] == "cosine":
        return LambdaLR(optimizer, lambda step: warmup_cosine(step, 0, total, 0.5)), "step"
    warmup = settings["warmup_cosine_lr_warmup_epochs"] * steps_per_epoch
    cycles = settings["warmup_cosine_lr_cycles"]
    least = settings.get("lrf", 0.0)

    def factor(step: int) -> float:
        found = warmup_cosine(step, warmup, total, cycles)
        return found if step < warmup else least + (1 - least) * found

    if "warmup_momentum" in settings:
        return WarmUp(optimizer, settings, warmup, factor), "step"
    return LambdaLR(optimizer, factor), "step"


def seed_step(seed: int, epoch: int, batch: int, rank: int = 0) -> None:
    """Seed torch's generators for one batch, so that a resumed trial draws what an uninterrupted one would."""
    drawn = np.random.SeedSequence([seed, epoch, batch, *([rank] if rank else [])]).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn[0]) >> 1)
