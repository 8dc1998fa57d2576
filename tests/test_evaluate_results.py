"""Predictions made elsewhere are scored against any annotations, and refused where they are ambiguous."""

import json
import subprocess
import sys

import numpy as np
import pytest
from faster_coco_eval import mask
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from automl_images.annotations import results
from automl_images.errors import UserError
from automl_images.steps.evaluate_results import counted_line, evaluate_results

TASK, SIZE = "image-object-detection", (80, 60)
NAMES = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
NAMES += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]


@pytest.fixture
def coco(tmp_path):
    """A COCO file of eight images, the last without objects, and results of all but the first; ids are no places."""
    rng = np.random.default_rng(3)
    images, objects, found = [], [], []
    for n in range(8):
        Image.new("RGB", SIZE, (20 * n, 90, 40)).save(tmp_path / f"{n:04}.png")
        images.append({"id": 100 + 7 * n, "file_name": f"{n:04}.png", "width": SIZE[0], "height": SIZE[1]})
        for _ in range(5 if n < 7 else 0):
            x, y, w, h = (int(v) for v in (*rng.integers(0, 30, 2), *rng.integers(6, 30, 2)))
            one = {"image_id": 100 + 7 * n, "category_id": int(rng.choice([3, 9])), "bbox": [x, y, w, h]}
            area, crowd = w * h * 0.75, int(rng.random() < 0.2)
            objects.append({**one, "id": len(objects) + 1, "area": area, "iscrowd": crowd})
            moved = [x + float(rng.normal(0, 1)), y, w + float(rng.integers(0, 4)), h]
            if n:
                found.append({**one, "bbox": moved, "score": round(float(rng.random()), 2)})
    found.append({"image_id": 149, "category_id": 9, "bbox": [1, 1, 20, 20], "score": 0.5})
    categories = [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "bird"}]
    content = {"images": images, "annotations": objects, "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path, content, found


def evaluated(folder, found, source="coco.json", **options):
    (folder / "results.json").write_text(json.dumps(found))
    out = str(folder / "out")
    return evaluate_results(str(folder / "results.json"), str(folder / source), out, TASK, **options)


def test_results_of_a_coco_file_have_the_figures_of_pycocotools(coco, capsys):
    folder, _, found = coco
    figures = evaluated(folder, found)
    truth = COCO(str(folder / "coco.json"))
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = [None if figure == -1 else pytest.approx(figure, abs=1e-6) for figure in evaluation.stats]
    assert [figures["coco"][name] for name in NAMES] == expected
    assert 0.1 < figures["coco"]["map"] < 0.9  # else this test could not tell
    assert list(figures["per_label_metrics"]) == ["cat", "dog"]
    counts = {"images": 8, "results": 31, "images_without_results": 1, "results_left_out": 0}
    assert {name: figures[name] for name in counts} == counts
    assert json.loads((folder / "out" / "metrics.json").read_text()) == figures
    assert "Evaluation of predictions" in (folder / "out" / "report.html").read_text()


def test_the_thresholds_act(coco):
    folder, _, found = coco
    loose, strict = (evaluated(folder, found, iou_threshold=iou) for iou in (0.5, 0.95))
    assert loose["voc"]["map"] > strict["voc"]["map"]
    assert evaluated(folder, found, score_threshold=1.0)["precision"] is None


@pytest.mark.parametrize("call", ["{stem}.png", "{stem}", "{number}"])
def test_elsewhere_images_are_called_by_their_files_and_classes_by_their_names(coco, call):
    folder, content, found = coco
    names = {c["id"]: c["name"] for c in content["categories"]}
    stems = {i["id"]: i["file_name"].removesuffix(".png") for i in content["images"]}
    lines = []
    for image in content["images"]:
        boxes = []
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                x, y, w, h = one["bbox"]
                place = {"topX": x / 80, "topY": y / 60, "bottomX": (x + w) / 80, "bottomY": (y + h) / 60}
                boxes.append(
                    {"label": names[one["category_id"]], **place, "isCrowd": one["iscrowd"], "area": one["area"]}
                )
        lines.append(json.dumps({"image_url": image["file_name"], "label": boxes}))
    (folder / "elsewhere.jsonl").write_text("\n".join(lines))
    renamed = []
    for one in found:
        stem = stems[one["image_id"]]
        key = int(stem) if call == "{number}" else call.format(stem=stem)
        renamed.append({**one, "image_id": key, "category_id": names[one["category_id"]]})
    ours, by_id = evaluated(folder, renamed, "elsewhere.jsonl"), evaluated(folder, found)
    assert ours["coco"] == pytest.approx(by_id["coco"])
    assert ours["per_label_metrics"] == {k: pytest.approx(v) for k, v in by_id["per_label_metrics"].items()}


GOOD = {"image_id": 107, "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.5}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"image_id": 5}, "result 2: its image_id 5 is that of no image of the data"),
        ({"image_id": None}, "result 2: its image_id is null"),
        ({"category_id": 4}, "result 2: its category_id 4 is that of no category"),
        ({"score": float("nan")}, "result 2: its score is nan, which is not a finite number"),
        ({"score": float("inf")}, "result 2: its score is inf, which is not a finite number"),
        ({"score": None}, "result 2: its score is missing"),
        ({"score": 37}, "result 2: its score is 37; scores are from 0 to 1"),
        ({"bbox": [1, 1, -9, 9]}, "result 2: its bbox has a width of -9"),
        ({"bbox": [1, 1, 9]}, "result 2: its bbox is .1, 1, 9., not left, top, width and height"),
        ({"bbox": [1, 1, 9, float("inf")]}, "result 2: bbox.3. is inf"),
        ({"bbox": None}, "result 2: has no segmentation"),
    ],
)
def test_wrong_results_are_refused_with_their_place(coco, wrong, why):
    folder, *_ = coco
    with pytest.raises(UserError, match=f"results.json, {why}"):
        evaluated(folder, [GOOD, {**GOOD, **wrong}])


