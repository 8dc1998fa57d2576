"""The figures of a detector: which one ranks, and what the thresholds change."""

import json
import subprocess
import sys

import numpy as np
import pytest
from faster_coco_eval import mask
from PIL import Image

from automl_images.annotations import Box, read_records
from automl_images.errors import UserError
from automl_images.metrics import coco_map, detection_metrics, truth_arrays, voc_map
from automl_images.steps.convert import convert

CLASSES = ["cat", "dog"]
THRESHOLDS = ("iou_threshold", "score_threshold")
A, B = [0, 0, 10, 10], [20, 20, 30, 30]
TRUTH = [{"boxes": [A, B], "labels": [0, 0], "size": (40, 40)}]
# A for sure, then a false one, then B, whose score is at the threshold and so not above it.
DETECTIONS = [{"boxes": [A, [30, 0, 40, 10], B], "scores": [0.9, 0.5, 0.3], "labels": [0, 0, 0]}]


def metrics(metric_type="voc", truth=TRUTH, detections=DETECTIONS, iou=0.5, score=0.3):
    return detection_metrics(truth, detections, CLASSES, metric_type, iou_threshold=iou, score_threshold=score)


def test_trials_rank_on_all_detections_and_azures_figure_stands_beside():
    found = metrics()
    assert found["mean_average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["mean_average_precision_above_threshold"] == pytest.approx(1 / 2)
    assert (found["precision"], found["recall"]) == (0.5, 0.5)
    assert found["per_label_metrics"]["cat"] == {
        "precision": 0.5,
        "recall": 0.5,
        "average_precision": pytest.approx(5 / 6),
        "count": 2,
        "voc": pytest.approx(5 / 6),
        "voc_2007": pytest.approx((6 * 1 + 5 * 2 / 3) / 11),
        "log_average_miss_rate": pytest.approx((0.5**8 * 1e-10) ** (1 / 9)),  # one false positive on the one image
    }


def test_the_ranking_figure_does_not_depend_on_the_score_threshold():
    for kind in ("voc", "coco", "coco_voc"):
        figures = [metrics(kind, score=s) for s in (0.0, 0.3, 0.95)]
        assert len({f["mean_average_precision"] for f in figures}) == 1
        assert figures[-1]["mean_average_precision_above_threshold"] == 0
        assert (figures[-1]["precision"], figures[-1]["recall"]) == (None, 0)


@pytest.mark.parametrize("kind", ["voc", "coco", "coco_voc"])
def test_each_metric_type_measures_as_it_says(kind):
    found = metrics(kind)
    voc, coco = voc_map(TRUTH, DETECTIONS, CLASSES), coco_map(TRUTH, DETECTIONS, CLASSES)
    assert voc["map"] != pytest.approx(coco["map_50"], abs=1e-3)  # else this test could not tell
    assert found["mean_average_precision"] == pytest.approx(coco["map_50"] if kind == "coco" else voc["map"])
    per_class = coco.pop("per_class")
    assert found.get("coco") == (None if kind == "voc" else coco)
    label = found["per_label_metrics"]["cat"]
    assert label.get("coco_map") == (None if kind == "voc" else per_class["cat"]["map"])
    assert label["average_precision"] == pytest.approx(found["mean_average_precision"])


@pytest.mark.parametrize("kind", ["voc", "coco", "coco_voc"])
def test_the_iou_threshold_acts(kind):
    loose = [{**DETECTIONS[0], "boxes": [[0, 0, 10, 6], [30, 0, 40, 10], [20, 20, 30, 26]]}]  # IoU 0.6
    assert metrics(kind, detections=loose, iou=0.6)["mean_average_precision"] > 0.5
    assert metrics(kind, detections=loose, iou=0.61)["mean_average_precision"] == 0


def test_coco_figures_keep_their_thresholds_when_another_ranks():
    assert metrics("coco", iou=0.33)["coco"] == metrics("coco", iou=0.5)["coco"]


@pytest.mark.parametrize("kind", ["voc", "coco", "coco_voc"])
def test_figures_are_of_masks_and_those_of_boxes_stand_beside(kind):
    pixels = np.zeros((40, 40, 2), np.uint8, order="F")
    pixels[:10, :10, 0], pixels[:5, :10, 1] = 1, 1
    whole, half = mask.encode(pixels)
    truth = [{**TRUTH[0], "boxes": [A], "labels": [0], "masks": [whole]}]
    detections = [{"boxes": [A], "labels": [0], "scores": [0.9], "masks": [half]}]
    found = metrics(kind, truth, detections, iou=0.6)
    boxes = [[{k: v for k, v in one.items() if k != "masks"} for one in side] for side in (truth, detections)]
    assert found["mean_average_precision"] == 0
    assert found["per_label_metrics"]["cat"]["voc"] == 0
    expected = metrics(kind, *boxes, iou=0.6)
    assert found["box"] == {k: v for k, v in expected.items() if k not in ("metric_type", *THRESHOLDS)}
    assert found["box"]["mean_average_precision"] == pytest.approx(1)
    assert metrics(kind, truth, detections, iou=0.5)["mean_average_precision"] == pytest.approx(1)
    assert "box" not in expected
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("kind", ["voc", "coco", "coco_voc"])
@pytest.mark.parametrize(
    ("truth", "detections"),
    [
        ([], []),
        ([{"boxes": [], "labels": []}], [{"boxes": [], "scores": [], "labels": []}]),
        ([{"boxes": [], "labels": []}], DETECTIONS),
        (TRUTH, [{"boxes": [], "scores": [], "labels": []}]),
        ([{**TRUTH[0], "crowd": [True, True]}], DETECTIONS),
    ],
    ids=["no images", "nothing at all", "no ground truth", "no detections", "only crowd"],
)
def test_undefined_figures_are_none_and_the_result_is_json(kind, truth, detections):
    found = metrics(kind, truth, detections)
    labelled = any(t["boxes"] and not any(t.get("crowd", [])) for t in truth)
    assert found["mean_average_precision"] == (0 if labelled else None)
    json.dumps(found, allow_nan=False)
    assert list(found["per_label_metrics"]) == CLASSES


def test_results_are_plain_numbers_from_float32_arrays():
    detections = [{k: np.array(v, np.float32) for k, v in DETECTIONS[0].items()}]
    json.dumps(metrics("coco_voc", detections=detections), allow_nan=False)


def test_an_unknown_metric_type_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="coco_voc"):
        metrics("cocovoc")


