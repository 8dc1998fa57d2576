"""The server as a process: its command line, and with KServe installed every protocol from end to end."""

import argparse
import asyncio
import base64
import importlib.util
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from automl_images.errors import UserError
from automl_images.serving import server
from tests.helpers import detectors
from tests.helpers.browser import chromium, violations
from tests.helpers.serving import png

ROOT = Path(__file__).parents[1]


def kserves():
    """Return a parser with some of KServe's options."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model_name", default="model")
    parser.add_argument("--predictor_host")
    for name, default in (("workers", 1), ("max_threads", 4), ("grpc_max_receive_message_length", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


def options(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["server", *arguments])
    return server._options(kserves())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--max_batch", "0"], "--max_batch: is 0; give 1 or more"),
        (["--max_delay", "-1"], "--max_delay: is -1; give 0 or more"),
        (["--max_waiting", "0"], "--max_waiting: is 0"),
        (["--workers", "2"], "--workers: one process serves"),
        (["--predictor_host", "x"], "--predictor_host: has no effect here"),
        (["--grpc_max_receive_message_length", "9"], "--grpc_max_receive_message_length: has no effect here"),
        (["--max_threads", "9"], "--max_threads: has no effect here"),
    ],
)
def test_options_that_cannot_act_are_refused(monkeypatch, arguments, line):
    with pytest.raises(UserError, match=line):
        options(monkeypatch, *arguments)


def test_models_have_names(monkeypatch):
    def models(*arguments):
        return server._models(options(monkeypatch, *arguments))

    assert models("--model_dir", "/m", "--model_name", "cells") == {"cells": "/m"}
    assert models("--models", "a=/m", "b=s3://r/cells@champion") == {"a": "/m", "b": "s3://r/cells@champion"}
    for wrong in ([], ["--model_dir", "/m", "--models", "a=/m"], ["--models", "a"], ["--models", "a=/m", "a=/n"]):
        with pytest.raises(UserError, match="--models"):
            models(*wrong)
    with pytest.raises(UserError, match="'a/b=/m' is not NAME=DIR"):
        models("--models", "a/b=/m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model"
    save(path, 0)
    return path


def save(path, seed):
    import torch

    from automl_images.hyperparameters import resolve
    from automl_images.models import catalogue
    from automl_images.models import folder as model_folder

    torch.manual_seed(seed)
    task, classes = "image-classification", ["cat", "dog"]
    sizes = {"train_crop_size": 32, "valid_crop_size": 32, "valid_resize_size": 36}
    settings = resolve(task, {"model_name": "resnet20", **sizes})
    network = catalogue.build(task, settings, classes)
    model_folder.save(path, network, task=task, settings=settings, classes=classes, metrics={"epoch": 1})


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Process:
    """The server of models, each NAME=DIR."""

    def __init__(self, models, log):
        self.http, self.grpc, self.log = free_port(), free_port(), log
        command = [sys.executable, "-m", "automl_images.serving.server", "--models", *models]
        command += ["--http_port", str(self.http), "--grpc_port", str(self.grpc)]
        self.child = subprocess.Popen(command, cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        self.until(lambda: self.get("/v2/models/b/ready"))

    def until(self, condition):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                if found := condition():
                    return found
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def get(self, path):
        with urllib.request.urlopen(f"http://localhost:{self.http}{path}", timeout=10) as answer:
            return answer.read().decode()

    def post(self, path, body, **headers):
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(f"http://localhost:{self.http}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), json.loads(error.read())


@pytest.fixture(scope="module")
def process(folder, tmp_path_factory):
    """Return a server of two models that are one folder, and of a detector."""
    if not importlib.util.find_spec("kserve"):
        pytest.skip("KServe is not installed")
    where = tmp_path_factory.mktemp("server")
    save_detector(where / "detector")
    running = Process([f"a={folder}", f"b={folder}", f"cells={where}/detector"], where / "log")
    yield running
    running.child.kill()
    running.child.wait()


def save_detector(path):
    """Write a detector whose scores are far apart, though it has learned nothing."""
    import torch

    from automl_images.models import folder as model_folder

    network = detectors.made(detectors.RCNN)
    with torch.no_grad():
        network.network.roi_heads.box_predictor.cls_score.weight.mul_(10)
    settings = detectors.settings_of(detectors.RCNN, box_score_thresh=0, box_detections_per_img=8)
    of = {"task": detectors.TASK, "settings": settings, "classes": detectors.CLASSES}
    model_folder.save(path, network, **of, metrics={"epoch": 1})


DROP = """bytes => {
    const dropped = new DataTransfer();
    dropped.items.add(new File([new Uint8Array(bytes)], "drawing.png", {type: "image/png"}));
    return dropped;
}"""


def test_the_page_draws_what_is_found_and_the_keyboard_moves_the_threshold(process, tmp_path):
    console = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.goto(f"http://localhost:{process.http}/")
        page.wait_for_selector("#model option:text-is('cells')", state="attached")
        page.select_option("#model", "cells")
        dropped = page.evaluate_handle(DROP, list(drawing()))
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        page.locator("#status", has_text="answered in").wait_for(timeout=60_000)
        seen = [shown(page)]
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        page.focus("#threshold")
        for key, times in (("ArrowRight", 4), ("End", 1), ("Home", 1)):
            for _ in range(times):
                page.keyboard.press(key)
            seen.append(shown(page))
        first, fewer, none, again = seen
        assert (first["finds"], none["finds"]) == (8, 0) and 0 < fewer["finds"] < 8 and again == first
        assert len({each["pixels"] for each in seen}) == 3  # boxes are drawn, and others as the threshold moves
        assert [each["rows"] for each in seen] == [each["finds"] for each in seen]
        assert f"http://localhost:{process.http}/v1/models/cells:predict" in page.text_content("#curl")
        for size, scheme in (((1280, 900), "light"), ((400, 900), "dark")):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
            assert violations(page) == [], scheme
    assert console == []


def drawing():
    image, file = Image.new("RGB", (160, 120), (40, 90, 160)), io.BytesIO()
    pen = ImageDraw.Draw(image)
    pen.rectangle([20, 20, 70, 80], fill=(220, 40, 40))
    pen.ellipse([90, 30, 140, 90], fill=(240, 220, 60))
    image.save(file, "PNG")
    return file.getvalue()


def shown(page):
    """Return the finds that the canvas's label counts, the rows of the table, and a digest of what is drawn."""
    label = page.get_attribute("#canvas", "aria-label")
    drawn = page.evaluate("document.getElementById('canvas').toDataURL()")
    rows = page.locator("#rows tr").count()
    return {"finds": int(re.search(r"with (\d+) of 8 finds drawn", label)[1]), "rows": rows, "pixels": drawn}


