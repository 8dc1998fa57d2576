import io
import json

import pytest

from automl_images.errors import UserError
from automl_images.registry import Registry
from automl_images.steps.model_address import model_address
from automl_images.steps.predict_rows import write_rows


def _model(folder, value=0.5):
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights%f" % value)
    (folder / "metrics.json").write_text(json.dumps({"accuracy": value}))
    return str(folder)


def test_a_model_folder_is_itself(tmp_path):
    assert model_address(_model(tmp_path / "model")) == str(tmp_path / "model")
    assert model_address(str(tmp_path / "model.onnx")) == str(tmp_path / "model.onnx")
    assert model_address("nowhere") == "nowhere"


def test_a_run_is_its_best_model(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "logs").mkdir()
    with pytest.raises(UserError, match="has not ended"):
        model_address(str(tmp_path))
    (tmp_path / "summary.json").write_text(json.dumps({"model": "s3://models/cells/3/model"}))
    assert model_address(str(tmp_path)) == "s3://models/cells/3/model"
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="is not what a run writes"):
        model_address(str(tmp_path))


def test_a_trial_is_its_last_whole_model(tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(UserError, match="no model yet"):
        model_address(str(tmp_path))
    first = _model(tmp_path / "model-9")
    (tmp_path / "model-10").mkdir()  # being written
    assert model_address(str(tmp_path)) == first
    (tmp_path / "model-10/metrics.json").write_text("{}")
    assert model_address(str(tmp_path)) == str(tmp_path / "model-10")


def test_a_registered_name_is_its_champion(tmp_path, capsys):
    registry = Registry(str(tmp_path / "registry"))
    made = [
        registry.register("cells", _model(tmp_path / str(value), value), {"accuracy": value}, {}, "accuracy", promote)
        for value, promote in ((0.4, "never"), (0.9, "never"), (0.5, "never"))
    ]
    name = str(tmp_path / "registry/cells")
    assert model_address(name) == made[2]["uri"]
    assert "cells: version 3, its latest" in capsys.readouterr().err
    best = registry.register("cells", _model(tmp_path / "best", 0.8), {"accuracy": 0.8}, {}, "accuracy", "always")
    registry.register("cells", _model(tmp_path / "later", 0.7), {"accuracy": 0.7}, {}, "accuracy", "never")
    assert model_address(name) == best["uri"] == model_address(f"{name}@champion")


def _csv(*answers):
    file = io.StringIO()
    write_rows(answers, file)
    return file.getvalue()


def test_rows_have_the_best_first():
    answer = {"filename": "a, b.jpg", "probs": [0.1, 0.7, 0.2], "labels": ["x", "y", "z"]}
    assert _csv(answer) == 'filename,label,score\n"a, b.jpg",y,0.7\n"a, b.jpg",z,0.2\n"a, b.jpg",x,0.1\n'
    corners = {"topX": 0.1, "topY": 0.2, "bottomX": 0.3, "bottomY": 0.4}
    boxes = [{"box": corners, "label": "x", "score": 0.3}, {"box": corners, "label": "y", "score": 0.6}]
    rows = _csv({"filename": "a", "boxes": boxes}, {"filename": "b", "boxes": []}).splitlines()
    assert rows[0] == "filename,label,score,topX,topY,bottomX,bottomY"
    assert rows[1:] == ["a,y,0.6,0.1,0.2,0.3,0.4", "a,x,0.3,0.1,0.2,0.3,0.4", "b,,,,,,"]


def test_masks_are_no_rows():
    with pytest.raises(UserError, match="use --json"):
        _csv({"filename": "a", "classes": ["x"], "regions": []})
