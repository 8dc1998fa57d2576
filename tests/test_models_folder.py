"""The model folder: all that prediction needs, and nothing that runs by being read."""

import pickle
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import torch

from automl_images import __version__
from automl_images.errors import UserError
from automl_images.models import folder as model_folder
from tests.test_models import CLASSES, RCNN, TASK, made, settings_of


def write(folder):
    model = made(RCNN)
    metrics = {"epoch": 1, "share": 0.5}
    model_folder.save(folder, model, task=TASK, settings=settings_of(RCNN), classes=CLASSES, metrics=metrics)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a Faster R-CNN's model folder, not to be written to."""
    path = tmp_path_factory.mktemp("folder")
    write(path)
    return path


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled_trap(path):
    path.write_bytes(pickle.dumps(Trap(path.parent / "sprung"), 2))


def saved_trap(path):
    torch.save({"weight": Trap(path.parent / "sprung")}, path)


def test_the_wheel_in_a_model_folder_installs_and_predicts_without_training_packages(folder, tmp_path):
    wheel = folder / f"automl_images-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        described = HeaderParser().parsestr(archive.read(f"automl_images-{__version__}.dist-info/METADATA").decode())
    assert "automl_images/__init__.py" in names
    assert not any("__pycache__" in n for n in names)
    assert (described["Name"], described["Version"]) == ("automl-images", __version__)
    assert any(r.startswith("pydantic") for r in described.get_all("Requires-Dist"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path / "site",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["lightning", "matplotlib", "wheel", "safetensors", "ultralytics", "kfp"]))
sys.path.insert(0, {str(tmp_path / "site")!r})
from PIL import Image
import automl_images
from automl_images.prediction import load_model
assert automl_images.__file__.startswith({str(tmp_path)!r}), automl_images.__file__
print(len(load_model({str(folder)!r}, box_score_thresh=0.0).predict([Image.new("RGB", (64, 64))])))
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("1\n", 0), ran.stderr


def replaced(name, content=None):
    """Return a function that copies a model folder with one file replaced or left out."""

    def prepare(folder, target):
        target.mkdir()
        for file in folder.iterdir():
            if file.name != name:
                (target / file.name).symlink_to(file)
        if isinstance(content, str):
            (target / name).write_text(content)
        elif content:
            content(target / name)
        return target

    return prepare


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder, target: target, "has no settings.json; is it a model folder"),
        (lambda folder, target: folder / "model.pt", "is it a model folder"),
        (replaced("model.pt"), "has no model.pt"),
        (replaced("labels.json"), "has no labels.json"),
        (replaced("settings.json", "{"), "does not parse"),
        (replaced("settings.json", '{"a": 1}'), "settings.json.*is it a model folder"),
        (replaced("model.pt", "text"), "model.pt: does not load"),
        (replaced("model.pt", lambda p: torch.save({"x": torch.ones(1)}, p)), "model.pt: does not load"),
        (replaced("model.pt", lambda p: torch.save([1, 2], p)), "model.pt: does not load"),
        (replaced("model.pt", pickled_trap), "model.pt: does not load: it is damaged or holds more than tensors"),
        (replaced("model.pt", saved_trap), "model.pt: does not load: it is damaged or holds more than tensors"),
        (replaced("labels.json", '["one"]'), "model.pt: does not load"),
    ],
)
def test_what_is_no_model_folder_is_refused(folder, tmp_path, prepare, said):
    with pytest.raises(UserError, match=said) as caught:
        model_folder.load(prepare(folder, tmp_path / "copy"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy" / "sprung").exists()
