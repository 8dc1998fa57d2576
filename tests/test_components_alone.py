"""The components in other people's pipelines: they compile, and run on one machine, in processes or in Docker."""

import json
import re
from pathlib import Path

import pytest
import yaml
from kfp import dsl

from automl_images.components.example_pipelines import (
    PIPELINES,
    convert,
    photograph,
    plan,
    register,
    select,
    serve,
    split,
    write_packages,
)
from automl_images.errors import UserError
from automl_images.pipelines.local import Runner
from automl_images.registry import open_registry
from automl_images.steps.inputs import (
    checked_data,
    data_block,
    experiment_of,
    figures_of,
    first_lane,
    least_value,
    training_inputs,
    version_address,
)
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State
from tests.conftest import draw_squares, write_voc
from tests.helpers.containers import Components, built
from tests.helpers.registries import model_folder
from tests.helpers.spec_walk import unresolved


class Artifact:
    def __init__(self, path, **metadata):
        self.path = self.uri = str(path)
        self.metadata = metadata


def test_each_pipeline_compiles_to_a_sound_package(tmp_path):
    files = write_packages(tmp_path / "packages")
    assert [f.stem for f in files] == ["train-on-what-another-made", "measure-and-decide", "sweep-among-others"]
    for file in files:
        spec, *platform = yaml.load_all(file.read_text(), yaml.CSafeLoader)
        assert unresolved(spec, *platform) == []


def run_all(folder, make):
    """Run the three pipelines, and return what each returned."""
    first, second, third = PIPELINES
    runner = make(folder / "first")
    runner.run(first, count=6)
    said = [json.loads(runner.output("weigh"))]
    (model,) = (folder / "first").glob("steps/*/train/model")
    (images,) = (folder / "first").glob("steps/*/photograph/images")
    runner = make(folder / "second")
    runner.run(second, model=str(model), source=str(images), least=0.0)
    said.append(runner.output("gate"))
    runner = make(folder / "third")
    runner.run(third, source=str(images), registry=str(folder / "third" / "registry"))
    said.append(json.loads(runner.output("weigh")))
    states = json.loads(runner.output("train"))["trials"]
    assert states == {"0": "completed", "1": "completed"}
    version = open_registry(str(folder / "third" / "registry")).get("colours")
    assert version["version"] == 1 and version["lineage"]["trial"] in (0, 1)
    (manifest,) = (folder / "third").glob("steps/*/serve/manifest")
    assert version["uri"] in (manifest / "inferenceservice.yaml").read_text()
    return said


def outputs(folder, **kinds):
    folder.mkdir()
    return {name: kind(uri=str(folder / name)) for name, kind in kinds.items()}


def test_from_images_to_a_manifest_by_the_light_components(tmp_path, capsys):
    data, text = dsl.Dataset, json.loads
    images = outputs(tmp_path / "photograph", images=data)["images"]
    photograph.python_func(count=6, images=images)
    read = outputs(tmp_path / "convert", training=data, validation=data, test=data, report=dsl.HTML)
    found = text(convert.python_func(folder=images, task="image-classification", copy_images=False, **read))
    assert found["training"]["images"] == 12 and read["training"].metadata["task"] == "image-classification"
    parts = outputs(tmp_path / "split", training=data, validation=data, test=data)
    counts = text(split.python_func(records=read["training"], by="stratified", split_ratio=0.25, seed=1.0, **parts))
    assert (counts["training"], counts["validation"], counts["test"]) == (9, 3, 0)
    assert parts["validation"].metadata == {"task": "image-classification", "images": 3, "set": "validation"}
    summary = outputs(tmp_path / "plan", summary=dsl.Markdown)
    del parts["test"]
    sweep = {"weights": {"pretrained": False}, "sweep": {"space": {"learning_rate": {"uniform": [0.001, 0.01]}}}}
    lanes = plan.python_func(
        **parts, **summary, experiment=json.dumps(sweep), iterations=2.0, model_name="resnet18", epochs=3.0
    )
    ledger = Ledger(text(lanes[0])["ledger"])
    assert ledger.experiment()["task"] == "image-classification"
    assert ledger.experiment()["settings"] == {"model_name": "resnet18", "number_of_epochs": 3}
    assert len(lanes) == ledger.run(text(lanes[0])["run"]).iterations == 2
    for trial, value in enumerate((0.25, 0.5)):
        begun = ledger.start_trial(trial, {"number_of_epochs": 3}, [])
        folder = model_folder(Path(ledger.artifacts(trial).model(1)), f"trial {trial}")
        best = {"metric": "accuracy", "value": value, "epoch": 2}
        ledger.end_trial(begun, State.COMPLETED, best=best, model=folder)
    kinds = {"model": dsl.Model, "leaderboard": dsl.HTML, "metrics": dsl.Metrics, "evolution": dsl.Artifact}
    chosen = outputs(tmp_path / "select", **kinds)
    assert text(select.python_func(lanes=lanes, **chosen))["trial"] == 1
    model = chosen["model"]
    assert Path(model.path, "model.pt").read_text() == "trial 1" and model.metadata["uri"] == folder
    model.metadata["trial"] = 1.0  # as it comes back from the metadata store
    version = outputs(tmp_path / "register", registered=dsl.Model)
    asked = {"experiment": json.dumps({"task": "t"}), "iterations": 2.0, "model_name": "resnet18", "epochs": 3.0}
    said = register.python_func(name="colours", model=model, evaluation='{"accuracy": 0.5}', **version, **asked)
    kept = open_registry(str(tmp_path / "plan" / "registry")).get("colours")
    assert text(said)["uri"] == version["registered"].metadata["uri"] == kept["uri"]
    assert Path(kept["uri"], "model.pt").read_text() == "trial 1"
    assert kept["lineage"]["trial"] == 1 and kept["lineage"]["settings"]["number_of_epochs"] == 3
    assert kept["lineage"]["experiment"]["settings"] == {"model_name": "resnet18", "number_of_epochs": 3}
    manifest = outputs(tmp_path / "serve", manifest=dsl.Artifact)
    serve.python_func(model=model, version=said, **manifest)
    assert kept["uri"] in Path(manifest["manifest"].path, "inferenceservice.yaml").read_text()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repeat with: ")]
    assert [re.search(r" (\w+) ", line.partition("light:")[2])[1] for line in lines] == [
        "convert", "split", "plan", "select", "register", "serve",
    ]  # fmt: skip