@pytest.mark.parametrize("content", [{"annotations": []}, [1], "text", [[GOOD]]])
def test_what_is_no_list_of_results_is_refused(coco, content):
    with pytest.raises(UserError, match="is not COCO's results"):
        evaluated(coco[0], content)


def test_wrong_requests_are_refused(coco):
    folder, _, found = coco
    with pytest.raises(UserError, match="iou-threshold: is 0;"):
        evaluated(folder, found, iou_threshold=0)
    with pytest.raises(UserError, match="score-threshold: is 1.5;"):
        evaluated(folder, found, score_threshold=1.5)
    with pytest.raises(UserError, match="no such file"):
        evaluate_results("nowhere.json", str(folder / "coco.json"), str(folder / "out"), TASK)
    with pytest.raises(UserError, match="has no COCO results"):
        evaluate_results("nowhere.json", str(folder / "coco.json"), str(folder / "out"), "image-classification")


def test_several_sets_are_refused(coco):
    folder, content, found = coco
    for name in ("instances_train.json", "instances_val.json"):
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match="instances_train"):
        evaluated(folder, found, "annotations")


def test_results_of_images_that_are_left_out_are_counted(coco):
    folder, _, found = coco
    (folder / "0002.png").unlink()
    figures = evaluated(folder, found, on_error="skip")
    assert (figures["images"], figures["annotations"]["skipped_images"], figures["results_left_out"]) == (7, 1, 5)
    assert "left out: 1 images with 5 results" in counted_line(figures)


def test_no_results_at_all_find_nothing(coco):
    figures = evaluated(coco[0], [])
    assert (figures["mean_average_precision"], figures["images_without_results"]) == (0, 8)


URLS = ["/data/a/1.jpg", "/data/b/1.jpg", "/data/b/07.jpg", "/data/7.png", "/data/c.d.jpg", "/data/c.d"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.jpg", "/data/a/1.jpg"),
        ("/data/b/1.jpg", "/data/b/1.jpg"),
        ("7", "/data/7.png"),
        ("07", "/data/b/07.jpg"),
        ("7.png", "/data/7.png"),
        ("c.d", "/data/c.d"),
        ("1.jpg", "may be /data/a/1.jpg or /data/b/1.jpg"),
        (1, "may be /data/a/1.jpg or /data/b/1.jpg"),
        ("a", "is that of no image"),
        ("x/1.jpg", "is that of no image"),
        (True, "neither a number nor text"),
    ],
)
def test_names_of_images_are_taken_where_they_are_of_one(name, found):
    names = results.Names.of_files(URLS, [])
    if found.startswith("/"):
        assert names.image(name) == found
    else:
        with pytest.raises(UserError, match=found):
            names.image(name)


