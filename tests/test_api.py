"""Experiments, runs and models from Python."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import automl_images
from automl_images import Experiment, Run, load_model
from automl_images.api import experiment as module
from automl_images.api.model import _folder
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.models import folder
from automl_images.models.catalogue import build
from automl_images.pipelines import run as local
from automl_images.pipelines.experiment import load
from automl_images.pipelines.pipeline import compile_package
from automl_images.sweep.trial import State, Trial
from tests.conftest import draw_squares, write_coco
from tests.helpers import classifiers

ROOT = Path(__file__).parents[1]
TASK = "image-object-detection"


def test_the_package_itself_is_light():
    code = "import sys, automl_images as a; print({'torch', 'pydantic', 'numpy'} & {*sys.modules}, 'Run' in dir(a))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set() True\n"
    with pytest.raises(AttributeError, match="has no attribute 'Experimnt'"):
        _ = automl_images.Experimnt


def test_the_short_form_is_the_file_s_experiment(tmp_path):
    made = Experiment(TASK, "s3://bucket/My photos/", iterations=10, sweep={"sampling": "sobol"})
    assert made.model.name == "My-photos" and made.model.sweep.iterations == 10
    assert made.model.data.training.source == "s3://bucket/My photos/"
    file = tmp_path / "e.yaml"
    file.write_text(
        f"name: My-photos\ntask: {TASK}\ndata: {{training: {{source: s3://bucket/My photos/}}}}\n"
        "sweep: {sampling: sobol, iterations: 10}\n"
    )
    assert made.model == load(file) == Experiment.load(file).model
    assert Experiment.load("quickstart", ["name=mine"]).model.name == "mine"
    assert Experiment(TASK, {"training": {"source": "~/x"}}, name="n").model.data.training.source == "~/x"
    compile_package(made.model, tmp_path / "wanted.yaml")
    assert made.compile(tmp_path / "made.yaml").read_text() == (tmp_path / "wanted.yaml").read_text()


@pytest.mark.parametrize(
    "given, line",
    [
        ({"task": "image-detection"}, "no task is called 'image-detection'; did you mean"),
        ({"setings": {}}, "setings: unknown key; did you mean 'settings', "),
        ({"iterations": 0}, "sweep.iterations: input should be greater than or equal to 1"),
        ({"iterations": 2, "sweep": {"iterations": 3}}, "iterations: is given beside a sweep that has its own"),
        ({"settings": {"learning_rat": 1}}, "learning_rat"),
        ({"data": {}}, "data.training: is needed and missing"),
        ({"data": 3}, "data: "),
        ({"name": "../x"}, "name: string should match pattern"),
        ({"sweep": 3}, "sweep: "),
    ],
)
def test_what_is_wrong_is_said_as_of_a_file(given, line):
    with pytest.raises(UserError) as caught:
        Experiment(**{"task": TASK, "data": "photos", **given})
    assert line in str(caught.value)
    assert caught.value._render_traceback_() == [f"error: {caught.value}"]  # which IPython asks for


def test_run_hands_on_what_it_is_given(tmp_path, monkeypatch):
    given = {}

    def run(experiment, **how):
        given.update(how, experiment=experiment)
        raise local.RunInterrupted(2, type("View", (), {"kept": lambda _: "1 of 2 trials is kept", "trained": True})())

    monkeypatch.setattr(local, "run", run)
    made = Experiment(TASK, "photos")
    with pytest.raises(KeyboardInterrupt, match="1 of 2 trials is kept; the same again goes on"):
        made.run(root=tmp_path, fresh=True, runner="docker")
    assert given["experiment"] is made.model and given["root"] == str(tmp_path)
    assert given["fresh"] and given["runner"] == "docker"
    with pytest.raises(UserError, match="runner: 'podman' runs nothing"):
        made.run(runner="podman")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """Return a run's folder as a run leaves it, of an untrained model."""
    place = tmp_path_factory.mktemp("runs") / "cells" / "1"
    place.mkdir(parents=True)
    kept = place.parents[1] / "ledgers/cells-0/trials/0001/model"
    shutil.copytree(model, kept)
    settings = json.loads((model / "settings.json").read_text())
    best = {"value": 0.5, "epoch": 1}
    trials = [
        Trial(1, State.COMPLETED, settings=settings, sampled=("learning_rate",), best=best, model=str(kept)),
        Trial(0, State.FAILED, error="out of memory"),
    ]
    (place / "report.html").write_text("<html>a 'report'</html>")
    content = {
        "trials": [t.to_json() for t in trials],
        "best": {"trial": 1, "metric": "mean_average_precision", **best, "settings": settings},
        "evaluation": {"mean_average_precision": 0.5},
        "model": str(kept),
        "report": str(place / "report.html"),
        "leaderboard": str(place / "report.html"),
        "ledger": str(place.parents[1] / "ledgers/cells-0"),
    }
    (place / "summary.json").write_text(json.dumps(content))
    return place