@pytest.mark.full
def test_they_run_on_one_machine(tmp_path):
    first, decided, third = run_all(tmp_path, lambda folder: Runner(folder, parallelism=1))
    assert first["labels"] == third["labels"] == ["blue", "red"] and first["bytes"] > 1e7
    assert decided is True


JSON = json.dumps({"training": {"source": "a", "format": "voc"}, "validation": {"source": "b"}, "on_error": "skip"})


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (("", "s3://a", None), {"training": {"source": "s3://a"}}),
        (("", "", "/folder", "coco", "x", "fix"), {"training": {"source": "/folder", "format": "coco", "images": "x"}}),
        ((JSON, "", None), json.loads(JSON)),
        ((JSON, "c", None), {**json.loads(JSON), "training": {"source": "c", "format": "voc"}}),
    ],
)
def test_a_source_is_given_in_one_of_three_ways(given, made):
    found = data_block(*given)
    assert found == ({**made, "on_error": "fix"} if "fix" in given else made)


@pytest.mark.parametrize(
    ("read", "given", "line"),
    [
        (checked_data, "{", "data: '{' is no JSON: "),
        (checked_data, "[1]", "data: .* is no JSON object"),
        (checked_data, '{"training": {"sorce": "a"}}', "data.training.sorce: unknown key; did you mean 'source'"),
        (checked_data, '{"split": 3}', "data.split: "),
        (lambda text: experiment_of(text, "t", iterations=1), '{"sweep": 3}', "sweep: 3 is no object"),
        (lambda text: experiment_of(text, "t"), "[]", "experiment: .* is no JSON object"),
        (lambda text: figures_of(text, "m"), "{", "evaluation: .* is no JSON"),
        (first_lane, [], "lanes: there is none"),
        (first_lane, ["[]"], "is not a lane"),
        (least_value, "much", "minimum: 'much' is no number"),
        (least_value, "true", "minimum: 'true' is no number"),
        (version_address, "{}", "version: has no uri"),
    ],
)
def test_what_is_no_such_input_is_a_line(read, given, line):
    with pytest.raises(UserError, match=line):
        read(given)


def test_no_source_or_two_are_refused():
    for given in (("", "", None), ("{}", "", None)):
        with pytest.raises(UserError, match="name the labelled images: source, folder or data"):
            data_block(*given)
    with pytest.raises(UserError, match="source and folder both"):
        data_block("", "a", "b")


def test_a_training_has_the_task_of_its_records():
    sets = Artifact("/t.jsonl", task="image-classification"), Artifact("/v.jsonl")
    options, words = training_inputs("", *sets, "", {"number_of_epochs": 2.0}, Artifact("/m"), False, 3.0)
    assert options["task"] == "image-classification" and options["seed"] == 3
    assert options["weights"] == {"pretrained": False, "source": "/m"}
    assert " ".join(words) == (
        "--task image-classification --seed 3 --set number_of_epochs=2.0 --no-pretrained --weights /m"
    )
    assert training_inputs("", *sets, "image-object-detection", {})[0]["task"] == "image-object-detection"
    with pytest.raises(UserError, match="the records do not say which task"):
        training_inputs("", sets[1], sets[1], "", {})
    with pytest.raises(UserError, match="give training and validation, or a lane"):
        training_inputs("", sets[0], None, "", {})


