"""The threshold of the best F1: measured with a detector, kept with it, and what goes by it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl_images import storage
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.models import folder as model_folder
from automl_images.prediction import load_model
from automl_images.registry import Registry
from automl_images.steps.evaluate import evaluate_model
from automl_images.steps.predict import predict_images
from tests.conftest import write_jsonl
from tests.helpers.training_probe import trainer


@pytest.fixture
def train(squares, tmp_path, monkeypatch):
    return trainer(squares, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    """Return a picture, and the scores of what the model finds there."""
    picture = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.effect_noise((64, 48), 90).convert("RGB").save(picture)
    scores = scores_of(load_model(model).predict([Image.open(picture)])[0])
    assert len(set(scores)) > 2
    return picture, scores


@pytest.fixture
def kept(model, tmp_path):
    """Return a model folder to be written to."""
    return Path(shutil.copytree(model, tmp_path / "kept"))


def scores_of(answer):
    return [one["score"] for one in answer["boxes"]]


def keep(folder, threshold):
    (folder / model_folder.THRESHOLDS).write_text(json.dumps({"overall": {"threshold": threshold}}))


def test_training_keeps_them_beside_the_metrics(train):
    """Of three validation images the probe finds one's object, with a score of 0.9, and two false ones."""
    given = {"number_of_epochs": 3, "evaluation_frequency": 2, "checkpoint_frequency": 1}
    _, _, journal = train(given)
    thresholds = json.loads((journal.folder / "model" / "thresholds.json").read_text())
    overall = {"threshold": 0.45, "f1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3, "count": 3}
    assert thresholds["overall"] == {k: pytest.approx(v) for k, v in overall.items()}
    assert thresholds["per_class"]["blue"] == thresholds["overall"]
    assert thresholds["per_class"]["red"]["threshold"] is None
    assert thresholds["iou_threshold"] == 0.5
    assert "thresholds" not in json.loads((journal.folder / "model" / "metrics.json").read_text())
    epochs = [(journal.folder / "epochs" / str(n) / "thresholds.json").exists() for n in (1, 2, 3)]
    assert epochs == [False, True, True]  # an epoch without an evaluation has none


def test_predict_goes_by_it_and_an_endpoint_does_not(kept, found, capsys):
    picture, scores = found
    middle = float(np.median(scores))
    keep(kept, middle)
    (after,) = predict_images(str(kept), [picture])
    assert scores_of(after) == [s for s in scores if s > middle] != scores
    assert f"box_score_thresh {middle:.4g}, of the best F1" in capsys.readouterr().err
    assert load_model(kept, box_score_threshold=0.0).working_point == {}  # what is told acts
    predictor = load_model(kept)  # as a score file and the server do
    assert predictor.working_point == {"box_score_thresh": middle}
    assert scores_of(predictor.predict([Image.open(picture)])[0]) == scores


@pytest.mark.parametrize("content", [None, {"overall": {"threshold": None}}])
def test_without_one_the_models_own_acts(tmp_path, content):
    if content:
        (tmp_path / "thresholds.json").write_text(json.dumps(content))
    assert model_folder.best_threshold(tmp_path) == {}


NO_SCORES = [f'{{"overall": {{"threshold": {value}}}}}' for value in ('"0.5"', "true", "-1", "1.5", "NaN", "[]")]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"overall": 3}', *NO_SCORES])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "thresholds.json").write_text(content)
    with pytest.raises(UserError, match=r"thresholds\.json: .*overall threshold.*; remove the file") as error:
        model_folder.best_threshold(tmp_path)
    assert "\n" not in str(error.value)


def test_evaluate_keeps_them_if_asked_and_the_next_report_goes_by_them(kept, squares, tmp_path):
    settings = json.loads((kept / "settings.json").read_text())
    settings["settings"]["box_score_thresh"] = 0.37
    (kept / "settings.json").write_text(json.dumps(settings))
    data = str(write_jsonl(tmp_path, squares[1][:1]))
    done = CliRunner().invoke(app, ["evaluate", str(kept), data, str(tmp_path / "a"), "--keep-thresholds", "--json"])
    first = json.loads(done.stdout)
    assert first["shown_above"] == first["score_threshold"] == 0.37
    assert json.loads((kept / "thresholds.json").read_text()) == first["thresholds"]
    keep(kept, 0.4)
    second = evaluate_model(str(kept), data, str(tmp_path / "b"))
    assert (second["shown_above"], second["score_threshold"]) == (0.4, 0.37)
    same = ("mean_average_precision_above_threshold", "precision", "recall", "thresholds")
    assert {k: first[k] for k in same} == {k: second[k] for k in same}  # Azure's figures go by box_score_thresh
    assert np.sum(second["confusion_matrix"]) < np.sum(first["confusion_matrix"])
    assert json.loads((kept / "thresholds.json").read_text())["overall"] == {"threshold": 0.4}


def test_thresholds_are_kept_in_a_detectors_folder_on_this_machine(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "get_folder", lambda *_: kept)
    with pytest.raises(UserError, match=r"memory://model: is on a store; thresholds are kept in a folder on"):
        evaluate_model("memory://model", "none.jsonl", str(tmp_path), keep_thresholds=True)


def test_a_registered_model_keeps_them(kept, tmp_path):
    keep(kept, 0.25)
    version = Registry(str(tmp_path / "registry")).register("squares", str(kept), {}, {}, "")
    assert model_folder.best_threshold(Path(version["uri"])) == {"box_score_thresh": 0.25}
