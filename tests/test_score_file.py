"""Each task's score file: what can be changed in it, and requests and answers as Azure has them."""

import base64
import io
import json
import re

import jsonschema
import pytest
import torch
from PIL import Image

from automl_images.errors import UserError
from automl_images.hyperparameters import inference_settings, resolve
from automl_images.models import catalogue, folder
from automl_images.models.score import score_file
from automl_images.serving.score import run_score_file
from automl_images.tasks import TASKS
from tests.helpers import azure, detectors, segments
from tests.helpers.azure import FINDING

CLASSES = ["blue", "red"]
SMALL = {"model_name": "resnet20", "train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 36}
# of each task: a small model's settings, and what finds something with untrained weights
MODELS = {
    "image-classification": (SMALL, {}),
    "image-classification-multilabel": (SMALL, {}),
    "image-object-detection": (
        {"model_name": "yolov5", "img_size": 64, "box_score_thresh": 0.9},
        FINDING["image-object-detection"],
    ),
    "image-instance-segmentation": (
        {"model_name": "maskrcnn_resnet18_fpn", "min_size": 32, "max_size": 48, "box_score_thresh": 0.9},
        FINDING["image-instance-segmentation"],
    ),
    "image-semantic-segmentation": (
        {k: segments.SMALL[k] for k in ("model_name", "base_size", "crop_size")},
        {},
    ),
}
NANO = ("image-object-detection", "image-semantic-segmentation")


SECOND = "image-classification-multilabel"  # the same network as the one before


@pytest.fixture(scope="module", params=[pytest.param(t, marks=[pytest.mark.full] * (t == SECOND)) for t in MODELS])
def model(request, tmp_path_factory):
    """Return a task and an untrained model folder of it."""
    task, path = request.param, tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    settings = resolve(task, MODELS[task][0]) | ({"model_size": "nano"} if task in NANO else {})
    network = catalogue.build(task, settings, CLASSES)
    folder.save(path, network, task=task, settings=settings, classes=CLASSES, metrics={"epoch": 1})
    return task, path


def picture(seed=0):
    file = io.BytesIO()
    Image.fromarray(detectors.noise(48, 64, seed).permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


FRIDGE = ["can", "carton", "milk_bottle", "water_bottle"]
CORNERS = ("topX", "topY", "bottomX", "bottomY")


def sampled(corners, label, score, **more):
    return {"box": dict(zip(CORNERS, corners, strict=True)), "label": label, "score": score, **more}


# an answer of each of Azure's tasks, as its documentation writes them, shortened
DOCUMENTED = {
    "image-classification": {"probs": [2.098e-06, 4.783e-08, 0.999, 8.637e-06], "labels": FRIDGE},
    "image-classification-multilabel": {"probs": [0.997, 0.960, 0.982, 0.025], "labels": FRIDGE},
    "image-object-detection": {
        "boxes": [
            sampled((0.224, 0.285, 0.399, 0.620), "milk_bottle", 0.937),
            sampled((0.664, 0.484, 0.959, 0.812), "can", 0.891),
        ]
    },
    "image-instance-segmentation": {
        "boxes": [
            sampled(
                (0.679, 0.491, 0.926, 0.810),
                "can",
                0.992,
                polygon=[[0.82, 0.811, 0.771, 0.810, 0.758, 0.805, 0.741, 0.797, 0.735, 0.791]],
            )
        ]
    },
}


@pytest.mark.parametrize("task", DOCUMENTED)
def test_the_schema_of_our_answers_is_that_of_azures(task):
    schema = azure.schema(task, FRIDGE, [480, 640])
    jsonschema.validate(DOCUMENTED[task], schema)
    renamed = json.loads(re.sub('"(probs|label|topX)"', '"\\1_"', json.dumps(DOCUMENTED[task])))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(renamed, schema)


@pytest.fixture
def changed(model):
    """The model with a score file that finds something."""
    task, path = model
    before = (path / "score.py").read_text()
    azure.change(path, **MODELS[task][1])
    yield task, path
    (path / "score.py").write_text(before)


def test_a_request_is_answered_as_azure_has_it(changed):
    """v2's table as a list and as rows gives a list, one answer an image; an image's bytes, as v1 sends, give one."""
    task, path = changed
    images, schema = (picture(0), picture(1)), azure.schema(task, CLASSES, [48, 64])
    answers = json.loads(json.dumps(run_score_file(path, azure.request(*images))))
    assert len(answers) == 2
    for answer in answers:
        jsonschema.validate(answer, schema)
        for box in (found["box"] for found in answer.get("boxes", ())):
            assert box["topX"] <= box["bottomX"] and box["topY"] <= box["bottomY"]
    assert json.loads(json.dumps(run_score_file(path, azure.request(*images, rows=True)))) == answers
    assert json.loads(json.dumps(run_score_file(path, images[1]))) == answers[1]
    if task == "image-classification":
        assert sum(answers[0]["probs"]) == pytest.approx(1, abs=1e-5)


def test_what_is_changed_in_the_score_file_acts_there(model):
    task, path = model
    before = (path / "score.py").read_text()
    listed = re.findall(r'^    # "(\w+)": (.*),$', before, re.M)
    trained = json.loads((path / "settings.json").read_text())["settings"]
    assert [name for name, _ in listed] == list(inference_settings(trained["model_name"]))
    assert dict(listed) == {name: repr(trained.get(name)) for name, _ in listed}
    try:
        if "box_score_thresh" in trained:
            assert run_score_file(path, picture())["boxes"] == []
            azure.change(path, **MODELS[task][1])
        if "export_as_image" in trained:
            azure.change(path, export_as_image=1, image_type="bmp")
        answer = run_score_file(path, picture())
        if "box_score_thresh" in trained:
            assert 0 < len(answer["boxes"]) <= MODELS[task][1].get("box_detections_per_img", 300)
        if "export_as_image" in trained:
            shown = answer["mask"] if "mask" in answer else answer["boxes"][0]["mask"]
            jsonschema.validate(shown, azure.IMAGE)
            assert Image.open(io.BytesIO(base64.b64decode(shown["image"]))).format == "BMP"
        if "valid_crop_size" in trained:
            azure.change(path, valid_crop_size=32, valid_resize_size=64)
            assert run_score_file(path, picture()) != answer
    finally:
        (path / "score.py").write_text(before)


@pytest.mark.parametrize("model", ["image-object-detection"], indirect=True)
@pytest.mark.parametrize("name", ["model_size", "learning_rate"])
def test_what_cannot_be_changed_is_refused_with_the_reason(model, name):
    _, path = model
    before = (path / "score.py").read_text()
    (path / "score.py").write_text(before.replace("SETTINGS = {\n", f'SETTINGS = {{\n    "{name}": "large",\n'))
    why = "; the weights fit no other model_size$" if name == "model_size" else "tile_predictions_nms_thresh$"
    try:
        with pytest.raises(UserError, match=f"^{name}: cannot be changed in a trained yolov5; these can: .*{why}"):
            run_score_file(path, picture())
    finally:
        (path / "score.py").write_text(before)


def test_every_models_score_file_is_python_that_lists_its_settings():
    names = {row.default_model for row in TASKS.values() if row.default_model}
    for name in names | {"fasterrcnn_resnet18_fpn", "retinanet_resnet50_fpn", "vitb16r224"}:
        text = score_file({"model_name": name})
        compile(text, "score.py", "exec")
        assert all(f'    # "{setting}": None,\n' in text for setting in inference_settings(name))
        assert max(map(len, text.splitlines())) <= 120 and "{{" not in text