def test_every_protocol_answers_a_version_is_swapped_and_the_end_is_graceful(process, folder):
    status, headers, first = process.post("/v1/models/a:predict", png(), x_request_id="r1")
    assert status == 200 and headers["x-request-id"] == "r1" and first["labels"] == ["cat", "dog"]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(png()).decode()]}
    status, _, found = process.post("/v2/models/b/infer", json.dumps({"inputs": [tensor]}).encode())
    assert status == 200 and json.loads(found["outputs"][0]["data"][0])["labels"] == ["cat", "dog"]
    assert found["model_version"] == headers["x-model-version"]
    for path, refused in (("/v1/models/c:predict", 404), ("/v2/repository/models/a/unload", 403)):
        assert process.post(path, b"")[0] == refused
    assert process.post("/v2/models/a/infer", b"{}")[0] == 400
    assert asyncio.run(grpc_answers(process.grpc)) == [
        *("OK", "NOT_FOUND", "INVALID_ARGUMENT", "NOT_FOUND", "INVALID_ARGUMENT")
    ]
    assert json.loads(process.get("/v2/models/a"))["inputs"][0]["name"] == "image"
    metrics = process.get("/metrics")
    assert 'automl_images_requests_total{code="200",model="a",protocol="v1"} 1.0' in metrics
    assert 'automl_images_refused_total{reason="malformed"}' in metrics and "r1 v1 a: 1 images" in log(process)
    save(folder, 1)
    process.child.send_signal(signal.SIGHUP)
    process.until(lambda: "b: version" in log(process))
    status, swapped, second = process.post("/v1/models/a:predict", png())
    assert status == 200 and swapped["x-model-version"] != headers["x-model-version"] and second != first
    (folder / "model.pt").write_bytes(b"no weights")
    process.child.send_signal(signal.SIGHUP)
    process.until(lambda: "b: the new version is left out" in log(process))
    assert process.post("/v1/models/a:predict", png())[2] == second and process.get("/v2/models/a/ready")
    process.child.send_signal(signal.SIGTERM)
    assert process.child.wait(60) in (0, -signal.SIGTERM)
    assert "Traceback" not in log(process)


def log(process):
    return process.log.read_text(errors="replace")


async def grpc_answers(port):
    """Return the status of a right call, one for another model, a wrong one, one for another version, garbage."""
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [png()]}}
    right, found = {"model_name": "a", "inputs": [tensor], "id": "g7"}, []
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        for change in ({}, {"model_name": "c"}, {"inputs": []}, {"model_version": "9"}):
            try:
                call = service.GRPCInferenceServiceStub(channel).ModelInfer(
                    messages.ModelInferRequest(**{**right, **change}), metadata=(("x-request-id", "m1"),)
                )
                answer = await call
                assert answer.id == "g7" and dict(await call.initial_metadata())["x-request-id"] == "m1"
                assert json.loads(answer.raw_output_contents[0][4:])["labels"] == ["cat", "dog"]
                found.append("OK")
            except grpc.RpcError as error:
                found.append(error.code().name)
        try:
            await channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff garbage")
        except grpc.RpcError as error:
            found.append(error.code().name)
    return found
