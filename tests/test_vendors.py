"""Vendors' files as experiments: names, ranges, defaults; what does not act is named, what is wrong refused.

Azure's own examples freeze 0 layers, so that it is taken there, below the range of its table.
"""

import json

import pytest
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.experiment_file import read_experiment
from automl_images.hyperparameters import resolve
from automl_images.hyperparameters.vendors import VENDORS, Maps, azure, sagemaker, yolov5
from automl_images.plain import read_yaml
from tests.helpers.reference_tables import (
    ALL,
    BOXES,
    MASKS,
    MULTI,
    OWN_DEFAULTS,
    PIXELS,
    PLACES,
    SAGEMAKER,
    SEGMENTATION,
    SINGLE,
    table,
)
from tests.helpers.reference_yolov5 import GENES, LIMITS
from tests.helpers.vendors import FILES, SOURCE, document_of

AZURES = [(task, model) for task, model in ALL if task != PIXELS]


NARROWER = {  # SageMaker's ranges that are not ours: type, range
    (SINGLE, "optimizer"): ("choice", "one of sgd, adam, rmsprop, nag"),
    (PIXELS, "optimizer"): ("choice", "one of adam, adagrad, nag, rmsprop, sgd"),
    (PIXELS, "lr_scheduler"): ("choice", "one of step, poly, cosine"),
    (PIXELS, "learning_rate"): ("float", "above 0 to 1"),
    (PIXELS, "momentum"): ("float", "above 0 to 1"),
    (PIXELS, "weight_decay"): ("float", "above 0 to below 1"),
}


def inside_and_outside(row):
    """Return values at the ends of a row's range, and values beyond them."""
    if row.choices:
        return list(row.choices), ["nonsense"]
    special = {
        "flag": ([0, 1, "True", "False"], [2, "yes"]),
        "text": (["a"], [3]),
        "epochs": (["10", "10, 20"], ["20,10", "x"]),
        "shape": (["3,224,224"], ["3,224", "2,8,8"]),
        "pair": (["3,2", "(3, 2)", "3x2"], ["3", "0,1"]),
    }
    if row.type in special:
        return special[row.type]
    step = 1 if row.type == "int" else 1e-6
    good, bad = [], []
    for end, is_open, out in ((row.low, row.open_low, -step), (row.high, row.open_high, step)):
        if end is not None:
            good.append(end - out if is_open else end)
            bad.append(end if is_open else end + out)
    return good, [*bad, "nonsense"]


