"""The catalogue's ranges and defaults, and what settings may go together."""

import pytest

from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError
from automl_images.hyperparameters import (
    CATALOGUE,
    check_inference,
    find,
    hyperparameters,
    inference_settings,
    resolve,
    without_effect,
)
from automl_images.hyperparameters.number import number
from automl_images.tasks import TASKS

TASK = "image-object-detection"


@pytest.mark.parametrize(
    ("model", "name", "default"),
    [
        ("yolov5", "number_of_epochs", 30),
        ("yolov5", "training_batch_size", 16),
        ("yolov5", "learning_rate", 0.01),
        ("yolov5", "box_score_thresh", 0.1),
        ("yolov5", "img_size", 640),
        ("fasterrcnn_resnet18_fpn", "number_of_epochs", 15),
        ("fasterrcnn_resnet18_fpn", "training_batch_size", 2),
        ("fasterrcnn_resnet18_fpn", "validation_batch_size", 1),
        ("fasterrcnn_resnet50_fpn", "learning_rate", 0.005),
        ("fasterrcnn_resnet50_fpn", "box_score_thresh", 0.3),
        ("fasterrcnn_resnet50_fpn", "max_size", 1333),
    ],
)
def test_defaults_are_azures(model, name, default):
    assert resolve(TASK, {"model_name": model})[name] == default


def test_the_default_model_is_yolov5_and_every_row_has_a_value():
    settings = resolve(TASK, {})
    assert settings["model_name"] == "yolov5"
    assert set(settings) == {"model_name", *hyperparameters("yolov5")}
    assert "min_size" not in settings


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.name)
def test_every_default_is_within_its_range_and_described(row):
    for model, architecture in ARCHITECTURES.items():
        for task in (t for t in TASKS.values() if t.family == architecture.family and row.applies_to(model)):
            for profile in ("azure", "sagemaker"):
                own = row.variant(architecture.family, model)
                default = own.default_for(task.name, model, profile)
                assert own.check(default) == default
    assert len(row.effect) > 20
    assert row.range_text()


@pytest.mark.parametrize("row", [r for r in CATALOGUE.values() if r.low is not None], ids=lambda row: row.name)
def test_what_is_within_both_ends_is_allowed_and_nothing_beyond(row):
    step = 1 if row.type == "int" else 1e-6
    inner, outer = (row.low + step, row.low) if row.open_low else (row.low, row.low - step)
    assert row.check(inner) == inner
    with pytest.raises(UserError, match=f"{row.name}: .* out of range; allowed: {row.range_text()}"):
        row.check(outer)
    if row.high is not None:
        inner, outer = (row.high - step, row.high) if row.open_high else (row.high, row.high + step)
        assert row.check(inner) == inner
        with pytest.raises(UserError, match="out of range"):
            row.check(outer)


@pytest.mark.parametrize(
    ("given", "value"), [(15.0, 15), ("15", 15), (1, 1)], ids=["a float from KFP", "a string", "an int"]
)
def test_whole_numbers_come_in_any_spelling(given, value):
    checked = CATALOGUE["number_of_epochs"].check(given)
    assert checked == value
    assert isinstance(checked, int)


@pytest.mark.parametrize("value", [1.5, "many", None, True, float("nan")])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(UserError, match="number_of_epochs: .* is not a whole number; allowed: at least 1"):
        CATALOGUE["number_of_epochs"].check(value)


@pytest.mark.parametrize(("given", "value"), [(True, 1), ("False", 0), (0.0, 0), ("1", 1)])
def test_flags_take_booleans_too(given, value):
    assert CATALOGUE["nesterov"].check(given) == value


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model_name": "yolo5"}, "no model 'yolo5'; did you mean 'yolov5'"),
        ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
        ({"learning_rate": 2}, "learning_rate: 2 is out of range; allowed: 0 to 1"),
        ({"optimizer": "adamx"}, "did you mean 'adam'"),
        ({"min_size": 100}, "does not apply to yolov5"),
        ({"momentum": 0}, "nesterov: 0 or a momentum above 0"),
        ({"optimizer": "adam", "beta2": 1}, "beta2: 1 would never take in a new gradient"),
        ({"img_size": 640, "image_size": 640}, "is the same hyperparameter as img_size"),
        (
            {"model_name": "fasterrcnn_resnet18_fpn", "min_size": 800, "max_size": 700},
            "min_size: 800 is above max_size 700",
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values())),
)
def test_wrong_settings_are_refused_with_the_mend(given, line):
    with pytest.raises(UserError) as refused:
        resolve(TASK, given)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_spellings_are_turned_into_the_one_name():
    given = {"image_size": 320, "gradient_accumulation_step": 2, "box_iou_thresh": 0.4, "model_size": "extra_large"}
    settings = resolve(TASK, given)
    assert (settings["img_size"], settings["grad_accumulation_step"]) == (320, 2)
    assert (settings["nms_iou_thresh"], settings["model_size"]) == (0.4, "xlarge")
    assert find("box_nms_thresh", "fasterrcnn_resnet18_fpn").name == "nms_iou_thresh"


