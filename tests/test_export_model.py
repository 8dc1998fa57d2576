"""Models as ONNX: each library's is the model's equal on images, and a graph that is not is caught."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError
from automl_images.models import folder as model_folder
from automl_images.models import graphs
from automl_images.prediction import load_model
from automl_images.prediction.parity import parity, views
from automl_images.serving.requests import find_model
from automl_images.steps.export_model import export_model
from automl_images.steps.predict import predict_images
from tests.helpers import classifiers, detectors
from tests.helpers.command import call_step

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SLOW = pytest.mark.full
CLASSIFIERS = {"resnet20": 32, "resnet18": 32, "mobilenetv2": 32, "seresnext": 32, "resnest50": 32, "vits16r224": 32}
QUICK = {"resnet20", "vits16r224", "yolov5"}  # an R-CNN alone takes half a minute
NAMES = [
    *CLASSIFIERS,
    "fasterrcnn_resnet18_fpn",
    "retinanet_resnet50_fpn",
    "maskrcnn_resnet18_fpn",
    "yolov5",
    "yolov5 anchor",
]


def spread(model):
    """Let a detector's scores depend on what it sees."""
    if hasattr(model.network, "roi_heads"):
        model.network.roi_heads.box_predictor.cls_score.weight.mul_(50)
        model.network.rpn.head.cls_logits.weight.mul_(50)  # else rounding decides which of equal proposals are kept
    elif hasattr(model, "nms_iou_thresh"):  # YOLOv5
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.momentum = 1.0  # one batch's statistics, without which nothing of the picture gets through
        model.network.train()(classifiers.noise(4, 64).float() / 255)
        model.eval()
        if model.has_anchors:
            for conv in model.network.head.m:
                conv.bias.zero_()
                conv.weight.mul_(3)
        else:
            for branch in model.network.model[-1].cv3:  # the class branch of each grid
                branch[-1].bias.copy_(torch.tensor([-2.0, -1.0]))
                branch[-1].weight.mul_(3)


def saved(path, name, **more):
    """Save an untrained model whose answers are spread, which all would be alike otherwise."""
    if name in CLASSIFIERS:
        task, classes = more.pop("task", classifiers.TASK), classifiers.CLASSES
        from automl_images.hyperparameters import resolve

        settings = resolve(task, classifiers.settings_of(name, CLASSIFIERS[name], **more))
        model = classifiers.made(name, CLASSIFIERS[name]).eval()
        with torch.no_grad():
            head = model.network.get_submodule(ARCHITECTURES[name].head[0])
            scale = model(classifiers.noise(8, CLASSIFIERS[name])).std().clamp(min=1e-3)
            head.weight.div_(scale)
            head.bias.div_(scale)
    else:
        task, classes, model = detectors.task_of(name), detectors.CLASSES, detectors.made(name)
        given = {"nms_iou_thresh": 0.9} if name.startswith("yolov5") else {}
        settings = detectors.settings_of(name, box_score_thresh=0.01, **given)
        with torch.no_grad():
            spread(model)
    model_folder.save(path, model, task=task, settings=settings, classes=classes, metrics={"epoch": 1})
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """Return the folder of a small classifier, and its export."""
    folder = tmp_path_factory.mktemp("resnet")
    saved(folder / "model", "resnet20", task="image-classification-multilabel")
    return folder / "model", folder / "x.onnx", export_model(str(folder / "model"), str(folder / "x.onnx"))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=SLOW) for n in NAMES])
