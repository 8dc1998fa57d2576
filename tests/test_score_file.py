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
from tests.helpers import detectors, segments

CLASSES = ["blue", "red"]
CORNERS = ("topX", "topY", "bottomX", "bottomY")
FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
STRICT = {"type": "object", "additionalProperties": False}


def boxes(**more):
    """Return the schema of Azure's answer for an image with boxes, with ``more`` in each."""
    corners = {**STRICT, "required": list(CORNERS), "properties": dict.fromkeys(CORNERS, FRACTION)}
    found = {"box": corners, "label": {"enum": CLASSES}, "score": FRACTION, **more}
    one = {**STRICT, "required": list(found), "properties": found}
    listed = {"type": "array", "minItems": 1, "items": one}
    return {**STRICT, "required": ["boxes"], "properties": {"boxes": listed}}


PROBABILITIES = {
    **STRICT,
    "required": ["probs", "labels"],
    "properties": {
        "probs": {"type": "array", "items": FRACTION, "minItems": 2, "maxItems": 2},
        "labels": {"const": CLASSES},
    },
}
PART = {"type": "array", "minItems": 6, "items": FRACTION}
POLYGON = {"type": "array", "items": PART}
IMAGE = {
    **STRICT,
    "required": ["image_type", "image"],
    "properties": {"image_type": {"enum": ["jpg", "png", "bmp"]}, "image": {"type": "string", "minLength": 20}},
}
RLE = {
    **STRICT,
    "required": ["size", "counts"],
    "properties": {"size": {"const": [48, 64]}, "counts": {"type": "string"}},
}
REGION = {**STRICT, "required": ["label", "rle"], "properties": {"label": {"enum": CLASSES}, "rle": RLE}}
REGIONS = {
    **STRICT,
    "required": ["classes", "regions"],
    "properties": {"classes": {"const": CLASSES}, "regions": {"type": "array", "minItems": 1, "items": REGION}},
}
SMALL = {"model_name": "resnet20", "train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 36}
# of each task: a small model's settings, what finds something with untrained weights, and the answer's schema
MODELS = {
    "image-classification": (SMALL, {}, PROBABILITIES),
    "image-classification-multilabel": (SMALL, {}, PROBABILITIES),
    "image-object-detection": (
        {"model_name": "yolov5", "img_size": 64, "box_score_thresh": 0.9},
        {"box_score_thresh": 0.0},
        boxes(),
    ),
    "image-instance-segmentation": (
        {"model_name": "maskrcnn_resnet18_fpn", "min_size": 32, "max_size": 48, "box_score_thresh": 0.9},
        {"box_score_thresh": 0.0, "mask_pixel_score_threshold": 0.1, "box_detections_per_img": 2},
        boxes(polygon=POLYGON),
    ),
    "image-semantic-segmentation": (
        {k: segments.SMALL[k] for k in ("model_name", "base_size", "crop_size")},
        {},
        REGIONS,
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


def change(path, **given):
    """Change settings in a score file as a person does: take the sign away, and write another value."""
    text = (path / "score.py").read_text()
    for name, value in given.items():
        text, times = re.subn(rf'    # "{name}": .*,\n', f'    "{name}": {value!r},\n', text)
        assert times == 1, name
    (path / "score.py").write_text(text)


def azure(*images, rows=False):
    data = [base64.b64encode(one).decode() for one in images]
    table = {"columns": ["image"], "data": [[one] for one in data] if rows else data}
    return json.dumps({"input_data": {**table, "index": list(range(len(data)))} if rows else {**table}}).encode()


@pytest.fixture
def changed(model):
    """The model with a score file that finds something."""
    task, path = model
    before = (path / "score.py").read_text()
    change(path, **MODELS[task][1])
    yield task, path
    (path / "score.py").write_text(before)


def test_a_request_is_answered_as_azure_has_it(changed):
    """v2's table as a list and as rows gives a list, one answer an image; an image's bytes, as v1 sends, give one."""
    task, path = changed
    images, schema = (picture(0), picture(1)), MODELS[task][2]
    answers = json.loads(json.dumps(run_score_file(path, azure(*images))))
    assert len(answers) == 2
    for answer in answers:
        jsonschema.validate(answer, schema)
        for box in (found["box"] for found in answer.get("boxes", ())):
            assert box["topX"] <= box["bottomX"] and box["topY"] <= box["bottomY"]
    assert json.loads(json.dumps(run_score_file(path, azure(*images, rows=True)))) == answers
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
            change(path, **MODELS[task][1])
        if "export_as_image" in trained:
            change(path, export_as_image=1, image_type="bmp")
        answer = run_score_file(path, picture())
        if "box_score_thresh" in trained:
            assert 0 < len(answer["boxes"]) <= MODELS[task][1].get("box_detections_per_img", 300)
        if "export_as_image" in trained:
            shown = answer["mask"] if "mask" in answer else answer["boxes"][0]["mask"]
            jsonschema.validate(shown, IMAGE)
            assert Image.open(io.BytesIO(base64.b64decode(shown["image"]))).format == "BMP"
        if "valid_crop_size" in trained:
            change(path, valid_crop_size=32, valid_resize_size=64)
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