def test_a_checkpoint_frequency_beyond_the_last_epoch_is_said():
    given = {"number_of_epochs": 4, "checkpoint_frequency": 5}
    (line,) = without_effect(resolve(TASK, given), given)
    assert line == "checkpoint_frequency has no effect above number_of_epochs (4)"
    given["checkpoint_frequency"] = 4
    assert without_effect(resolve(TASK, given), given) == []


def test_settings_that_others_leave_without_effect_are_said():
    given = {"optimizer": "adamw", "momentum": 0.8, "step_lr_gamma": 0.1, "beta1": 0.8}
    lines = without_effect(resolve(TASK, given), given)
    assert len(lines) == 2
    assert "momentum has no effect with optimizer: adamw" in lines[0]
    assert "step_lr_gamma has no effect with lr_scheduler: warmup_cosine" in lines[1]


@pytest.mark.parametrize("same", [0.001, "0.001", "1e-3", "1E-3", " 0.001 "])
def test_a_number_is_one_number_however_it_is_spelt(same):
    assert number(same) == 0.001
    assert CATALOGUE["learning_rate"].check(same) == 0.001
    assert (number(16), number("16"), number(16.0)) == (16, 16, 16)


@pytest.mark.parametrize(
    "value", [True, False, "nan", float("nan"), "inf", float("-inf"), "1e999", "many", "", None, [1]]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="is not a number"):
        number(value)


@pytest.mark.parametrize("spelling", [2, 2.0, "2", "2.0", "2e0"])
def test_a_choice_of_numbers_takes_any_spelling(spelling):
    row = CATALOGUE["weighted_loss"]
    assert row.check(spelling) == 2 and isinstance(row.check(spelling), int)


def test_equal_steps_have_no_effect_beside_listed_ones():
    given = {"lr_scheduler": "step", "lr_scheduler_step": "2,4", "step_lr_gamma": 0.1, "step_lr_step_size": 3}
    assert without_effect(resolve(TASK, given), given) == [
        f"{name} has no effect with lr_scheduler_step: 2,4; it needs none"
        for name in ("step_lr_gamma", "step_lr_step_size")
    ]


def test_what_acts_at_inference_is_what_predicting_reads():
    tiles = {"tile_grid_size", "tile_overlap_ratio", "tile_predictions_nms_thresh"}
    detectors = {"box_score_thresh", "nms_iou_thresh", *tiles}
    assert set(inference_settings("yolov5")) == {"img_size", *detectors}
    rcnn = {"min_size", "max_size", "box_detections_per_img", *detectors}
    assert set(inference_settings("fasterrcnn_resnet18_fpn")) == rcnn
    sizes = {"valid_resize_size", "valid_crop_size", "image_shape"}
    assert set(inference_settings("resnet18")) == {"validation_batch_size", *sizes}


@pytest.mark.parametrize("name", ["learning_rate", "model_size", "model_name", "epochs", "validation_batch_size"])
def test_what_does_not_act_at_inference_is_refused_with_what_does(name):
    line = (
        f"^{name}: cannot be changed in a trained yolov5; these can: img_size, box_score_thresh, nms_iou_thresh, tile_"
    )
    with pytest.raises(UserError, match=line):
        check_inference("yolov5", {"img_size": 64, name: 1})


def test_settings_for_inference_are_canonical_and_checked():
    assert check_inference("yolov5", {"box_iou_thresh": "4e-1", "image_size": 320.0}) == {
        "nms_iou_thresh": 0.4,
        "img_size": 320,
    }
    for given, line in (
        ({"box_score_thresh": 2}, "box_score_thresh: 2 is out of range"),
        ({"box_iou_thresh": 0.4, "nms_iou_thresh": 0.4}, "is the same hyperparameter as box_iou_thresh"),
        ({"box_scor_thresh": 0.4}, "did you mean 'box_score_thresh'"),
        ({"min_size": 64}, "min_size: does not apply to yolov5"),
    ):
        with pytest.raises(UserError, match=line):
            check_inference("yolov5", given)
