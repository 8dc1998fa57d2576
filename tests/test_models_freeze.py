"""layers_to_freeze: which parameters stop learning, whose statistics stay, and how many groups a model has."""

import pytest
import torch
from torch import nn

from automl_images.architectures import models_of
from automl_images.models.catalogue import build
from automl_images.models.freeze import freeze
from tests.helpers.detectors import settings_of


def made(name):
    """Return the model without weights: names, shapes and modes are what counts."""
    if name in models_of("detection"):
        return build("image-object-detection", settings_of(name), ["a", "b"])
    with torch.device("meta"):
        return build("image-classification", {"model_name": name, "train_crop_size": 64}, ["a", "b"])


@pytest.mark.parametrize(
    ("name", "count", "first", "said"),
    [
        ("resnet18", 1, {"conv1", "bn1"}, ["conv1, bn1"]),
        ("resnet18", 2, {"conv1", "bn1", "layer1"}, ["conv1, bn1", "layer1"]),
        ("resnest50", 2, {"conv1", "bn1", "layer1"}, ["conv1, bn1", "layer1"]),
        ("seresnext", 2, {"conv1", "bn1", "layer1"}, ["conv1, bn1", "layer1"]),
        ("resnet20", 4, {"conv1", "bn1", "layer1", "layer2", "layer3"}, ["conv1, bn1", "layer1", "layer2", "layer3"]),
        ("mobilenetv2", 2, {"features.0", "features.1"}, ["features.0", "features.1"]),
        (
            "vits16r224",
            2,
            {"patch_embed", "pos_embed", "cls_token", "blocks.0"},
            ["patch_embed, pos_embed, cls_token", "blocks.0"],
        ),
        ("yolov5", 2, {"model.0", "model.1"}, ["model.0", "model.1"]),
        (
            "fasterrcnn_resnet18_fpn",
            2,
            {"backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1"},
            ["body.conv1, body.bn1", "body.layer1"],
        ),
    ],
)
def test_the_first_groups_are_frozen_and_nothing_else(name, count, first, said):
    model = made(name)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}  # YOLOv5 has one that never does
    assert freeze(model, name, count) == said
    for parameter_name, parameter in model.named_parameters():
        bare = parameter_name.removeprefix("network.")
        inside = any(bare == f or bare.startswith(f + ".") for f in first)
        assert parameter.requires_grad is (parameter_name in learning and not inside), bare


@pytest.mark.parametrize("count", [None, 0])
def test_without_a_count_everything_learns(count):
    model = made("resnet20")
    assert freeze(model, "resnet20", count) == []
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.train().modules())


def test_frozen_norms_keep_their_statistics_and_the_others_learn():
    torch.manual_seed(0)
    model = build("image-classification", {"model_name": "resnet20", "train_crop_size": 16}, ["a", "b"])
    freeze(model, "resnet20", 2)
    outer = nn.ModuleDict({"model": model}).eval().train()  # as a trainer does, around evaluations
    before = {n: t.clone() for n, t in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    for _ in range(2):
        optimizer.zero_grad()
        outer["model"](images).square().sum().backward()
        optimizer.step()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    frozen = {n for n in before if n.startswith(("network.conv1", "network.bn1", "network.layer1"))}
    assert not changed & frozen
    assert {"network.layer2.0.bn1.running_mean", "network.layer2.0.conv1.weight", "network.fc.weight"} <= changed
    assert model.training and not model.network.bn1.training and model.network.layer2[0].bn1.training
