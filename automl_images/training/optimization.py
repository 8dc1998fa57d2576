"""Optimisers and learning-rate schedules by Azure's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, StepLR

POWER = 0.9  # of the poly schedule (Chen et al. 2017, Zhao et al. 2017)
_UNDECAYED = ("rmsprop", "adagrad")


def build_optimizer(model: nn.Module, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser that ``settings`` describe, over the parameters that learn.

    Biases and the weights of norms are not decayed, which is usual practice (He et al. 2018, "Bag of Tricks").
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    name, decay = settings["optimizer"], settings["weight_decay"]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.0 if name in _UNDECAYED else decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
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
    return LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total, cycles)), "step"


def seed_step(seed: int, epoch: int, batch: int, rank: int = 0) -> None:
    """Seed torch's generators for one batch, so that a resumed trial draws what an uninterrupted one would."""
    drawn = np.random.SeedSequence([seed, epoch, batch, *([rank] if rank else [])]).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn[0]) >> 1)
