"""layers_to_freeze: which parameters stop learning, whose statistics stay, and how many groups a model has."""

import pytest
import torch
from torch import nn

from automl_images.errors import UserError
from automl_images.hyperparameters.names import CLASSIFIERS, DETECTION, DETECTORS, FASTER_RCNN
from automl_images.hyperparameters.sizes import check_layers, most_layers
from automl_images.models.catalogue import build
from automl_images.models.freeze import freeze, groups
from tests.test_models import settings_of

HEADS_AND_AFTER = {
    "mobilenetv2": {"classifier"},
    "yolov5": {f"model.{i}" for i in range(10, 25)},
    "fasterrcnn_resnet18_fpn": {"backbone.fpn", "rpn", "roi_heads"},
}
FULL = {"vitl16r224", "resnet200", "resnet152", "fasterrcnn_resnet50_fpn"}
ALL = [pytest.param(n, marks=pytest.mark.full) if n in FULL else n for n in (*CLASSIFIERS, *DETECTORS)]


def made(name):
    """Return the model without weights: names, shapes and modes are what counts."""
    if name in DETECTORS:
        return build(DETECTION, settings_of(name), ["a", "b"])
    with torch.device("meta"):
        return build("image-classification", {"model_name": name, "train_crop_size": 64}, ["a", "b"])


@pytest.mark.parametrize("name", ALL)
def test_each_group_holds_parameters_and_together_they_are_all_below_the_head(name):
    model = made(name)
    lists, frozen_before = groups(name), set()
    assert len(lists) == most_layers(name)
    for count in range(1, len(lists) + 1):
        names = freeze(model, name, count)
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        assert len(names) == count
        assert frozen > frozen_before, f"group {count} ({names[-1]}) matches no parameter of its own"
        frozen_before = frozen
    rest = {n.removeprefix("network.") for n, p in model.named_parameters() if p.requires_grad}
    after = HEADS_AND_AFTER.get(name, {"norm", "head"} if name.startswith("vit") else {"fc"})
    after = HEADS_AND_AFTER["fasterrcnn_resnet18_fpn"] if name in FASTER_RCNN else after
    assert rest
    assert all(any(n.startswith(h + ".") for h in after) for n in rest)
    with pytest.raises(UserError, match=f"layers_to_freeze: {len(lists) + 1} is more than {name} has"):
        freeze(model, name, len(lists) + 1)
    with pytest.raises(UserError, match="layers_to_freeze"):
        check_layers(name, len(lists) + 1)


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
