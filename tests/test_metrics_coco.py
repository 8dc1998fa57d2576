"""COCO's figures agree with pycocotools, whatever the boxes."""

import contextlib
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from automl_images.metrics import coco_map
from automl_images.metrics.arrays import flatten
from automl_images.metrics.coco import accumulate

CLASSES = ["a", "b", "c"]
NAMES = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
NAMES += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]


def image(boxes=(), labels=(), crowd=None, scores=None):
    arrays = {"boxes": np.array(boxes, float).reshape(-1, 4), "labels": np.array(labels, int)}
    if scores is not None:
        return {**arrays, "scores": np.array(scores, float)}
    return {**arrays, "crowd": np.array(crowd if crowd is not None else [False] * len(labels), bool)}


def by_pycocotools(truth, detections, classes, thresholds=None):
    def annotations(images, key, name):
        rows = []
        for n, one in enumerate(images):
            before = len(rows)
            for (x0, y0, x1, y1), label, value in zip(one["boxes"].tolist(), one["labels"], one[key], strict=True):
                side = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
                if "masks" in one:
                    side["segmentation"] = {**one["masks"][len(rows) - before]}
                    side["area"] = float(mask.area(side["segmentation"]))
                if "area" in one:
                    side["area"] = one["area"][len(rows) - before]
                row = {"id": len(rows) + 1, "image_id": n + 1, "category_id": int(label) + 1, name: float(value)}
                rows.append({**row, **side} | ({"iscrowd": int(value)} if name == "iscrowd" else {"iscrowd": 0}))
        return rows

    def dataset(rows):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": n + 1, "width": 120, "height": 100} for n in range(len(truth))],
            "categories": [{"id": c + 1, "name": name} for c, name in enumerate(classes)],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        parts = dataset(annotations(truth, "crowd", "iscrowd")), dataset(annotations(detections, "scores", "score"))
        evaluation = COCOeval(*parts, iouType="segm" if all("masks" in t for t in truth) else "bbox")
        if thresholds:
            evaluation.params.iouThrs = np.array(thresholds)

        evaluation.evaluate()
        evaluation.accumulate()
        if not thresholds:
            evaluation.summarize()
    return evaluation


def random_scene(seed, images, most):
    """Boxes of all three sizes; detections are shifted ground truth, its copies and noise; scores with many ties."""
    rng = np.random.default_rng(seed)
    truth, detections = [], []
    for _ in range(images):
        n = int(rng.integers(0, most + 1))
        corner, side = rng.uniform(0, 200, (n, 2)), np.exp(rng.uniform(1.5, 5.5, (n, 2)))
        if rng.random() < 0.5:  # whole pixels give IoUs that lie exactly on a threshold
            corner, side = corner.round(), side.round()
        boxes, labels = np.hstack([corner, corner + side]), rng.integers(0, 3, n)
        truth.append(image(boxes, labels, crowd=rng.random(n) < 0.2))
        if seed % 2:  # of an outline, which is smaller than its box
            truth[-1]["area"] = side.prod(1) * np.random.default_rng(seed).uniform(0.2, 1, n)
        copies = rng.integers(0, 3, n)
        shifted = np.repeat(boxes, copies, axis=0)
        sides = np.repeat(side, copies, axis=0)
        shifted = shifted + np.tile(sides, 2) * rng.normal(0, 0.08, (len(shifted), 4))
        noise = rng.uniform(0, 200, (int(rng.integers(0, most + 1)), 2))
        found = np.vstack([shifted, np.hstack([noise, noise + rng.uniform(1, 120, noise.shape)])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 0.5)
        names = np.concatenate([np.repeat(labels, copies), rng.integers(0, 3, len(noise))])
        wrong = rng.random(len(names)) < 0.1
        names[wrong] = rng.integers(0, 3, wrong.sum())
        detections.append(image(found, names, scores=rng.integers(1, 12, len(found)) / 12))
    return truth, detections


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 6), most=st.integers(0, 25))
def test_figures_agree_with_pycocotools(seed, images, most):
    truth, detections = random_scene(seed, images, most)
    ours = coco_map(truth, detections, CLASSES)
    theirs = by_pycocotools(truth, detections, CLASSES)
    expected = [None if figure == -1 else pytest.approx(figure, abs=1e-6) for figure in theirs.stats]
    assert [ours[name] for name in NAMES] == expected
    for c, name in enumerate(CLASSES):
        for key, table in (("map", theirs.eval["precision"]), ("map_50", theirs.eval["precision"][:1])):
            cells = table[:, :, c, 0, -1]
            expected = None if (cells == -1).all() else pytest.approx(cells[cells > -1].mean(), abs=1e-6)
            assert ours["per_class"][name][key] == expected


