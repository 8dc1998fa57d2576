"""YOLOv5's augmentation: each setting acts, and nothing else is drawn from or written to."""

import colorsys
import random

import numpy as np
import pytest
import torch

from automl_images.data import store
from automl_images.data.augment_yolo import coloured
from automl_images.data.detection import Samples, TrainingSet
from automl_images.data.images import load_image
from automl_images.data.tiles import GREY
from automl_images.errors import UserError
from automl_images.hyperparameters.yolov5 import ROWS
from automl_images.metrics.arrays import Sample
from automl_images.training.detection import prepare
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine
from tests.helpers.augmenting import GREEN, HSV, MAPS, NONE, SIZE, augmented, painted
from tests.helpers.detectors import TASK, settings_of


@pytest.mark.parametrize(("chance", "boxes"), [(0, 2), (1, 3)])
def test_objects_are_pasted_mirrored_where_they_cover_little(chance, boxes):
    """Of two objects the first has room at its mirrored place; the second is in the middle and would cover itself."""
    sample = painted(100, 60, (5, 10, 25, 30), (45, 10, 55, 40))
    image, found, labels, _ = augmented([sample], size=100, copy_paste=chance)
    assert len(found) == boxes
    assert labels.tolist() == [0, 1, 0][:boxes]
    if chance:
        assert found[2].tolist() == [75, 30, 95, 50]
        assert image[30:50, 75:95].reshape(-1, 3).tolist() == [list(GREEN)] * 400


def test_an_object_is_not_pasted_with_another_one():
    whole = painted(100, 60, (5, 10, 25, 30), (8, 12, 16, 20))
    _, found, labels, _ = augmented([whole], size=100, copy_paste=1)
    assert sorted(labels.tolist()) == [0, 1, 1], "the inner one alone: the outer one shows it"
    assert found[2].tolist() == [84, 32, 92, 40]


def test_without_anything_an_image_is_padded_alone():
    sample = painted(48, 32, (3, 4, 20, 30), back=(7, 8, 9))
    image, boxes, labels, masks = augmented([sample], size=48)
    np.testing.assert_array_equal(image[8:40], sample.image)
    assert set(image[:8].ravel()) | set(image[40:].ravel()) == {GREY}
    assert (boxes.tolist(), labels.tolist(), masks) == ([[3, 12, 20, 38]], [0], None)


ACTING = {**dict.fromkeys(NONE, 1.0), **MAPS, "scale": 0.9, "hsv_h": 0.1}


del ACTING["close_mosaic"]


@pytest.mark.parametrize("name", ACTING)
def test_each_setting_changes_an_image_and_at_0_does_not(name):
    back = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    samples = [painted(64, 64, (5, 6, 25, 26), back=back), painted(64, 64, (30, 6, 60, 30), back=back[::-1])]
    seen = [augmented(samples, seed, size=64, **{name: ACTING[name]}) for seed in range(6)]
    assert any((one.image != samples[0].image).any() for one in seen)
    for seed in range(3):
        image, boxes, *_ = augmented(samples, seed, size=64, **{name: 0})
        np.testing.assert_array_equal(image, samples[0].image)
        np.testing.assert_array_equal(boxes, samples[0].boxes)


def hues(name, share):
    """Return hue, saturation and value, in [0, 1], of an image of one colour, augmented 200 times."""
    flat = painted(8, 8, back=(160, 100, 40))
    seen = [augmented([flat], seed, size=8, **{name: share}).image for seed in range(200)]
    assert all((one == one[0, 0]).all() for one in seen)
    return np.array([colorsys.rgb_to_hsv(*one[0, 0] / 255) for one in seen])