def check_table(rows, read):
    """Check each name of a vendor's table through its entrance: ``read(name, value)`` returns the experiment."""
    for name, named in rows.items():
        good, bad = inside_and_outside(named.row)
        for value in good:
            path = named.ours.split(".")
            found = read(name, value)
            for key in path:
                found = found.get(key, {})
            assert found != {}, f"{name}: {value!r} is dropped"
        for value in bad[name == "layers_to_freeze" :]:
            with pytest.raises(UserError, match=rf"job: \S*{name}: .* allowed: "):
                read(name, value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_command_line_lists_a_vendors_names_with_ours(vendor):
    task = {"sagemaker": PIXELS}.get(vendor, BOXES)
    printed = CliRunner().invoke(app, ["hyperparameters", "--vendor", vendor, "--task", task, "--json"])
    rows = {row["name"]: row for row in json.loads(printed.stdout)}
    name, ours = {"sagemaker": ("epochs", "number_of_epochs"), "yolov5": ("lr0", "learning_rate")}.get(
        vendor, ("number_of_epochs", "number_of_epochs")
    )
    assert rows[name]["ours"] == f"settings.{ours}"
    text = CliRunner().invoke(app, ["hyperparameters", "--vendor", vendor, "--task", task])
    assert f"{name}: ours settings.{ours}; " in text.stdout


@pytest.mark.parametrize(("task", "model"), AZURES)
def test_azures_names_have_azures_ranges_and_defaults(task, model):
    rows = azure.table(task, model)
    for ours, (kind, allowed, default) in table(task, model).items():
        if ours in set(GENES) | {"head", "dfl", "close_mosaic"} | {o for o, *_ in SAGEMAKER.values()} - set(rows):
            assert ours not in rows
            continue
        row = rows[ours].row
        narrower = {
            "optimizer": ("choice", "one of sgd, adam, adamw"),
            "warmup_cosine_lr_warmup_epochs": ("int", "at least 1"),
        }
        assert (row.type, row.range_text()) == narrower.get(ours, (kind, allowed)), ours
        assert rows[ours].default == default
    settings = resolve(task, {"model_name": model})
    for name, named in rows.items():
        assert name in PLACES or settings[name] == named.default


@pytest.mark.parametrize(
    ("task", "model"),
    [(SINGLE, "seresnext"), (MULTI, "vitb16r224"), (BOXES, "yolov5"), (MASKS, "maskrcnn_resnet50_fpn")],
)
def test_each_of_azures_is_taken_within_its_range_and_refused_beyond_it(task, model):
    def read(name, value):
        content = {"type": "automl", "task": task.replace("-", "_"), "training_data": {"path": "a"}}
        content["training_parameters"] = {"model_name": model, name: value}
        return VENDORS["azure"].read([document_of(content)], Maps(), {}).content

    rows = azure.table(task, model)
    check_table(rows, read)
    spelt = {alias: named for named in rows.values() for alias in named.row.aliases}
    assert ("box_iou_thresh" in spelt) == (task in (BOXES, MASKS))
    check_table(spelt, read)


@pytest.mark.parametrize(("task", "theirs"), [(SINGLE, SAGEMAKER), (MULTI, SAGEMAKER), (PIXELS, SEGMENTATION)])
def test_sagemakers_names_have_its_ranges_and_defaults(task, theirs):
    rows = sagemaker.table(task)
    assert set(rows) == set(theirs)
    single = SINGLE if task == MULTI else task
    for name, (ours, kind, allowed, default) in theirs.items():
        row = rows[name].row
        assert (row.type, row.range_text()) == NARROWER.get((single, name), (kind, allowed)), name
        assert rows[name].default == default
        assert rows[name].ours.rpartition(".")[2] == PLACES.get(ours, ours).rpartition(".")[2]
    assert not sagemaker.table(BOXES)

    def read(name, value):
        steps = {"lr_scheduler_step": "3,7"} if value == "step" else {}
        big = {"epochs": 10**9} if name == "checkpoint_frequency" else {}
        sized = {"resize": 10**6} if name != "resize" else {"image_shape": "1,32,32", "num_layers": 20}
        shape = {} if task == PIXELS or name in ("image_shape", "num_layers") else sized
        needs = {"multi_label": 1} if task == MULTI else {}
        if name == "momentum" and value == 0:
            needs["optimizer"] = "adam"
        given = {**steps, **big, **needs, **shape, name: str(value)}
        image = "semantic-segmentation" if task == PIXELS else "image-classification"
        request = {"AlgorithmSpecification": {"TrainingImage": image}, "HyperParameters": given}
        return {"task": 0, **VENDORS["sagemaker"].read([document_of(request)], Maps(), {}).content}

    special = {"use_weighted_loss", "resize"} if task != MULTI else {"resize", "multi_label"}
    check_table({n: r for n, r in rows.items() if n not in special}, read)
    if task != PIXELS:
        with pytest.raises(UserError, match="job: HyperParameters.resize: .* must be above both sides of image_shape"):
            read("resize", 5)
        with pytest.raises(UserError, match="job: HyperParameters.resize: .*allowed: at least 1"):
            read("resize", 0)


def test_yolov5s_names_are_the_guides_with_its_starting_values():
    rows = yolov5.table()
    assert set(rows) == set(LIMITS)
    for name, (kind, allowed, default) in GENES.items():
        row = rows[name].row
        assert (row.type, row.range_text(), rows[name].default) == (
            kind,
            allowed,
            default[0] if isinstance(default, tuple) else default,
        )
    start = {name: rows[name].default for name in ("lr0", "momentum", "weight_decay", "warmup_epochs")}
    assert start == {"lr0": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "warmup_epochs": 3.0}
    assert "anchors" not in GENES or rows["anchors"].default is None

    def read(name, value):
        return VENDORS["yolov5"].read([document_of({"lr0": 0.01, name: value})], Maps(), {}).content

    check_table(rows, read)


def test_sagemakers_own_defaults_hold_where_its_names_are_used():
    content = read_experiment(str(FILES / "sagemaker-classification.json"), SOURCE)
    experiment = Experiment.read(content)
    settings = resolve(experiment.task, experiment.settings, experiment.profile)
    expected = {ours: default for ours, _, _, default in SAGEMAKER.values() if ours not in PLACES}
    expected |= experiment.settings
    assert {name: settings[name] for name in expected} == expected
    assert OWN_DEFAULTS["image_shape"][0] is None
    assert settings["image_shape"] == "3,224,224"


EXTRA = {
    "azure-detection.yml": ["--map", "azureml:fridge-validation:1=here"],
    "azure-v1.txt": ["--set", f"task={BOXES}", "--set", SOURCE[0]],
    "sagemaker-classification.json": ["--set", SOURCE[0]],
    "hyp.scratch-low.yaml": ["--set", SOURCE[0]],
    "train.sh": ["--set", SOURCE[0]],
}


@pytest.mark.parametrize("file", sorted(path.name for path in FILES.iterdir()))
def test_a_real_file_imports_and_reads_back_as_it_was(file, tmp_path):
    out = tmp_path / "experiment.yaml"
    done = CliRunner().invoke(app, ["import", str(FILES / file), *EXTRA.get(file, []), "-o", str(out)])
    assert done.exit_code == 0, done.exception
    text = out.read_text()
    content = read_yaml(text, file)
    assert Experiment.read(content).model_dump() == Experiment.read(read_experiment(str(out))).model_dump()
    leaves = [line for line in text.splitlines() if line.startswith(("task:", "profile:", "  iterations:"))]
    assert leaves and all(f"# {FILES / file}: " in line or "# --set" in line for line in leaves)
    if file == "azure-detection.yml":
        assert f"# - {FILES / file}: compute: an Azure cluster" in text
        assert content["data"]["training"]["source"] == str(FILES / "data/training-mltable-folder")
        assert content["sweep"]["space"][1]["min_size"] == {"choice": [600, 800]}
        assert content["sweep"]["early_termination"]["slack_factor"] == 0.2
    if file == "sagemaker-segmentation.json":
        assert content["data"]["training"] == {"source": "s3://bucket/voc/train", "format": "masks"}
