"""The curated space, its baseline, and what plan makes of budgets."""

import pytest

from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.hyperparameters import resolve
from automl_images.steps.plan import check_experiment
from automl_images.sweep.curated import curated_space
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.trial import State
from automl_images.tasks import TASKS

TASK, CLASSES = "image-object-detection", "image-classification"
FRESH = {"pretrained": False}


def experiment(iterations=6, settings=None, weights=FRESH, **sweep):
    content = {"task": TASK, "settings": settings or {}, "weights": weights}
    return Experiment.read({**content, "sweep": {"iterations": iterations, **sweep}})


def models(space):
    return [b["model_name"]["choice"][0] for b in space]


def test_every_task_with_a_model_has_a_space_of_its_own():
    for task in (t for t in TASKS.values() if t.default_model):
        assert models(curated_space(task.name, {}))[0] == task.default_model


def test_none_and_auto_are_the_curated_space():
    found = [check_experiment(experiment(**s)) for s in ({}, {"space": "auto"}, {"iterations": 1, "space": "auto"})]
    assert found[0] == found[1] == found[2]
    assert found[0]["baseline"] == {"model_name": "yolov5"}
    assert check_experiment(experiment(1))["baseline"] is None


def test_models_without_the_weights_that_are_wanted_are_left_out():
    space = check_experiment(experiment(weights={"pretrained": True}))["space"]
    assert models(space) == ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet18_fpn"]


def test_unset_weights_keep_models_without_published_ones(capsys):
    covered = check_experiment(experiment(weights={}))
    assert models(covered["space"]) == ["yolov5", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet18_fpn"]
    assert covered["weights"]["pretrained"] is None
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "weights" in x]
    assert line == (
        "note: weights: fresh ones for yolov5, which has none published; the others start from published ones"
    )


@pytest.mark.parametrize(
    ("task", "settings", "profile", "pretrained", "line"),
    [
        (TASK, {}, "azure", False, "fresh ones for yolov5"),
        (TASK, {}, "sagemaker", False, "fresh ones for yolov5"),
        (TASK, {"model_name": "fasterrcnn_resnet50_fpn"}, "sagemaker", True, "published ones for fasterrcnn_resnet50"),
        (TASK, {"model_name": "fasterrcnn_resnet50_fpn"}, "azure", True, "published ones for fasterrcnn_resnet50"),
        (CLASSES, {"model_name": "resnet18"}, "azure", True, "published ones for resnet18"),
        (CLASSES, {"model_name": "resnet20"}, "azure", False, "fresh ones for resnet20"),
        (CLASSES, {"model_name": "resnet18"}, "sagemaker", False, "use_pretrained_model is 0"),
    ],
)
def test_unset_weights_are_published_where_there_are_some(capsys, task, settings, profile, pretrained, line):
    found = check_experiment(Experiment.read({"task": task, "settings": settings, "profile": profile}))
    assert found["weights"] == {"pretrained": pretrained, "source": None}
    assert [line in x for x in capsys.readouterr().err.splitlines() if x.startswith("note: weights: ")] == [True]


def test_weights_that_are_asked_for_are_refused_where_there_are_none():
    for given in ({"task": TASK}, {"task": CLASSES, "settings": {"model_name": "resnet20"}}):
        with pytest.raises(UserError, match=r"^weights\.pretrained: \w+ has no published weights"):
            check_experiment(Experiment.read({**given, "weights": {"pretrained": True}}))
    asked = {"task": CLASSES, "settings": {"model_name": "resnet18"}, "profile": "sagemaker"}
    assert (
        check_experiment(Experiment.read({**asked, "weights": {"pretrained": True}}))["weights"]["pretrained"] is True
    )


def test_what_settings_fix_is_not_searched():
    covered = check_experiment(experiment(settings={"model_name": "yolov5", "learning_rate": 0.01}))
    (branch,) = covered["space"]
    assert not {"model_name", "learning_rate"} & set(branch)
    assert covered["baseline"] == {}
    with pytest.raises(UserError, match="leave nothing of the curated space"):
        curated_space(TASK, {"model_name": "yolov5"}, without=["yolov5"])


@pytest.mark.parametrize("sampling", ["random", "sobol", "bayesian"])
def test_the_first_trial_is_the_baseline_and_the_rest_are_drawn(tmp_path, sampling):
    ledger = Ledger(str(tmp_path))
    ledger.open(check_experiment(experiment(sampling=sampling)))
    settings, sampled, _ = proposed(ledger, 0)
    assert settings == resolve(TASK, {"model_name": "yolov5"})
    assert sampled == ["model_name"]
    drawn = [proposed(ledger, i)[0] for i in range(1, 6)]
    assert len({s["learning_rate"] for s in drawn}) == 5
    assert proposed(ledger, 3)[0] == drawn[2]


def test_a_trial_that_has_started_keeps_its_settings(tmp_path):
    ledger = Ledger(str(tmp_path))
    ledger.open(check_experiment(experiment(sampling="bayesian")))
    settings, sampled, _ = proposed(ledger, 1)
    ledger.start_trial(1, settings, sampled)
    for i in range(2, 14):
        other, names, _ = proposed(ledger, i)
        content = ledger.start_trial(i, other, names)
        ledger.end_trial(content, State.COMPLETED, best={"value": 0.1 * i, "epoch": 1})
    assert proposed(ledger, 1)[0] == settings