def test_records_become_arrays():
    size = (200, 100)
    truth = truth_arrays([Box("dog", 0.1, 0.2, 0.5, 0.6), Box("cat", 0, 0, 1, 1, isCrowd=True)], CLASSES, size)
    detections = {"boxes": [[20, 20, 100, 60]], "labels": [1], "scores": [0.75]}
    assert truth["boxes"].dtype == np.float64
    assert truth["boxes"] == pytest.approx(np.array([[20, 20, 100, 60], [0, 0, 200, 100]]))
    assert truth["labels"].tolist() == [1, 0]
    assert truth["crowd"].tolist() == [False, True]
    found = metrics("voc", [truth], [detections])
    assert found["mean_average_precision"] == 1
    empty = [truth_arrays([], CLASSES, size)], [{"boxes": [], "labels": [], "scores": []}]
    assert metrics("coco_voc", *empty)["mean_average_precision"] is None


def test_boxes_are_the_records_pixels_to_the_last_digits():
    rng = np.random.default_rng(0)
    for width, height in ((641, 427), (3001, 1999)):
        size = np.array([width, height, width, height])
        corners = np.sort(rng.integers(0, (width, height), (200, 2, 2)), axis=1).reshape(-1, 4)
        boxes = [Box("cat", *corner) for corner in corners / size]
        found = truth_arrays(boxes, CLASSES, (width, height))["boxes"]
        np.testing.assert_allclose(found, corners, rtol=0, atol=1e-9)


def test_metrics_do_not_import_torch():
    code = (
        "import sys; from automl_images.metrics import detection_metrics as f\n"
        "t = [{'boxes': [[0, 0, 9, 9]], 'labels': [0]}]; d = [{**t[0], 'scores': [1.0]}]\n"
        "assert f(t, d, ['a'], 'coco_voc', iou_threshold=0.5, score_threshold=0)['mean_average_precision'] == 1\n"
        "sys.exit(' '.join(m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize(("area", "size"), [(None, "medium"), (900, "small"), (9500, "large")])
def test_an_objects_size_is_its_area_in_the_coco_file(tmp_path, area, size):
    """Of a box of 40 x 40 pixels whose outline encloses another area, as COCO's masks do."""
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "iscrowd": 0}
    annotation |= {} if area is None else {"area": area}
    image = {"id": 1, "file_name": "a.png", "width": 100, "height": 80}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    convert(str(tmp_path / "coco.json"), str(tmp_path / "d.jsonl"), "image-object-detection")
    (record,) = read_records(str(tmp_path / "d.jsonl"), "boxes")
    truth = truth_arrays(record.label.boxes, CLASSES, (100, 80))
    found = {"boxes": [[10, 10, 50, 50]], "scores": [0.9], "labels": [0]}
    figures = coco_map([truth], [found], CLASSES)
    assert figures[f"map_{size}"] == pytest.approx(1)
