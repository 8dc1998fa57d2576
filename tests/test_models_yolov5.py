"""The package of YOLOv5's anchor-free head stays in its place; its losses have gains, and grow with the batch."""

import subprocess
import sys

import pytest
import torch

from tests.helpers.detectors import made, noise

CODE = """
import os, numpy, torch
from PIL import Image


def state():
    names = {k: v for k, v in os.environ.items() if not k.startswith("TORCH")}  # torch sets one of its own
    return torch.save, Image.open, numpy.get_printoptions(), names


before = state()
from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import build
task = "image-object-detection"
build(task, resolve(task, {"model_name": "yolov5", "head": "anchor_free", "img_size": 64}), ["a"])
print([a == b for a, b in zip(before, state())])
"""


def test_importing_ultralytics_leaves_other_packages_as_they_were(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[True, True, True, True]"
    assert list(tmp_path.iterdir()) == []


def test_a_batch_repeated_has_the_gradient_of_its_repetitions_summed():
    model, image = made("yolov5", head="anchor_free", multi_scale=0, img_size=256).train(), noise(256, 256)
    # boxes as a fresh network predicts them, 15 strides wide: of others the loss would be divided by 1 at least
    corner = torch.cartesian_prod(torch.arange(0, 130, 16.0), torch.arange(0, 130, 16.0))
    target = {"boxes": torch.cat([corner, corner + 120], 1), "labels": torch.ones(len(corner), dtype=torch.int64)}
    gradients = []
    for count in (1, 2):
        model.zero_grad()
        sum(model.losses([image] * count, [target] * count).values()).backward()
        gradients.append(model.network.model[9].cv1.conv.weight.grad.clone())
    assert model.sums_batches
    torch.testing.assert_close(gradients[1], 2 * gradients[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["box", "cls", "dfl"])
def test_a_gain_scales_its_part_alone(name):
    target = {"boxes": torch.tensor([[4.0, 6, 30, 40]]), "labels": torch.tensor([1])}
    found = []
    for value in (1, 2, 0):
        model = made("yolov5", head="anchor_free", multi_scale=0, **{name: value}).train()
        with torch.no_grad():
            found.append(model.losses([noise(64, 64)] * 2, [target] * 2))
    one, double, none = found
    for part in one:
        torch.testing.assert_close(double[part], one[part] * (2 if part == f"{name}_loss" else 1))
        assert bool(none[part] == 0) is (part == f"{name}_loss")
