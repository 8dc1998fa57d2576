"""YOLOv5's warm-up: the rates of weights and biases, and momentum, at each step; where the schedule ends."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from automl_images.hyperparameters import resolve
from automl_images.training.module import Module
from automl_images.training.optimization import build_optimizer, build_scheduler

TASK = "image-object-detection"
STEPS = 10  # an epoch


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def path(**given):
    """Return, for each step, the rates of weights, norms and biases, and momentum; the model learns 4 epochs."""
    common = {"number_of_epochs": 4, "learning_rate": 0.01, "warmup_epochs": 1, "warmup_cosine_lr_cycles": 0.5}
    settings = resolve(TASK, {"model_name": "yolov5", **common, **given})
    optimizer = build_optimizer(network(), settings)
    scheduler, each = build_scheduler(optimizer, settings, STEPS)
    rows = []
    for _ in range(4 * STEPS + 1):
        groups = optimizer.param_groups
        rows.append([*(group["lr"] for group in groups), groups[0].get("momentum")])
        optimizer.step()
        if each == "step":
            scheduler.step()
    return rows


def test_biases_and_norms_are_groups_of_their_own_and_neither_decays():
    optimizer = build_optimizer(network(), resolve(TASK, {"model_name": "yolov5", "weight_decay": 0.1}))
    shapes = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
    assert shapes == [[(4, 3, 1, 1)], [(4,)], [(4,), (4,)]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0, 0]


def test_biases_and_momentum_warm_up_from_where_they_are_told():
    rows = path(warmup_bias_lr=0.1, warmup_momentum=0.8, momentum=0.9)
    assert rows[0] == pytest.approx([0, 0, 0.1, 0.8])
    assert rows[STEPS // 2] == pytest.approx([0.005, 0.005, 0.055, 0.85])
    assert rows[STEPS] == pytest.approx([0.01, 0.01, 0.01, 0.9])
    assert all(row[0] == row[1] == row[2] and row[3] == pytest.approx(0.9) for row in rows[STEPS:])


def test_a_warm_up_lasts_part_of_an_epoch_or_none():
    part, none = path(warmup_epochs=0.5), path(warmup_epochs=0)
    assert [row[0] for row in part[:6]] == pytest.approx([0, 0.002, 0.004, 0.006, 0.008, 0.01])
    assert none[0] == pytest.approx([0.01, 0.01, 0.01, 0.9])


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_the_rate_ends_at_its_share(share):
    rates = [row[0] for row in path(lrf=share)]
    assert rates[-1] == pytest.approx(0.01 * share)
    assert rates[STEPS] == pytest.approx(0.01) and rates[0] == 0
    assert rates[STEPS:] == sorted(rates[STEPS:], reverse=True)
    assert rates[25] == pytest.approx(0.01 * (share + (1 - share) / 2))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_with_an_adaptive_optimizer_biases_warm_up_alike_and_there_is_no_momentum(optimizer):
    rows = path(optimizer=optimizer, warmup_bias_lr=0.1)
    assert rows[0][:3] == pytest.approx([0, 0, 0.1])
    assert rows[STEPS // 2][:3] == pytest.approx([0.005, 0.005, 0.055])
    assert all(row[0] == row[1] == row[2] for row in rows[STEPS:])
    assert all(row[3] in (None, 0) for row in rows)


def test_a_rate_of_0_leaves_the_biases_too():
    assert {rate for row in path(learning_rate=0) for rate in row[:3]} == {0}


def test_it_resumes_in_the_middle_of_the_warm_up():
    settings = resolve(TASK, {"model_name": "yolov5", "warmup_epochs": 1, "number_of_epochs": 4})
    pairs = []
    for _ in range(2):
        optimizer = build_optimizer(network(), settings)
        pairs.append((optimizer, build_scheduler(optimizer, settings, STEPS)[0]))
    (optimizer, scheduler), (again, continued) = pairs
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    again.load_state_dict(optimizer.state_dict())
    continued.load_state_dict(scheduler.state_dict())
    for _ in range(9):
        for one, other in zip(optimizer.param_groups, again.param_groups, strict=True):
            assert (one["lr"], one["momentum"]) == (other["lr"], other["momentum"])
        for step in (optimizer.step, scheduler.step, again.step, continued.step):
            step()


def test_other_models_have_the_common_warm_up():
    settings = resolve(TASK, {"model_name": "fasterrcnn_resnet18_fpn", "warmup_epochs": 1})
    optimizer = build_optimizer(network(), settings)
    assert len(optimizer.param_groups) == 2
    assert type(build_scheduler(optimizer, settings, STEPS)[0]) is torch.optim.lr_scheduler.LambdaLR


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_a_fused_optimisers_gradients_are_clipped(precision):
    """As on a GPU, where optimisers are fused, and detectors compute in bfloat16."""
    clip, layer = 0.5, nn.Linear(8, 1)
    before = layer.weight.detach().clone()

    class Steep(Module):
        def __init__(self):
            pl.LightningModule.__init__(self)
            self.model, self.settings, self.seed = layer, {}, 0
            layer.sums_batches = False

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0, fused=True)

        def loss_parts(self, batch):
            return {"loss": 1000 * layer(batch).sum()}

    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=1,
        gradient_clip_val=clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Steep(), torch.utils.data.DataLoader(torch.ones(1, 8), batch_size=1))
    moved = (layer.weight - before).square().sum() + clip**2 / 9  # the bias moves as each of eight weights does
    assert float(moved.sqrt()) == pytest.approx(clip, rel=0.01)
