"""A setting has one name and one value however it is written: in settings, space, fingerprint, proposals, reports."""

import json

import pytest

from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.hyperparameters.catalogue import ALIASES, CATALOGUE
from automl_images.reports.trials import varying
from automl_images.steps.plan import check_experiment, plan_sweep
from automl_images.sweep.fingerprint import fingerprint
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.sampling import NAMES
from automl_images.sweep.trial import State

TASK = "image-object-detection"
MODEL = "fasterrcnn_resnet18_fpn"
CHOICES = {"mini_batch_size": {"choice": ["2", 4]}, "learning_rate": {"choice": ["1e-3", "0.01"]}}


def read(settings=None, **sweep):
    content = {"task": TASK, "weights": {"pretrained": False}, "settings": settings or {"model_name": MODEL}}
    return Experiment.read({**content, "sweep": sweep})


SPELLINGS = {
    "names": ({"epochs": 3}, {"number_of_epochs": 3}),
    "text": ({"learning_rate": "1e-3"}, {"learning_rate": 0.001}),
    "a decimal": ({"learning_rate": "0.01"}, {"learning_rate": 0.01}),
    "whole": ({"momentum": 0, "nesterov": 0}, {"momentum": 0.0, "nesterov": False}),
    "a whole text": ({"number_of_epochs": "3"}, {"number_of_epochs": 3}),
}


@pytest.mark.parametrize(("one", "other"), SPELLINGS.values(), ids=SPELLINGS)
def test_two_spellings_are_one_experiment(one, other):
    found = [check_experiment(read({"model_name": MODEL, **given})) for given in (one, other)]
    assert found[0] == found[1] and fingerprint(found[0]) == fingerprint(found[1])
    found = [check_experiment(read(space={n: {"choice": [v]} for n, v in given.items()})) for given in (one, other)]
    assert found[0]["space"] == found[1]["space"] and fingerprint(found[0]) == fingerprint(found[1])


EXPRESSIONS = [("uniform", ["1e-3", "0.01"]), ("loguniform", ["-9", -5]), ("quniform", ["0", "1", "0.25"])]
EXPRESSIONS += [("normal", ["0.5", "1e-2"]), ("lognormal", ["-5", "0.1"]), ("qnormal", ["0.5", "0.1", "0.1"])]


@pytest.mark.parametrize(("kind", "arguments"), EXPRESSIONS)
def test_expressions_take_numbers_as_text(kind, arguments):
    text, numbers = [
        check_experiment(read(space={"learning_rate": {kind: a}})) for a in (arguments, [float(a) for a in arguments])
    ]
    assert text == numbers and fingerprint(text) == fingerprint(numbers)


def test_budgets_and_rules_take_numbers_as_text():
    rule = {"policy": "bandit", "slack_factor": "1e-1", "delay_evaluation": "5"}
    sweep = read(iterations="1e2", timeout_hours="1e1", seed="7", early_termination=rule, space=CHOICES).sweep
    assert (sweep.iterations, sweep.timeout_hours, sweep.seed) == (100, 10, 7)
    assert (sweep.early_termination.slack_factor, sweep.early_termination.delay_evaluation) == (0.1, 5)
    for wrong in ({"iterations": True}, {"timeout_hours": "nan"}, {"seed": "1.5"}, {"iterations": "inf"}):
        with pytest.raises(UserError, match=rf"^sweep\.{next(iter(wrong))}: "):
            read(**wrong)


REFUSED = {
    "twice in settings": (
        {"epochs": 3, "number_of_epochs": 3},
        {},
        "settings.number_of_epochs: is the same hyperparameter as epochs; give one of the two",
    ),
    "twice in a branch": (
        {},
        [{}, {"mini_batch_size": 2, "training_batch_size": {"choice": [2]}}],
        "sweep.space[1].training_batch_size: is the same hyperparameter as mini_batch_size",
    ),
    "fixed and swept": (
        {"mini_batch_size": 2},
        {"training_batch_size": {"choice": [2]}},
        "sweep.space.training_batch_size: is in settings too",
    ),
    "fixed and swept by aliases": (
        {"training_batch_size": 2},
        {"mini_batch_size": {"choice": [2]}},
        "sweep.space.training_batch_size: is in settings too",
    ),
}


@pytest.mark.parametrize(("settings", "space", "line"), REFUSED.values(), ids=REFUSED)
def test_two_spellings_of_one_setting_are_refused_by_name(settings, space, line):
    with pytest.raises(UserError) as refused:
        check_experiment(read({"model_name": MODEL, **settings}, space=space))
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("sampling", [n for n in NAMES if n != "evolve"])  # which has no choices
def test_aliases_and_text_go_through_a_whole_sweep(tmp_path, sampling):
    (tmp_path / "r").write_text("")
    content = {
        "task": TASK,
        "settings": {"model_name": MODEL, "epochs": "3"},
        "weights": {"pretrained": False},
        "sweep": {"sampling": sampling, "iterations": 4 if sampling == "grid" else 14, "space": CHOICES},
    }
    (lane, *_) = plan_sweep(content, str(tmp_path / "r"), str(tmp_path / "r"), default_storage=str(tmp_path))
    ledger = Ledger(json.loads(lane)["ledger"])
    for index in range(content["sweep"]["iterations"]):
        settings, sampled, _ = proposed(ledger, index)
        assert settings["training_batch_size"] in (2, 4) and settings["learning_rate"] in (0.001, 0.01)
        assert settings["number_of_epochs"] == 3
        started = ledger.start_trial(index, settings, sampled)
        assert proposed(ledger, index)[0] == settings, "a killed trial resumes with what it had"
        ledger.end_trial(started, State.COMPLETED, best={"value": settings["learning_rate"], "epoch": 1})
    trials = ledger.trials()
    assert varying(trials) == ["learning_rate", "training_batch_size"]
    assert all(name in t.settings for t in trials for name in varying(trials)), "no column is blank"


def test_every_alias_of_a_setting_that_can_be_swept_is_taken():
    for alias, name in ALIASES.items():
        row = CATALOGUE[name]
        if not row.sweepable or row.place:
            continue
        model = next(m for m in ARCHITECTURES if row.applies_to(m))
        task = TASK if ARCHITECTURES[model].family == "detection" else "image-classification"
        value = row.default_for(task, model)
        content = {"task": task, "settings": {"model_name": model}, "weights": {"pretrained": False}}
        made = Experiment.read({**content, "sweep": {"space": {alias: {"choice": [value]}}}})
        assert list(check_experiment(made)["space"]) == [name]