@pytest.mark.parametrize(("channel", "share"), [(0, 0.1), (1, 0.3), (2, 0.4)])
def test_each_part_of_the_colour_varies_within_its_range_alone(channel, share):
    seen, before = hues(HSV[channel], share), np.array([1 / 12, 0.75, 160 / 255])
    seen[:, 0] = (seen[:, 0] + 0.5) % 1 - 0.5  # below red
    changed = seen[:, channel] - before[channel] if channel == 0 else seen[:, channel] / before[channel] - 1
    assert -share - 0.01 <= changed.min() < -0.9 * share < 0.9 * share < changed.max() <= share + 0.01
    others = np.delete(seen - before, channel, axis=1)
    assert np.abs(others).max() < 0.015


def test_greys_stay_grey_and_what_is_full_stays_full():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    changed = coloured(grey, 0.1, 0.9, 0.5)
    assert (changed == changed[..., :1]).all()
    assert np.abs(changed[0, :, 0] - np.minimum(255, np.arange(256) * 1.5)).max() <= 1
    assert coloured(grey, 0, 0, 0) is grey


@pytest.mark.parametrize(("name", "corner"), [("fliplr", (0, -1)), ("flipud", (-1, 0))])
def test_a_flip_exchanges_two_sides_as_often_as_it_says(name, corner):
    sample = painted(10, 10, (0, 0, 4, 3))
    image, boxes, *_ = augmented([sample], size=10, **{name: 1})
    assert image[corner].tolist() == list(GREEN)
    assert boxes.tolist() == [[6, 0, 10, 3]] if name == "fliplr" else [[0, 7, 4, 10]]
    flipped = [augmented([sample], seed, size=10, **{name: 0.3}).image[corner][1] > 0 for seed in range(400)]
    assert np.mean(flipped) == pytest.approx(0.3, abs=0.07)


def test_so_many_images_are_mosaics_and_none_of_the_last_epochs():
    samples = [painted(SIZE, SIZE, (0, 0, SIZE, SIZE))] + [painted(SIZE, SIZE, back=(90, 30, 60))] * 20

    def share(epoch, **given):
        whole = [augmented(samples, seed, epoch, **given).boxes.tolist() == [[0, 0, SIZE, SIZE]] for seed in range(200)]
        return 1 - np.mean(whole)

    assert share(0, mosaic=0.3) == pytest.approx(0.3, abs=0.1)
    assert share(0, mosaic=1) > 0.95
    assert share(0, mosaic=0) == 0
    closing = {"mosaic": 1, "number_of_epochs": 8, "close_mosaic": 3}
    assert share(4, **closing) > 0.95
    assert share(5, **closing) == share(7, **closing) == 0
    assert share(0, **{**closing, "close_mosaic": 9}) == 0
    with pytest.raises(UserError, match="close_mosaic: -1 is out of range"):
        augmented(samples, close_mosaic=-1)


def test_a_mosaic_shows_four_images_and_its_own_among_them():
    samples = [painted(SIZE, SIZE, (0, 0, SIZE, SIZE), back=(0, 0, 0))._replace(labels=np.array([n])) for n in range(9)]
    labels = [augmented(samples, seed, i=4, mosaic=1).labels.tolist() for seed in range(60)]
    assert all(1 <= len(found) <= 4 for found in labels)
    assert np.mean([4 in found for found in labels]) > 0.5, "of the others too little is seen"
    assert {label for found in labels for label in found} == set(range(9))


def test_so_many_images_are_blended_with_another_one():
    one, other = painted(40, 40, (0, 0, 40, 40)), painted(40, 40, (5, 5, 20, 20), back=(200, 0, 0))
    seen = [augmented([one, other], seed, size=40, mixup=0.5) for seed in range(300)]
    both = [s for s in seen if len(s.boxes) == 2 and s.boxes.tolist() != [[0, 0, 40, 40]] * 2]
    assert len(both) / 300 == pytest.approx(0.25, abs=0.08), "half of the partners are the image itself"
    weights = [s.image[30, 30, 1] / 255 for s in both]
    assert np.mean(weights) == pytest.approx(0.5, abs=0.02) and 0.25 < min(weights) < max(weights) < 0.75
    for sample, weight in zip(both, weights, strict=True):
        assert sample.image[30, 30, 0] == pytest.approx(200 * (1 - weight), abs=1)
        assert sample.boxes.tolist() == [[0, 0, 40, 40], [5, 5, 20, 20]]


