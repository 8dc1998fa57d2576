"""The weights that classifiers start from: a file's, a model folder's or the published ones."""

import json
import socket
import time
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, mobilenet_v2, resnet18

from automl_images.architectures import ARCHITECTURES, has_published, models_of
from automl_images.errors import UserError
from automl_images.models.catalogue import initial
from automl_images.models.published import published
from tests.helpers.classifiers import CLASSES, TASK, made, settings_of


def plain(name):
    """Return a library's own state_dict under its own names."""
    return (resnet18(num_classes=3) if name == "resnet18" else mobilenet_v2(num_classes=3)).state_dict()


@pytest.mark.parametrize("prefix", ["", "network.", "model.network.", "module."])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2"])
def test_weights_load_under_the_librarys_names_and_under_ours(tmp_path, name, prefix):
    state = plain(name)
    source = tmp_path / "a.safetensors"
    save_file({prefix + k: v for k, v in state.items()}, source)
    model, said = initial(TASK, settings_of(name), CLASSES, {"source": str(source), "pretrained": True})
    assert all(torch.equal(v, state[k]) for k, v in model.network.state_dict().items())
    assert said == f"weights: {len(state)} tensors from {source}; 0 start afresh"


@pytest.mark.parametrize(
    ("labels", "kept"),
    [(CLASSES, True), (None, True), (CLASSES[::-1], False), (["x", "y", "z"], False), (["x"], False)],
    ids=["same", "unknown", "another order", "others", "fewer"],
)
def test_the_head_is_kept_for_the_same_classes_alone(tmp_path, labels, kept):
    state = made("resnet20", classes=labels or CLASSES).state_dict()
    state = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    torch.save(state, tmp_path / "model.pt")
    if labels:
        (tmp_path / "labels.json").write_text(json.dumps(labels))
    for source in (tmp_path, tmp_path / "model.pt"):
        model, said = initial(TASK, settings_of("resnet20"), CLASSES, {"source": str(source)})
        assert torch.equal(model.network.conv1.weight, state["network.conv1.weight"])
        assert torch.equal(model.network.fc.bias, state["network.fc.bias"]) is kept
        assert ("2 start afresh, such as network.fc.bias; 2 of the file's are not used" in said) is not kept


def test_tensors_that_do_not_fit_are_counted_and_said(tmp_path):
    torch.save({**resnet18(num_classes=9).state_dict(), "odd": torch.ones(1)}, tmp_path / "a.pt")
    said = initial(TASK, settings_of("resnet18"), CLASSES, {"source": str(tmp_path / "a.pt")})[1]
    assert said.startswith("weights: 120 tensors from ")
    assert said.endswith(
        "; 2 start afresh, such as network.fc.bias; 3 of the file's are not used, such as network.fc.bias"
    )
    torch.save({"odd": torch.ones(1)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="no tensor of the file fits the model"):
        initial(TASK, settings_of("resnet18"), CLASSES, {"source": str(tmp_path / "b.pt")})


def test_a_vits_positions_are_interpolated_to_another_size(tmp_path):
    small = made("vits16r224", 32)
    with torch.no_grad():
        small.network.pos_embed[:, 1:] = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 4, 1)
    torch.save(small.state_dict(), tmp_path / "a.pt")
    model, said = initial(TASK, settings_of("vits16r224", 64), CLASSES, {"source": str(tmp_path / "a.pt")})
    assert "; 0 start afresh" in said
    assert said.endswith("the position embedding was interpolated from 2x2 to 4x4 patches")
    grid = model.network.pos_embed[0, 1:, 0].view(4, 4)
    assert torch.equal(model.network.pos_embed[:, 0], small.network.pos_embed[:, 0])
    assert (grid.diff(dim=0) > 0).all() and (grid.diff(dim=1) > 0).all()


def test_published_weights_fill_all_but_the_head_even_where_it_would_fit(monkeypatch):
    state = resnet18(num_classes=3).state_dict()
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda *_, **__: state)
    model, said = initial(TASK, settings_of("resnet18"), CLASSES, {"pretrained": True})
    assert torch.equal(model.network.conv1.weight, state["conv1.weight"])
    assert not torch.equal(model.network.fc.weight, state["fc.weight"])
    assert said.startswith("weights: 120 tensors from the library; 2 start afresh")
    with pytest.raises(UserError, match="image_shape: 1,32,32 is grey"):
        initial(TASK, settings_of("resnet18", image_shape="1,32,32"), CLASSES, {"pretrained": True})


@pytest.mark.parametrize("name", [n for n, row in ARCHITECTURES.items() if row.library == "timm" and row.weights])
def test_weights_that_were_put_into_torchs_cache_are_used(monkeypatch, tmp_path, name):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    row = ARCHITECTURES[name]
    save_file({"fc.bias": torch.ones(3)}, tmp_path / "checkpoints" / f"{row.network}.{row.weights}.safetensors")
    assert list(published(name)) == ["network.fc.bias"]


@pytest.mark.parametrize("name", models_of("classification"))
def test_without_network_published_weights_are_refused_at_once_with_a_way_out(monkeypatch, tmp_path, name):
    def no_network(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setattr("automl_images.models.published.urlopen", no_network)
    start = time.monotonic()
    with pytest.raises(
        UserError, match="^weights.pretrained: .*; .*weights.source, or set weights.pretrained: false$"
    ) as e:
        initial(TASK, settings_of(name, 224), CLASSES, {"pretrained": True})
    assert time.monotonic() - start < 5
    assert "\n" not in str(e.value)
    assert ("has no published weights" in str(e.value)) is not has_published(name)
    assert (f"put it into {tmp_path}/checkpoints" in str(e.value)) is has_published(name)


def test_a_silent_server_is_given_up_on(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("automl_images.models.published.PATIENCE", 0.3)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        with pytest.raises(UserError, match="seresnext50_32x4d.racm_in1k.safetensors cannot be fetched .*timed out"):
            published("seresnext")
