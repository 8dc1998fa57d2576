"""YOLOv5's package stays in its place."""

import subprocess
import sys

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
build(task, resolve(task, {"model_name": "yolov5", "img_size": 64}), ["a"])
print([a == b for a, b in zip(before, state())])
"""


def test_importing_ultralytics_leaves_other_packages_as_they_were(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[True, True, True, True]"
    assert list(tmp_path.iterdir()) == []
