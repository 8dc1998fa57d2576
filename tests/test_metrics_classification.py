"""A classifier's figures, against counts by hand and scikit-learn's own."""

import itertools
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.metrics import classification_metrics
from automl_images.metrics.classification import curves, predicted_labels

AVERAGES = ("macro", "micro", "weighted")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def names(count):
    return [f"c{i}" for i in range(count)]


@st.composite
def problems(draw, multilabel):
    """Draw truth and probabilities with many ties, classes that no image has, and sometimes a single class."""
    n, count = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    raw = draw(st.lists(st.integers(0, 4), min_size=n * count, max_size=n * count))
    probs = np.array(raw, dtype=np.float64).reshape(n, count)
    if multilabel:
        bits = draw(st.lists(st.booleans(), min_size=n * count, max_size=n * count))
        return np.array(bits).reshape(n, count), probs / 4
    truth = draw(st.lists(st.integers(0, count - 1), min_size=n, max_size=n))
    return np.array(truth), (probs + 0.01) / (probs + 0.01).sum(1, keepdims=True)


def by_hand(hot, said, probs):
    """Return (precision, recall, f1, iou, AUC) of one class by counting, image by image and pair by pair."""
    both = sum(h and s for h, s in zip(hot, said, strict=True))
    if not any(hot):
        return (None,) * 5
    precision = both / sum(said) if any(said) else 0.0
    recall = both / sum(hot)
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    iou = both / sum(h or s for h, s in zip(hot, said, strict=True))
    pairs = [(p > q) + (p == q) / 2 for p, q in itertools.product(probs[hot], probs[~hot])]
    return precision, recall, f1, iou, float(np.mean(pairs)) if pairs else None


def mean(values, weights=None):
    known = [(v, 1 if weights is None else w) for v, w in zip(values, weights or values, strict=True) if v is not None]
    return sum(v * w for v, w in known) / sum(w for _, w in known) if known else None


def same(found, expected):
    assert found is None if expected is None else found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("multilabel", [False, True], ids=["one-label", "many-labels"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_figures_are_what_counting_gives(multilabel, data):
    truth, probs = data.draw(problems(multilabel))
    n, count = probs.shape
    found = classification_metrics(truth, probs, names(count), multilabel)
    hot = truth if multilabel else truth[:, None] == np.arange(count)
    said = np.array([[p > 0.5 for p in row] if multilabel else np.arange(count) == row.argmax() for row in probs])
    per_class = [by_hand(hot[:, c], said[:, c], probs[:, c]) for c in range(count)]
    support = [int(hot[:, c].sum()) for c in range(count)]
    same(found["accuracy"], sum(list(h) == list(s) for h, s in zip(hot, said, strict=True)) / n)
    for c, figures in enumerate(found["per_label_metrics"].values()):
        for name, value in zip(("precision", "recall", "f1_score", None, "AUC"), per_class[c], strict=True):
            if name:
                same(figures[name], value)
        assert figures["count"] == support[c]
        same(figures["accuracy"], np.mean(hot[:, c] == said[:, c]))
    columns = dict(
        zip(("precision_score", "recall_score", "f1_score", "iou", "AUC"), zip(*per_class, strict=True), strict=True)
    )
    micro = by_hand(hot.ravel(), said.ravel(), probs.ravel())
    for (name, values), over_all in zip(columns.items(), micro, strict=True):
        if name == "iou" and not multilabel:
            continue
        same(found[f"{name}_macro"], mean(values))
        same(found[f"{name}_micro"], over_all)
        same(found[f"{name}_weighted"], mean(values, support))
    if multilabel:
        shares = [1.0 if not (h | s).any() else (h & s).sum() / (h | s).sum() for h, s in zip(hot, said, strict=True)]
        same(found["iou"], np.mean(shares))
        same(found["accuracy_per_class_mean"], (hot == said).mean())
        for c, table in enumerate(found["confusion_matrix"].values()):
            for true, said_so in itertools.product((0, 1), (0, 1)):
                assert table[true][said_so] == sum((hot[:, c] == true) & (said[:, c] == said_so))
    else:
        for true, said_so in itertools.product(range(count), range(count)):
            cell = sum((truth == true) & (probs.argmax(1) == said_so))
            assert found["confusion_matrix"][true][said_so] == cell
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [2, 5])
def test_one_label_an_image_agrees_with_scikit_learn(count, dtype):
    rng = np.random.default_rng(count)
    truth, logits = rng.integers(0, count, 80), rng.normal(size=(80, count)) * 30
    truth[:count] = range(count)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs = (probs / probs.sum(1, keepdims=True)).astype(dtype)
    assert (probs < np.finfo(dtype).eps).any()  # so that clipping shows
    said, hot = probs.argmax(1), truth[:, None] == np.arange(count)
    found = classification_metrics(truth, probs, names(count), False, 2)
    same(found["accuracy"], sk.accuracy_score(truth, said))
    same(found["balanced_accuracy"], sk.balanced_accuracy_score(truth, said))
    same(found["norm_macro_recall"], sk.balanced_accuracy_score(truth, said, adjusted=True))
    same(found["matthews_correlation"], sk.matthews_corrcoef(truth, said))
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, probs), rel=1e-5)
    for kind in AVERAGES:
        for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            same(found[f"{name}_score_{kind}"], score(truth, said, average=kind, zero_division=0))
        same(found[f"AUC_{kind}"], sk.roc_auc_score(hot, probs, average=kind))
        same(found[f"average_precision_score_{kind}"], sk.average_precision_score(hot, probs, average=kind))
    if count > 2:
        same(found["top_k_accuracy"], sk.top_k_accuracy_score(truth, probs, k=2, labels=range(count)))
    assert found["confusion_matrix"] == sk.confusion_matrix(truth, said).tolist()