def test_an_export_finds_what_its_model_finds(name, tmp_path, monkeypatch):
    if name == "vits16r224":  # its smaller sister
        row = dataclasses.replace(ARCHITECTURES[name], network="vit_tiny_patch16_224")
        monkeypatch.setitem(ARCHITECTURES, name, row)
    model, file = saved(tmp_path / "model", name), tmp_path / "out" / "model.onnx"
    written = export_model(str(model), str(tmp_path / "out"))
    assert written["out"] == str(file) and written["images"] == 4 and written["compared"] >= 12
    assert written["exporter"] == "trace"
    described = json.loads(Path(f"{file}.json").read_text())
    assert described["classes"] == load_model(model).classes and described["check"]["difference"] < 1e-3
    Image.fromarray(detectors.noise(40, 70, 5).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    for address in (file, file.parent):
        (one,), (other,) = (list(predict_images(str(m), [tmp_path / "a.png"])) for m in (model, address))
        if "probs" in one:
            assert one["probs"] == pytest.approx(other["probs"], abs=1e-4) and one["labels"] == other["labels"]
        else:
            assert len(one["boxes"]) == len(other["boxes"])
            for name_of in ("label", "score"):
                assert [b[name_of] for b in one["boxes"]] == pytest.approx(
                    [b[name_of] for b in other["boxes"]], abs=1e-3
                )


@SLOW
def test_the_other_exporter_writes_the_same(tmp_path, monkeypatch):
    row = dataclasses.replace(ARCHITECTURES["resnet20"], exporter="dynamo")
    monkeypatch.setitem(ARCHITECTURES, "resnet20", row)
    assert export_model(str(saved(tmp_path / "m", "resnet20")), str(tmp_path / "x.onnx"))["exporter"] == "dynamo"


def test_a_model_without_an_exporter_is_refused_by_name(resnet, tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "resnet20", dataclasses.replace(ARCHITECTURES["resnet20"], exporter=None))
    with pytest.raises(UserError, match="resnet20: no exporter to ONNX writes it rightly"):
        export_model(str(resnet[0]), str(tmp_path / "x.onnx"))
    with pytest.raises(UserError, match="some_model: has no graph in ONNX in this version"):
        graphs.graph_of(torch.nn.Identity(), {"model_name": "some_model"})


def test_a_wrong_graph_is_caught_and_nothing_is_written(resnet, tmp_path, monkeypatch):
    write = graphs._traced

    def sabotaged(graph, file):
        write(graph, file)
        model = onnx.load(str(file))
        weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        values = onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array((values * 1.01).astype(values.dtype), weight.name))
        onnx.save(model, str(file))

    monkeypatch.setitem(graphs._EXPORTERS, "trace", sabotaged)
    with pytest.raises(UserError, match="does not find what the model finds, so nothing is written: image 1"):
        export_model(str(resnet[0]), str(tmp_path / "x.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_inside_the_graph_cannot_be_changed_and_the_rest_can(resnet):
    _, file, written = resnet
    assert written["fixed"] == ["image_shape", "valid_crop_size"]
    assert load_model(file, valid_resize_size=40).settings["valid_resize_size"] == 40
    with pytest.raises(UserError, match="valid_crop_size: is inside x.onnx, where it is 32; export .* --set "):
        load_model(file, valid_crop_size=24)
    with pytest.raises(UserError, match="learning_rate: cannot be changed in a trained resnet20"):
        load_model(file, learning_rate=0.1)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "x.onnx: does not load"),
        (lambda data: data[: len(data) // 2], "x.onnx: does not load"),
        (lambda data: data.replace(b"automl_images", b"xutoml_images", 1), "no model that export wrote"),
        (lambda data: data.replace(b'"classes"', b'"klasses"', 1), "its metadata is not what"),
        (None, "x.onnx: no such file"),
    ],
    ids=["empty", "half", "foreign", "metadata", "absent"],
)
def test_a_file_that_is_none_of_ours_is_refused(resnet, tmp_path, damage, said):
    if damage:
        (tmp_path / "x.onnx").write_bytes(damage(resnet[1].read_bytes()))
    with pytest.raises(UserError, match=said) as refused:
        load_model(tmp_path / "x.onnx")
    assert "\n" not in str(refused.value)


def test_the_command_exports_and_says_what_it_compared(resnet, tmp_path, monkeypatch, capsys):
    file = tmp_path / "x.onnx"
    Image.new("RGB", (50, 40), "red").save(tmp_path / "a.png")
    words = ["export", resnet[0], file, "--to", "onnx", "--check", tmp_path / "*.png", "--set", "valid_resize_size=40"]
    code, out, err = call_step(monkeypatch, capsys, *words)
    assert (code, err) == (0, "") and out.startswith(f"{file}: on 1 images 9 finds are the model's, their scores to ")
    assert load_model(file).settings["valid_resize_size"] == 40
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/model.onnx").write_bytes(file.read_bytes())
    assert find_model(tmp_path) == tmp_path / "folder"
    for more, said in (
        ([resnet[0]], "give --format for records, or --to onnx"),
        ([resnet[0], file, "--to", "onnx", "--task", "x"], "--task: is for records, with --format"),
        ([resnet[0], file, "--format", "voc", "--check", "a.png"], "--check: is for a model, with --to onnx"),
        ([resnet[0], file, "--to", "tflite"], "--to tflite: a model is written as onnx alone"),
        ([resnet[0], "--format", "voc"], "records need OUT"),
        ([tmp_path / "folder", "--to", "onnx"], "is an exported model already"),
    ):
        code, _, err = call_step(monkeypatch, capsys, "export", *more)
        assert code == 2 and said in err, err


class Stub:
    """A predictor that finds what it is told."""

    def __init__(self, **found):
        self.settings = {"box_score_thresh": 0.1}
        self.found = {name: np.array(value, float) for name, value in found.items()}

    def outputs(self, batches):
        return (self.found for batch in batches for _ in batch)


FOUND = {"boxes": [[0, 0, 50, 50], [50, 50, 90, 90]], "scores": [0.9, 0.5], "labels": [1, 0]}
WRONG = {
    "moved": {"boxes": [[0, 0, 50, 50], [50, 50, 89, 90]]},
    "label": {"labels": [1, 1]},
    "score": {"scores": [0.9, 0.502]},
    "nan": {"scores": [0.9, np.nan]},
    "missing": {"boxes": FOUND["boxes"][:1], "scores": [0.9], "labels": [1]},
    "twice": {"boxes": [*FOUND["boxes"], [50, 50, 90, 90]], "scores": [0.9, 0.5, 0.5], "labels": [1, 0, 0]},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_boxes_that_differ_are_told(wrong):
    images = [np.zeros((90, 90, 3), np.uint8)]
    nearly = {**FOUND, "boxes": [[0, 0, 50, 50.1], [50, 50, 90, 90]], "scores": [0.9005, 0.5]}
    assert parity(Stub(**FOUND), Stub(**nearly), images).compared == 2 * 3
    with pytest.raises(UserError, match=r"image 1, 90 x 90 pixels: the export has (no box|a box too many) of class"):
        parity(Stub(**FOUND), Stub(**{**FOUND, **wrong}), images)


def test_nothing_to_compare_is_no_success():
    nothing = {"boxes": np.zeros((0, 4)), "scores": [], "labels": []}
    with pytest.raises(UserError, match="finds nothing on these images"):
        parity(Stub(**nothing), Stub(**nothing), [np.zeros((9, 9, 3), np.uint8)])
    shapes = {view.shape for view in views(np.zeros((30, 30, 3), np.uint8))}
    assert len(shapes) == 3
