"""Azure's jobs: references, spellings of spaces, refusals."""

import pytest

from automl_images.errors import UserError
from automl_images.experiment_file import import_files, read_experiment
from tests.helpers.vendors import FILES, write_json


def test_a_reference_without_a_place_is_refused_by_name_and_an_unused_map_too():
    file = str(FILES / "azure-detection.yml")
    with pytest.raises(UserError, match="validation_data.path: azureml:fridge-validation:1 is Azure's; say where"):
        read_experiment(file)
    with pytest.raises(UserError, match="--map azureml:other:1: no file names that"):
        import_files([file], (), ["azureml:fridge-validation:1=a", "azureml:other:1=b"])
    assert read_experiment(file, ["data.validation=null"])["data"]["validation"] is None
    assert read_experiment(file, ["data.validation.source=b"])["data"]["validation"] == {"source": "b"}


def test_an_mltable_is_the_file_of_records_that_it_names(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "MLTable").write_text("paths:\n  - file: ./train.jsonl\ntransformations: []\n")
    job = {"type": "automl", "task": "image_classification", "training_data": {"path": "set", "type": "mltable"}}
    file = write_json(tmp_path / "job.json", job)
    prefix = "azureml://datastores/store/paths/"
    training = import_files([file], (), [f"{prefix}={tmp_path}/images"]).content["data"]["training"]
    assert training == {"source": f"{tmp_path}/set/train.jsonl", "images": f"{prefix}={tmp_path}/images"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"task": "classification"}, "task: 'classification' is not of images"),
        ({"sweeps": {}}, "sweeps: no key of a job is called that; did you mean 'sweep'"),
        ({"limits": {"max_trials": 1001}}, "limits.max_trials: 1001 is out of range; allowed: 1 to 1000"),
        ({"training_parameters": {"eps": 1e-8}}, "training_parameters.eps: Azure's yolov5 has no such hyperparameter"),
        ({"search_space": [{"img_size": "choice(640, 0)"}]}, r"search_space\[0\].img_size: 0 is out of range"),
        ({"search_space": {"learning_rate": "uniform(0, 2)"}}, "search_space.learning_rate: 2.0 is out of range"),
        ({"search_space": {"learning_rate": "loguniform(-3, 1)"}}, "search_space.learning_rate: 2.718.* is out of"),
        (
            {"search_space": {"learning_rate": "unifrom(0, 1)"}},
            "search_space.learning_rate: no expression is called 'unifrom'; did you mean 'uni",
        ),
        ({"sweep": {"sampling_algorithm": "sobol"}}, "sweep.sampling_algorithm: 'sobol'"),
        ({"sweep": {"early_termination": {"type": "asha"}}}, "sweep.early_termination.type: 'asha' is none"),
        ({"training_data": None}, "training_data: is needed and missing"),
        ({"validation_data_size": 2}, "validation_data_size: 2 is out of range"),
    ],
)
def test_azures_jobs_are_refused_by_file_and_key(tmp_path, change, line):
    job = {"type": "automl", "task": "image_object_detection", "training_data": {"path": "a"}, **change}
    with pytest.raises(UserError, match=rf"^{tmp_path}/job.json: {line}"):
        read_experiment(write_json(tmp_path / "job.json", job))


@pytest.mark.parametrize("spelling", ["text", "mapping", "wire"])
def test_azures_spellings_of_a_space_are_one(tmp_path, spelling):
    models = {"model_name": "choice('vitb16r224')", "number_of_epochs": "choice(15, 30)"}
    space = {
        "text": [{"learning_rate": "uniform(0.001, 0.01)", **models}],
        "mapping": [
            {
                "learning_rate": {"type": "uniform", "min_value": 0.001, "max_value": 0.01},
                "model_name": {"type": "choice", "values": ["vitb16r224"]},
                "number_of_epochs": {"type": "choice", "values": [15, 30]},
            }
        ],
        "wire": {
            "learning_rate": ["uniform", [0.001, 0.01]],
            "model": [
                "choice",
                [[{"model_name": ["choice", [["vitb16r224"]]], "number_of_epochs": ["choice", [[15, 30]]]}]],
            ],
        },
    }[spelling]
    job = {"type": "automl", "task": "image_classification", "training_data": {"path": "a"}, "search_space": space}
    found = read_experiment(write_json(tmp_path / "job.json", job))["sweep"]["space"]
    assert found == [
        {
            "model_name": {"choice": ["vitb16r224"]},
            "learning_rate": {"uniform": [0.001, 0.01]},
            "number_of_epochs": {"choice": [15, 30]},
        }
    ]


def test_a_fixed_setting_that_some_models_lack_is_that_of_the_others(tmp_path):
    job = {
        "type": "automl",
        "task": "image_object_detection",
        "training_data": {"path": "a"},
        "training_parameters": {"min_size": 400, "optimizer": "adam", "learning_rate": 0.01},
        "search_space": [
            {"model_name": "yolov5", "learning_rate": "uniform(0, 0.1)"},
            {"model_name": "choice('fasterrcnn_resnet18_fpn', 'retinanet_resnet50_fpn')"},
        ],
    }
    content = read_experiment(write_json(tmp_path / "job.json", job))
    assert content["settings"] == {"optimizer": "adam"}
    assert content["sweep"]["space"] == [
        {"model_name": {"choice": ["yolov5"]}, "learning_rate": {"uniform": [0, 0.1]}},
        {
            "model_name": {"choice": ["fasterrcnn_resnet18_fpn", "retinanet_resnet50_fpn"]},
            "min_size": {"choice": [400]},
            "learning_rate": {"choice": [0.01]},
        },
    ]
    job["search_space"][1]["model_name"] = "choice('yolov5', 'retinanet_resnet50_fpn')"
    with pytest.raises(UserError, match="training_parameters.min_size: is not for yolov5; give it in a branch"):
        read_experiment(write_json(tmp_path / "job.json", job))
