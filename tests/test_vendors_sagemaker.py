"""SageMaker's requests: the scales of a tuning job, channels, conditions, refusals."""

import json

import numpy as np
import pytest

from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.experiment_file import read_experiment
from automl_images.sweep.sampling.bayesian import Bayesian
from automl_images.sweep.sampling.independent import Random
from automl_images.sweep.space import parse_space
from automl_images.sweep.trial import State, Trial
from tests.helpers.vendors import FILES, SOURCE, write_json


def test_a_tuning_request_samples_on_the_scales_of_its_definition():
    experiment = Experiment.read(read_experiment(str(FILES / "sagemaker-tuning.json")))
    assert experiment.sweep.early_termination.policy == "median_stopping"
    assert (experiment.sweep.iterations, experiment.lanes(), experiment.sweep.seed) == (20, 2, 3)
    branches = parse_space(experiment.sweep.space)
    drawn = [Random().propose(branches, 0, i) for i in range(3000)]
    values = {name: np.array([d[name] for d in drawn]) for name in ("learning_rate", "momentum", "weight_decay")}
    unit = {
        "learning_rate": (np.log(values["learning_rate"]) - np.log(1e-6)) / (np.log(0.5) - np.log(1e-6)),
        "momentum": -np.log1p(-values["momentum"]) / -np.log1p(-0.999),
        "weight_decay": values["weight_decay"] / 0.999,
    }
    for name, share in unit.items():  # uniform on its scale: the greatest distance of Kolmogorov and Smirnov
        ranks = np.arange(1, len(share) + 1) / len(share)
        assert np.abs(np.sort(share) - ranks).max() < 1.63 / np.sqrt(len(share)), name
    batches = np.bincount([int(d["training_batch_size"]) for d in drawn], minlength=65)
    assert batches[:8].sum() == 0 and batches[8:65].min() > 20
    assert {d["optimizer"] for d in drawn} == {"sgd", "nag"}


def test_the_reverse_scale_is_the_bayesian_samplers_too():
    (branch,) = parse_space({"momentum": {"reverseloguniform": [0, 6.907755278982137]}})
    known = [
        Trial(i, State.COMPLETED, settings={"momentum": m}, sampled=("momentum",), best={"value": m})
        for i, m in enumerate((0.1, 0.5, 0.9, 0.99, 0.998))
    ]
    drawn = [Bayesian(startup=2).propose([branch], 0, 5 + i, known)["momentum"] for i in range(20)]
    assert all(0 <= m <= 0.999 for m in drawn)
    assert np.median(drawn) > 0.9


def tuning(**changes):
    content = json.loads((FILES / "sagemaker-tuning.json").read_text())
    content["HyperParameterTuningJobConfig"].update(changes)
    return content


def ranges(**entry):
    return {"ParameterRanges": {"ContinuousParameterRanges": [{"MinValue": "0.1", "MaxValue": "0.9", **entry}]}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"Strategy": "Hyperband"}, "Strategy: Hyperband has no counterpart; nearest is --set sweep.sampling=random"),
        ({"Strategy": "Annealing"}, "Strategy: 'Annealing' is none; use Random, Grid or Bayesian"),
        (ranges(Name="momentum", MaxValue="1.5"), r"ContinuousParameterRanges\[0\]: momentum: 1.5 is out of range"),
        (ranges(Name="top_k"), "top_k: .*in whole numbers"),
        (ranges(Name="num_classes"), "num_classes: is among the ranges too"),
        (ranges(Name="lr0"), "lr0: SageMaker's algorithm has no such hyperparameter"),
        (ranges(Name="epochs"), "epochs: (is among the ranges too|takes at least 1, in whole numbers)"),
        (ranges(Name="gamma", MinValue="0", ScalingType="Logarithmic"), "gamma: Logarithmic needs a MinValue above 0"),
        (ranges(Name="gamma", MaxValue="1", ScalingType="ReverseLogarithmic"), "ReverseLogarithmic needs a Continuous"),
        (ranges(Name="gamma", ScalingType="Cubic"), "gamma: ScalingType 'Cubic' is none; use Auto"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:accuracy"}},
            "Minimize validation:accuracy: does not rank trials",
        ),
    ],
)
def test_tuning_requests_are_refused_by_file_and_key(tmp_path, change, line):
    with pytest.raises(UserError, match=line) as refused:
        read_experiment(write_json(tmp_path / "request.json", tuning(**change)))
    assert str(refused.value).startswith(f"{tmp_path}/request.json: ")


def test_an_automatic_scale_is_logarithmic_from_two_powers_of_ten_on(tmp_path):
    def space(**entry):
        file = write_json(tmp_path / "request.json", tuning(**ranges(Name="momentum", **entry)))
        return read_experiment(file)["sweep"]["space"]["momentum"]

    assert list(space(MinValue="0.001", MaxValue="0.1")) == ["loguniform"]
    assert list(space(MinValue="0.9", MaxValue="0.999")) == ["reverseloguniform"]
    assert space(MinValue="0.5", MaxValue="0.9") == {"uniform": [0.5, 0.9]}


def test_images_need_resize_and_recordio_does_not(tmp_path):
    content = json.loads((FILES / "sagemaker-tuning.json").read_text())
    job = content["TrainingJobDefinition"]
    job["HyperParameters"] = job.pop("StaticHyperParameters")
    read_experiment(write_json(tmp_path / "request.json", job))
    lists = []
    for channel in job["InputDataConfig"]:
        channel["ContentType"] = "application/x-image"
        other = json.loads(json.dumps(channel))
        other["ChannelName"] += "_lst"
        other["DataSource"]["S3DataSource"]["S3Uri"] += ".lst"
        lists.append(other)
    job["InputDataConfig"] += lists
    with pytest.raises(UserError, match="HyperParameters.resize: is needed with images"):
        read_experiment(write_json(tmp_path / "request.json", job))
    job["HyperParameters"]["resize"] = "256"
    data = read_experiment(write_json(tmp_path / "request.json", job))["data"]
    assert data["training"] == {
        "source": "s3://bucket/shapes/train.rec.lst",
        "format": "lst",
        "images": "s3://bucket/shapes/train.rec",
    }


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"crop_size": "240", "lr_scheduler": "step"}, "lr_scheduler_step: is needed with lr_scheduler: step"),
        ({"crop_size": "16"}, "crop_size: '16' is out of range; allowed: at least 17"),
        ({"num_layers": "18", "mini_batch_size": "0"}, "mini_batch_size: '0' is out of range"),
        ({"num_layers": "18", "beta_1": "1", "optimizer": "adam"}, "beta_1: 1.* would never take in a new gradient"),
        ({"num_layers": "18", "use_weighted_loss": "1"}, "use_weighted_loss: 1 needs multi_label: 1"),
        ({"num_layers": "18", "epochs": "3", "checkpoint_frequency": "4"}, "checkpoint_frequency: 4 is out of range"),
        ({}, "the names fit image classification and semantic segmentation; give --set task="),
    ],
)
def test_sagemakers_hyperparameters_are_refused_by_its_names(tmp_path, given, line):
    file = write_json(tmp_path / "hyperparameters.json", {"num_classes": "3", **given})
    with pytest.raises(UserError, match=rf"^{file}: {line}"):
        read_experiment(file, SOURCE)
