"""Every model of the table: built, frozen at each count, saved, loaded, and predicting the same."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from automl_images.architectures import ARCHITECTURES, architecture, has_published, models_of
from automl_images.errors import UserError
from automl_images.hyperparameters import hyperparameters, resolve
from automl_images.hyperparameters.sizes import WITHOUT_PUBLISHED_WEIGHTS, check_layers
from automl_images.models import folder as model_folder
from automl_images.models.catalogue import build
from automl_images.models.classifier import Classifier, import_timm
from automl_images.models.detector import Detector
from automl_images.models.freeze import freeze
from automl_images.models.segmenter import Segmenter
from automl_images.tasks import TASKS

CLASSES = ["ant", "bee", "cat"]
TASK_OF = {task.family: task.name for task in TASKS.values()}
SMALL = {
    "train_crop_size": 32,
    "valid_crop_size": 32,
    "valid_resize_size": 32,
    "base_size": 32,
    "img_size": 64,
    "min_size": 64,
    "max_size": 64,
}
LARGE = {f"{kind}_resnet{depth}_fpn" for kind in ("fasterrcnn", "maskrcnn") for depth in (34, 50, 101, 152)}
LARGE |= {"maskrcnn_resnet18_fpn", "resnest50", "resnest101", "seresnext", "vitb16r224", "vitl16r224"}
LARGE |= {f"resnet{depth}" for depth in (34, 50, 101, 152, 200)}
ALL = [
    pytest.param(n, marks=pytest.mark.full) if n in LARGE else n
    for name, row in ARCHITECTURES.items()
    for n in ([f"{name} {head}" for head in row.variants] or [name])
]
AFTER_GROUPS = {  # a builder's parts that layers_to_freeze does not count
    "Classifier": {"norm", "fc_norm"},
    "YoloV5": {f"model.{i}" for i in range(10, 25)},
    "faster_rcnn": {"backbone.fpn", "rpn", "roi_heads"},
    "mask_rcnn": {"backbone.fpn", "rpn", "roi_heads"},
    "retinanet": {"backbone.fpn", "head"},
    "Segmenter": {"classifier", "aux_classifier"},
}


def settings_of(name):
    """Return complete settings that make the model as small as it can be."""
    name, _, head = name.partition(" ")
    given = {n: value for n, value in SMALL.items() if n in hyperparameters(name)} | ({"head": head} if head else {})
    settings = resolve(TASK_OF[ARCHITECTURES[name].family], {"model_name": name, **given})
    return settings | ({"model_size": "nano"} if "model_size" in settings or "base_size" in settings else {})


def made(name):
    torch.manual_seed(0)
    row = architecture(settings_of(name))
    model = build(TASK_OF[row.family], settings_of(name), CLASSES)
    if row.frozen_norms and next(model.parameters()).device.type == "cpu":
        settle(model)
    return model.eval()


@torch.no_grad()
def settle(model):
    """Give the norms statistics of an input: with those of fresh weights what a deep network finds is not finite."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train().network.backbone(torch.randn(2, 3, 64, 64))
    for norm in norms:
        norm.momentum = 0.1


@torch.inference_mode()
def predicted(model):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    images = torch.from_numpy(pixels)
    if isinstance(model, Classifier):
        return [model(images)]
    if isinstance(model, Segmenter):
        return [model.logits(images), *model.predict([*images, images[0][:, :9]])]
    assert isinstance(model, Detector)
    return [value for found in model.predict(list(images)) for value in found.values()]


def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def frozen_at_each_count(model, name):
    row, before = architecture(settings_of(name)), set()
    name, groups = row.name, row.groups
    for count in range(1, len(groups) + 1):
        names = freeze(model, name, count)
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        assert len(names) == count
        assert frozen > before, f"group {count} ({names[-1]}) matches no parameter of its own"
        before = frozen
    rest = {n.removeprefix("network.") for n, p in model.named_parameters() if p.requires_grad}
    after = {*AFTER_GROUPS[row.builder.partition(":")[2]], *row.head}
    assert rest
    assert all(any(n.startswith(part + ".") for part in after) for n in rest)
    for refused in (lambda n: freeze(model, name, n), lambda n: check_layers(name, n)):
        with pytest.raises(UserError, match=f"layers_to_freeze: {len(groups) + 1} is more than {name} has"):
            refused(len(groups) + 1)


