import base64
import io
import json
import os
import re
import struct
import subprocess
import sys
import uuid
import zlib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from automl_images import steps, storage
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.prediction import load_model
from automl_images.serving import requests
from automl_images.serving.requests import answer, find_model
from automl_images.serving.score import run_score_file
from automl_images.steps.serve import serve_model

MULTILABEL = pytest.param("image-classification-multilabel", marks=pytest.mark.full)


@pytest.fixture(scope="module", params=["image-classification", MULTILABEL])
def classifier(request, tmp_path_factory):
    import torch

    from automl_images.models import catalogue, folder

    torch.manual_seed(0)
    sizes = {"train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 36}
    settings, classes = resolve(request.param, {"model_name": "resnet20", **sizes}), ["red", "blue", "green"]
    path = tmp_path_factory.mktemp("classifier")
    network = catalogue.build(request.param, settings, classes)
    folder.save(path, network, task=request.param, settings=settings, classes=classes, metrics={"epoch": 1})
    return path


@pytest.fixture(scope="module")
def images(squares):
    return [Path(record.image_url).read_bytes() for record in squares[0][:2]]


@pytest.fixture(scope="module")
def predictor(model):
    return load_model(model)


@pytest.fixture(scope="module")
def expected(predictor, images):
    predictions = predictor.predict([Image.open(io.BytesIO(data)) for data in images])
    assert all(p["boxes"] for p in predictions)
    assert predictions[0] != predictions[1]
    return predictions


def b64(data):
    return base64.b64encode(data).decode()


def instances(wrap):
    return lambda a, b: {"instances": [wrap(b64(a)), wrap(b64(b))]}


FORMS = {
    "kserve-image-b64": (instances(lambda s: {"image": {"b64": s}}), "predictions"),
    "kserve-b64": (instances(lambda s: {"b64": s}), "predictions"),
    "kserve-string": (instances(str), "predictions"),
    "kserve-wrapped-lines": (instances(lambda s: "\n".join([s[:76], s[76:]])), "predictions"),
    "kserve-data-url": (instances(lambda s: f"data:image/png;base64,{s}"), "predictions"),
    "kserve-url-safe": (instances(lambda s: {"b64": s.translate(str.maketrans("+/", "-_"))}), "predictions"),
    "kserve-unpadded": (instances(lambda s: s.rstrip("=")), "predictions"),
    "azure-b64": (
        lambda a, b: {"input_data": {"columns": ["image"], "data": [{"b64": b64(a)}, [{"image": {"b64": b64(b)}}]]}},
        None,
    ),
    "azure-flat": (lambda a, b: {"input_data": {"columns": ["image"], "data": [b64(a), b64(b)]}}, None),
    "azure-rows": (lambda a, b: {"input_data": {"columns": ["image"], "data": [[b64(a)], [b64(b)]]}}, None),
    "azure-more-columns": (
        lambda a, b: {"input_data": {"columns": ["id", "image"], "index": [0, 1], "data": [[7, b64(a)], [8, b64(b)]]}},
        None,
    ),
}


@pytest.mark.parametrize(("form", "key"), FORMS.values(), ids=FORMS.keys())
def test_json_requests_are_answered_in_their_own_form(model, predictor, images, expected, form, key):
    request, wanted = form(*images), {key: expected} if key else expected
    assert run_score_file(model, json.dumps(request).encode()) == wanted
    assert answer(predictor, json.dumps(request)) == answer(predictor, request) == wanted


def test_an_image_is_answered_with_one_prediction(model, images, expected):
    assert [run_score_file(model, data) for data in images] == expected


def test_a_classifier_answers_with_probabilities(classifier, images):
    predictor = load_model(classifier)
    expected = predictor.predict([Image.open(io.BytesIO(data)) for data in images])
    assert expected[0]["labels"] == ["red", "blue", "green"] and expected[0]["probs"] != expected[1]["probs"]
    for form, key in FORMS.values():
        found = answer(predictor, json.dumps(form(*images)))
        found = found[key] if key else found
        assert [set(f) for f in found] == [{"probs", "labels"}] * 2
        assert [f["probs"] for f in found] == [pytest.approx(e["probs"], abs=2e-6) for e in expected]
    assert answer(predictor, images[1])["probs"] == pytest.approx(expected[1]["probs"], abs=2e-6)
    assert run_score_file(classifier, images[1]) == answer(predictor, images[1])


def test_a_classifier_is_served_by_the_same_manifest(classifier, model, images, tmp_path):
    example = tmp_path / "example.png"
    example.write_bytes(images[0])
    written = [
        serve_model(str(m), "cells", output=str(tmp_path / m.name), example=str(example)) for m in (classifier, model)
    ]
    services = [
        re.sub("deployment: .*", "", Path(w["manifest"]).read_text().replace(str(m), "M"))
        for w, m in zip(written, (classifier, model), strict=True)
    ]
    assert services[0] == services[1]
    (found,) = run_score_file(classifier, Path(written[0]["request"]).read_bytes())["predictions"]
    assert found["labels"] == ["red", "blue", "green"] and len(found["probs"]) == 3


def cut_image():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    return file.getvalue()[:-1000]


def claimed(width, height):
    """Return a PNG of a few bytes that says it has so many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))]
    parts += [struct.pack(">I", 9) + b"IDAT" + b"x\x9cc\x00\x00\x00\x01\x00\x01" + bytes(4)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def postscript():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    return file.getvalue()


MALFORMED = {
    "a-bomb": (claimed(12000, 12000), "the request: has 12000 x 12000 pixels; at most 64000000 are taken"),
    "a-larger-bomb": (
        {"instances": [b64(claimed(60000, 60000))]},
        r"instances\[0\]: has more pixels than the",
    ),
    "a-program": (postscript(), "the request: is not an image that opens"),
    "too-many": ({"instances": ["a"] * 257}, "instances: has 257 images; send at most 256 at a time"),
    "data-url-text": ({"instances": ["data:image/png,abc"]}, r"instances\[0\]: is a data: URL that is not ;base64"),
    "neither": (b"hello", "the request: is not an image that opens"),
    "cut-image": (cut_image(), "the request: is not an image that opens"),
    "not-json": (b'{"instances": [', "the request is not JSON"),
    "not-utf8": (b'{"instances": "\xff"}', "the request is not JSON"),
    "text-not-json": ("hello", "the request is not JSON"),
    "deep": (b"[" * 100_000, "the request is not JSON"),
    "neither-key": ({"data": []}, "no 'instances'"),
    "a-list": (b"[1]", "no 'instances'"),
    "no-instances": ({"instances": []}, "instances: is not a list of at least one image"),
    "instance-number": ({"instances": [3]}, r"instances\[0\]: is not an image as base64"),
    "instance-other-key": ({"instances": [{"url": "a.jpg"}]}, r"instances\[0\]: is not an image as base64"),
    "not-base64": ({"instances": ["%%%%"]}, r"instances\[0\]: is not base64"),
    "base64-of-text": ({"instances": [{"image": {"b64": b64(b"hello")}}]}, r"instances\[0\]: is not an image that"),
    "no-data": ({"input_data": {"columns": ["image"]}}, "input_data: write"),
    "no-columns": ({"input_data": {"data": ["abc"]}}, "input_data.columns: has no 'image'"),
    "short-row": ({"input_data": {"columns": ["id", "image"], "data": [["a"]]}}, r"input_data.data\[0\]: is not a row"),
    "no-rows": ({"input_data": {"columns": ["image"], "data": []}}, "input_data.data: is not a list of at least one"),
    "row-not-base64": ({"input_data": {"columns": ["image"], "data": ["%"]}}, r"input_data.data\[0\]: is not base64"),
}


@pytest.mark.parametrize(("request_", "line"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_refused_with_one_line(predictor, request_, line):
    with pytest.raises(UserError, match=line) as refused:
        answer(predictor, request_)
    assert "\n" not in str(refused.value)


class Counting:
    """A predictor that counts the images that are decoded, and the most at a time."""

    def __init__(self):
        self.batches = []

    def predict(self, images):
        self.batches.append(len(images))
        return [{"size": image.size} for image in images]


def test_images_are_decoded_few_at_a_time_and_none_once_nobody_waits(monkeypatch):
    monkeypatch.setattr(requests, "_TOGETHER", (32, 3 * 64 * 64))
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    request = {"instances": [b64(file.getvalue())] * 7}
    counting = Counting()
    assert answer(counting, request) == {"predictions": [{"size": (64, 64)}] * 7}
    assert counting.batches == [3, 3, 1]
    asked = iter([True, False])
    with pytest.raises(TimeoutError):
        answer(counting, request, wanted=lambda: next(asked))
    assert counting.batches == [3, 3, 1, 3]


def test_a_request_is_refused_before_any_of_it_is_predicted(images):
    counting = Counting()
    with pytest.raises(UserError, match=r"instances\[1\]: has 9000 x 9000 pixels"):
        answer(counting, {"instances": [b64(images[0]), b64(claimed(9000, 9000))]})
    assert counting.batches == []


def score(folder, *arguments, **environment):
    cleared = {k: v for k, v in os.environ.items() if k != "AZUREML_MODEL_DIR"}
    environment = {**cleared, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    command = [sys.executable, str(folder / "score.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_score_file_is_a_command(model, images, expected, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(images[1])
    done = score(model, image)
    assert (done.returncode, json.loads(done.stdout)) == (0, expected[1])
    for arguments in ([], [tmp_path / "absent.png"]):
        failed = score(model, *arguments)
        assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1), failed.stderr
        assert failed.stderr.startswith("error: ")


def test_the_score_file_loads_what_azure_names(model, images, expected, tmp_path):
    (tmp_path / "INPUT_model").mkdir()
    (tmp_path / "INPUT_model" / "model").symlink_to(model)
    elsewhere, image = tmp_path / "code", tmp_path / "image.png"
    elsewhere.mkdir()
    (elsewhere / "score.py").write_bytes((model / "score.py").read_bytes())
    image.write_bytes(images[0])
    assert json.loads(score(elsewhere, image, AZUREML_MODEL_DIR=str(tmp_path)).stdout) == expected[0]
    assert "no model folder" in score(elsewhere, image).stderr


def test_a_folder_scores_with_its_own_file_and_model(model, images, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))  # has no model
    assert run_score_file(model, images[0]) == expected[0]
    assert os.environ["AZUREML_MODEL_DIR"] == str(tmp_path)
    (tmp_path / "score.py").write_text("def init(): pass\ndef run(request): return ['mine', len(request)]\n")
    assert run_score_file(tmp_path, b"abc") == ["mine", 3]
    assert not [name for name in sys.modules if name.startswith("automl_images_score")]
    with pytest.raises(UserError, match=r"has no score\.py"):
        run_score_file(tmp_path / "absent", b"abc")


@pytest.mark.parametrize(
    ("places", "found"),
    [([""], ""), (["a"], "a"), (["a/b"], "a/b"), (["a/b/c"], None), (["a", "b"], None), (["", "a"], "")],
    ids=["here", "one-below", "two-below", "too-deep", "two", "nearest"],
)
def test_the_model_is_found_at_most_two_levels_below(tmp_path, places, found):
    for place in places:
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "model.pt").touch()
    if found is None:
        with pytest.raises(UserError, match="model folder"):
            find_model(tmp_path)
    else:
        assert find_model(tmp_path) == tmp_path / found


def test_the_step_writes_a_manifest_a_request_and_a_smoke_test(model, images, expected, tmp_path, capsys):
    example = tmp_path / "example.png"
    example.write_bytes(images[1])
    written = serve_model(str(model), "Blood_Cells v2", output=str(tmp_path / "out"), example=str(example))
    assert "cannot read" in capsys.readouterr().err
    service = yaml.safe_load(Path(written["manifest"]).read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["metadata"]["name"] == "blood-cells-v2"
    container = service["spec"]["predictor"]["containers"][0]
    assert {"name": "STORAGE_URI", "value": str(model)} in container["env"]
    assert container["args"] == ["--model_dir", "/mnt/models", "--model_name", "blood-cells-v2"]
    assert container["image"] == steps.SERVE
    assert container["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert run_score_file(model, Path(written["request"]).read_bytes()) == {"predictions": [expected[1]]}
    smoke = Path(written["smoke"])
    assert os.access(smoke, os.X_OK)
    assert "/v1/models/blood-cells-v2:predict" in smoke.read_text()
    assert written["score"] == str(model / "score.py")


def test_the_smoke_test_applies_waits_and_sends(model, tmp_path):
    written = serve_model(str(model), "cells", output=str(tmp_path / "out"))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, says in {"kubectl": "http://cells.example.com", "curl": '{"predictions": []}'}.items():
        (tools / name).write_text(f"#!/bin/sh\necho {name} \"$@\" >> {tmp_path}/calls\necho '{says}'\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "NAMESPACE": "prod", "INGRESS": "http://localhost:8080"}
    done = subprocess.run([written["smoke"]], capture_output=True, text=True, env=environment, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [c.split()[:4] for c in calls[:2]] == [["kubectl", "--namespace", "prod", c] for c in ("apply", "wait")]
    assert "--header Host: cells.example.com" in calls[3]
    assert calls[3].endswith("http://localhost:8080/v1/models/cells:predict")
    assert '{"predictions": []}' in done.stdout


def test_the_step_works_on_stores_and_without_an_example(model, tmp_path, capsys):
    output = f"memory://serve-{uuid.uuid4().hex}"
    storage.put_folder(model, f"{output}/model")
    storage.remove(f"{output}/model/score.py")
    written = serve_model(f"{output}/model", "cells", output=f"{output}/out", image="mine:1")
    assert "KServe cannot read memory://" in capsys.readouterr().err
    assert written["score"] is None
    assert set(storage.names(f"{output}/out")) == {"inferenceservice.yaml", "request.json", "smoke.sh"}
    assert "predictions" in run_score_file(model, storage.read_bytes(written["request"]))
    local = tmp_path / "model"
    storage.copy_folder(f"{output}/model", str(local))
    assert serve_model(str(local), "cells", output=f"{output}/out")["score"] == str(local / "score.py")
    assert (local / "score.py").read_text() == (model / "score.py").read_text()


def test_the_server_says_what_is_missing():
    block = "import sys; sys.modules['kserve'] = None; from automl_images.serving.server import main; main()"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert "UserError: the server needs KServe: pip install 'automl-images[serve]'" in done.stderr