def test_a_run_says_what_it_left(run):
    made = Run(run)
    assert [t.index for t in made.trials] == [0, 1] and made.best.index == 1
    assert made.report == str(run / "report.html") and "&lt;html&gt;a &#x27;report&#x27;" in made.report._repr_html_()
    assert "2 trials, best: trial 1, mean_average_precision 0.5000 at epoch 1" in repr(made)
    failed, best = repr(made.trials).splitlines()
    assert failed == "  trial 0: failed (out of memory)"
    assert best == "* trial 1: completed, mean_average_precision 0.5000 at epoch 1, learning_rate=None"
    assert made.trials._repr_html_().count("<tr") == 3 and "bold" in made.trials._repr_html_()
    with pytest.raises(UserError, match="has no summary.json; name the folder of a run"):
        Run(run.parent)


def test_a_model_comes_from_a_run_a_trial_a_folder_or_a_registry(run, monkeypatch):
    made = Run(run)
    registered = made.register("cells", promote="always")
    registry = run.parents[1] / "registry"
    assert registered["version"] == 1 and registered["uri"].startswith(str(registry))
    assert made.register("cells")["version"] == 1
    again = made.register("cells", str(registry / "other"), minimum=0.4)
    assert again["version"] == 1
    with pytest.raises(UserError, match="register.minimum: mean_average_precision is 0.5000, less than 0.6"):
        made.register("cells", minimum=0.6)
    assert {_folder(one) for one in (made, made.best, run, str(run), made.model, Path(made.model))} == {made.model}
    assert load_model(f"{registry}/cells@champion", device="cpu").folder == registered["uri"]
    with pytest.raises(UserError, match="trial 0: has no model: out of memory"):
        load_model(made.trials[0])
    with pytest.raises(UserError, match="a int is no model"):
        load_model(3)
    with pytest.raises(UserError, match="learning_rate"):
        load_model(made, learning_rate=1)


