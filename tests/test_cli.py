"""The command line: light steps stay light, and bad input gets one line and exit code 2."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from automl_images.annotations import Box
from tests.conftest import draw_squares, write_jsonl, write_voc
from tests.helpers.command import call_step


def command(*arguments, stdin=None):
    words = [sys.executable, "-m", "automl_images.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, input=stdin)


@pytest.fixture
def called(monkeypatch, capsys):
    """Return a function that runs a command in this process, as :func:`command` does in one of its own."""

    def run(*arguments):
        code, out, err = call_step(monkeypatch, capsys, *arguments)
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


def missing_folder(folder):
    return ["convert", folder / "none", folder / "o.jsonl"], "none: no such file or folder"


def not_xml(folder):
    file = next((folder / "Annotations").iterdir())
    file.write_text("<annotation>")
    return ["convert", folder, folder / "o.jsonl"], f"{file}: is not XML: "


def box_outside(folder):
    file = next((folder / "Annotations").iterdir())
    file.write_text(file.read_text().replace("<xmax>", "<xmax>9"))
    return ["convert", folder, folder / "o.jsonl"], f"{file}: box 1 "


def broken_image(folder):
    (folder / "JPEGImages/000.png").write_bytes(b"\x89PNG\r\n")
    return ["convert", folder, folder / "o.jsonl"], "000.png does not open"


def missing_image(folder):
    (folder / "JPEGImages/000.png").unlink()
    return ["convert", folder, folder / "o.jsonl"], "000.png' is not there"


def unknown_format(folder):
    return ["convert", folder, folder / "o.jsonl", "--format", "voca"], "format: 'voca' is unknown; did you mean 'voc'"


def unknown_policy(folder):
    return ["convert", folder, folder / "o.jsonl", "--on-error", "skipp"], "on_error: 'skipp' is no policy"


def records_missing(folder):
    return ["split", folder / "none.jsonl", folder / "t", folder / "v"], "none.jsonl: no such file"


def foreign_records(folder):
    (folder / "f.jsonl").write_text('{"image_url": "relative.png", "label": []}\n')
    return ["split", folder / "f.jsonl", folder / "t", folder / "v"], "f.jsonl, line 1: is not as"


def train(folder, *settings):
    path = write_jsonl(folder, draw_squares(folder / "JPEGImages", 4))
    return ["train", path, path, folder / "model", "--no-pretrained", *settings]


def unknown_model(folder):
    return train(folder, "--set", "model_name=fasterrcnn_resnet"), "did you mean 'fasterrcnn_resnet"


def out_of_range(folder):
    return train(folder, "--set", "learning_rate=2"), "learning_rate: 2 is out of range"


def unknown_setting(folder):
    return train(folder, "--set", "learning=2"), "learning: "


def half_a_setting(folder):
    return train(folder, "--set", "learning_rate"), "--set learning_rate: write NAME=VALUE"


def negative_seed(folder):
    return [*train(folder), "--seed", "-1"], "sweep.seed: input should be greater than or equal to 0, not -1"


def no_weights(folder):
    return [*train(folder), "--weights", folder / "w.pt"], "weights.source: "


def no_experiment(folder):
    return ["plan", folder / "e.yaml", folder / "t", folder / "v"], "e.yaml: no such experiment"


def no_ledger(folder):
    return ["select", folder / "none"], "no trial of "


def no_model(folder):
    path = write_jsonl(folder, draw_squares(folder / "JPEGImages", 1))
    return ["evaluate", folder / "none", path, folder / "out"], "none: no such folder"


def results_without_a_task(folder):
    return ["evaluate", folder / "r.json", folder, folder / "out"], "--task: COCO results need it"


def a_task_for_a_model(folder):
    command = ["evaluate", folder, folder / "d", folder / "out", "--task", "image-classification"]
    return command, "--task: is for predictions made elsewhere"


def not_a_model(folder):
    return ["predict", folder, folder / "JPEGImages/000.png"], "is it a model folder?"


def nothing_to_register(folder):
    return ["register", folder, "name", "--registry", folder / "registry"], "no metrics there"


def sample_in_the_way(folder):
    return ["sample-data", folder], "exists and is not an empty folder"


CASES = [v for v in list(globals().values()) if callable(v) and getattr(v, "__module__", "") == __name__]
CASES = [v for v in CASES if v not in (command, called, train)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_bad_input_is_one_line_and_code_2(tmp_path, case, called):
    write_voc(tmp_path, draw_squares(tmp_path / "JPEGImages", 2))
    arguments, said = case(tmp_path)
    done = command(*arguments) if case is missing_folder else called(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stdout == ""


LIGHT = """
import json, sys
from automl_images.cli import app
for arguments in json.loads(sys.argv[1]):
    try:
        app(arguments)
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
    heavy = {"torch", "torchvision", "lightning", "matplotlib", "kfp", "ultralytics", "cv2"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""


def test_light_steps_do_not_import_torch(tmp_path):
    write_voc(tmp_path, draw_squares(tmp_path / "JPEGImages", 5))
    records, training, validation = (str(tmp_path / f"{n}.jsonl") for n in ("all", "t", "v"))
    experiment = tmp_path / "e.json"
    fixed = {"model_name": "fasterrcnn_resnet18_fpn"}
    experiment.write_text(json.dumps({"name": "e", "task": "image-object-detection", "settings": fixed}))
    model = tmp_path / "ledger/trials/0000/model"
    model.mkdir(parents=True)
    for name in ("model.pt", "settings.json", "labels.json", "metrics.json"):
        (model / name).write_text("{}")
    trial = {
        "trial": 0,
        "state": "completed",
        "attempt": 1,
        "settings": fixed,
        "sampled": [],
        "best": {"metric": "mean_average_precision", "value": 0.5, "epoch": 1},
        "error": None,
        "reason": None,
        "model": str(model),
        "epochs": 1,
        "started": 1.0,
        "ended": 2.0,
    }
    (tmp_path / "ledger/trials/0000.json").write_text(json.dumps(trial))
    lines = [
        ["--help"],
        ["convert", str(tmp_path), records],
        ["split", records, training, validation],
        ["plan", str(experiment), training, validation, "--ledger", str(tmp_path / "ledger")],
        ["select", str(tmp_path / "ledger"), "--report", str(tmp_path / "leaderboard.html")],
        ["register", str(model), "name", "--registry", str(tmp_path / "registry")],
        ["serve", str(model), "name", str(tmp_path / "manifest")],
        ["hyperparameters"],
    ]
    done = subprocess.run([sys.executable, "-c", LIGHT, json.dumps(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_steps_from_hand_to_hand(tmp_path, called):
    """convert, split, train, evaluate, predict and score by their commands, each on what the one before wrote."""
    write_voc(tmp_path, draw_squares(tmp_path / "JPEGImages", 6))
    at = {n: tmp_path / n for n in ("all.jsonl", "t.jsonl", "v.jsonl", "model", "out", "p.png")}
    settings = ["model_name=yolov5", "model_size=small", "img_size=64", "number_of_epochs=1", "training_batch_size=4"]
    options = [w for s in settings for w in ("--set", s)]
    image = tmp_path / "JPEGImages/000.png"
    lines = [
        ["convert", tmp_path, at["all.jsonl"], "--json"],
        ["split", at["all.jsonl"], at["t.jsonl"], at["v.jsonl"], "--split-ratio", "0.34", "--json"],
        ["train", at["t.jsonl"], at["v.jsonl"], at["model"], "--no-pretrained", *options],
        ["evaluate", at["model"], at["v.jsonl"], at["out"], "--json"],
        ["predict", at["model"], image, "--output", at["p.png"], "--set", "box_score_thresh=0", "--json"],
        ["score", at["model"], image],
    ]
    results = []
    for arguments in lines:
        done = command(*arguments) if arguments[0] == "score" else called(*arguments)
        assert done.returncode == 0, (arguments[0], done.stderr)
        results.append(json.loads(done.stdout))
    converted, parts, trained, evaluated, predicted, scored = results
    assert converted["images"] == 6
    assert parts == {"training": 4, "validation": 2}
    assert trained["settings"]["img_size"] == 64
    assert evaluated["mean_average_precision"] == pytest.approx(trained["value"], abs=1e-6)
    assert (at["out"] / "report.html").exists() and (at["out"] / "metrics.json").exists()
    assert all(b["score"] > 0 for b in predicted["boxes"])
    assert all(b["score"] > 0.1 for b in scored["boxes"])
    assert at["p.png"].exists()


def test_a_corner_is_the_same_in_all_steps(tmp_path):
    """A box that is annotated in VOC comes back from records as the same fraction of the image."""
    records = draw_squares(tmp_path / "JPEGImages", 1)
    write_voc(tmp_path, records)
    assert command("convert", tmp_path, tmp_path / "o.jsonl").returncode == 0
    (label,) = json.loads((tmp_path / "o.jsonl").read_text())["label"]
    found = Box(**{**label, "isCrowd": bool(label["isCrowd"])})
    assert found == records[0].label.boxes[0]
