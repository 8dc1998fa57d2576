"""The classifiers: what goes in and out, the sizes they take, and their folders."""

import os
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import nn

from automl_images.architectures import models_of
from automl_images.errors import UserError
from automl_images.hyperparameters.sizes import check_size, check_sizes, input_shape, parse_image_shape
from automl_images.models import folder as model_folder
from automl_images.models.catalogue import build
from automl_images.models.classifier import Classifier
from automl_images.models.resnet_cifar import CifarResNet
from tests.helpers.classifiers import CLASSES, TASK, made, noise, settings_of

SMALL = ["mobilenetv2", "resnet18", "resnest50", "vits16r224", "resnet20"]


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.full) for n in models_of("classification")]
)
def test_a_batch_of_bytes_becomes_logits_and_every_parameter_learns_from_it(name):
    model = made(name)
    assert list(model.state_dict()) == [f"network.{n}" for n in model.network.state_dict()]
    logits = model.train()(noise())
    assert (logits.shape, logits.dtype) == ((2, 3), torch.float32)
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert torch.isfinite(model(noise(1))).all()  # an epoch's last batch may be one image
    model.eval()
    images = noise()
    assert torch.allclose(model(images), model(images.float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(images).dtype == torch.float32


@pytest.mark.parametrize(("name", "mean", "std"), [("resnet20", 0.485, 0.229), ("vits16r224", 0.5, 0.5)])
def test_the_network_sees_normalised_colours(name, mean, std):
    model, seen = made(name).eval(), []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))
    assert seen[0][0, 0, 0, 0].item() == pytest.approx((1 - mean) / std, rel=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "mobilenetv2", "vits16r224"])
def test_with_one_channel_the_network_sees_luma(name):
    model, seen = made(name, image_shape="1,32,32").eval(), []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 255
    for image in (red, red.roll(1, 1), torch.full((1, 3, 32, 32), 76.245)):  # red, green, grey
        assert model(image).shape == (1, 3)
    assert all(x.shape == (1, 1, 32, 32) for x in seen)
    luma = [float(x[0, 0, 0, 0] * model.std + model.mean) for x in seen]
    assert luma == pytest.approx([0.299, 0.587, 0.299], rel=1e-4)


def test_the_shape_of_the_input_is_the_image_shape_or_the_training_crop():
    assert input_shape(settings_of("vits16r224", 48)) == (3, 48, 48)
    assert input_shape(settings_of("vits16r224", 48, image_shape="3,32,64")) == (3, 32, 64)
    model = made("vits16r224", image_shape="3,32,64")
    assert model(noise(1, 32, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 0.27e6), (32, 0.46e6), (44, 0.66e6), (56, 0.85e6), (110, 1.7e6)],
)
def test_cifar_resnets_have_the_papers_parameters_and_layers(depth, parameters):
    model = CifarResNet(depth, 10)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.03)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == depth  # no weights in the shortcuts


@pytest.mark.parametrize("size", [8, 9, 28, 33])
def test_cifar_resnets_take_any_size_from_8(size):
    assert made("resnet20", size)(noise(2, size)).shape == (2, 3)


def test_a_cifar_shortcut_is_every_second_pixel_and_no_new_channel():
    block = CifarResNet(20, 2).layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 5, 5)
    assert torch.equal(block(x), torch.cat([x[:, :, ::2, ::2], torch.zeros(1, 16, 3, 3)], 1))


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("vitb16r224", 225, "train_crop_size: vitb16r224 takes multiples of 16 pixels, not 225; use 224 or 240"),
        ("seresnext", 225, "multiples of 32 pixels, not 225; use 224 or 256"),
        ("resnet18", 31, "31 is too small for resnet18; use at least 32"),
        ("resnet20", 7, "7 is too small for resnet20; use at least 8"),
        ("vits16r224", 16, "use at least 32"),
        ("seresnext", (64, 33), "not 33"),
    ],
)
def test_sizes_that_a_model_cannot_take_are_refused(name, size, said):
    with pytest.raises(UserError, match=said):
        check_size(name, size)
    for fine in (224, 8) if name == "resnet20" else (224, 32):
        check_size(name, fine)


@pytest.mark.parametrize(
    ("given", "pretrained", "said"),
    [
        ({"model_name": "vitb16r224", "valid_crop_size": 192}, False, "valid_crop_size: 192 differs from train_crop"),
        ({"valid_resize_size": 223}, False, "valid_resize_size: 223 is below valid_crop_size 224"),
        ({"valid_crop_size": 16}, False, "valid_crop_size: 16 is too small"),
        ({"image_shape": "3,16,224"}, False, "image_shape: 16 is too small"),
        ({"image_shape": "3,224,224", "resize": 224}, False, "resize: 224 must be above both sides"),
        ({"image_shape": "3,192,192"}, True, "image_shape: 3,192,192 does not go with pretrained"),
        ({"image_shape": "2,224,224"}, False, "2 channels; use 3"),
        ({"image_shape": "3,224"}, False, "is not channels, height and width"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(given, pretrained, said):
    settings = settings_of("resnet18", 224, resize=None)
    check_sizes(settings, pretrained=True)
    check_sizes({**settings, "image_shape": "3,224,224", "resize": 256}, pretrained=True)
    with pytest.raises(UserError, match=said):
        check_sizes({**settings, **given}, pretrained=pretrained)


def test_image_shapes_are_read_as_people_write_them():
    assert parse_image_shape("3,224,224") == parse_image_shape(" (3, 224, 224) ") == (3, 224, 224)


PREDICT = """
import sys, torch
from pathlib import Path
from automl_images.models import folder
model = folder.load(Path(sys.argv[1]))[0]
with torch.inference_mode():
    torch.save(model(torch.load(sys.argv[2], weights_only=True)), sys.argv[3])
"""


@pytest.mark.full
@pytest.mark.parametrize("name", models_of("classification"))
def test_each_model_trains_two_epochs_saves_and_predicts_the_same_in_a_fresh_process(tmp_path, name):
    images, labels = noise(64), torch.arange(64) % 3
    images[labels == 1] //= 2  # one class is darker, so that there is something to learn
    model = made(name).train()
    before = deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for epoch in range(2):
        for rows in torch.randperm(64, generator=torch.Generator().manual_seed(epoch)).split(16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model_folder.save(
        tmp_path / "m", model.eval(), task=TASK, settings=settings_of(name), classes=CLASSES, metrics={"epoch": 2}
    )
    torch.save(images, tmp_path / "images.pt")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PREDICT, tmp_path / "m", tmp_path / "images.pt", tmp_path / "out.pt"]
    subprocess.run(command, check=True, env=environment)
    with torch.inference_mode():
        expected = model(images).softmax(1)
    found = torch.load(tmp_path / "out.pt", weights_only=True).softmax(1)
    assert (found - expected).abs().max() < 1e-5


def test_a_classifier_is_built_by_both_tasks():
    for task in (TASK, "image-classification-multilabel"):
        assert isinstance(build(task, settings_of("resnet20"), CLASSES), Classifier)
