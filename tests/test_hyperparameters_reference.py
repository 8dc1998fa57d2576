"""Every hyperparameter against the published tables of Azure's AutoML for images and SageMaker's algorithm."""

import json

import pytest
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.hyperparameters import hyperparameters, resolve
from automl_images.steps.hyperparameters import list_hyperparameters
from tests.helpers.reference_tables import (
    ALL,
    AS_SAGEMAKER,
    BOXES,
    CLASSIFIERS,
    DEPTHS,
    DETECTORS,
    MASKS,
    MODELS,
    MULTI,
    PIXELS,
    PLACES,
    SAGEMAKER,
    SEGMENTATION,
    SINGLE,
    table,
)
from tests.helpers.reference_yolov5 import GENES, GUIDES, LIMITS, ULTRALYTICS


def test_every_task_has_its_models():
    assert set(MODELS) == {SINGLE, MULTI, BOXES, MASKS, PIXELS}
    assert MODELS[SINGLE] == MODELS[MULTI]
    assert set(MODELS[SINGLE]) >= CLASSIFIERS
    assert set(MODELS[BOXES]) == DETECTORS
    assert set(MODELS[MASKS]) == {f"maskrcnn_resnet{depth}_fpn" for depth in DEPTHS}
    assert set(MODELS[PIXELS]) == {f"{kind}_resnet{depth}" for kind in ("fcn", "psp", "deeplab") for depth in (50, 101)}


@pytest.mark.parametrize(("task", "model"), ALL)
def test_every_entry_is_the_tables(task, model):
    listed = {row["name"]: (row["type"], row["range"], row["default"]) for row in list_hyperparameters(task, model)}
    assert listed == table(task, model)


@pytest.mark.parametrize(("task", "model"), ALL)
def test_a_trial_has_the_tables_defaults(task, model):
    expected = {n: default for n, (*_, default) in table(task, model).items() if n not in PLACES}
    assert resolve(task, {"model_name": model}) == {"model_name": model, **expected}


@pytest.mark.parametrize(("task", "model"), [pair for pair in ALL if pair[0] not in (BOXES, MASKS)])
def test_sagemakers_profile_has_its_defaults_and_takes_its_names(task, model):
    listed = {row["name"]: row for row in list_hyperparameters(task, model)}
    settings = resolve(task, {"model_name": model}, "sagemaker")
    theirs_of_task = SEGMENTATION if task == PIXELS else SAGEMAKER
    for theirs, (ours, kind, allowed, default) in theirs_of_task.items():
        row = listed[ours]
        assert (row["type"], row["range"], row["default_sagemaker"]) == (kind, allowed, default)
        assert theirs == ours or theirs in row["aliases"]
        if ours not in PLACES:
            assert settings[ours] == default
            if default is not None:
                assert resolve(task, {"model_name": model, theirs: default}, "sagemaker") == settings
    azures = {name: default for name, (*_, default) in table(task, model).items() if name not in PLACES}
    differing = {n for n in settings.keys() - {"model_name"} if settings[n] != azures[n]}
    as_put = {name: default for name, (default, _) in AS_SAGEMAKER.items()}
    if task == PIXELS:
        for name in ("lr_scheduler", "validation_batch_size"):
            del as_put[name]  # which its semantic segmentation has
        as_put |= {"pretrained_weights": "backbone"} if "pretrained_weights" in settings else {}
    assert differing <= {ours for ours, *_ in theirs_of_task.values()} | set(as_put)
    for name, default in as_put.items():
        assert settings[name] == default


def test_sagemakers_adam_decays_no_weight_unless_told_to():
    for optimizer, decay in (("sgd", 0.0001), ("nag", 0.0001), ("adam", 0)):
        assert resolve(SINGLE, {"optimizer": optimizer}, "sagemaker")["weight_decay"] == decay
    assert resolve(SINGLE, {"optimizer": "adam", "weight_decay": 0.1}, "sagemaker")["weight_decay"] == 0.1
    assert resolve(SINGLE, {"optimizer": "adam"})["weight_decay"] == 0.0001
    for optimizer in ("nag", "adam", "adagrad"):
        assert resolve(PIXELS, {"optimizer": optimizer}, "sagemaker")["weight_decay"] == 0, "decays under sgd alone"
    assert resolve(PIXELS, {"optimizer": "nag", "weight_decay": 0.1}, "sagemaker")["weight_decay"] == 0.1


