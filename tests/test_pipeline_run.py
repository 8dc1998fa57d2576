"""The whole DAG through kfp's local runner on tiny data, and what a run leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import build
from tests.conftest import draw_squares, write_voc

YOLO = {"model_size": "small", "img_size": 64}
FIXED = {"number_of_epochs": 1, "training_batch_size": 4, "lr_scheduler": "step"}


def pipelines(*arguments, cwd, before=""):
    environment = {**os.environ, "PYTHONPATH": f"{before}{Path(__file__).parents[1]}"}
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def automl_images(*arguments, cwd=None):
    command = [sys.executable, "-m", "automl_images.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Return a folder with data and an experiment of two trials, one of which fails."""
    folder = tmp_path_factory.mktemp("run")
    records = draw_squares(folder / "data/JPEGImages", 8)
    write_voc(folder / "data", records)
    task = "image-object-detection"
    network = build(task, resolve(task, {"model_name": "yolov5", **YOLO}), ["blue", "red"])
    torch.save(network.state_dict(), folder / "yolov5.pt")
    experiment = {
        "name": "tiny",
        "task": task,
        "data": {"training": {"source": "data"}, "split_ratio": 0.25},
        "settings": FIXED,
        "weights": {"source": "yolov5.pt"},
        "sweep": {
            "sampling": "grid",
            "iterations": 2,
            "space": [
                {name: {"choice": [value]} for name, value in {"model_name": "yolov5", **YOLO}.items()},
                {"model_name": {"choice": ["fasterrcnn_resnet18_fpn"]}},
            ],
        },
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    return folder


@pytest.fixture(scope="module")
def first(workplace):
    done = pipelines("run", "experiment.yaml", "--predict", "data/JPEGImages/000.png", cwd=workplace)
    assert done.returncode == 0, done.stderr
    return done


def summary(workplace, index=-1):
    return json.loads(sorted(workplace.glob("runs/tiny/*/summary.json"))[index].read_text())


def test_what_a_person_sees(first, workplace):
    lines = first.stderr.splitlines()
    for step in ("convert", "split", "plan", "train", "select", "evaluate", "register", "serve"):
        assert sum(line.startswith(step) and " s  " in line for line in lines) == 1, step
    assert any(line.startswith("convert") and "8 images" in line and "2 classes" in line for line in lines)
    assert any("trial 1 failed" in line and "no tensor of the file fits the model" in line for line in lines)
    out = first.stdout.splitlines()
    assert any(line.startswith("registered: tiny version 1") for line in out)
    command = next(line for line in out if line.startswith("try it: ")).removeprefix("try it: ").split()
    assert command[0].endswith("automl-images") and command[1] == "predict"
    done = automl_images(*command[1:], "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert "boxes" in json.loads(done.stdout)


def test_what_a_run_leaves(first, workplace):
    found = summary(workplace)
    assert found["task"] == "image-object-detection"
    assert [t["state"] for t in found["trials"]] == ["completed", "failed"]
    assert found["best"]["trial"] == 0
    assert found["best"]["settings"]["model_name"] == "yolov5"
    assert Path(found["ledger"], "weights/yolov5.pt").exists()
    trained = "".join(p.read_text() for p in Path(found["logs"]).glob("train-*.log"))
    assert re.search(r"trial 0: .*weights: \d+ tensors from .*/weights/yolov5.pt; 0 start afresh", trained)
    assert found["registered"]["version"] == 1
    assert set(found["evaluation"]["per_label_metrics"]) == {"blue", "red"}
    assert found["evaluation"]["coco"]["map"] is not None
    for part in ("report", "leaderboard", "data"):
        assert Path(found[part]).parent == Path(found["folder"])
        assert "<html" in Path(found[part]).read_text()
    model = Path(found["model"])
    names = {p.name for p in model.iterdir()}
    assert {"model.pt", "settings.json", "labels.json", "metrics.json", "score.py", "requirements.txt"} <= names
    logs = {p.name for p in Path(found["logs"]).iterdir()}
    assert {"convert.log", "plan.log", "train-0.log", "train-1.log", "evaluate.log", "serve.log"} <= logs
    assert "repeat with: docker run" in Path(found["logs"], "train-0.log").read_text()
    assert (workplace / "prediction.png").stat().st_size > 0


def test_a_second_run_keeps_what_is_done_and_evaluates_on_test_data(first, workplace):
    done = pipelines("run", "experiment.yaml", "--json", "--set", "data.test={source: data}", cwd=workplace)
    assert done.returncode == 0, done.stderr
    again, before = json.loads(done.stdout), summary(workplace, 0)
    assert again["ledger"] == before["ledger"]
    assert [t["attempt"] for t in again["trials"]] == [1, 1]
    assert again["registered"] == before["registered"]
    assert [(s["evaluation"]["set"], s["evaluation"]["images"]) for s in (before, again)] == [
        ("validation", 2),
        ("test", 8),
    ]


def test_a_step_that_fails_says_why(workplace):
    wrong = ["--set", "data.training.source=nowhere", "--root", "elsewhere"]
    done = pipelines("run", "experiment.yaml", *wrong, cwd=workplace)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: convert: data.training: nowhere: no such file or folder"
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_shows_the_end_of_the_log(workplace):
    (workplace / "broken").mkdir()
    fault = "import automl_images.steps.plan as plan\nplan.plan_sweep = lambda *_, **__: 1 / 0\n"
    (workplace / "broken/sitecustomize.py").write_text(fault)
    done = pipelines("run", "experiment.yaml", "--root", "else", cwd=workplace, before=f"{workplace}/broken:")
    assert done.returncode == 1
    assert "plan failed with exit code 1" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_a_file_where_a_folder_must_be_is_one_line(workplace):
    (workplace / "full").write_text("a file where a folder must be")
    done = pipelines("run", "experiment.yaml", "--set", f"storage={workplace}/full", cwd=workplace)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.fullmatch(f"error: .*{workplace}/full.*: .*", done.stderr.splitlines()[-1])


def trial_process(ledger):
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "automl_images.steps.trial" in words and str(ledger) in words:
            return int(folder.name)
    return None


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the trial's process in /proc")
def test_a_killed_trial_resumes_and_ends_the_same(tmp_path):
    write_voc(tmp_path, draw_squares(tmp_path / "JPEGImages", 4))
    assert automl_images("convert", tmp_path, tmp_path / "all.jsonl").returncode == 0
    lines = (tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "t.jsonl").write_text("".join(lines[:3]))
    (tmp_path / "v.jsonl").write_text("".join(lines[1:]))
    settings = ["model_name=fasterrcnn_resnet18_fpn", "min_size=64", "max_size=64", "number_of_epochs=4"]
    options = [*(w for s in settings for w in ("--set", s)), "--set", "training_batch_size=2", "--no-pretrained"]
    command = [sys.executable, "-m", "automl_images.cli", "train", "t.jsonl", "v.jsonl"]
    whole = subprocess.run([*command, "whole", *options], cwd=tmp_path, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr

    ledger = tmp_path / "killed.ledger"
    run = subprocess.Popen([*command, "killed", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (ledger / "trials/0000/checkpoint.1").exists():
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.02)
    os.kill(trial_process(ledger), signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "killed by SIGKILL" in errors.splitlines()[-1]

    again = subprocess.run([*command, "killed", *options], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "trial 0: resuming after epoch " in again.stderr
    results = [json.loads(done.stdout) for done in (whole, again)]
    assert results[1]["trials"][0]["attempt"] == 2
    assert results[1]["value"] == pytest.approx(results[0]["value"], abs=1e-6)
    curves = [[e["value"] for e in r["trials"][0]["evaluations"]] for r in results]
    assert curves[1] == pytest.approx(curves[0], abs=1e-6)