def test_many_labels_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    truth, probs = rng.random((60, 4)) < 0.4, rng.uniform(0.01, 0.99, (60, 4)).astype(np.float32).round(2)
    truth[0], probs[0] = False, 0.1
    said = probs > 0.5
    found = classification_metrics(truth, probs, names(4), True)
    same(found["accuracy"], sk.accuracy_score(truth, said))
    same(found["iou"], sk.jaccard_score(truth, said, average="samples", zero_division=1.0))
    for kind in AVERAGES:
        same(found[f"iou_{kind}"], sk.jaccard_score(truth, said, average=kind))
        same(found[f"f1_score_{kind}"], sk.f1_score(truth, said, average=kind))
        same(found[f"AUC_{kind}"], sk.roc_auc_score(truth, probs, average=kind))
        same(found[f"average_precision_score_{kind}"], sk.average_precision_score(truth, probs, average=kind))
    tables = np.array(list(found["confusion_matrix"].values()))
    assert (tables == sk.multilabel_confusion_matrix(truth, said)).all()
    wide = probs.astype(float)
    per_class = [sk.log_loss(truth[:, c], np.c_[1 - wide[:, c], wide[:, c]]) for c in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(per_class), rel=1e-5)


def test_a_class_that_no_image_has_is_left_out():
    truth, probs = [0, 0, 1], np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7], [0.1, 0.9, 0.0]])
    found = classification_metrics(truth, probs, ["a", "b", "never"], False)
    never = found["per_label_metrics"]["never"]
    assert {k for k, v in never.items() if v is None} == {"precision", "recall", "f1_score", "AUC", "average_precision"}
    assert (never["count"], never["accuracy"]) == (0, pytest.approx(2 / 3))
    same(found["recall_score_macro"], (0.5 + 1) / 2)
    same(found["precision_score_macro"], 1.0)
    same(found["norm_macro_recall"], (0.75 - 0.5) / 0.5)  # two classes that could be met
    same(found["precision_score_micro"], 2 / 3)  # what was wrongly said to be of it still counts there


UNDEFINED = {
    "one-class": (
        [0, 0],
        [[1.0], [1.0]],
        False,
        {"AUC_macro", "norm_macro_recall", "matthews_correlation"},
        {"accuracy": 1},
    ),
    "one-class-present": (
        [0, 0],
        [[0.2, 0.8], [0.9, 0.1]],
        False,
        {"AUC_macro", "AUC_weighted", "norm_macro_recall", "matthews_correlation"},
        {"accuracy": 0.5, "AUC_micro": 0.75, "average_precision_score_macro": 1},
    ),
    "no-labels-at-all": (
        [[0, 0]],
        [[0.1, 0.2]],
        True,
        {"precision_score_micro", "recall_score_macro", "AUC_micro", "iou_macro", "top_k_accuracy"},
        {"iou": 1, "accuracy": 1, "accuracy_per_class_mean": 1},
    ),
    "all-labels": ([[1, 1]], [[0.9, 0.2]], True, {"AUC_macro", "AUC_micro"}, {"iou": 0.5, "f1_score_micro": 2 / 3}),
    "one-class-multilabel": ([[1], [0]], [[0.6], [0.7]], True, set(), {"AUC_macro": 0, "iou": 0.5, "iou_micro": 0.5}),
}


