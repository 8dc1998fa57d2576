"""Tiles: their geometry, their settings, and what is learned in them."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Record
from automl_images.data.augment import rcnn_augmentation
from automl_images.data.detection import Samples, TrainingSet, to_tensors
from automl_images.data.tiles import VISIBLE, Tiling, Window, cut, tiled
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.metrics.arrays import Sample
from automl_images.sweep.canonical import canonical_space
from automl_images.sweep.space import check_space, parse_space
from automl_images.training.callbacks import Checkpoints
from benchmarks.tiling import painted
from tests.helpers.detectors import RCNN, TASK, made, settings_of
from tests.helpers.training_probe import PULLS, trainer

SIDES = st.integers(1, 400)
GRIDS = st.builds(Tiling, st.integers(1, 5), st.integers(1, 5), st.floats(0, 0.99), st.just(0.25), st.just(100))


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


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_like_shapes_are_known_without_an_images_pixels(samples, overlap):
    learned = tiled(samples, settings_of(RCNN, tile_grid_size="3x2", tile_overlap_ratio=overlap))
    shapes = np.array([learned.training(i).image.shape[:2] for i in range(len(learned))])
    np.testing.assert_allclose(learned.aspects(), shapes[:, 1] / shapes[:, 0], rtol=0.08)


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


@pytest.mark.parametrize("spelling", ["(3, 2)", "3x2", [3, 2], (3, 2), "3,2", "[3,2]", "3 x 2"])
def test_a_grid_has_one_form(spelling):
    assert resolve(TASK, {"model_name": RCNN, "tile_grid_size": spelling})["tile_grid_size"] == "3,2"


def test_a_grid_is_swept_by_choice():
    def check(**space):
        check_space(TASK, parse_space(space), {"model_name": RCNN}, conditional=False)

    grids = {"choice": ["2x1", "(3, 2)", [5, 3], None]}
    check(tile_grid_size=grids, tile_overlap_ratio={"uniform": [0, 0.5]})
    assert canonical_space({"tile_grid_size": grids}) == {"tile_grid_size": {"choice": ["2,1", "3,2", "5,3", None]}}
    with pytest.raises(UserError, match="with tile_overlap_ratio 1: tile_overlap_ratio: 1 makes every tile the whole"):
        check(tile_grid_size=grids, tile_overlap_ratio={"choice": [0.25, 1]})
    with pytest.raises(UserError, match="tile_grid_size: '2x0' is not two numbers"):
        check(tile_grid_size={"choice": ["2x0"]})


def test_rows_without_a_grid_have_no_effect_and_an_overlap_of_1_is_refused():
    given = {"tile_overlap_ratio": 0.5, "tile_predictions_nms_threshold": 0.1}
    assert len(without_effect(resolve(TASK, given), given)) == 2
    assert without_effect(resolve(TASK, {**given, "tile_grid_size": "2x1"}), given) == []
    with pytest.raises(UserError, match="tile_overlap_ratio: 1 makes every tile the whole image; lower it"):
        resolve(TASK, {"tile_grid_size": "3x2", "tile_overlap_ratio": 1})


@settings(deadline=None, max_examples=50)
@given(shapes(60, 40), st.integers(20, 90))
def test_boxes_and_masks_are_back_within_a_pixel_after_a_networks_resize(objects, min_size):
    transform = network(RCNN).network.transform
    transform.min_size, transform.max_size = (min_size,), 100
    sample = painted(60, 40, objects)
    image, target = to_tensors(sample)
    resized, (at,) = transform([image.float() / 255], [target])
    (back,) = transform.postprocess([{"boxes": at["boxes"]}], resized.image_sizes, [(40, 60)])
    assert float((back["boxes"] - target["boxes"]).abs().max()) < 1e-3
    scale = at["masks"].shape[1] / 40
    for box, mask in zip(at["boxes"], at["masks"], strict=True):
        if mask.any():
            assert np.abs(bounds(mask) - box.numpy()).max() <= max(1, scale)


@settings(deadline=None, max_examples=50)
@given(st.integers(10, 90), st.integers(10, 90), st.data())
def test_boxes_follow_the_pixels_into_yolos_square(width, height, data):
    left, top = data.draw(st.integers(0, width - 8)), data.draw(st.integers(0, height - 8))
    right, bottom = data.draw(st.integers(left + 8, width)), data.draw(st.integers(top + 8, height))
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, top:bottom, left:right] = 255
    square, (scale,), (shift,) = network("yolov5")._batch([image])
    inside = (square[0, 0] > 0.5).numpy()
    box = torch.tensor([left, top, right, bottom]) * scale + shift
    assert np.abs(bounds(inside) - box.numpy()).max() <= 1


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@functools.cache
def network(name):
    return made(name)


def test_a_trial_learns_and_is_evaluated_on_tiles_and_resumes_as_it_was(squares, tmp_path, monkeypatch, capsys):
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
    assert "6 training and 3 validation images, 2 classes, on cpu; weights: fresh; each image with 2 tiles" in (
        capsys.readouterr().err
    )