MOST = {row.name: 0.5 for row in ROWS if row.name in NONE} | MAPS | {"close_mosaic": 5, "shear": 80, "scale": 0.99}


def test_a_sample_is_a_function_of_index_seed_and_epoch_alone_and_nothing_is_written_to():
    rng = np.random.default_rng(1)
    samples = [painted(50 + n, 70, (5, 6, 25, 26), back=rng.integers(0, 256, (70, 50 + n, 3))) for n in range(4)]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    seen = [augmented(samples, seed, seed % 30, i=seed % 4, **MOST) for seed in range(60)]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    again = [augmented(samples, seed, seed % 30, i=seed % 4, **MOST) for seed in range(60)]
    for one, other in zip(seen, again, strict=True):
        for a, b in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(a, b)
    assert len({one.image.tobytes() for one in seen}) == 60
    for image, boxes, labels, _ in seen:
        assert (image.shape, image.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert (boxes.dtype, labels.dtype, len(boxes)) == (np.float32, np.int64, len(labels))
        assert boxes.min(initial=0) >= 0 and boxes.max(initial=0) <= SIZE
        assert ((boxes[:, 2:] - boxes[:, :2]) > 1.99).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_trial_decodes_each_image_once_at_its_networks_size(tmp_path, squares, monkeypatch, workers):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Machine, "loading", lambda *_: {"num_workers": workers})
    job = Job(TASK, settings_of("yolov5", img_size=32, number_of_epochs=2, close_mosaic=1), *squares, {}, seed=1)
    prepared = prepare(job, Compute("float32"), Machine.here(), tmp_path)
    samples = prepared.training.dataset.samples
    monkeypatch.setattr(store, "load_image", lambda *_: pytest.fail("decoded anew"))
    assert {samples.store.image(i).shape for i in range(len(samples))} == {(32, 32, 3)}, "of 64 x 64 pixels"
    for epoch in range(2):
        prepared.training.sampler.set_epoch(epoch)
        seen = [(image, target) for batch in prepared.training for image, target in zip(*batch, strict=True)]
        assert len(seen) == len(squares[0]) and {tuple(image.shape) for image, _ in seen} == {(3, 32, 32)}


@pytest.mark.parametrize("budget", [10**6, 40 * 30 * 3])
def test_what_memory_does_not_take_is_kept_in_a_file_once_shrunk(tmp_path, squares, monkeypatch, budget):
    samples = Samples(squares[0], ["blue", "red"], budget, longest=32, scratch=tmp_path / "kept")
    samples.store.fill()
    monkeypatch.setattr(store, "load_image", lambda *_: pytest.fail("decoded anew"))
    whole = Samples(squares[0], ["blue", "red"])
    for i in range(len(samples)):
        one = samples.training(i)
        assert one.image.shape == (32, 32, 3)
        with pytest.MonkeyPatch.context() as restored:
            restored.setattr(store, "load_image", load_image)
            other = whole.training(i)
        np.testing.assert_allclose(one.boxes, other.boxes / 2)
    assert (tmp_path / "kept" / "decoded-images").exists() is (budget < 10**6)


def test_an_augmentation_is_told_the_epoch(squares):
    seen = []

    def augment(i, seed, epoch):
        seen.append((i, seed, epoch))
        return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))

    data = TrainingSet(squares[0], augment, 3)
    for key in ((0, 1), (5, 1), (5, 2)):
        data[key]
    assert [(i, epoch) for i, _, epoch in seen] == [(1, 0), (1, 5), (2, 5)]
    assert len({seed for _, seed, _ in seen}) == 3
