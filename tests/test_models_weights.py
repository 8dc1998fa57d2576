"""The weights that training starts from: published ones, or tensors from a file."""

import json
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.ops.misc import FrozenBatchNorm2d

from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import initial
from tests.helpers.detectors import CLASSES, RCNN, TASK, made, settings_of
from tests.helpers.traps import pickled_trap, saved_trap


@pytest.mark.parametrize("kind", ["pt", "safetensors", "nested", "folder"])
def test_weights_are_taken_from_a_file_of_tensors(tmp_path, kind):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in made(RCNN).state_dict().items()}
    source = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        save_file(state, source)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "nested" else state, source)
    if kind == "folder":
        source = tmp_path
        torch.save(state, tmp_path / "model.pt")
    model, said = initial(TASK, settings_of(RCNN), CLASSES, {"source": str(source), "pretrained": True})
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert said == f"weights: {len(state)} tensors from {source}; 0 start afresh"


def test_a_head_for_other_classes_starts_afresh(tmp_path):
    source = tmp_path / "a.pt"
    torch.save(made(RCNN).state_dict(), source)
    model, said = initial(TASK, settings_of(RCNN), ["x", "y", "z"], {"source": str(source)})
    assert "; 4 start afresh, such as network.roi_heads.box_predictor.bbox_pred.bias; 4 of the file's are" in said
    assert model.state_dict()["network.roi_heads.box_predictor.cls_score.weight"].shape[0] == 4
    body = "network.backbone.body.conv1.weight"
    assert torch.equal(model.state_dict()[body], made(RCNN).state_dict()[body])


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (RCNN, "network.roi_heads.box_predictor.cls_score.bias"),
        ("yolov5 anchor", "network.model.24.m.0.bias"),
        ("yolov5 anchor_free", "network.model.24.cv3.0.2.bias"),
    ],
)
@pytest.mark.parametrize(
    ("labels", "kept"),
    [(CLASSES, True), (None, True), (CLASSES[::-1], False), (["x", "y"], False)],
    ids=["same", "unknown", "another order", "as many others"],
)
def test_a_detectors_head_is_kept_for_the_same_classes_alone(tmp_path, name, head, labels, kept):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in made(name).state_dict().items()}
    torch.save(state, tmp_path / "model.pt")
    if labels:
        (tmp_path / "labels.json").write_text(json.dumps(labels))
    model, _ = initial(TASK, settings_of(name), CLASSES, {"source": str(tmp_path)})
    loaded = model.state_dict()
    assert torch.equal(loaded[head], state[head]) is kept
    first = next(k for k in state if "conv1.weight" in k or "conv.weight" in k)
    assert torch.equal(loaded[first], state[first])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (lambda p: p.write_text("text"), "is damaged or holds more than tensors"),
        (pickled_trap, "is damaged or holds more than tensors"),
        (saved_trap, "is damaged or holds more than tensors"),
        (lambda p: torch.save([torch.ones(1)], p), "is no state_dict: a mapping"),
        (lambda p: torch.save({"a": 1}, p), "is no state_dict: a mapping"),
        (lambda p: torch.save(resnet18().state_dict(), p), "no tensor of the file fits"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, content, said):
    if content:
        content(tmp_path / "a.pt")
    with pytest.raises(UserError, match=f"weights.source.*{said}") as caught:
        initial(TASK, settings_of(RCNN), CLASSES, {"source": str(tmp_path / "a.pt")})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_published_weights_fill_the_backbone_and_freeze_its_norms(monkeypatch):
    published = {k: v for k, v in resnet18().state_dict().items() if "num_batches" not in k}
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda *_, **__: published)
    model, said = initial(TASK, settings_of(RCNN), CLASSES, {"pretrained": True})
    assert torch.equal(model.network.backbone.body.conv1.weight, published["conv1.weight"])
    assert said.startswith("weights: 100 tensors from the library; ")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    kinds = {FrozenBatchNorm2d if isinstance(m, FrozenBatchNorm2d) else nn.BatchNorm2d for m in norms}
    fresh, line = initial(TASK, settings_of(RCNN), CLASSES, {})
    assert line == "weights: fresh"
    assert (kinds, any(isinstance(m, nn.BatchNorm2d) for m in fresh.modules())) == ({FrozenBatchNorm2d}, True)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (RCNN, URLError("no route"), "resnet18-.*cannot be fetched .*no route.*weights.source"),
        ("fasterrcnn_resnet50_fpn", URLError("no route"), "fasterrcnn_resnet50_fpn_coco-.*cannot be fetched"),
        (RCNN, RuntimeError("invalid hash value"), "resnet18-.*cannot be fetched .*invalid hash"),
        ("yolov5", None, "yolov5 has no published weights"),
    ],
)
def test_published_weights_out_of_reach_are_one_line(monkeypatch, name, error, said):
    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(UserError, match=f"weights.pretrained: {said}") as caught:
        initial(TASK, resolve(TASK, {"model_name": name}), CLASSES, {"pretrained": True})
    assert "\n" not in str(caught.value)
