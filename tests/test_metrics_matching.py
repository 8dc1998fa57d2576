"""What is confused, missed and invented, and from which score on detections are worth showing."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.annotations.shapes import encoded
from automl_images.metrics import voc_map
from automl_images.metrics.matching import (
    POINTS,
    best_thresholds,
    confidence_curves,
    confusion_matrix,
    mistakes,
    overlaps,
    paired,
)

A, B, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)
CAT, DOG = 0, 1
NAMES = ["cat", "dog"]


def truth(*objects, crowd=()):
    """Return an image's ground truth of (box, label), of which those at the places ``crowd`` are crowds."""
    boxes, labels = zip(*objects, strict=True) if objects else ((), ())
    return {
        "boxes": np.array(boxes, np.float64).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "crowd": np.isin(np.arange(len(objects)), crowd),
    }


def found(*detections):
    """Return an image's detections of (box, label, score)."""
    boxes, labels, scores = zip(*detections, strict=True) if detections else ((), (), ())
    return {
        "boxes": np.array(boxes, np.float64).reshape(-1, 4),
        "labels": np.array(labels, np.int64),
        "scores": np.array(scores, np.float64),
    }


def masked(image, size=(64, 64)):
    """Return the image with the boxes of whole pixels as masks, left halves of them alone."""
    masks = []
    for x0, y0, x1, y1 in image["boxes"].astype(int):
        pixels = np.zeros(size, bool)
        pixels[y0:y1, x0 : (x0 + x1) // 2] = True
        rle = encoded(pixels)
        masks.append({"size": [rle.height, rle.width], "counts": rle.counts.encode()})
    return {**image, "masks": masks}


def best(expected, detections):
    return best_thresholds(paired(expected, detections, NAMES, 0.5), NAMES, 0.5)


def test_the_matrix_counts_what_is_taken_for_what():
    expected = [truth((A, CAT), (B, DOG), (FAR, DOG))]
    detections = [found((A, CAT, 0.9), (B, CAT, 0.8), ((40, 0, 45, 5), DOG, 0.7), (FAR, DOG, 0.1))]
    assert confusion_matrix(expected, detections, NAMES, 0.5, 0.1) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert confusion_matrix(expected, detections, NAMES, 0.5, 0.05) == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_the_most_overlap_is_matched_first_whatever_the_class_and_score():
    near = (0, 0, 10, 9)
    detections = [found((near, CAT, 0.9), (A, DOG, 0.2))]
    assert confusion_matrix([truth((A, CAT))], detections, NAMES, 0.5, 0) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    detections = [found((A, CAT, 0.2), (A, DOG, 0.9))]  # of equal overlaps the higher score
    assert confusion_matrix([truth((A, CAT))], detections, NAMES, 0.5, 0) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_a_crowd_swallows_detections_of_its_class():
    whole = (0, 0, 100, 100)
    expected = [truth((whole, CAT), (A, CAT), crowd=[0])]
    detections = [found((A, CAT, 0.9), (B, CAT, 0.8), (FAR, CAT, 0.7), (FAR, DOG, 0.6))]
    assert confusion_matrix(expected, detections, NAMES, 0.5, 0) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert paired(expected, detections, NAMES, 0.5).truth.tolist() == [1, -2, -2, -1]
    (wrong,) = mistakes(expected, paired(expected, detections, NAMES, 0.5), 0)
    assert not wrong.missed.any()
    assert wrong.false.tolist() == [False, False, False, True]
    assert best(expected, detections)["per_class"]["cat"] == {
        "threshold": pytest.approx(0.45),
        "f1": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "count": 1,
    }


def test_mistakes_depend_on_the_score():
    expected = [truth(), truth((A, CAT), (B, DOG))]
    detections = [found((A, CAT, 0.5)), found((A, CAT, 0.9), (A, CAT, 0.8), (B, DOG, 0.3))]
    pairs = paired(expected, detections, NAMES, 0.5)

    def at(score):
        return [(w.missed.tolist(), w.false.tolist()) for w in mistakes(expected, pairs, score)]

    assert at(0.2) == [([], [True]), ([False, False], [False, True, False])]
    assert at(0.3) == [([], [True]), ([False, True], [False, True, False])]
    assert at(0.8) == [([], [False]), ([False, True], [False, False, False])]


def test_masks_decide_where_both_sides_have_them():
    expected, detections = truth((A, CAT)), found(((0, 0, 5, 10), CAT, 0.9))
    assert overlaps(expected, detections).tolist() == [[0.5]]
    assert overlaps(masked(expected), detections).tolist() == [[0.5]]
    overlap = overlaps(masked(expected), masked(detections))  # 5 x 10 and 2 x 10 pixels
    assert overlap.tolist() == [[pytest.approx(0.4)]]
    pair = [masked(expected)], [masked(detections)]
    assert paired(*pair, NAMES, 0.5).truth.tolist() == [-1]
    assert confusion_matrix(*pair, NAMES, 0.5, 0.1) == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert confusion_matrix(*pair, NAMES, 0.4, 0.1) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    crowd = {**masked(expected), "crowd": np.array([True])}
    assert overlaps(crowd, masked(detections)).tolist() == [[1.0]]


def test_the_threshold_keeps_what_has_the_best_f1():
    expected = [truth((A, CAT), (B, DOG))]
    detections = [found((A, CAT, 0.9), (FAR, CAT, 0.13), (B, DOG, 0.6), (FAR, DOG, 0.7))]
    thresholds = best(expected, detections)
    assert thresholds["per_class"]["cat"]["threshold"] == pytest.approx(0.515)
    assert thresholds["per_class"]["dog"]["threshold"] == pytest.approx(0.3)
    assert thresholds["per_class"]["dog"]["f1"] == pytest.approx(2 / 3)
    overall = thresholds["overall"]
    assert overall["threshold"] == pytest.approx((0.6 + 0.13) / 2)
    assert (overall["f1"], overall["count"]) == (pytest.approx(0.8), 2)


def test_of_equal_f1_the_largest_threshold_and_equal_scores_together():
    expected = [truth((A, CAT), (B, CAT))]
    # after the first 2 * 1 / (1 + 2), after all 2 * 2 / (4 + 2): the same
    detections = [found((A, CAT, 0.9), (FAR, CAT, 0.5), (B, CAT, 0.5), (FAR, CAT, 0.5))]
    assert best(expected, detections)["overall"]["threshold"] == pytest.approx(0.7)
    detections = [found((A, CAT, 0.5), (FAR, CAT, 0.5), (B, CAT, 0.5))]
    assert best(expected, detections)["overall"]["f1"] == pytest.approx(0.8)
    assert best(expected, detections)["overall"]["threshold"] == pytest.approx(0.25)


def test_neighbouring_scores_are_told_apart():
    low = np.nextafter(0.5, 0)
    detections = [found((A, CAT, 0.5), (FAR, CAT, low))]
    threshold = best([truth((A, CAT))], detections)["overall"]["threshold"]
    assert low <= threshold < 0.5


def test_what_is_undefined_is_null():
    nothing = {"threshold": None, "f1": None, "precision": None, "recall": None, "count": 0}
    thresholds = best([truth((A, CAT))], [found((FAR, CAT, 0.9), (FAR, DOG, 0.8))])
    assert thresholds["per_class"]["dog"] == nothing
    assert thresholds["per_class"]["cat"] == {**nothing, "f1": 0.0, "recall": 0.0, "count": 1}
    assert best([], [])["overall"] == best([truth()], [found()])["overall"] == nothing
    json.dumps(thresholds, allow_nan=False)
    curves = confidence_curves(paired([truth()], [found((A, CAT, 0.5))], NAMES, 0.5))
    assert set(curves["recall"]) == set(curves["f1"]) == {None}
    assert curves["precision"][0] == 0
    assert curves["precision"][-1] is None
    assert confusion_matrix([], [], [], 0.5, 0) == [[0]]


def test_curves_are_strictly_above_the_score():
    curves = confidence_curves(paired([truth((A, CAT), (B, CAT))], [found((A, CAT, 0.5))], NAMES, 0.5))
    at = curves["score"].index(0.5)
    assert len(curves["score"]) == len(curves["f1"]) == POINTS
    assert (curves["recall"][at - 1], curves["recall"][at]) == (0.5, 0)
    assert (curves["precision"][at - 1], curves["precision"][at]) == (1, None)
    assert (curves["f1"][at - 1], curves["f1"][at]) == (pytest.approx(2 / 3), 0)


corner = st.integers(0, 3).map(lambda k: 10 * k)
box = st.tuples(corner, corner, st.sampled_from([8, 10, 14]), st.sampled_from([8, 10, 14])).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
score = st.sampled_from([0.05, 0.2, 0.2000001, 0.5, 0.9, 1.0])
objects = st.lists(st.tuples(box, st.integers(0, 1), st.booleans()), max_size=5)
detection = st.lists(st.tuples(box, st.integers(0, 1), score), max_size=6)
images = st.lists(st.tuples(objects, detection), max_size=4)


def pairs(drawn):
    expected = [truth(*((b, c) for b, c, _ in o), crowd=[n for n, (_, _, k) in enumerate(o) if k]) for o, _ in drawn]
    return expected, [found(*d) for _, d in drawn]


@settings(max_examples=60, deadline=None)
@given(images, st.sampled_from([0.0, 0.2, 0.5]))
def test_everything_is_counted_once(drawn, threshold):
    expected, detections = pairs(drawn)
    matrix = np.array(confusion_matrix(expected, detections, NAMES, 0.5, threshold))
    pairing = paired(expected, detections, NAMES, 0.5)
    assert matrix[:-1].sum(1).tolist() == pairing.expected.tolist()
    above = pairing.scores > threshold
    swallowed = (pairing.truth == -2)[above].sum()
    assert above.sum() - swallowed <= matrix[:, :-1].sum() <= above.sum()
    wrong = mistakes(expected, pairing, threshold)
    right = int((pairing.truth[above] >= 0).sum())
    assert sum(int(w.missed.sum()) for w in wrong) == pairing.expected.sum() - right
    assert sum(int(w.false.sum()) for w in wrong) == above.sum() - right - swallowed


@settings(max_examples=60, deadline=None)
@given(images)
def test_without_crowds_the_figures_are_vocs(drawn):
    drawn = [([(b, c, False) for b, c, _ in o], d) for o, d in drawn]
    expected, detections = pairs(drawn)
    thresholds = best(expected, detections)
    for name, best_of in (*thresholds["per_class"].items(), (None, thresholds["overall"])):
        limit = best_of["threshold"]
        every = sorted({s for _, d in drawn for *_, s in d} | {0.0})
        all_f1 = {s: f1(voc(expected, detections, s, name)) for s in every}
        if limit is None:
            assert not any(all_f1.values())
            continue
        figures = voc(expected, detections, limit, name)
        assert f1(figures) == pytest.approx(max(all_f1.values()))
        assert best_of["f1"] == pytest.approx(f1(figures))
        assert (best_of["precision"], best_of["recall"]) == (figures["precision"], figures["recall"])
        lowest = min(s for _, d in drawn for _, c, s in d if s > limit and name in (None, NAMES[c]))
        assert all(value < best_of["f1"] - 1e-9 for s, value in all_f1.items() if s >= lowest)


@settings(max_examples=30, deadline=None)
@given(images)
def test_curves_are_what_the_thresholds_say(drawn):
    expected, detections = pairs(drawn)
    pairing = paired(expected, detections, NAMES, 0.5)
    curves = confidence_curves(pairing)
    overall = best_thresholds(pairing, NAMES, 0.5)["overall"]
    reached = [value for value in curves["f1"] if value is not None]
    assert max(reached, default=0) <= (overall["f1"] or 0) + 1e-12
    recall = [value for value in curves["recall"] if value is not None]
    assert recall == sorted(recall, reverse=True)


def voc(expected, detections, limit, name):
    above = [{k: v[one["scores"] > limit] for k, v in one.items()} for one in detections]
    figures = voc_map(expected, above, NAMES, 0.5)
    return figures if name is None else figures["per_class"][name]


def f1(figures):
    p, r = figures["precision"], figures["recall"]
    return 2 * p * r / (p + r) if p and r else 0.0


def test_many_detections_take_seconds():
    rng = np.random.default_rng(0)
    names = [str(n) for n in range(80)]

    def drawn(n, scores):
        corner = rng.uniform(0, 500, (n, 2))
        one = {"boxes": np.hstack([corner, corner + rng.uniform(10, 100, (n, 2))]), "labels": rng.integers(0, 80, n)}
        return one | ({"scores": rng.uniform(size=n)} if scores else {})

    expected, detections = [drawn(7, False) for _ in range(1000)], [drawn(36, True) for _ in range(1000)]
    started = time.process_time()
    pairing = paired(expected, detections, names, 0.5)
    thresholds, curves = best_thresholds(pairing, names, 0.5), confidence_curves(pairing)
    matrix = confusion_matrix(expected, detections, names, 0.5, 0.3)
    assert time.process_time() - started < 5
    assert np.sum(matrix[:-1]) == thresholds["overall"]["count"] == 7000
    assert math.isclose(max(curves["f1"]), thresholds["overall"]["f1"], rel_tol=0.2)