def with_masks(images, rng, size=(120, 100)):
    """Give objects masks: an ellipse in the box, without some of its pixels; a few have none at all."""
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    for one in images:
        pixels = np.zeros((size[1], size[0], len(one["boxes"])), np.uint8, order="F")
        for n, (x0, y0, x1, y1) in enumerate((one["boxes"] * 0.4).tolist()):
            across, down = (x - (x0 + x1) / 2) / (x1 - x0), (y - (y0 + y1) / 2) / (y1 - y0)
            pixels[:, :, n] = (across**2 + down**2 < rng.choice([0.25, 0.15])) & ((x % rng.integers(3, 9)) > 1)
        one["masks"] = mask.encode(pixels)
    return images


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 4), most=st.integers(0, 12))
def test_figures_of_masks_agree_with_pycocotools(seed, images, most):
    rng = np.random.default_rng(seed)
    truth, detections = (with_masks(side, rng) for side in random_scene(seed, images, most))
    ours, theirs = coco_map(truth, detections, CLASSES), by_pycocotools(truth, detections, CLASSES)
    expected = [None if figure == -1 else pytest.approx(figure, abs=1e-9) for figure in theirs.stats]
    assert [ours[name] for name in NAMES] == expected


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    thresholds=st.lists(st.floats(0.1, 1) | st.sampled_from([0.25, 1 / 3, 0.5, 0.75, 1.0]), min_size=1, max_size=3),
    masks=st.booleans(),
)
def test_tables_of_any_thresholds_agree_with_pycocotools(seed, thresholds, masks):
    thresholds, rng = sorted(set(thresholds)), np.random.default_rng(seed)
    truth, detections = random_scene(seed, 3, 10)
    if masks:
        truth, detections = with_masks(truth, rng), with_masks(detections, rng)
    ours = accumulate(*flatten(truth, detections, CLASSES), len(CLASSES), thresholds)
    theirs = by_pycocotools(truth, detections, CLASSES, thresholds).eval
    np.testing.assert_allclose(ours.precision, theirs["precision"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.recall, theirs["recall"], rtol=0, atol=1e-9)


def test_a_forked_process_is_refused_rather_than_left_waiting():
    coco_map(*random_scene(1, 2, 5), CLASSES)
    child = os.fork()
    if not child:
        try:
            coco_map(*random_scene(1, 2, 5), CLASSES)
        except RuntimeError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_more_than_a_hundred_detections_agree_with_pycocotools():
    truth, detections = random_scene(seed=5, images=2, most=300)
    assert max(np.bincount(d["labels"]).max() for d in detections) > 100
    ours = coco_map(truth, detections, ["a", "b", "c"])
    assert [ours[n] for n in NAMES] == pytest.approx(
        by_pycocotools(truth, detections, CLASSES).stats.tolist(), abs=1e-6
    )


BOX, FAR = [10, 10, 50, 50], [90, 90, 120, 120]


@pytest.mark.parametrize(
    ("truth", "detections", "figure"),
    [
        pytest.param([], [], None, id="no images"),
        pytest.param([image()], [image(scores=[])], None, id="an empty image"),
        pytest.param([image()], [image([BOX], [0], scores=[0.9])], None, id="no ground truth"),
        pytest.param([image([BOX], [0])], [image(scores=[])], 0.0, id="no detections"),
        pytest.param([image([BOX], [0], [True])], [image([BOX], [0], scores=[0.9])], None, id="only crowd"),
        pytest.param([image([BOX], [0])], [image([BOX], [1], scores=[0.9])], 0.0, id="the wrong class"),
        pytest.param(
            [image([BOX], [0]), image()], [image([BOX], [0], scores=[0.9]), image(scores=[])], 1.0, id="found"
        ),
        pytest.param([image([BOX], [0])], [image([FAR, BOX], [0, 0], scores=[0.9, 0.8])], 0.5, id="behind a false one"),
    ],
)
def test_edge_cases(truth, detections, figure):
    found = coco_map(truth, detections, CLASSES)
    assert found["map"] == (None if figure is None else pytest.approx(figure))
    assert found["per_class"]["c"] == {"map": None, "map_50": None}


def test_only_so_many_detections_count():
    far = [[x, 200, x + 10, 210] for x in range(0, 100, 10)]
    truth = [image([BOX], [0])]
    detections = [image([*far, BOX], [0] * 11, scores=[0.9] * 10 + [0.1])]
    found = coco_map(truth, detections, CLASSES)
    assert (found["mar_100"], found["mar_10"], found["mar_1"]) == (1, 0, 0)


@pytest.mark.parametrize(("area", "found"), [(None, "medium"), (900.0, "small"), (1600.0, "medium"), (9500.0, "large")])
def test_an_objects_size_is_its_annotated_area(area, found):
    truth = image([BOX], [0]) | ({} if area is None else {"area": np.array([area])})
    figures = coco_map([truth], [image([BOX], [0], scores=[0.9])], CLASSES)
    assert {size: figures[f"map_{size}"] for size in ("small", "medium", "large")} == {
        size: pytest.approx(1) if size == found else None for size in ("small", "medium", "large")
    }


def test_nothing_is_printed(capfd):
    coco_map(*random_scene(1, 3, 5), CLASSES)
    assert capfd.readouterr() == ("", "")