@pytest.mark.parametrize(("truth", "probs", "multilabel", "none", "known"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_what_is_undefined_is_none(truth, probs, multilabel, none, known):
    found = classification_metrics(truth, np.array(probs), names(len(probs[0])), multilabel, 2)
    assert {k for k in none if found[k] is not None} == set()
    assert {k: found[k] for k in known} == pytest.approx(known)
    json.dumps(found, allow_nan=False)
    json.dumps(curves(truth, np.array(probs), names(len(probs[0])), multilabel), allow_nan=False)


TOP_K = {
    "one-label": ([2, 1, 0], [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.2, 0.5, 0.3]], False, [0, 1 / 3, 1, 1]),
    # of the images with labels, those with any label among the k most probable
    "many-labels": (
        [[0, 1, 1], [1, 0, 0], [0, 0, 0]],
        [[0.9, 0.8, 0.1], [0.5, 0.6, 0.7], [0, 0, 1]],
        True,
        [0, 0.5, 1, 1],
    ),
}


@pytest.mark.parametrize(("truth", "probs", "multilabel", "expected"), TOP_K.values(), ids=TOP_K.keys())
def test_top_k(truth, probs, multilabel, expected):
    for k, value in enumerate(expected, 1):
        found = classification_metrics(truth, np.array(probs), names(3), multilabel, k)
        same(found["top_k_accuracy"], value)
        if k == 1 and not multilabel:
            assert found["accuracy"] == value  # ties are broken alike
    assert "top_k_accuracy" not in classification_metrics(truth, np.array(probs), names(3), multilabel)


def test_a_label_takes_more_than_half():
    assert predicted_labels(np.array([[0.5, 0.5001]]), True).tolist() == [[False, True]]


GOOD = np.array([[0.6, 0.4]])
REFUSED = {
    "no-image": ([], np.zeros((0, 2)), False, None, "shape"),
    "other-classes": ([0], np.ones((1, 3)) / 3, False, None, "shape"),
    "more-truth": ([0, 1], GOOD, False, None, "truth has the shape"),
    "flat-truth": ([1], GOOD, True, None, "truth has the shape"),
    "nan": ([0], np.array([[np.nan, 1]]), False, None, "image 0 has a probability that is not a finite number"),
    "logits": ([0], np.array([[-3.0, 5.0]]), False, None, "not in"),
    "no-such-class": ([2], GOOD, False, None, "no place among the 2 classes"),
    "counts": ([[2, 0]], GOOD, True, None, "other than 0 and 1"),
    "top-0": ([0], GOOD, False, 0, "top_k is 0"),
}


@pytest.mark.parametrize(("truth", "probs", "multilabel", "k", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_arrays_are_refused(truth, probs, multilabel, k, line):
    with pytest.raises(ValueError, match=line):
        classification_metrics(np.array(truth, dtype=int), probs, names(2), multilabel, k)


def area(x, y):
    return float(np.trapezoid(y, x))


@pytest.mark.parametrize("size", [5, 3000], ids=["few", "thinned"])
def test_curves_enclose_what_the_figures_say(size):
    rng = np.random.default_rng(0)
    truth = rng.random((size, 2)) < 0.4
    truth[0], truth[1] = True, False
    probs = (rng.random((size, 2)) * 0.5 + truth * 0.3).clip(0, 1)
    figures, found = classification_metrics(truth, probs, ["a", "b"], True), curves(truth, probs, ["a", "b"], True)
    pairs = {**found["classes"], "micro": found["micro"]}
    assert list(pairs) == ["a", "b", "micro"]
    for name, pair in pairs.items():
        auc = figures["AUC_micro"] if name == "micro" else figures["per_label_metrics"][name]["AUC"]
        roc, pr = pair["roc"], pair["pr"]
        assert area(roc["fpr"], roc["tpr"]) == pytest.approx(auc, abs=2e-3 if size > 200 else 1e-5)
        assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
        assert pr["recall"][0] == 0 and pr["recall"][-1] == 1
        for curve in (roc, pr):
            assert len({len(v) for v in curve.values()}) == 1 and len(curve["threshold"]) <= 200
            assert curve["threshold"] == sorted(curve["threshold"], reverse=True) and curve["threshold"][0] <= 1
    json.dumps(found, allow_nan=False)


def test_a_point_of_a_curve_is_what_its_threshold_gives():
    truth, probs = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.6], [0.2]])
    pair = curves(truth, probs, ["a"], True)["micro"]
    for fpr, tpr, threshold in list(zip(*pair["roc"].values(), strict=True))[1:]:
        said = probs >= threshold
        assert (fpr, tpr) == (said[truth == 0].mean(), said[truth == 1].mean())
    for recall, precision, threshold in list(zip(*pair["pr"].values(), strict=True))[1:]:
        said = probs >= threshold
        assert (recall, precision) == pytest.approx((said[truth == 1].mean(), truth[said].mean()), abs=1e-6)


def test_single_figures_are_picked_out():
    found = classification_metrics([0, 1], np.array([[0.6, 0.4], [0.3, 0.7]]), ["a", "b"], False, 2)
    single = {k: v for k, v in found.items() if not isinstance(v, dict | list)}
    assert next(iter(single)) == "accuracy"
    assert set(found) - set(single) == {"per_label_metrics", "confusion_matrix"}


def test_metrics_need_no_torch():
    code = (
        "import sys, numpy as np; from automl_images.metrics import classification_metrics as m;"
        "m([0, 1], np.eye(2), ['a', 'b'], False); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
