"""The figures of segmentation, against scikit-learn's, torchmetrics' and slow ones written out."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from automl_images.annotations.masks import IGNORE
from automl_images.metrics.segmentation import (
    TOLERANCE,
    Tally,
    baseline,
    boundary,
    confusion,
    segmentation_metrics,
)

NAMES = ["sky", "road", "car", "tree"]


def drawn(seed, size=(9, 7), classes=4, ignored=0.2):
    random = np.random.default_rng(seed)
    truth, predicted = random.integers(0, classes, (2, *size)).astype(np.uint8)
    return np.where(random.random(size) < ignored, IGNORE, truth).astype(np.uint8), predicted


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.sampled_from([0, 0.3, 0.9]), st.integers(1, 12)
)
def test_the_means_are_those_of_scikit_learn_and_torchmetrics(seed, images, classes, ignored, side):
    tally, pairs = Tally(4), [drawn(seed + i, (side, 7), classes, ignored) for i in range(images)]
    for truth, predicted in pairs:
        tally.add(truth, predicted)
    found = segmentation_metrics(tally.confusion, NAMES, tally.boundary)
    truth, predicted = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    known = truth != IGNORE
    if not known.any():
        assert found["mean_iou"] is found["pixel_accuracy"] is found["mean_dice"] is None
        return
    present = np.union1d(truth[known], predicted[known]).astype(int).tolist()
    of_sklearn = jaccard_score(truth[known], predicted[known], labels=present, average=None)
    assert [found["per_label_metrics"][NAMES[c]]["iou"] for c in present] == pytest.approx(list(of_sklearn), abs=1e-6)
    assert found["mean_iou"] == pytest.approx(of_sklearn.mean(), abs=1e-6)
    assert found["mean_dice"] == pytest.approx(
        f1_score(truth[known], predicted[known], labels=present, average="macro"), abs=1e-6
    )
    oracle = MulticlassJaccardIndex(num_classes=4, ignore_index=IGNORE, average="none")
    theirs = oracle(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long())[present]
    assert found["mean_iou"] == pytest.approx(float(theirs.mean()), abs=1e-6)
    assert found["pixel_accuracy"] == pytest.approx((truth == predicted)[known].mean(), abs=1e-9)
    assert {n for n, f in found["per_label_metrics"].items() if f["iou"] is not None} == {NAMES[c] for c in present}
    json.dumps(found, allow_nan=False)


def test_what_is_predicted_where_the_truth_is_ignored_counts_nowhere():
    truth, predicted = drawn(1)
    other = np.where(truth == IGNORE, 200, predicted)
    both = [Tally(4), Tally(4)]
    for tally, one in zip(both, (predicted, other), strict=True):
        tally.add(truth, one)
    assert (both[0].confusion == both[1].confusion).all() and (both[0].boundary == both[1].boundary).all()
    assert both[0].confusion.sum() == (truth != IGNORE).sum()


def test_a_class_in_neither_truth_nor_prediction_is_undefined_and_one_in_either_counts():
    truth = np.array([[0, 0, 1, 1]])
    found = segmentation_metrics(confusion(truth, np.array([[0, 0, 1, 2]]), 4), NAMES)
    assert [f["iou"] for f in found["per_label_metrics"].values()] == [1, 0.5, 0, None]
    assert found["mean_iou"] == 0.5 and found["pixel_accuracy"] == 0.75
    assert found["mean_pixel_accuracy"] == 0.75  # car has no pixel of its own
    assert found["per_label_metrics"]["car"] | {"dice": 0} == {
        "iou": 0,
        "dice": 0,
        "pixel_accuracy": None,
        "precision": 0,
        "count": 0,
        "predicted": 1,
    }
    assert found["frequency_weighted_iou"] == (1 * 2 + 0.5 * 2) / 4
    assert "boundary_f1" not in found


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        ([[0, 1]], [[0, 4]], "the prediction has the value 4, which is none of 4 classes"),
        ([[0, 7]], [[0, 1]], "the truth has the value 7, which is none of 4 classes"),
        ([[0, 1]], [[0], [1]], r"the truth has \(1, 2\) pixels, and the prediction \(2, 1\)"),
    ],
)
def test_a_value_of_no_class_is_refused(truth, predicted, said):
    with pytest.raises(ValueError, match=said):
        confusion(np.array(truth), np.array(predicted), 4)


def slow_boundary(truth, predicted, c, most):
    """Return the boundary F1 of a class, pixel by pixel, None where it has no boundary."""

    def edge(values):
        found = []
        for y, x in np.ndindex(*values.shape):
            for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= j < values.shape[0] and 0 <= i < values.shape[1]
                if inside and values[y, x] == c != values[j, i] and IGNORE not in (truth[y, x], truth[j, i]):
                    found.append((y, x))
                    break
        return found

    def near(some, others):
        return np.mean([any(np.hypot(y - j, x - i) <= most + 1e-9 for j, i in others) for y, x in some])

    true, found = edge(truth), edge(predicted)
    if not true and not found:
        return None
    if not true or not found:
        return 0
    precision, recall = near(found, true), near(true, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.1, 0.2]), st.sampled_from([0, 0.1]))
def test_boundary_f1_is_that_of_comparing_all_boundary_pixels(seed, tolerance, ignored):
    coarse, moved = drawn(seed, (3, 3), 3, 0)
    truth, predicted = (np.kron(one, np.ones((4, 4), np.uint8)) for one in (coarse, moved))
    truth[np.random.default_rng(seed).random(truth.shape) < ignored] = IGNORE
    found = boundary(truth, predicted, 4, tolerance)
    for c in range(4):
        expected = slow_boundary(truth, predicted, c, tolerance * np.hypot(12, 12))
        assert found[c].tolist() == pytest.approx([0, 0] if expected is None else [expected, 1], abs=1e-9)


def test_boundary_f1_takes_a_shift_within_the_tolerance_and_none_beyond():
    truth, near, far = (np.zeros((300, 400), np.uint8) for _ in range(3))
    truth[:, 200:], near[:, 203:], far[:, 205:] = 1, 1, 1
    assert TOLERANCE * 500 == 3.75
    assert boundary(truth, near, 2).tolist() == [[1, 1], [1, 1]]
    assert boundary(truth, far, 2).tolist() == [[0, 1], [0, 1]]
    tally = Tally(2)
    tally.add(truth, near)
    tally.add(truth, far)
    figures = segmentation_metrics(tally.confusion, NAMES[:2], tally.boundary)
    assert figures["boundary_f1"] == figures["per_label_metrics"]["sky"]["boundary_f1"] == 0.5
    assert figures["boundary_tolerance"] == TOLERANCE


def test_an_image_of_one_class_has_no_boundary():
    one, other = np.zeros((5, 5), np.uint8), np.eye(5, dtype=np.uint8)
    assert boundary(one, one, 2).tolist() == [[0, 0], [0, 0]]
    assert boundary(one, other, 2).tolist() == [[0, 1], [0, 1]]
    figures = segmentation_metrics(confusion(one, one, 2), NAMES[:2], boundary(one, one, 2))
    assert figures["boundary_f1"] is None and figures["mean_iou"] == 1


def test_the_baseline_gives_every_pixel_the_commonest_class():
    truth, predicted = drawn(3)
    matrix = confusion(truth, predicted, 4)
    most = np.bincount(truth[truth != IGNORE]).argmax()
    expected = segmentation_metrics(confusion(truth, np.full_like(truth, most), 4), NAMES)
    assert baseline(matrix, NAMES) == {k: v for k, v in expected.items() if not isinstance(v, dict | list)}
    assert baseline(np.zeros((4, 4), np.int64), NAMES)["mean_iou"] is None


def test_memory_does_not_grow_with_the_images():
    def peak(images):
        tally = Tally(4)
        tracemalloc.start()
        for truth, predicted in (drawn(i, (64, 64)) for i in range(images)):
            tally.add(truth, predicted)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(150) < 1.1 * peak(5)
