"""What a row of the catalogue holds: types, ranges, defaults, variants, genes, and what it refuses."""

import pytest

from automl_images.errors import UserError
from automl_images.hyperparameters import Hyperparameter
from automl_images.hyperparameters.hyperparameter import Refusal

SINGLE, MULTI = "image-classification", "image-classification-multilabel"
SEGMENTATION = "image-semantic-segmentation"


def row(kind, default=None, **more):
    return Hyperparameter("x", kind, default, "what it does", **more)


def test_a_row_holds_several_algorithms_of_one_vendor_and_the_most_specific_default_counts():
    epochs = row("int", 15, low=1, defaults={("sagemaker",): 30, ("sagemaker", "segmentation"): 10, ("resnet18",): 7})
    found = [
        epochs.default_for(task, model, profile)
        for task, model, profile in (
            (SINGLE, "resnet50", "azure"),
            (SINGLE, "resnet50", "sagemaker"),
            (SEGMENTATION, "fcn", "sagemaker"),
            (SEGMENTATION, "fcn", "azure"),
            (SINGLE, "resnet18", "azure"),
            (SINGLE, "resnet18", "sagemaker"),
        )
    ]
    assert found == [15, 30, 10, 15, 7, 30]
    both = row("float", 0.01, defaults={(MULTI,): 0.035, ("resnet18",): 0.1, ("resnet18", MULTI): 0.2})
    assert [both.default_for(t, m) for t in (SINGLE, MULTI) for m in ("resnet18", "resnet50")] == [
        0.1,
        0.01,
        0.2,
        0.035,
    ]


@pytest.mark.parametrize(
    ("more", "text", "allowed", "not_allowed"),
    [
        ({"low": 0, "high": 1, "open_low": True}, "above 0 to 1", (1e-9, 1), (0, 1.1)),
        ({"low": 0, "high": 1, "open_low": True, "open_high": True}, "above 0 to below 1", (0.5,), (0, 1)),
        ({"low": 0, "open_low": True}, "above 0", (1e-9, 9), (0, -1)),
        ({"high": 1440}, "at most 1440", (0, 1440), (1441,)),
        ({"high": 1, "open_high": True}, "below 1", (-5,), (1,)),
        ({}, "any number", (-5,), ()),
    ],
)
def test_a_row_holds_ranges_with_open_ends(more, text, allowed, not_allowed):
    holds = row("float", 0.5, **more)
    assert holds.range_text() == text
    assert all(holds.check(value) == value for value in allowed)
    for value in not_allowed:
        with pytest.raises(UserError, match=f"out of range; allowed: {text}$"):
            holds.check(value)


def test_a_row_holds_what_is_otherwise_for_a_family_or_a_model():
    schedule = row(
        "choice",
        "warmup_cosine",
        choices=("warmup_cosine", "step"),
        variants={
            "segmentation": {"choices": ("step", "poly", "cosine")},
            "fcn": {"choices": ("poly",), "inference": True},
        },
    )
    with pytest.raises(UserError, match="one of warmup_cosine, step"):
        schedule.variant("classification", "resnet18").check("poly")
    assert schedule.variant("segmentation", "psp").check("poly") == "poly"
    assert not schedule.variant("segmentation", "psp").inference
    assert schedule.variant("segmentation", "fcn").choices == ("poly",)
    optimizer = row(
        "choice", "sgd", choices=("sgd", "adam"), variants={"segmentation": {"choices": ("sgd", "adagrad")}}
    )
    assert optimizer.variant("segmentation").check("adagrad") == "adagrad"


def test_a_row_holds_a_gene_with_its_gain_and_limits():
    anchors = row("int", None, low=0, gene=(2, 2.0, 10.0))
    assert anchors.check(None) is None and anchors.check(3) == 3
    gain, low, high = anchors.gene
    assert (gain, low, high) == (2, 2, 10)
    assert row("float", 0.2, low=0, high=1, gene=(0, 0.1, 0.7)).gene[0] == 0


def test_a_row_holds_what_another_setting_caps_needs_or_refuses():
    capped = row("int", None, low=1, capped_by="number_of_epochs")
    assert capped.without_effect({"x": 4, "number_of_epochs": 4}) == []
    assert capped.without_effect({"x": 5, "number_of_epochs": 4}) == ["x has no effect above number_of_epochs (4)"]
    needs = row("flag", 0, needs={"multi_label": (1,)})
    assert needs.without_effect({"x": 1, "multi_label": 1}) == []
    assert needs.without_effect({"x": 1, "multi_label": 0}) == ["x has no effect with multi_label: 0; it needs 1"]
    needed = row("epochs", None, refused=(Refusal(None, "is not enough for step", {"lr_scheduler": ("step",)}),))
    needed.check_beside({"x": None, "lr_scheduler": "poly"})
    needed.check_beside({"x": "1,2", "lr_scheduler": "step"})
    with pytest.raises(UserError, match="^x: none is not enough for step$"):
        needed.check_beside({"x": None, "lr_scheduler": "step"})


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("pair", "(3, 2)", "3,2"),
        ("pair", [3, 2], "3,2"),
        ("pair", "3x2", "3,2"),
        ("flag", True, 1),
        ("flag", "false", 0),
        ("shape", "3,224,224", "3,224,224"),
        ("epochs", "10, 20", "10,20"),
        ("text", "a run", "a run"),
    ],
)
def test_a_row_holds_each_type(kind, given, value):
    assert row(kind).check(given) == value
    assert row(kind).check(None) is None


@pytest.mark.parametrize("given", ["3", "3,0", "3,2,1", "3x", "3x2x1", 3, "-1,2"])
def test_a_pair_is_two_whole_numbers_from_1_on(given):
    with pytest.raises(UserError, match='is not two numbers; allowed: two whole numbers from 1 on, such as "3,2" or'):
        row("pair").check(given)