def test_sagemakers_segmentation_needs_the_epochs_of_its_steps():
    with pytest.raises(UserError, match="^lr_scheduler_step: is needed with lr_scheduler: step"):
        resolve(PIXELS, {"lr_scheduler": "step"}, "sagemaker")
    given = {"lr_scheduler": "step", "lr_scheduler_step": "10, 20"}
    assert resolve(PIXELS, given, "sagemaker")["lr_scheduler_step"] == "10,20"
    assert resolve(PIXELS, {"lr_scheduler": "step"})["step_lr_step_size"] == 5


def test_the_default_model_is_azures_or_sagemakers():
    defaults = {(task, p): resolve(task, {}, p)["model_name"] for task in MODELS for p in ("azure", "sagemaker")}
    assert defaults == {
        (SINGLE, "azure"): "vitb16r224",
        (SINGLE, "sagemaker"): "resnet152",
        (MULTI, "azure"): "vitb16r224",
        (MULTI, "sagemaker"): "resnet152",
        (BOXES, "azure"): "yolov5",
        (BOXES, "sagemaker"): "yolov5",
        (MASKS, "azure"): "maskrcnn_resnet50_fpn",
        (MASKS, "sagemaker"): "maskrcnn_resnet50_fpn",
        (PIXELS, "azure"): "fcn_resnet50",
        (PIXELS, "sagemaker"): "fcn_resnet50",
    }


@pytest.mark.parametrize(("name", "place"), PLACES.items())
def test_what_is_given_elsewhere_is_listed_with_its_place_and_refused_as_a_setting(name, place):
    tasks = {"split_ratio": MODELS, "algorithm": (PIXELS,), "backbone": (PIXELS,)}
    for task in tasks.get(name, (SINGLE, MULTI, PIXELS) if name == "use_pretrained_model" else (SINGLE, MULTI)):
        (row,) = (r for r in list_hyperparameters(task) if r["name"] == name)
        assert row["place"] == place
        with pytest.raises(UserError, match=f"^{name}: is not given here but by {place}"):
            resolve(task, {name: row["default"]})
    others = [r for r in list_hyperparameters(SINGLE) if r["name"] not in PLACES]
    assert {r["place"] for r in others} == {"settings"}
    assert {r["name"] for r in others} == set(hyperparameters("vitb16r224"))


@pytest.mark.parametrize(
    ("name", "value", "optimizers"),
    [
        ("eps", 0, ["adam", "adamw", "rmsprop"]),
        ("gamma", 1, ["rmsprop"]),
        ("beta1", 1, ["adam", "adamw"]),
        ("beta2", 1, ["adam", "adamw"]),
        ("momentum", 0, ["sgd", "nag"]),
    ],
)
def test_an_end_of_a_range_is_refused_with_the_optimizers_that_would_use_it_alone(name, value, optimizers):
    for task in MODELS:
        for optimizer in ("sgd", "adam", "adamw", "rmsprop", "nag"):
            given = {"optimizer": optimizer, name: value}
            if optimizer in optimizers:
                with pytest.raises(UserError, match=f"^{name}: {value} "):
                    resolve(task, given)
            else:
                assert resolve(task, given)[name] == value
    assert resolve(SINGLE, {"momentum": 0, "nesterov": 0})["momentum"] == 0


@pytest.mark.parametrize(("task", "model"), ALL)
def test_the_command_line_prints_them_as_json(task, model):
    printed = CliRunner().invoke(app, ["hyperparameters", "--task", task, "--model", model, "--json"])
    assert printed.exit_code == 0, printed.output
    rows = json.loads(printed.stdout)
    assert {row["name"]: (row["type"], row["range"], row["default"]) for row in rows} == table(task, model)
    assert all(len(row["description"]) > 20 and row["description"].endswith(".") for row in rows)


def test_a_heads_defaults_are_its_own():
    for position, head in enumerate(("anchor", "anchor_free")):
        settings = resolve(BOXES, {"model_name": "yolov5", "head": head})
        for name, (*_, default) in (GENES | ULTRALYTICS).items():
            assert settings[name] == (default[position] if isinstance(default, tuple) else default)


def test_evolution_has_the_guides_gains_and_limits():
    rows = hyperparameters("yolov5")
    assert {GUIDES.get(n, n): rows[n].gene for n in rows if rows[n].gene} == LIMITS
    assert {name: list(rows[name].aliases) for name in GUIDES} == {n: [g] for n, g in GUIDES.items()}