@pytest.mark.parametrize("beside", ["training", "settings"])
def test_a_lane_stands_alone(beside):
    given = {"training": None, "validation": None, "task": "", "settings": {}, "start": None}
    assert training_inputs("{}", **given) == ({}, [])
    given[beside] = Artifact("/t.jsonl") if beside == "training" else {"seed": 1}
    with pytest.raises(UserError, match=f"a lane has its own {beside}; give one of the two"):
        training_inputs("{}", **given)


def test_what_a_form_gives_stands_in_place_of_the_experiments():
    experiment = json.dumps(
        {"task": "t", "settings": {"model_name": "a", "x": 1}, "sweep": {"iterations": 9, "seed": 1}}
    )
    assert experiment_of(experiment, "other") == json.loads(experiment)
    changed = experiment_of(experiment, "", iterations=3, model_name="b", epochs=2)
    assert changed["settings"] == {"model_name": "b", "x": 1, "number_of_epochs": 2}
    assert changed["sweep"] == {"iterations": 3, "seed": 1}
    assert experiment_of("{}", "t", epochs=1) == {"task": "t", "settings": {"number_of_epochs": 1}}
    with pytest.raises(UserError, match="task: neither the experiment nor the records say it"):
        experiment_of("{}", "")


def test_the_figures_of_a_model_are_its_own_unless_others_are_given(tmp_path):
    with pytest.raises(UserError, match="has no metrics.json; give evaluation"):
        figures_of("", str(tmp_path))
    (tmp_path / "metrics.json").write_text('{"accuracy": 0.5}')
    assert figures_of("", str(tmp_path)) == {"accuracy": 0.5}
    assert figures_of('{"accuracy": 0.7}', str(tmp_path)) == {"accuracy": 0.7}


@pytest.mark.full
@pytest.mark.skipif(not built(), reason="no container engine, or no images of this version")
def test_each_runs_alone_in_its_container_on_what_the_one_before_wrote(tmp_path):
    data, plain = tmp_path / "data", {"model_name": "yolov5", "model_size": "small", "img_size": 64}
    plain |= {"number_of_epochs": 1, "training_batch_size": 4, "box_score_thresh": 0.0}
    write_voc(data, draw_squares(data / "JPEGImages", 8))
    ran, said, made = Components(tmp_path), {}, {}

    def run(step, parameters, artifacts=None, mounts=()):
        done, said[step], made[step] = ran.run(step, parameters, artifacts, mounts)
        assert done.returncode == 0, (step, done.stderr)

    run("convert", {"source": str(data)}, mounts=[data])
    images, ledgers = tmp_path / "convert", tmp_path / "plan"
    run("split", {"split_ratio": 0.25, "test_ratio": 0.25}, {"records": made["convert"]["training"]})
    assert json.loads(said["split"]) == {"training": 4, "validation": 2, "test": 2}
    sets = {name: made["split"][name] for name in ("training", "validation")}
    experiment = json.dumps({"name": "alone", "settings": plain, "weights": {"pretrained": False}})
    run("plan", {"experiment": experiment}, sets, [images])
    (lane,) = lanes = said["plan"]
    run("train", {"lane": lane}, mounts=[images, f"{ledgers}:{ledgers}"])
    assert json.loads(said["train"])["trials"] == {"0": "completed"}
    run("select", {"lanes": lanes, "trained": [said["train"]]}, mounts=[ledgers])
    model = {"model": made["select"]["model"]}
    run("evaluate", {}, {**model, "data": made["split"]["test"]}, [images, ledgers])
    assert json.loads(said["evaluate"])["images"] == 2
    (tmp_path / "versions").mkdir(mode=0o777)
    (tmp_path / "versions").chmod(0o777)
    versions = f"{tmp_path}/versions:{tmp_path}/versions"
    register = {"name": "alone", "registry": f"{tmp_path}/versions", "evaluation": said["evaluate"]}
    run("register", register, model, [ledgers, versions])
    run("serve", {"version": said["register"]}, model, [ledgers, versions])
    assert "alone/1" in (tmp_path / "serve/manifest/inferenceservice.yaml").read_text()
    given = {
        "convert": ({"source": str(data), "task": "cells"}, {}),
        "split": ({"data": "{"}, {"records": made["convert"]["training"]}),
        "plan": ({"experiment": "[]"}, sets),
        "train": ({"settings": {"learning_rat": 1}, "task": "image-object-detection"}, sets),
        "select": ({"lanes": []}, {}),
        "evaluate": ({}, {**model, "data": {**sets["training"], "uri": f"{tmp_path}/split/none"}}),
        "register": ({"name": "alone", "minimum": "much", "evaluation": "{}"}, model),
        "serve": ({"options": "[]"}, model),
    }
    for step, (parameters, artifacts) in given.items():
        done, *_ = ran.run(step, parameters, artifacts, [data])
        assert (done.returncode, done.stderr.count("error: ")) == (2, 1), (step, done.stderr)
        assert "Traceback" not in done.stderr
