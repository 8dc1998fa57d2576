"""Optimisers and learning-rate schedules by Azure's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR


def build_optimizer(model: nn.Module, settings: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser that ``settings`` describe, over the parameters that learn.

    Biases and the weights of norms are not decayed, which is usual practice (He et al. 2018, "Bag of Tricks").
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(p.is_cuda for p in learning)
    if settings["optimizer"] == "sgd":
        return SGD(
            groups,
            lr=settings["learning_rate"],
            momentum=settings["momentum"],
            nesterov=bool(settings["nesterov"]),
            fused=fused,
        )
    kind = Adam if settings["optimizer"] == "adam" else AdamW
    return kind(
        groups,
        lr=settings["learning_rate"],
        betas=(settings["beta1"], settings["beta2"]),
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
    if settings["lr_scheduler"] == "step":
        return StepLR(optimizer, settings["step_lr_step_size"], settings["step_lr_gamma"]), "epoch"
    warmup = settings["warmup_cosine_lr_warmup_epochs"] * steps_per_epoch
    total = settings["number_of_epochs"] * steps_per_epoch
    cycles = settings["warmup_cosine_lr_cycles"]
    return LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total, cycles)), "step"


def seed_step(seed: int, epoch: int, batch: int) -> None:
    """Seed torch's generators for one batch, so that a resumed trial draws what an uninterrupted one would."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, batch]).generate_state(1, np.uint64)[0]) >> 1)
