"""What is found on tiles, put together: by an oracle, by every detector, and as the benchmark counts it."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as coco

from automl_images.data.detection import image_tensor
from automl_images.data.tiles import Tiling, Window
from automl_images.hyperparameters import check_inference
from automl_images.prediction.detection import Predictor, detect
from automl_images.prediction.tiles import merged
from benchmarks.tiling import Oracle, counted, painted, scene
from tests.helpers.detectors import CLASSES, MASK, RCNN, made, settings_of, task_of

CPU = torch.device("cpu")
GRID, LARGE = Tiling(3, 2, 0.25, 0.25, 100), Tiling(3, 2, 0.25, 0.25, 1000)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def found_by(oracle, sample, tiling=GRID):
    (found,) = detect(oracle, [image_tensor(sample.image)], CPU, tiling)
    return found


def once(found, sample):
    """Assert that each object is found once, where it is."""
    order, truth = np.lexsort(found["boxes"].T), np.lexsort(sample.boxes.T)
    np.testing.assert_array_equal(found["boxes"][order], sample.boxes[truth])
    np.testing.assert_array_equal(found["labels"][order], sample.labels[truth])
    assert (np.diff(found["scores"]) <= 0).all()


@pytest.fixture(scope="module")
def small():
    """Return a sample of objects of 6 to 12 pixels, on a lattice that crosses every seam, in an image of 600 x 420."""
    rng, objects = np.random.default_rng(0), []
    for y, x in itertools.product(range(2, 400, 31), range(2, 580, 37)):
        wide, high = rng.integers(6, 13, 2)
        objects.append((x, y, x + int(wide), y + int(high), int(rng.integers(3))))
    return painted(600, 420, objects)


def test_small_objects_are_found_once_each_on_tiles_alone(small):
    oracle = Oracle(least=10, min_size=420, max_size=600)  # the image is seen at its own size, tiles 1.75 times larger
    on_the_image, on_tiles = (found_by(oracle, small, tiling) for tiling in (None, LARGE))
    missing = len(small.boxes) - len(on_the_image["scores"])
    assert missing > 0.5 * len(small.boxes)
    once(on_tiles, small)
    assert oracle.seen[1:] == [[(420, 600)], *[[(240, 240)]] * 6]


def test_what_only_the_whole_image_shows_whole_is_found_once():
    sample = painted(
        600, 420, [(20, 30, 560, 180, 0), (200, 190, 330, 400, 1), (380, 200, 420, 240, 0), (570, 0, 600, 420, 1)]
    )
    once(found_by(Oracle(least=8), sample), sample)


def test_masks_move_with_their_boxes(small):
    large = painted(600, 420, [(20, 30, 560, 180, 0), (200, 190, 330, 400, 1)])
    for sample in (small, large):
        found = found_by(Oracle(least=1, masks=True), sample, LARGE)
        once(found, sample)
        assert all(m["size"] == [420, 600] for m in found["masks"])
        index = {tuple(box): n for n, box in enumerate(sample.boxes.tolist())}
        for box, mask in zip(found["boxes"].tolist(), found["masks"], strict=True):
            np.testing.assert_array_equal(coco.decode(mask), sample.masks[index[tuple(box)]])


def test_a_batch_of_images_is_found_as_each_alone_in_batches_no_larger(small):
    other = painted(300, 500, [(5, 5, 20, 20, 2)])
    oracle = Oracle(least=1)
    both = detect(oracle, [image_tensor(small.image), image_tensor(other.image)], CPU, GRID)
    assert {len(batch) for batch in oracle.seen} == {2}
    assert sum(map(len, oracle.seen)) == 14
    for one, sample in zip(both, (small, other), strict=True):
        alone = found_by(Oracle(least=1), sample)
        np.testing.assert_array_equal(one["boxes"], alone["boxes"])
        assert one["size"] == alone["size"] == (sample.image.shape[1], sample.image.shape[0])
    assert len(both[0]["scores"]) == 100  # the most that an image may have


WHOLE, LEFT, RIGHT = Window(0, 0, 200, 100), Window(0, 0, 120, 100), Window(80, 0, 200, 100)


def part(*rows):
    """Return what a window finds: rows of a box in its pixels, score, label."""
    rows = sorted(rows, key=lambda r: -r[4])
    return {
        "boxes": np.array([r[:4] for r in rows], dtype=np.float64).reshape(-1, 4),
        "scores": np.array([r[4] for r in rows]),
        "labels": np.array([r[5] for r in rows], dtype=np.int64),
    }


def together(*parts, nms=0.25, most=100):
    found = merged(parts, [WHOLE, LEFT, RIGHT], Tiling(2, 1, 0.4, nms, most))
    return [
        (*box, float(s), int(c))
        for box, s, c in zip(found["boxes"].tolist(), found["scores"], found["labels"], strict=True)
    ]


def test_of_one_object_found_in_several_windows_the_best_is_kept():
    one = ((90, 10, 110, 30, 0.5, 0), (91, 10, 111, 30, 0.9, 0), (10, 11, 30, 31, 0.7, 0))
    assert together(*map(part, one)) == [(91, 10, 111, 30, 0.9, 0)]
    assert len(together(*map(part, one), nms=1)) == 3


def test_the_threshold_decides_what_is_one_object():
    apart = part((20, 10, 40, 30, 0.5, 0)), part((30, 10, 50, 30, 0.9, 0)), part()  # IoU 1/3
    assert len(together(*apart, nms=0.3)) == 1
    assert len(together(*apart, nms=0.35)) == 2


def test_other_classes_are_no_rivals():
    assert (
        len(together(part((90, 10, 110, 30, 0.5, 0)), part((90, 10, 110, 30, 0.9, 1)), part((10, 10, 30, 30, 0.8, 2))))
        == 3
    )
    assert len(together(part((60, 10, 180, 90, 0.9, 0)), part((60, 10, 120, 90, 0.5, 1)), part())) == 2


def test_neighbours_that_one_window_finds_stay():
    close = [(20, 10, 40, 30, 0.9, 0), (28, 10, 48, 30, 0.8, 0)]  # IoU 3/7
    assert together(part(), part(*close), part()) == close
    # and so they do if both windows see both, whichever is surer of which
    surer = [(20, 10, 40, 30, 0.7, 0), (28, 10, 48, 30, 0.95, 0)]
    assert together(part(*surer), part(*close), part()) == [surer[1], close[0]]


def test_a_part_goes_if_another_window_shows_the_whole():
    whole, cut_off = (60, 10, 180, 90, 0.6, 0), (60, 10, 119, 90, 0.9, 0)
    assert together(part(whole), part(cut_off), part((0, 10, 100, 90, 0.8, 0))) == [whole]
    doubtful = (60, 10, 180, 90, 0.3, 0)  # too unsure to take the place of what is seen well
    assert cut_off in together(part(doubtful), part(cut_off), part())
    # at the image's own edge nothing is cut
    assert len(together(part((0, 0, 90, 100, 0.9, 0)), part((0, 0, 40, 50, 0.5, 0)), part())) == 2
    # and within a window a small object before a large one is left to the detector
    assert len(together(part(), part((20, 10, 120, 90, 0.9, 0), (100, 20, 120, 40, 0.5, 0)), part())) == 2


def test_an_image_has_no_more_detections_than_asked_for():
    rows = [(10 * i, 10, 10 * i + 8, 18, 0.9 - i / 100, 0) for i in range(10)]
    assert together(part(*rows), part(), part(), most=3) == rows[:3]
    assert together(part(), part(), part()) == []
    for name, most in (("yolov5", 300), (RCNN, 100)):
        model, given = made(name), settings_of(name, tile_grid_size="2x2")
        own = model.max_boxes if name == "yolov5" else model.network.roi_heads.detections_per_img
        assert Tiling.of(given).most == most == own
    assert Tiling.of(settings_of(RCNN, tile_grid_size="2x2", box_detections_per_img=7)).most == 7


@pytest.mark.parametrize("name", [RCNN, "yolov5", MASK])
def test_every_detector_predicts_by_its_settings_on_tiles(name, monkeypatch):
    few = {} if name == "yolov5" else {"box_detections_per_img": 5}
    model, seen = made(name, **few), []
    image = np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda images: seen.extend(i.shape for i in images) or predict(images))
    for grid, pieces in (("2x1", [(3, 64, 96), (3, 64, 64), (3, 64, 64)]), (None, [(3, 64, 96)])):
        given = settings_of(name, tile_grid_size=grid, tile_overlap_ratio=0.5, **few)
        seen.clear()
        (found,) = Predictor(model, task_of(name), given, CLASSES, CPU).outputs([[image]])
        assert seen == pieces
        assert found["size"] == (96, 64)
        assert name != MASK or [m["size"] for m in found["masks"]] == [[64, 96]] * len(found["scores"]) != []
        assert (found["boxes"] >= 0).all() and (found["boxes"] <= (96, 64, 96, 64)).all()


def test_tiles_can_be_had_without_having_learned_on_them():
    assert check_inference("yolov5", {"tile_grid_size": "3x2", "tile_predictions_nms_threshold": 0.1}) == {
        "tile_grid_size": "3,2",
        "tile_predictions_nms_thresh": 0.1,
    }


def test_the_benchmark_counts_what_is_found_and_what_is_found_twice():
    sample = painted(100, 100, [(10, 10, 20, 20, 0), (30, 30, 42, 42, 1), (60, 60, 70, 70, 0)])
    found = part(
        (10, 10, 20, 20, 0.9, 0),  # found
        (11, 10, 21, 20, 0.8, 0),  # again
        (30, 30, 42, 36, 0.7, 1),  # half of it, which is enough
        (30, 36, 42, 42, 0.6, 1),  # the other half: again
        (80, 80, 90, 90, 0.5, 0),  # nothing
        (60, 60, 70, 63, 0.4, 0),  # a part of what is not found: no duplicate
    )
    assert counted([found], [sample]) == (2 / 3, 2 / 6)


def test_the_benchmark_reaches_what_is_asked_and_sees_duplicates_where_there_are_some():
    truth = painted(1024, 1024, scene(np.random.default_rng(0)))
    images = [image_tensor(truth.image)]
    assert (truth.boxes[:, 2:] - truth.boxes[:, :2]).max() <= 12

    def measured(tiling):
        return counted(detect(Oracle(8, soft=2, error=0.5), images, CPU, tiling), [truth])

    without, tiles, twice = (measured(t) for t in (None, GRID, dataclasses.replace(GRID, nms=1)))
    assert (tiles[0] - without[0]) / (1 - without[0]) >= 0.5
    assert tiles[1] <= 0.05 < 0.2 < twice[1]
