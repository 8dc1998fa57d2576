"""VOC's average precision, worked by hand."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from faster_coco_eval import mask as coco
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.metrics import voc_map
from automl_images.metrics.voc import box_iou

CLASSES = ["cat", "dog"]
SIZE = (60, 60)


def truth(boxes=(), labels=None, crowd=None):
    found = {"boxes": np.array(boxes, float).reshape(-1, 4), "labels": labels or [0] * len(boxes)}
    return found if crowd is None else {**found, "crowd": crowd}


def detected(*rows):
    """Rows of (box, score) or (box, score, label)."""
    boxes = np.array([r[0] for r in rows], float).reshape(-1, 4)
    labels = [r[2] if len(r) > 2 else 0 for r in rows]
    return {"boxes": boxes, "scores": [r[1] for r in rows], "labels": labels}


A, B, C = [0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]
NOWHERE = [80, 80, 90, 90]


def test_a_case_worked_by_hand():
    # Four cats on two images. By falling score:
    #   .9 true   precision 1/1  recall 1/4
    #   .8 false            1/2         1/4
    #   .7 true             2/3         2/4
    #   .6 false            2/4         2/4
    #   .5 true             3/5         3/4
    # The fourth is never found. The envelope (the best precision at this recall or more) is 1 up to recall 1/4, 2/3
    # up to 2/4, 3/5 up to 3/4 and 0 beyond: the area is (1 + 2/3 + 3/5) / 4 = 17/30.
    found = voc_map(
        [truth([A, B]), truth([A, C])],
        [detected((A, 0.9), (NOWHERE, 0.6), (B, 0.5)), detected((NOWHERE, 0.8), (A, 0.7))],
        CLASSES,
    )
    assert found["map"] == pytest.approx(17 / 30)
    assert found["per_class"]["cat"] == {
        "average_precision": pytest.approx(17 / 30),
        "average_precision_2007": pytest.approx((3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11),  # recall 0-.2, .3-.5, .6-.7
        # no false positive allowed at seven of the nine rates, one (.5 an image) at .56, two (1 an image) at 1
        "log_average_miss_rate": pytest.approx((0.75**7 * 0.5 * 0.25) ** (1 / 9)),
        "precision": pytest.approx(3 / 5),
        "recall": pytest.approx(3 / 4),
        "count": 4,
        "detections": 5,
    }
    assert found["curves"] == {
        "cat": {
            "recall": pytest.approx([1 / 4, 2 / 4, 3 / 4]),
            "precision": pytest.approx([1, 2 / 3, 3 / 5]),
            "score": [0.9, 0.7, 0.5],
        }
    }


def test_the_envelope_lifts_precision_that_recovers():
    # false (.9), then true, true: precision 0, 1/2, 2/3 at recall 0, 1/2, 1; the envelope is 2/3 everywhere.
    found = voc_map([truth([A, B])], [detected((NOWHERE, 0.9), (A, 0.8), (B, 0.7))], CLASSES)
    assert found["map"] == pytest.approx(2 / 3)


def test_a_second_hit_is_a_false_positive_and_the_first_is_the_one_with_the_higher_score():
    near = [0, 0, 10, 9]  # IoU 0.9 with A
    # near (.9) true, A itself (.8) false, B (.7) true: precision 1, 1/2, 2/3; area (1 + 2/3) / 2 = 5/6
    found = voc_map([truth([A, B])], [detected((A, 0.8), (near, 0.9), (B, 0.7))], CLASSES)
    assert found["map"] == pytest.approx(5 / 6)
    assert found["precision"] == pytest.approx(2 / 3)


def test_a_detection_goes_to_its_best_ground_truth_even_if_that_is_taken():
    # Both detections overlap `left` most; the second reaches IoU 8/12 with `right` too, but VOC does not look further.
    left, right = [0, 0, 10, 10], [1, 0, 11, 10]
    found = voc_map([truth([left, right])], [detected((left, 0.9), ([0.2, 0, 10.2, 10], 0.8))], CLASSES)
    assert (found["precision"], found["recall"]) == (0.5, 0.5)


def test_difficult_ground_truth_is_neither_missed_nor_found():
    scene = [truth([A, B], crowd=[True, False])]
    missed = voc_map(scene, [detected((B, 0.9))], CLASSES)
    found = voc_map(scene, [detected((A, 0.99), (A, 0.95), (B, 0.9))], CLASSES)
    assert missed["per_class"] == found["per_class"]
    assert found["per_class"]["cat"] == {
        "average_precision": 1,
        "average_precision_2007": pytest.approx(1),
        "log_average_miss_rate": pytest.approx(1e-10),  # the reference's least
        "precision": 1,
        "recall": 1,
        "count": 1,
        "detections": 1,
    }


@pytest.mark.parametrize(("height", "hit"), [(5, True), (4.99, False)], ids=["at the threshold", "below it"])
def test_the_threshold_itself_is_reached(height, hit):
    found = voc_map([truth([A])], [detected(([0, 0, 10, height], 0.9))], CLASSES, iou_threshold=0.5)
    assert found["map"] == (1 if hit else 0)


def test_classes_do_not_mix_and_those_without_ground_truth_do_not_enter_the_mean():
    found = voc_map([truth([A])], [detected((A, 0.9), (A, 0.8, 1))], CLASSES)
    assert found["map"] == 1
    assert found["per_class"]["dog"]["average_precision"] is None
    assert found["per_class"]["dog"]["precision"] == 0
    assert found["precision"] == 0.5
    assert list(found["curves"]) == ["cat"]


def test_a_class_with_ground_truth_and_no_detections_is_zero_and_pulls_the_mean_down():
    found = voc_map([truth([A, B], labels=[0, 1])], [detected((A, 0.9))], CLASSES)
    assert found["map"] == 0.5
    assert found["per_class"]["dog"] == {
        "average_precision": 0,
        "average_precision_2007": 0,
        "log_average_miss_rate": 1,
        "precision": None,
        "recall": 0,
        "count": 1,
        "detections": 0,
    }


@pytest.mark.parametrize(
    ("scene", "found", "figures"),
    [
        pytest.param([], [], (None, None, None), id="no images"),
        pytest.param([truth()], [detected()], (None, None, None), id="an empty image"),
        pytest.param([truth()], [detected((A, 0.9))], (None, 0, None), id="no ground truth"),
        pytest.param([truth([A])], [detected()], (0, None, 0), id="no detections"),
        pytest.param([truth([A], crowd=[True])], [detected((A, 0.9))], (None, None, None), id="only crowd"),
        pytest.param(
            [truth([A]), truth()], [detected((A, 0.9)), detected((A, 0.8))], (1, 0.5, 1), id="an image without boxes"
        ),
        pytest.param([truth([[5, 5, 5, 5]])], [detected(([5, 5, 5, 5], 0.9))], (0, 0, 0), id="boxes without area"),
    ],
)
def test_edge_cases(scene, found, figures):
    result = voc_map(scene, found, CLASSES)
    assert (result["map"], result["precision"], result["recall"]) == figures
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("scene", "found", "why"),
    [
        pytest.param([truth()], [], "1 images, but detections of 0", id="different images"),
        pytest.param([truth([A], labels=[2])], [detected()], "label outside the 2 classes", id="unknown class"),
        pytest.param([truth()], [detected((A, float("nan")))], "image 0 has a score", id="a score that is no number"),
        pytest.param([truth()], [detected(([0, 0, np.inf, 1], 0.5))], "coordinate", id="a box without end"),
        pytest.param([truth([[10, 0, 0, 10]])], [detected()], "ends before it begins", id="a box the wrong way round"),
        pytest.param([truth([A, B], labels=[0])], [detected()], "2 boxes, 1 labels", id="arrays of different lengths"),
        pytest.param(
            [{**truth([A]), "masks": []}], [detected()], "image 0 has 1 boxes, 0 masks", id="fewer masks than boxes"
        ),
        pytest.param(
            [{**truth(), "masks": []}, truth()],
            [detected(), detected()],
            "image 0 has masks, and image 1 has none",
            id="masks of some images",
        ),
        pytest.param(
            [{**truth([A]), "masks": [{"size": [9, 8], "counts": b""}]}],
            [{**detected((A, 0.5)), "masks": [{"size": [8, 9], "counts": b""}]}],
            "masks of 8 x 9 and 9 x 8 pixels",
            id="masks of different images",
        ),
    ],
)
def test_wrong_arrays_are_refused(scene, found, why):
    with pytest.raises(ValueError, match=why):
        voc_map(scene, found, CLASSES)


def test_iou():
    # 5 x 5 in common of 100 + 100 - 25; the same box; none; one inside the other, 4 of 100
    a = np.array([[0, 0, 10, 10]], float)
    b = np.array([[5, 5, 15, 15], [0, 0, 10, 10], [10, 0, 20, 10], [1, 1, 3, 3]], float)
    assert box_iou(a, b).tolist() == [pytest.approx([25 / 175, 1, 0, 0.04])]


def by_definition(hits, total, images):
    """VOC 2007's average precision and the log-average miss rate of detections by falling score, without arrays.

    The miss rate is the maximum of 1e-10 and that of the last detection at which the false positives an image do not
    exceed the rate, 1 before the first.
    """
    true, points, curve = 0, [], []
    for n, hit in enumerate(hits, start=1):
        true += hit
        points.append((Fraction(true, total), Fraction(true, n)))
        curve.append(((n - true) / images, 1 - true / total))
    eleven = [max((p for r, p in points if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
    rates = [10 ** (-2 + k / 4) for k in range(9)]
    missed = [[m for f, m in [(-1, 1.0), *curve] if f <= rate + 1e-12][-1] for rate in rates]
    return float(sum(eleven) / 11), math.exp(sum(math.log(max(m, 1e-10)) for m in missed) / 9)


@settings(max_examples=60, deadline=None)
@given(
    hits=st.lists(st.booleans(), max_size=40), missed=st.integers(0, 5), images=st.sampled_from([1, 2, 10, 100, 300])
)
def test_the_form_of_2007_and_the_miss_rate_are_as_defined(hits, missed, images):
    total = sum(hits) + missed
    scenes, found = [truth() for _ in range(images)], [detected() for _ in range(images)]
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(total)]
    scenes[-1], wanted = truth(boxes), iter(boxes)
    found[-1] = detected(*[(next(wanted) if h else [0, 500, 9, 509], 1 - i / 100) for i, h in enumerate(hits)])
    result = voc_map(scenes, found, CLASSES)
    if not total:
        assert (result["map_2007"], result["log_average_miss_rate"]) == (None, None)
    else:
        assert (result["map_2007"], result["log_average_miss_rate"]) == pytest.approx(
            by_definition(hits, total, images)
        )


def test_means_are_over_the_classes_with_ground_truth():
    found = voc_map([truth([A, B], labels=[0, 1])], [detected((A, 0.9))], [*CLASSES, "bird"])
    assert found["map_2007"] == pytest.approx((1 + 0) / 2)
    assert found["log_average_miss_rate"] == pytest.approx((1e-10 + 1) / 2)
    assert found["per_class"]["bird"]["log_average_miss_rate"] is None


def masked(image, *areas, size=SIZE):
    """Add masks to arrays of an image: of each object, rectangles (left, top, right, bottom)."""
    masks = []
    for rectangles in areas:
        pixels = np.zeros((size[1], size[0]), np.uint8, order="F")
        for x0, y0, x1, y1 in rectangles:
            pixels[y0:y1, x0:x1] = 1
        masks.append(coco.encode(pixels))
    return {**image, "masks": masks}


def test_masks_decide_where_both_sides_have_them():
    # two L-shaped halves of one square: their boxes are equal, their masks share 50 of 100 pixels
    scene = masked(truth([A]), [(0, 0, 10, 5), (0, 5, 5, 10)])
    found = masked(detected((A, 0.9)), [(0, 5, 10, 10), (5, 0, 10, 5)])
    assert voc_map([scene], [found], CLASSES, iou_threshold=0.51)["map"] == 0
    assert voc_map([scene], [found], CLASSES, iou_threshold=0.5)["map"] == 1
    without = {k: v for k, v in found.items() if k != "masks"}
    assert voc_map([scene], [without], CLASSES, iou_threshold=1)["map"] == 1


def test_a_crowd_of_masks_swallows_what_lies_in_it_but_for_what_is_an_object():
    crowd, single = [(0, 0, 40, 40)], [(0, 0, 10, 10)]
    scene = masked(truth([[0, 0, 40, 40], A], crowd=[True, False]), crowd, single)
    inside = [(20, 20, 30, 30)]
    found = masked(detected(([20, 20, 30, 30], 0.95), (A, 0.9), (NOWHERE, 0.8)), inside, single, [(50, 50, 59, 59)])
    figures = voc_map([scene], [found], CLASSES)["per_class"]["cat"]
    assert (figures["count"], figures["detections"], figures["recall"], figures["precision"]) == (1, 2, 1, 0.5)


@pytest.mark.parametrize("masks", [False, True])
def test_many_pairs_are_compared_in_parts(monkeypatch, masks):
    rng = np.random.default_rng(0)
    scenes, found = [], []
    for _ in range(6):
        corner = rng.integers(0, 40, (30, 2))
        boxes = np.hstack([corner, corner + rng.integers(1, 20, (30, 2))])
        labels = rng.integers(0, 2, 30).tolist()
        scenes.append(truth(boxes, labels=labels))
        rows = zip(boxes[rng.permutation(30)].tolist(), rng.random(30).round(1), labels, strict=True)
        found.append(detected(*rows))
        if masks:
            for side in (scenes, found):
                side[-1] = masked(side[-1], *([tuple(int(v) for v in box)] for box in side[-1]["boxes"]))
    whole = voc_map(scenes, found, CLASSES)
    for pairs in (1, 7, 100):
        monkeypatch.setattr("automl_images.metrics.voc._PAIRS", pairs)
        assert voc_map(scenes, found, CLASSES) == whole
