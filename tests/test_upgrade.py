"""What the version before wrote is read: files that it made, in ``files/0.1.0``.

The weights of its model are too large to keep: ``tensors.json`` has their names and shapes, so that a name that has
changed since does not load.
"""

import ast
import importlib
import inspect
import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.pipelines.experiment import load
from automl_images.registry import open_registry
from automl_images.steps import STEPS
from automl_images.steps.select import select_trial
from automl_images.sweep.ledger import Ledger

FILES = Path(__file__).parent / "files" / "0.1.0"
RUN = next((FILES / "ledger" / "runs").glob("*.json")).stem


@pytest.fixture
def place(tmp_path):
    """Return the files, copied; what they name lies there."""
    shutil.copytree(FILES, tmp_path / "before")
    for file in (tmp_path / "before").rglob("*"):
        if file.suffix in (".json", ".jsonl"):
            file.write_text(file.read_text().replace("PLACE", str(tmp_path / "before")))
    return tmp_path / "before"


@pytest.fixture
def model(place):
    import torch

    tensors = json.loads((place / "tensors.json").read_text())
    made = {name: torch.zeros(shape, dtype=getattr(torch, kind)) for name, (kind, shape) in tensors.items()}
    torch.save(made, place / "model" / "model.pt")
    return place / "model"


def test_an_experiment(place):
    experiment = load(place / "experiment.yaml")
    assert (experiment.cluster.namespace, experiment.cluster.secret) == ("team", "store")
    package = next(yaml.load_all((place / "package.yaml").read_text(), yaml.CSafeLoader))
    given = package["root"]["inputDefinitions"]["parameters"]
    assert experiment.trains_as(json.loads(given["experiment_json"]["defaultValue"])), "it has the ledger that it had"
    assert json.loads(given["data"]["defaultValue"]) == experiment.data.model_dump()


def test_a_ledger(place):
    ledger = Ledger(str(place / "ledger"))
    assert [(t.index, t.state, t.best["metric"]) for t in ledger.trials()] == [
        (0, "completed", "accuracy"),
        (1, "completed", "accuracy"),
    ]
    chosen = select_trial(ledger.url, RUN, report=str(place / "leaderboard.html"))
    assert chosen["settings"]["model_name"] == "mobilenetv2" and "<html" in (place / "leaderboard.html").read_text()
    assert chosen["model"].startswith(ledger.url)
    shown = CliRunner().invoke(app, ["sweep", "show", ledger.url])
    assert shown.exit_code == 0 and "completed" in shown.output, shown.output


def test_a_model_folder(model):
    from PIL import Image

    from automl_images.prediction import load_model

    predictor = load_model(model)
    (found,) = predictor.predict([Image.new("RGB", (32, 32), "red")])
    assert found["labels"] == ["blue", "red"] and found["probs"] == pytest.approx([0.5, 0.5])


def test_a_registry(place, model):
    registry = open_registry(str(place / "registry"))
    version = registry.get("colours", "champion")
    assert version["version"] == 1 and version["metric"] == "accuracy" and version["lineage"]["trial"] in (0, 1)
    assert Path(version["uri"]).is_relative_to(place)


def called(source, step):
    """Return each function of ours that a component's source imports, with the calls of it."""
    tree = ast.parse(source)
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == step)
    imports = [n for n in ast.walk(function) if isinstance(n, ast.ImportFrom) and n.module.startswith("automl_images")]
    calls = [n for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    for node in imports:
        module = importlib.import_module(node.module)
        for alias in node.names:
            yield getattr(module, alias.name), [c for c in calls if c.func.id == (alias.asname or alias.name)]


@pytest.mark.parametrize("step", STEPS)
def test_a_package_finds_what_its_components_call(step):
    package = next(yaml.load_all((FILES / "package.yaml").read_text(), yaml.CSafeLoader))
    source = package["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["command"][-1]
    found = list(called(source, step))
    assert found, "the package has the component's source"
    for function, calls in found:
        for call in calls if callable(function) else []:
            named = {k.arg: None for k in call.keywords if k.arg}
            if not any(isinstance(a, ast.Starred) for a in call.args):
                inspect.signature(function).bind_partial(*call.args, **named)