def test_an_unknown_class_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'catt' is no class|\"catt\" is no class.*cat"):
        results.Names.of_files(URLS, ["cat", "dog"]).class_name("catt")


def read_masks(tmp_path, *segmentations, bbox=None):
    rows = [
        {"image_id": "a", "category_id": "cat", "score": 0.5, "segmentation": s, "bbox": bbox} for s in segmentations
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    names = results.Names.of_files(["/a.png"], ["cat"])
    return results.read(str(tmp_path / "results.json"), names, {"/a.png": SIZE}, masks=True)[0]["/a.png"]


def test_masks_are_read_from_polygons_and_run_lengths(tmp_path):
    pixels = np.zeros(SIZE[::-1], np.uint8, order="F")
    pixels[10:30, 20:50] = 1
    packed = mask.encode(pixels)
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    runs = np.flatnonzero(np.diff(np.r_[0, pixels.ravel(order="F"), 2]))
    plain = {"size": packed["size"], "counts": np.diff(np.r_[0, runs]).tolist()}
    polygon = [[20.0, 10.0, 50.0, 10.0, 50.0, 30.0, 20.0, 30.0]]
    found = read_masks(
        tmp_path, text, plain, polygon, [[20, 10, 35, 10, 35, 30, 20, 30], [35, 10, 50, 10, 50, 30, 35, 30]]
    )
    for one in found.masks:
        np.testing.assert_array_equal(mask.decode(one), pixels)
    assert found.boxes == [(20, 10, 50, 30)] * 4
    arrays = found.arrays(["bird", "cat"], SIZE, masks=True)
    assert (arrays["labels"].tolist(), arrays["size"], len(arrays["masks"])) == ([1] * 4, SIZE, 4)


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        (None, "has no segmentation"),
        ({"size": [80, 60], "counts": [4800]}, "is of 60 x 80 pixels, and its image of 80 x 60"),
        ({"size": [60, 80], "counts": [1]}, "not runs that fill"),
        ([[1, 2, 3, 4]], "has 4 numbers"),
        ([1, 2, 3, 4, 5, 6], "neither polygons nor run lengths"),
        ([], "neither polygons nor run lengths"),
    ],
)
def test_wrong_masks_are_refused(tmp_path, segmentation, why):
    with pytest.raises(UserError, match=f"result 2: .*{why}"):
        read_masks(tmp_path, [[1, 1, 9, 1, 9, 9]], segmentation, bbox=[1, 1, 2, 2])


def test_masks_have_the_figures_of_pycocotools(coco):
    folder, content, _ = coco
    rng, found = np.random.default_rng(0), []
    for one in content["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w / 2, y + h]]
        if one["image_id"] > 100:
            x, y = x + float(rng.normal(0, 1)), y + 1
            row = {**one, "score": float(rng.integers(1, 9)) / 10, "segmentation": [[x, y, x + w, y, x + w / 2, y + h]]}
            found.append({k: row[k] for k in ("image_id", "category_id", "score", "segmentation")})
    for name in ("coco.json", "results.json"):
        (folder / name).write_text(json.dumps(content if name == "coco.json" else found))
    at = [str(folder / name) for name in ("results.json", "coco.json", "out")]
    figures = evaluate_results(*at, "image-instance-segmentation")
    truth = COCO(at[1])
    for one in found:
        one["segmentation"] = mask.merge(mask.frPyObjects(one["segmentation"], SIZE[1], SIZE[0]))
    evaluation = COCOeval(truth, truth.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = [None if figure == -1 else pytest.approx(figure, abs=1e-6) for figure in evaluation.stats]
    assert [figures["coco"][name] for name in NAMES] == expected
    assert 0.1 < figures["coco"]["map"] < 0.9
    assert figures["box"]["coco"]["map"] != figures["coco"]["map"]


def test_the_command_scores_results_without_torch(coco):
    folder, _, found = coco
    (folder / "results.json").write_text(json.dumps(found))
    code = (
        "import sys; from automl_images.cli import app\n"
        f"app('evaluate results.json coco.json out --task {TASK} --iou-threshold 0.6'.split(), standalone_mode=False)\n"
        "sys.exit(' '.join(m for m in ('torch', 'pandas') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("31 results on 8 images, 1 of them without any;")
    assert done.stdout.splitlines()[0].split()[:4] == ["class", "boxes", "VOC", "AP@0.6"]
