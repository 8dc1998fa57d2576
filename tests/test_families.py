"""A family is one file of its name in each room, and each task that has a model goes the whole way with it."""

import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import automl_images
from automl_images import evaluation, prediction, reports, training
from automl_images.errors import UserError
from automl_images.prediction import load_model
from automl_images.steps.evaluate import evaluate_model
from automl_images.steps.predict import predict_images
from automl_images.tasks import TASKS, Task, part
from tests.helpers.families import trained_in

BUILT = [task for task in TASKS.values() if task.default_model]
FAMILIES = sorted({task.family for task in BUILT})
ROOMS = {"training": training, "prediction": prediction, "evaluation": evaluation, "reports": reports}
FUNCTIONS = {"data": "classes_of", "metrics": "{}_metrics"}  # which only their family's other files call
LIGHT = ["evaluation", "reports", "models.score", "steps.evaluate", "steps.predict", "steps.serve"]


def verbs(protocol):
    return {name: function for name, function in vars(protocol).items() if name[0] != "_" and callable(function)}


def parameters(function, skip=0):
    return [(p.name, p.kind) for p in list(inspect.signature(function).parameters.values())[skip:]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("room", ROOMS)
def test_a_familys_file_has_the_rooms_verbs(room, family):
    module = importlib.import_module(f"automl_images.{room}.{family}")
    asked, owner = verbs(ROOMS[room].Family), module
    for name in vars(ROOMS[room].Family).get("__annotations__", {}):  # a class that the room has a base of
        assert issubclass(getattr(module, name), prediction.ModelPredictor)
        asked, owner = verbs(prediction.ModelPredictor), getattr(module, name)
    assert asked
    for name, function in asked.items():
        assert getattr(owner, name) is not function, name
        skipped = 0 if inspect.isclass(owner) else 1
        assert parameters(getattr(owner, name)) == parameters(function, skipped), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("room", FUNCTIONS)
def test_a_family_has_data_and_metrics(room, family):
    if (room, family) == ("metrics", "instances"):
        pytest.skip("detection's: masks in the arrays are scored where they are")
    module = importlib.import_module(f"automl_images.{room}.{family}")
    assert callable(getattr(module, FUNCTIONS[room].format(family)))


@pytest.mark.parametrize("room", [*ROOMS, *FUNCTIONS])
def test_a_room_asks_for_no_family_outside_its_file(room):
    files = set(Path(automl_images.__file__).with_name(room).glob("*.py"))
    others = [file for file in files if file.stem not in FAMILIES]
    assert others
    for file in others:
        asked = re.findall(r"\.(?:label|family)\s*(?:==|!=|in\b|not in\b).*|\"boxes\" in .*", file.read_text())
        assert not asked, file.name


@pytest.mark.parametrize("room", ROOMS)
def test_an_unknown_task_or_family_is_refused_by_name(monkeypatch, room):
    monkeypatch.setitem(TASKS, "image-weighing", Task("image-weighing", "weighing", "weight", "grams", "scales"))
    with pytest.raises(UserError, match=f"'image-weighing' is of the family 'weighing', which {room} does not know"):
        part(room, "image-weighing")
    with pytest.raises(UserError, match=r"no task is called 'image-dreaming'"):
        part(room, "image-dreaming")


@pytest.fixture(scope="module", params=[task.name for task in BUILT])
def trained(request, tmp_path_factory, squares):
    """Return a task, its address of validation data, a journal with its model folder, and what the trial came to."""
    task, folder = TASKS[request.param], tmp_path_factory.mktemp("trained")
    return task, *trained_in(folder, task, squares)


def test_a_task_is_trained_saved_loaded_predicted_and_evaluated(trained, tmp_path):
    task, data, journal, fitted = trained
    model, images = (
        journal.folder / "model",
        [json.loads(line)["image_url"] for line in Path(data).read_text().splitlines()],
    )
    assert fitted.best["metric"] == task.primary_metric
    predictor = load_model(model, device="cpu")
    assert predictor.task == task.name
    predictor.settings |= predictor.working_point
    (first,) = predictor.predict([Image.open(images[0])])
    own = {name: value for name, value in predictor.settings.items() if name == "box_score_thresh"}
    (drawn,) = predict_images(str(model), [Path(images[0])], tmp_path / "drawn.png", own)
    assert drawn == {"filename": images[0], **first}
    assert Image.open(tmp_path / "drawn.png").size[0] >= 64

    result = evaluate_model(str(model), data, str(tmp_path / "out"))
    assert result[task.primary_metric] == pytest.approx(fitted.best["value"], abs=1e-6)
    assert result == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(result["per_label_metrics"]) == set(predictor.classes)
    assert next(iter(evaluation.scalars(result))) == task.primary_metric
    assert evaluation.headline(result).startswith(f"{len(images)} images: ")
    lines = evaluation.summary_lines(result)
    assert [line.split()[0] for line in lines[1:]][: len(predictor.classes)] == predictor.classes
    assert "</html>" in Path(result["report"]).read_text()


def test_a_task_has_a_curated_space():
    spaces = Path(automl_images.__file__).parent / "sweep" / "spaces"
    assert {file.stem for file in spaces.iterdir()} == {task.name for task in BUILT}


FIRST = {family: next(t.name for t in BUILT if t.family == family) for family in FAMILIES}


@pytest.mark.parametrize(
    "trained",
    # a detector is predicted with so by tests/test_models_folder.py, too
    [pytest.param(n, marks=[pytest.mark.full] * (f in ("detection", "instances"))) for f, n in FIRST.items()],
    indirect=True,
)
def test_a_model_folder_predicts_without_what_training_needs(trained):
    model, image = trained[2].folder / "model", json.loads(Path(trained[1]).read_text().splitlines()[0])["image_url"]
    code = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(['lightning', 'joblib', 'sklearn', 'matplotlib', 'safetensors', 'wheel']))\n"
        f"sys.argv = ['score.py', {image!r}]\n"
        f"runpy.run_path({str(model / 'score.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (expected,) = load_model(model).predict([Image.open(image)])
    assert json.loads(done.stdout).keys() == expected.keys()


def test_a_model_folder_of_another_task_is_refused_by_name(trained, tmp_path):
    task = "image-dreaming"
    model = tmp_path / "model"
    model.mkdir()
    for file in (trained[2].folder / "model").glob("*.[jp][st]*"):
        (model / file.name).write_bytes(file.read_bytes())
    described = json.loads((model / "settings.json").read_text())
    (model / "settings.json").write_text(json.dumps({**described, "task": task}))
    with pytest.raises(UserError, match=f"settings.json: task: .*'{task}'"):
        load_model(model)


def test_what_light_steps_import_is_without_torch():
    code = f"import sys, {', '.join('automl_images.' + name for name in LIGHT)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
