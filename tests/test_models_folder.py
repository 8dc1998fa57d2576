"""The model folder: all that prediction needs, and nothing that runs by being read."""

import json
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from automl_images import __version__
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.models import folder as model_folder
from automl_images.models.catalogue import build
from tests.helpers.detectors import CLASSES, RCNN, TASK, made, settings_of
from tests.helpers.traps import pickled_trap, saved_trap


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


def changed(**given):
    return json.dumps({"task": TASK, "settings": {**settings_of(RCNN), **given}})


LABELS = ["3", "null", "[]", "[1, 2]", '["a", "a"]', '["a", ["b"]]', '["a", "b\\nerror: c"]', '{"a": 1}']
SETTINGS = [
    ("[" * 100_000, "does not parse"),
    ('{"task": ["a"], "settings": {}}', "has no task and settings"),
    ('{"task": "image-object-detection", "settings": []}', "has no task and settings"),
    ('{"task": "image-flying", "settings": {}}', "no task is called 'image-flying'"),
    ('{"task": "image-object-detection", "settings": {}}', "model_name"),
    (changed(model_name=["a"]), "model_name"),
    (changed(min_size="wide"), "settings.json: min_size: 'wide' is not a whole number"),
    (changed(min_size=[64]), "settings.json: min_size: "),
    (changed(min_size=10**400), "settings.json: min_size: "),
    (changed(max_size=10**9), "max_size: 1000000000 is more than 65536"),
    (changed(nms_iou_thresh=7), "nms_iou_thresh: 7 is out of range"),
    (changed(box_score_thresh=None), "box_score_thresh: None is not a number"),
]


def test_a_folder_that_lacks_a_setting_has_its_default(folder, tmp_path):
    older = json.dumps({"task": TASK, "settings": {"model_name": RCNN, "min_size": 64, "max_size": 64}})
    settings = model_folder.load(replaced("settings.json", older)(folder, tmp_path / "copy"))[2]
    assert settings == settings_of(RCNN)


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
        *((replaced("labels.json", text), "labels.json: is not a list of different class names") for text in LABELS),
        *((replaced("settings.json", text), said) for text, said in SETTINGS),
    ],
)
def test_what_is_no_model_folder_is_refused(folder, tmp_path, prepare, said):
    with pytest.raises(UserError, match=said) as caught:
        model_folder.load(prepare(folder, tmp_path / "copy"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy" / "sprung").exists()


def test_settings_that_act_at_inference_replace_the_folders_own_and_others_are_refused(folder):
    changed = model_folder.load(folder, {"box_nms_thresh": "0.123", "max_size": 128})[2]
    assert changed == {**settings_of(RCNN), "nms_iou_thresh": 0.123, "max_size": 128}
    for given, said in (
        (
            {"learning_rate": 1},
            "^learning_rate: cannot be changed in a trained fasterrcnn_resnet18_fpn; these can: min_",
        ),
        ({"min_size": 65}, "^min_size: 65 is above max_size 64"),
        ({"img_size": 64}, "^img_size: does not apply to fasterrcnn_resnet18_fpn"),
        ({"tile_overlap_ratio": 0.5}, "^tile_overlap_ratio has no effect with tile_grid_size: none"),
        ({"tile_grid_size": "2x1", "tile_overlap_ratio": 1}, "^tile_overlap_ratio: 1 makes every tile the whole image"),
    ):
        with pytest.raises(UserError, match=said):
            model_folder.load(folder, given)


def test_a_folder_from_before_there_were_tiles_loads_and_can_have_them(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    described = json.loads((copy / "settings.json").read_text())
    described["settings"] = {n: v for n, v in described["settings"].items() if not n.startswith("tile")}
    (copy / "settings.json").write_text(json.dumps(described))
    assert model_folder.load(copy)[2] == settings_of(RCNN)
    assert model_folder.load(copy, {"tile_grid_size": "(3, 2)"})[2] == settings_of(RCNN, tile_grid_size="3x2")


@pytest.mark.parametrize(
    ("name", "shape", "given", "said"),
    [
        ("resnet20", "3,32,32", {"valid_crop_size": 48}, "valid_crop_size has no effect with image_shape: 3,32,32"),
        ("resnet20", "3,32,32", {"image_shape": "1,32,32"}, "image_shape: .*does not fit"),
        ("vits16r224", "3,32,32", {"image_shape": "3,48,48"}, "image_shape: .*does not fit"),
        ("vits16r224", None, {"valid_crop_size": 48}, "vits16r224 takes one size only"),
        ("resnet20", None, {"train_crop_size": 48}, "train_crop_size: cannot be changed in a trained resnet20"),
    ],
)
def test_a_size_that_the_weights_do_not_take_or_nothing_reads_is_refused(tmp_path, name, shape, given, said):
    sizes = {"train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 64}
    settings = resolve("image-classification", {"model_name": name, "image_shape": shape, **sizes})
    model = build("image-classification", settings, CLASSES)
    saved = {"task": "image-classification", "settings": settings, "classes": CLASSES, "metrics": {}}
    model_folder.save(tmp_path, model, **saved)
    with pytest.raises(UserError, match=said):
        model_folder.load(tmp_path, given)
    if name == "resnet20":
        assert model_folder.load(tmp_path, {"image_shape": "3,48,40"})[2]["image_shape"] == "3,48,40"


def test_the_command_line_refuses_to_predict_with_what_does_not_act(folder, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    words = ["predict", str(folder), str(tmp_path / "a.png"), "--set", "learning_rate=1"]
    ran = CliRunner().invoke(app, words)
    line = "learning_rate: cannot be changed in a trained fasterrcnn_resnet18_fpn; these can: min_size, max_size, box_"
    assert isinstance(ran.exception, UserError) and str(ran.exception).startswith(line)
    assert CliRunner().invoke(app, [*words[:-1], "max_size=128"]).exit_code == 0
