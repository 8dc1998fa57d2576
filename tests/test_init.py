import json

import numpy as np
import pytest
import yaml
from PIL import Image

from automl_images.experiment import Experiment
from automl_images.sample_data import make_sample
from automl_images.steps import init
from automl_images.steps.inspect import SeveralTasksError
from tests.helpers.command import call

SIZES = {"width": {"median": 640}, "height": {"median": 480}}
TIMES = {"step": 2.0, "image": 0.5, "start": 10.0, "steps": 3, "pretrained": False, "reason": "no network"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init") / "a sample"
    make_sample(folder, images=12, size=64)
    return folder


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("image-classification", {"train_crop_size": 224, "valid_resize_size": 256}),
        ("image-object-detection", {"img_size": 320}),
        ("image-instance-segmentation", {"min_size": 256, "max_size": 342}),
        ("image-semantic-segmentation", {"base_size": 256, "crop_size": 128}),
    ],
)
def test_sizes_are_the_images_within_what_the_machine_bears(task, expected):
    settings = init.chosen(task, SIZES, False, 100)
    assert settings.items() >= expected.items()
    small = init.chosen(task, {"width": {"median": 100}, "height": {"median": 90}}, False, 3)
    assert small["training_batch_size"] <= 3
    assert small != settings
    assert init.resolve(task, init.chosen(task, SIZES, True, 100))  # those for a GPU are settings too


def test_a_detector_needs_no_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(init.importlib.util, "find_spec", lambda name: name)
    assert "head" not in init.chosen("image-object-detection", SIZES, False, 100)
    monkeypatch.setattr(init.importlib.util, "find_spec", lambda name: None)
    assert init.chosen("image-object-detection", SIZES, False, 100)["head"] == "anchor"


def test_a_measurement_is_not_waited_for_for_ever(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(init, "PATIENCE", 0.01)
    monkeypatch.setattr(init, "_load", lambda: 99.0 + init.cores())
    assert init._measured("image-object-detection", {"model_name": "yolov5"}, tmp_path) is None
    assert (
        "not measured: a few steps took more than 0.01 s; timed beside other work, a load of 99.0 "
        in capsys.readouterr().err
    )


def test_cores_are_counted_where_affinity_is_not_known(monkeypatch):
    monkeypatch.delattr(init.os, "sched_getaffinity", raising=False)
    assert init.cores() >= 1


def test_the_budget_is_what_the_measured_steps_allow():
    settings = {"model_name": "yolov5", "training_batch_size": 8}
    parts = {"training": {"images": 80}, "validation": {"images": 20}, "test": {"images": 9}}
    plan = init.planned("image-object-detection", settings, parts, TIMES, 1)
    assert plan == {"epochs": 30, "iterations": 3, "epoch": 30.0, "trial": 910.0, "every": 1}
    slow = init.planned("image-object-detection", settings, parts, {**TIMES, "image": 3.5}, 1)  # 70 s beside 20 s
    assert (slow["every"], slow["epochs"], slow["trial"]) == (3, 30, 10 + 30 * 20 + 10 * 70)
    assert init.planned("image-object-detection", settings, parts, TIMES, 0.1)["epochs"] == 11
    assert init.planned("image-object-detection", settings, parts, None, 1)["iterations"] == 1


def test_an_experiment_is_written_that_says_what_was_found(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(init, "_measured", lambda *_: {**TIMES, "image": 99.0})
    monkeypatch.setattr(init, "_load", lambda: 0.1)
    output = tmp_path / "mine.yaml"
    arguments = ["init", str(sample), "-o", str(output), "--task", "image-object-detection", "--json"]
    code, out, _ = call(monkeypatch, capsys, *arguments)
    told = json.loads(out)
    assert (code, told["sets"], told["measured"]) == (0, {"data": 12}, {**TIMES, "image": 99.0, "load": 0.1})
    text = output.read_text()
    assert "beside other work" not in text
    experiment = Experiment.read(yaml.safe_load(text))
    assert experiment.name == "a-sample"
    assert experiment.data.training.source == str(sample)
    assert experiment.data.training.format == "voc"
    assert experiment.settings["img_size"] == 128
    assert experiment.weights.pretrained is False
    assert experiment.settings["evaluation_frequency"] == told["settings"]["evaluation_frequency"] > 1
    assert "12 images for training" in text and "no validation set was found" in text
    assert call(monkeypatch, capsys, *arguments)[0] == 2  # it is there already
    assert output.read_text() == text


def test_a_measurement_beside_other_work_is_said(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(init, "_measured", lambda *_: dict(TIMES))
    monkeypatch.setattr(init, "_load", lambda: 7.0)
    monkeypatch.setattr(init.os, "cpu_count", lambda: 4)
    result = init.init_experiment(str(sample), tmp_path / "x.yaml", "image-object-detection")
    said = "timed beside other work, a load of 7.0 on 4 cores: alone it is faster"
    assert said in (tmp_path / "x.yaml").read_text() and said in result["lines"][1]


@pytest.mark.full
@pytest.mark.parametrize("task", ["classification-multilabel", "object-detection", "instance-segmentation"])
def test_a_few_steps_are_timed(sample, tmp_path, task):
    result = init.init_experiment(str(sample), tmp_path / "x.yaml", f"image-{task}")
    took, batch = result["measured"], result["settings"]["training_batch_size"]
    assert min(took["step"], took["image"], took["start"]) > 0
    assert took["steps"] == max(1, -(-min(12, 4 * batch) // batch) - 1)  # of four batches at most, less the first
    assert took["pretrained"] is (took["reason"] is None)
    text = (tmp_path / "x.yaml").read_text()
    assert f"(a batch of {batch} took {took['step']:.2g} s)" in text and "a trial takes about" in result["lines"][1]


@pytest.mark.parametrize("named", [False, True])
def test_masks_without_names_of_their_values_are_said_to_be_so(tmp_path, named):
    for name in ("train", "trainannot"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (24, 16)).save(tmp_path / "data/train" / f"{i}.png")
        mask = np.zeros((16, 24), np.uint8)
        mask[:8], mask[12:] = 1, 11
        Image.fromarray(mask).save(tmp_path / "data/trainannot" / f"{i}.png")
    if named:
        (tmp_path / "data/train_label_map.json").write_text('{"classes": {"sky": 0, "road": 1, "void": 11}}')
    task = "image-semantic-segmentation"
    result = init.init_experiment(str(tmp_path / "data"), tmp_path / "x.yaml", task, measured=False)
    said = "ignore: [11]" in "".join(result["lines"])
    assert said is ("ignore: [11]" in (tmp_path / "x.yaml").read_text()) is not named


def test_a_source_for_several_tasks_asks_for_one(sample, tmp_path, monkeypatch, capsys):
    with pytest.raises(SeveralTasksError) as several:
        init.init_experiment(str(sample), tmp_path / "x.yaml", measured=False)
    assert len(several.value.tasks) > 1
    code, _, err = call(monkeypatch, capsys, "init", str(sample), "-o", str(tmp_path / "x.yaml"), "--no-measure")
    assert (code, len(err.strip().splitlines())) == (2, 1) and "--task" in err
    assert not (tmp_path / "x.yaml").exists()


def test_what_cannot_be_measured_is_said(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(init.sys, "executable", "/bin/false")
    result = init.init_experiment(str(sample), tmp_path / "x.yaml", "image-object-detection")
    assert result["measured"] is None
    assert "not measured: it was ended" in capsys.readouterr().err
    assert "was not measured" in (tmp_path / "x.yaml").read_text()