@pytest.fixture(scope="module")
def detector(model):
    return load_model(model, device="cpu", box_score_thresh=0.0, box_detections_per_img=3)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Return a small untrained classifier."""
    path = tmp_path_factory.mktemp("classifier")
    made = resolve(classifiers.TASK, classifiers.settings_of("resnet18"))
    network = build(classifiers.TASK, made, ["red", "blue"])
    folder.save(path, network, task=classifiers.TASK, settings=made, classes=["red", "blue"], metrics={"epoch": 1})
    return load_model(path, device="cpu")


def test_what_can_be_predicted(loaded, tmp_path):
    draw_squares(tmp_path / "photos", 3, size=48)
    files = sorted((tmp_path / "photos").glob("*.png"))
    one = loaded.predict(files[0])
    assert one.to_dict() == {"filename": str(files[0]), "probs": one.answer["probs"], "labels": ["red", "blue"]}
    assert str(one).startswith(f"{files[0]}: ")
    pixels = np.asarray(Image.open(files[0]))
    same = loaded.predict([str(files[0]), Image.open(files[0]), pixels])
    assert [p.answer["probs"] for p in same] == [pytest.approx(one.answer["probs"], abs=1e-5)] * 3
    assert [p.filename for p in same] == [str(files[0]), "image-1", "image-2"]
    assert loaded.predict(pixels).answer == loaded.predict(Image.open(files[0])).answer == one.answer
    assert np.array_equal(same[1].draw(), one.draw())
    grey = loaded.predict(pixels[..., 0])
    assert grey.answer == loaded.predict(np.repeat(pixels[..., :1], 3, 2)).answer != one.answer
    for several in (tmp_path / "photos", f"{tmp_path}/photos/*.png", files, tuple(files)):
        assert [p.filename for p in loaded.predict(several, batch=2)] == list(map(str, files))
    assert len(loaded.predict([str(tmp_path / "photos"), files[0]])) == 4
    assert loaded.predict([]) == [] and loaded.predict([]).to_coco() == []
    with pytest.raises(UserError, match="'image-classification' has no COCO results"):
        one.to_coco()


def test_finds_are_drawn_and_told_as_coco_s_results(detector, tmp_path):
    draw_squares(tmp_path, 1, size=48)
    found = detector.predict([tmp_path / "000.png", np.zeros((48, 48, 3), np.uint8)])
    assert found[0]._repr_png_().startswith(b"\x89PNG") and found._repr_html_().count("<figure") == 2
    rows = found.to_coco()
    assert {row["image_id"] for row in rows} == {"000.png", "image-1"}
    assert {row["category_id"] for row in rows} <= {"red", "blue"}
    assert found[0].to_coco() == [row for row in rows if row["image_id"] == "000.png"]
    assert len(found[0].to_coco()) == len(found[0].answer["boxes"]) == 3
    with pytest.raises(UserError, match="image-1: is there twice"):
        type(found)([found[1]] * 2).to_coco()


@pytest.mark.parametrize(
    "wrong, line",
    [
        ("nothing.png", "nothing.png: no such image"),
        (np.zeros((4, 4, 3)), "an array float64 [4, 4, 3] is no image; give uint8 [H, W, 3] or [H, W]"),
        (np.zeros((0, 4, 3), np.uint8), "an array uint8 [0, 4, 3] is no image"),
        (3, "a int is no image"),
        ([b"x", 3], "a int is no image"),
    ],
)
def test_what_cannot_be_predicted_is_named(loaded, wrong, line):
    with pytest.raises(UserError) as caught:
        loaded.predict(wrong)
    assert line in str(caught.value)


def test_an_image_that_does_not_open_is_named(loaded, tmp_path):
    draw_squares(tmp_path, 2, size=32)
    (tmp_path / "001.png").write_bytes((tmp_path / "001.png").read_bytes()[:60])
    with pytest.raises(UserError, match="001.png"):
        loaded.predict(tmp_path)
    with pytest.raises(UserError, match="batch: 0 images are no batch"):
        loaded.predict(tmp_path / "000.png", batch=0)


def test_a_model_is_measured_on_a_folder(model, detector, tmp_path):
    write_coco(tmp_path / "data", draw_squares(tmp_path / "data", 2, size=48))
    found = load_model(model, device="cpu").evaluate(tmp_path / "data", tmp_path / "out")
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert found["images"] == 2 and found["annotations"]["images"] == 2
    assert {k: v for k, v in found.items() if k != "annotations"} == written
    assert found.report == str(tmp_path / "out/report.html") and "<iframe" in found._repr_html_()
    assert "all (mean)" in str(found)
    assert written["data"] == str(tmp_path / "out/records.jsonl") and Path(written["data"]).is_file()
    with pytest.raises(UserError, match="box_score_thresh: an evaluation goes by the model's own settings"):
        detector.evaluate(tmp_path / "data")


def test_plain_lines_where_a_notebook_has_no_widgets(monkeypatch, capsys):
    from rich import console

    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    module._console().print("a line")
    assert capsys.readouterr().err == "a line\n"
