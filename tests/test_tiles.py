"""Tiles: their geometry, what is learned in them, and what is found on them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as coco
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Record
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.detection import Samples, TrainingSet, image_tensor, to_tensors
from automl_images.data.tiles import VISIBLE, Tiling, Window, cut, tiled
from automl_images.errors import UserError
from automl_images.hyperparameters import check_inference, resolve, without_effect
from automl_images.metrics.arrays import Sample
from automl_images.prediction.detection import Predictor, detect
from automl_images.prediction.tiles import merged
from automl_images.training.callbacks import Checkpoints
from benchmarks.tiling import Oracle, counted, painted, scene
from tests.helpers.detectors import CLASSES, MASK, RCNN, TASK, made, settings_of, task_of
from tests.helpers.training_probe import PULLS, trainer

CPU = torch.device("cpu")
GRID, LARGE = Tiling(3, 2, 0.25, 0.25, 100), Tiling(3, 2, 0.25, 0.25, 1000)
SIDES = st.integers(1, 400)
GRIDS = st.builds(Tiling, st.integers(1, 5), st.integers(1, 5), st.floats(0, 0.99), st.just(0.25), st.just(100))


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@given(SIDES, SIDES, GRIDS)
def test_tiles_show_every_pixel_and_nothing_beyond_the_image(width, height, tiling):
    windows = tiling.windows(width, height)
    assert len(windows) == tiling.columns * tiling.rows
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert len({(w.right - w.left, w.bottom - w.top) for w in windows}) == 1
    pieces = tiling.pieces(width, height)
    assert pieces[0] == (0, 0, width, height)
    assert len(set(pieces)) == len(pieces)


@given(st.integers(60, 4000), st.integers(2, 5), st.floats(0, 0.8))
def test_neighbours_share_the_part_of_a_tile_that_is_asked_for(width, columns, overlap):
    windows = Tiling(columns, 1, overlap, 0.25, 100).windows(width, 50)
    length = width / (columns - (columns - 1) * overlap)
    for one, other in itertools.pairwise(windows):
        assert one.right - one.left == pytest.approx(length, abs=1)
        assert one.right - other.left == pytest.approx(overlap * length, abs=2)
        assert (one.top, one.bottom) == (0, 50)


def test_the_first_of_the_grid_is_along_the_width():
    windows = Tiling(3, 2, 0.25, 0.25, 100).windows(1000, 700)
    assert [w.left for w in windows] == [0, 300, 600] * 2
    assert [w.top for w in windows] == [0] * 3 + [300] * 3
    assert windows[-1] == (600, 300, 1000, 700)


def shapes(width, height):
    """Return a strategy of up to six objects, which may hide one another."""
    sides = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1), st.integers(1, 30), st.integers(1, 30))
    return st.lists(
        sides.map(lambda s: (s[0], s[1], min(width, s[0] + s[2]), min(height, s[1] + s[3]), 1)), min_size=1, max_size=6
    )


@given(shapes(60, 40), st.integers(-20, 50), st.integers(-20, 30), st.integers(10, 70), st.integers(10, 70))
def test_boxes_and_masks_follow_the_pixels_of_a_window(objects, left, top, width, height):
    whole = painted(60, 40, objects)
    # what a window shows, found the slow way: on a canvas that is as far beyond the image on all sides
    image = np.pad(whole.image, ((100, 100), (100, 100), (0, 0)), constant_values=114)
    part = (slice(top + 100, top + 100 + height), slice(left + 100, left + 100 + width))
    expected = []
    for box, mask in zip(whole.boxes, whole.masks, strict=True):
        shown = np.pad(mask, 100)[part]
        if shown.sum() >= VISIBLE * mask.sum():
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            expected.append((box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], shown))
    for sample in (whole, whole._replace(masks=None)):
        window = cut(sample, Window(left, top, left + width, top + height))
        np.testing.assert_array_equal(window.image, image[part])
        assert window.boxes.tolist() == [box for _, box, _ in expected]
        assert len(window.labels) == len(expected)
        back = window.boxes + np.float32([left, top, left, top])
        for box, (before, *_) in zip(back, expected, strict=True):
            assert ((box[:2] >= before[:2]) & (box[2:] <= before[2:])).all()  # moved back it is of its object
        if sample.masks is not None:
            np.testing.assert_array_equal(window.masks, np.array([m for *_, m in expected]).reshape(-1, height, width))


def test_a_box_is_that_of_what_a_window_leaves_of_its_mask():
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 10, 2:18] = mask[0, 2:18, 10] = 1  # a cross
    sample = Sample(np.zeros((20, 20, 3), np.uint8), np.float32([[2, 2, 18, 18]]), np.int64([0]), mask)
    assert cut(sample, Window(0, 0, 20, 10)).boxes.tolist() == []  # 8 of 31 pixels
    left = cut(sample, Window(0, 9, 20, 20))
    assert left.boxes.tolist() == [[2, 0, 18, 9]]
    assert cut(sample, Window(8, 8, 12, 20), share=0.1).boxes.tolist() == [[0, 0, 4, 10]]
    assert left.masks.sum() == 24


@pytest.mark.parametrize(("right", "kept"), [(14, False), (15, True), (20, True)])
def test_an_object_is_in_a_tile_if_half_of_it_is(right, kept):
    sample = painted(40, 40, [(10, 10, 20, 20, 1)])
    for one in (sample, sample._replace(masks=None)):
        assert bool(len(cut(one, Window(0, 0, right, 40)).boxes)) is kept


@pytest.fixture
def samples(squares):
    return Samples(squares[0][:3], ["blue", "red"])


def test_an_epoch_has_each_image_and_each_of_its_tiles(samples):
    learned = tiled(samples, settings_of(RCNN, tile_grid_size="3x2"))
    assert len(learned) == 3 * 7
    assert tiled(samples, settings_of(RCNN)) is tiled(samples, settings_of(RCNN, tile_grid_size="1x1")) is samples
    shapes = [learned.training(i).image.shape[:2] for i in range(14, 21)]
    assert shapes == [(64, 64)] + [(37, 26)] * 6
    whole, first = samples.training(2), learned.training(15)
    np.testing.assert_array_equal(first.image, whole.image[:37, :26])
    kept = sum(len(learned.training(i).boxes) for i in range(15, 21))
    assert kept >= len(whole.boxes)
    assert any(len(learned.training(i).boxes) == 0 for i in range(15, 21))  # empty tiles are negatives


def test_a_tiles_sample_is_a_function_of_seed_epoch_and_index(samples):
    def sample(seed, epoch, i):
        learned = tiled(samples, settings_of(RCNN, tile_grid_size="2x2"))
        return TrainingSet(learned, rcnn_augmentation(learned.training), seed)[epoch, i]

    image, target = sample(1, 2, 7)
    again, same = sample(1, 2, 7)
    assert torch.equal(image, again)
    assert torch.equal(target["boxes"], same["boxes"])
    others = [sample(1, 3, 7)[0], sample(2, 2, 7)[0], sample(1, 2, 8)[0]]
    assert any(o.shape != image.shape or not torch.equal(o, image) for o in others)


def test_crowds_are_learned_in_no_tile(squares):
    crowd = Boxes((Box("red", 0, 0, 1, 1, isCrowd=True),))
    learned = tiled(
        Samples([Record(squares[0][0].image_url, crowd, 64, 64)], ["red"]),
        {**settings_of(RCNN), "tile_grid_size": "2,2"},
    )
    assert [len(learned.training(i).boxes) for i in range(5)] == [0] * 5


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


@pytest.mark.parametrize("spelling", ["(3, 2)", "3x2", [3, 2], (3, 2), "3,2", "[3,2]", "3 x 2"])
def test_a_grid_has_one_form(spelling):
    assert resolve(TASK, {"model_name": RCNN, "tile_grid_size": spelling})["tile_grid_size"] == "3,2"


def test_rows_without_a_grid_have_no_effect_and_an_overlap_of_1_is_refused():
    given = {"tile_overlap_ratio": 0.5, "tile_predictions_nms_threshold": 0.1}
    assert len(without_effect(resolve(TASK, given), given)) == 2
    assert without_effect(resolve(TASK, {**given, "tile_grid_size": "2x1"}), given) == []
    with pytest.raises(UserError, match="tile_overlap_ratio: 1 makes every tile the whole image; lower it"):
        resolve(TASK, {"tile_grid_size": "3x2", "tile_overlap_ratio": 1})


@settings(deadline=None, max_examples=50)
@given(shapes(60, 40), st.integers(20, 90))
def test_boxes_and_masks_are_back_within_a_pixel_after_a_networks_resize(objects, min_size):
    transform = NETWORK.network.transform
    transform.min_size, transform.max_size = (min_size,), 100
    sample = painted(60, 40, objects)
    image, target = to_tensors(sample)
    resized, (at,) = transform([image.float() / 255], [target])
    (back,) = transform.postprocess([{"boxes": at["boxes"]}], resized.image_sizes, [(40, 60)])
    assert float((back["boxes"] - target["boxes"]).abs().max()) < 1e-3
    scale = at["masks"].shape[1] / 40
    for box, mask in zip(at["boxes"], at["masks"], strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            corners = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(corners - box.numpy()).max() <= max(1, scale)


NETWORK = made(RCNN)


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


def test_a_trial_learns_and_is_evaluated_on_tiles_and_resumes_as_it_was(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SHARE", 0)
    given = {"tile_grid_size": "2x1", "number_of_epochs": 3, "training_batch_size": 2}
    train = trainer(squares, tmp_path, monkeypatch)
    whole, fitted, journal = train(given)
    assert [images for images, *_ in whole.calls] == [2] * 9 * 3  # six images, and two tiles of each
    assert whole.predicted == [1] * 9 * 3  # three images, and two tiles of each, alone as validation_batch_size says
    pulls = [*PULLS[18 % 8 :], *PULLS[: 18 % 8]]
    rest, again, _ = train(given, pulls, checkpoint=journal.folder / "checkpoint-2", name="resumed")
    assert rest.calls == whole.calls[18:]
    assert (rest.path[-1], again) == (whole.path[-1], fitted)
