"""The experiment file: what is wrong is named with its path, before anything runs."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from automl_images import experiment as library
from automl_images.errors import UserError
from automl_images.experiment import MOST_LANES, Data, Source, Sweep
from automl_images.pipelines.experiment import Experiment, draw_sample, load
from automl_images.steps.plan import check_experiment, plan_sweep
from automl_images.sweep.sampling import NAMES
from automl_images.sweep.sampling.bayesian import Bayesian
from automl_images.sweep.termination import Bandit
from automl_images.tasks import TASKS

GOOD = {
    "name": "cells",
    "task": "image-object-detection",
    "data": {"training": {"source": "s3://bucket/cells"}},
    "settings": {"model_name": "fasterrcnn_resnet18_fpn"},
}
SPACE = {"learning_rate": {"uniform": [0.001, 0.01]}}


def write(folder, **changes):
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


BAD = {
    "misspelt key": ({"dat": {}}, "dat: unknown key; did you mean 'data'?"),
    "misspelt key below": ({"sweep": {"iteration": 3}}, "sweep.iteration: unknown key; did you mean 'iterations',"),
    "missing key": ({"data": {}}, "data.training: is needed and missing"),
    "wrong type": ({"sweep": {"iterations": "many"}}, "sweep.iterations: input should be a valid integer"),
    "above its range": (
        {"sweep": {"iterations": 1001}},
        "sweep.iterations: input should be less than or equal to 1000",
    ),
    "concurrency": ({"sweep": {"max_concurrent_iterations": 101}}, "sweep.max_concurrent_iterations"),
    "memory": ({"resources": {"memory": "32GB"}}, "resources.memory: '32GB' is no quantity; write it as 32Gi"),
    "cores": ({"resources": {"cpu": "many"}}, "resources.cpu: 'many' is no quantity; write it as 8 or 500m"),
    "shared memory": ({"resources": {"shared_memory": "8 Gi"}}, "resources.shared_memory: '8 Gi' is no quantity"),
    "no image": ({"cluster": {"images": {"gpu": ""}}}, "cluster.images.gpu: string should have at least 1 character"),
    "negative seed": ({"sweep": {"seed": -1}}, "sweep.seed: input should be greater than or equal to 0"),
    "timeout": ({"sweep": {"timeout_hours": 1441}}, "sweep.timeout_hours"),
    "split ratio": ({"data": {**GOOD["data"], "split_ratio": 1}}, "data.split_ratio: input should be less than 1"),
    "format": (
        {"data": {"training": {"source": "x", "format": "vco"}}},
        "data.training.format: input should be 'auto'",
    ),
    "name": ({"name": "../x"}, "name: string should match pattern"),
    "unknown task": ({"task": "image-detection"}, "no task is called 'image-detection'; did you mean"),
    "foreign metric": ({"primary_metric": "accuracy"}, "primary_metric: 'accuracy' does not rank"),
    "unknown model": ({"settings": {"model_name": "yolo5"}}, "did you mean 'yolov5'?"),
    "setting out of range": ({"settings": {"learning_rate": -1}}, "settings.learning_rate: -1 is out of range"),
    "unknown setting": ({"settings": {"learnin_rate": 0.1}}, "did you mean 'learning_rate'"),
    "nesterov without momentum": (
        {"settings": {"momentum": 0, "nesterov": True}},
        "settings.momentum: 0 leaves nesterov",
    ),
    "grid of a curated space": ({"sweep": {"iterations": 3, "sampling": "grid"}}, "grid sampling takes choices only"),
    "space out of range": (
        {"sweep": {"iterations": 2, "space": {"learning_rate": {"uniform": [0.1, 7]}}}},
        "learning_rate",
    ),
    "unranked sweep": (
        {"sweep": {"iterations": 2, "space": SPACE}, "settings": {"validation_metric_type": "none"}},
        "leaves the trials of a sweep unranked",
    ),
    "pickled weights": (
        {"settings": {"model_name": "yolov5"}, "weights": {"pretrained": True}},
        "weights.pretrained: yolov5 has no published weights",
    ),
    "unknown policy": ({"sweep": {"early_termination": {"policy": "bandits"}}}, "did you mean 'bandit'"),
    "policy's key": (
        {"sweep": {"early_termination": {"policy": "asha", "slack_factor": 1}}},
        "sweep.early_termination.slack_factor: unknown key; did you mean 'reduction_factor'?",
    ),
    "bandit without slack": (
        {"sweep": {"early_termination": {"policy": "bandit"}}},
        "sweep.early_termination: bandit needs slack_factor or slack_amount",
    ),
    "truncation of all": (
        {"sweep": {"early_termination": {"policy": "truncation_selection", "truncation_percentage": 100}}},
        "sweep.early_termination.truncation_percentage: input should be less than or equal to 99, not 100",
    ),
    "lanes": ({"sweep": {"lanes": "one"}}, "sweep.lanes: input should be 'concurrent' or 'per_trial', not 'one'"),
    "serving elsewhere": (
        {"serve": {"to": "docker"}},
        "serve.to: input should be 'manifest', 'kserve' or 'kubernetes', not 'docker'",
    ),
    "no replica without KServe": (
        {"serve": {"to": "kubernetes", "min_replicas": 0}},
        "serve: min_replicas: 0 needs KServe with Knative",
    ),
    "fewer at most": (
        {"serve": {"min_replicas": 3, "max_replicas": 2}},
        "serve: max_replicas 2 is less than min_replicas",
    ),
    "GPUs twice": (
        {"serve": {"gpus": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}}},
        "serve: gpus and nvidia.com/gpu in resources both say how many",
    ),
    "scaled by nothing": (
        {"serve": {"to": "kubernetes", "max_replicas": 3, "resources": {"limits": {"memory": "1Gi"}}}},
        "serve: max_replicas scales by the share of requested CPUs",
    ),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_wrong_experiments_are_refused_in_one_line(tmp_path, changes, said):
    path = write(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_code_2_and_one_line(tmp_path):
    path = write(tmp_path, dat={})
    done = subprocess.run([sys.executable, "-m", "pipelines", "run", path], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: {path}: dat: unknown key; did you mean 'data'?\n"


def test_not_yaml(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("a: [")
    with pytest.raises(UserError, match="is not YAML"):
        load(path)
    with pytest.raises(UserError, match="no such experiment"):
        load(tmp_path / "none.yaml")


def test_fields_are_overridden(tmp_path):
    overrides = [
        "data.training.source=/data",
        "sweep.space.learning_rate={choice: [0.1, 0.2]}",
        "sweep.iterations=2",
        "register=null",
        "resources.node_selector.pool=gpu",
    ]
    experiment = load(write(tmp_path), overrides)
    assert experiment.data.training.source == "/data"
    assert experiment.sweep.space == {"learning_rate": {"choice": [0.1, 0.2]}}
    assert experiment.register_ is None
    assert experiment.resources.node_selector == {"pool": "gpu"}
    assert experiment.lanes() == 2
    with pytest.raises(UserError, match="--set name: write PATH=VALUE"):
        load(write(tmp_path), ["name"])


@pytest.mark.parametrize(
    ("sweep", "at_once"),
    [
        ({}, 1),
        ({"iterations": 9}, 9),
        ({"iterations": 200}, MOST_LANES),
        ({"iterations": 9, "max_concurrent_iterations": 4}, 4),
    ],
)
@pytest.mark.parametrize("lanes", ["concurrent", "per_trial"])
def test_how_many_trials_run_at_once(tmp_path, sweep, at_once, lanes):
    assert load(write(tmp_path, sweep={**sweep, "lanes": lanes, "space": SPACE})).lanes() == at_once


def test_numbers_are_quantities_too(tmp_path):
    made = load(write(tmp_path, resources={"cpu": 2.5, "memory": 1073741824})).resources
    assert (made.cpu, made.memory) == ("2.5", "1073741824")


def test_the_examples_images_are_drawn_once_if_they_are_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_sample(load(write(tmp_path, data={"training": {"source": "elsewhere/sample"}})))
    assert not Path("sample").exists()
    wanted = load(write(tmp_path, data={"training": {"source": "sample/labels.csv"}}))
    draw_sample(wanted)
    assert len(list(Path("sample/JPEGImages").iterdir())) == 200 and Path("sample/labels.csv").is_file()
    assert "drawing one" in capsys.readouterr().err
    Path("sample/labels.csv").write_text("mine")
    draw_sample(wanted)
    assert Path("sample/labels.csv").read_text() == "mine" and capsys.readouterr().err == ""
    assert {p.name for p in tmp_path.iterdir()} == {"sample", "experiment.yaml"}


def test_an_experiment_is_built_in_python(tmp_path):
    made = library.Experiment(
        task="image-object-detection",
        data=Data(training=Source(source="s3://bucket/cells")),
        settings={"model_name": "fasterrcnn_resnet18_fpn", "epochs": "3"},
        sweep=Sweep(
            sampling=Bayesian(startup=5), iterations=4, early_termination=Bandit(slack_factor=0.1), space=SPACE
        ),
    )
    sweep = {"sampling": {"by": "bayesian", "startup": 5}, "iterations": 4, "space": SPACE}
    sweep["early_termination"] = {"policy": "bandit", "slack_factor": 0.1}
    settings = {"model_name": "fasterrcnn_resnet18_fpn", "number_of_epochs": 3}
    assert check_experiment(made) == check_experiment(load(write(tmp_path, sweep=sweep, settings=settings)))
    (tmp_path / "r").write_text("")
    lanes = plan_sweep(made, str(tmp_path / "r"), str(tmp_path / "r"), default_storage=str(tmp_path))
    assert len(lanes) == 4


def test_what_plan_is_given_is_the_same_experiment(tmp_path):
    rule = {"policy": "bandit", "slack_factor": 0.1, "evaluation_interval": 1}
    for sweep in ({"iterations": 9}, {"early_termination": rule, "sampling": {"by": "bayesian", "candidates": 24}}):
        experiment = load(write(tmp_path, sweep={**sweep, "space": SPACE}))
        passed = json.loads(json.dumps(experiment.trained()))
        assert check_experiment(library.Experiment.read(passed)) == check_experiment(experiment)


def test_the_default_experiment_of_each_task_is_taken(tmp_path):
    for task in (t.name for t in TASKS.values() if t.default_model):
        assert load(write(tmp_path, task=task, settings={})).weights.pretrained is None


def test_a_sampler_is_named_or_told_more(tmp_path):
    for sampling in ("bayesian", {"by": "bayesian"}):
        made = load(write(tmp_path, sweep={"sampling": sampling, "space": SPACE}))
        assert check_experiment(made)["sampling"] == "bayesian"
    made = load(write(tmp_path, sweep={"sampling": {"by": "bayesian", "startup": "3"}, "space": SPACE}))
    assert check_experiment(made)["sampling"] == {"by": "bayesian", "startup": 3}
    for sampling, line in (
        ("byesian", "sweep.sampling: nothing is called 'byesian'; did you mean 'bayesian'?"),
        ({"by": "random", "startup": 3}, "sweep.sampling.startup: unknown key; known: by"),
        ({"startup": 3}, "sweep.sampling: by is missing; use one of random, grid, sobol, bayesian, evolve"),
        (3, "sweep.sampling: input should be a valid dictionary"),
    ):
        with pytest.raises(UserError) as refused:
            load(write(tmp_path, sweep={"sampling": sampling}))
        assert line in str(refused.value)


def test_the_schema_has_every_rule_and_sampler():
    schema = Experiment.model_json_schema(by_alias=True)
    sweep = schema["$defs"]["Sweep"]["properties"]
    for name, key in (("sampling", "by"), ("early_termination", "policy")):
        found = [d for n, d in schema["$defs"].items() if f'"#/$defs/{n}"' in json.dumps(sweep[name])]
        assert all(d["additionalProperties"] is False for d in found)
        kinds = [d["properties"][key]["const"] for d in found]
        expected = NAMES if key == "by" else {"bandit", "median_stopping", "truncation_selection", "asha", "none"}
        assert set(kinds) == set(expected)
    assert "slack_factor" in schema["$defs"]["Bandit"]["properties"]
    jsonschema.validate({**GOOD, "sweep": {"sampling": "bayesian", "early_termination": {"policy": "asha"}}}, schema)
    for wrong in ({"sampling": "x"}, {"early_termination": {"policy": "asha", "slack_factor": 1}}, {"space": 5}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**GOOD, "sweep": wrong}, schema)


def test_the_schema_knows_every_key():
    done = subprocess.run([sys.executable, "-m", "pipelines", "schema"], capture_output=True, text=True, check=True)
    schema = json.loads(done.stdout)
    assert set(schema["properties"]) == {f.alias or n for n, f in Experiment.model_fields.items()}
    assert schema["additionalProperties"] is False