@pytest.mark.parametrize("name", ALL)
def test_a_model_is_built_frozen_saved_loaded_and_predicts_the_same(tmp_path, name):
    model, settings = made(name), settings_of(name)
    row = architecture(settings)
    task = TASK_OF[row.family]
    before = predicted(model)
    assert all(len(values) for values in before)
    frozen_at_each_count(model, name)
    metrics = {"epoch": 1, "share": 0.5}
    model_folder.save(tmp_path / "a", model, task=task, settings=settings, classes=CLASSES, metrics=metrics)
    loaded, *described = model_folder.load((tmp_path / "a").rename(tmp_path / "b"))
    assert described == [task, settings, CLASSES]
    assert not loaded.training
    assert all(same(a, b) for a, b in zip(before, predicted(loaded), strict=True))
    assert ("frozen_norms" in (tmp_path / "b" / "settings.json").read_text()) is row.frozen_norms
    pinned = {line.partition("==")[0] for line in (tmp_path / "b" / "requirements.txt").read_text().splitlines()[1:]}
    assert pinned == {"torch", "torchvision", *row.packages}
    assert "| share | 0.5000 |" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize(
    "name", [n for n in ARCHITECTURES if n in LARGE and ARCHITECTURES[n].family == "classification"]
)
def test_a_large_classifier_is_frozen_at_each_count(name):
    with torch.device("meta"):
        frozen_at_each_count(made(name), name)


@pytest.mark.parametrize("row", ARCHITECTURES.values(), ids=lambda row: row.name)
def test_a_row_names_what_exists(row):
    known = hyperparameters(row.name)
    assert row.family in TASK_OF
    assert set(row.defaults) | set(row.settings) <= set(known)
    for name, default in row.defaults.items():
        by_task = default if isinstance(default, dict) else {TASK_OF[row.family]: default}
        assert set(by_task) <= {t.name for t in TASKS.values() if t.family == row.family}
        assert all(known[name].check(value) == value for value in by_task.values())
    assert has_published(row.name) is (row.name not in WITHOUT_PUBLISHED_WEIGHTS)
    if row.weights and row.library == "torchvision":
        from torchvision.models import get_weight

        assert get_weight(row.weights).url.endswith(".pth")
    elif row.weights:
        models = import_timm().list_pretrained()
        assert f"{row.network}.{row.weights}" in models


def test_a_head_changes_the_row_and_settings_without_one_are_of_before():
    free, anchored = (architecture({"model_name": "yolov5", "head": head}) for head in ("anchor_free", "anchor"))
    assert architecture({"model_name": "yolov5"}) == free != anchored
    assert (free.library, anchored.packages) == ("ultralytics", ())
    assert free.groups == anchored.groups and free.defaults == anchored.defaults
    with pytest.raises(UserError, match=r"head: yolov5 has no head 'anchors'; did you mean 'anchor'"):
        architecture({"model_name": "yolov5", "head": "anchors"})
    assert architecture({"model_name": "resnet18", "head": "any"}) is ARCHITECTURES["resnet18"]


def test_a_tasks_models_are_its_familys_and_its_default_is_among_them():
    assert sorted(ARCHITECTURES) == sorted(
        n for family in {t.family for t in TASKS.values()} for n in models_of(family)
    )
    assert models_of("dreams") == ()
    for task in TASKS.values():
        assert task.default_model is None or task.default_model in models_of(task.family)


def test_the_table_of_models_and_the_hyperparameters_need_no_torch():
    code = "import sys, automl_images.steps.hyperparameters as h; h.list_hyperparameters('image-classification')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
