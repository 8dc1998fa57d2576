"""What the augmentation of the R-CNN family does to boxes and masks, followed back to where each pixel came from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycocotools

from automl_images.annotations import Record
from automl_images.annotations.labels.polygons import Instance, Polygons
from automl_images.annotations.shapes import decoded, encoded, mask_of
from automl_images.data.augment import mirrored, rcnn_augmentation
from automl_images.data.detection import to_tensors
from automl_images.data.instances import InstanceSamples
from automl_images.data.tiles import GREY
from automl_images.metrics.arrays import Sample

WIDTH, HEIGHT = 60, 40
OWN = 7  # the blue of a pixel of the image


def located(boxes, seed=0, masks=True):
    """Return a sample whose red and green tell a pixel's column and row; masks are blots within their boxes."""
    rng, image = np.random.default_rng(seed), np.full((HEIGHT, WIDTH, 3), OWN, np.uint8)
    image[..., 0], image[..., 1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    blots = np.zeros((len(boxes), HEIGHT, WIDTH), np.uint8)
    for blot, (left, top, right, bottom) in zip(blots, boxes, strict=True):
        inside = blot[top:bottom, left:right]
        inside[:] = rng.random(inside.shape) < 0.5
        inside[0, 0] = inside[-1, -1] = 1
    labels = np.arange(len(boxes), dtype=np.int64)
    return Sample(image, np.array(boxes, np.float32).reshape(-1, 4), labels, blots if masks else None)


def boxes(least=0):
    corners = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, 40), st.integers(1, 30))
    return st.lists(
        corners.map(lambda s: (s[0], s[1], min(WIDTH, s[0] + s[2]), min(HEIGHT, s[1] + s[3]))),
        min_size=least,
        max_size=5,
    )


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@given(boxes(), st.integers(0, 10_000))
def test_masks_are_the_pixels_that_they_were_and_boxes_are_theirs(given_boxes, seed):
    sample = located(given_boxes, seed)
    image, found, labels, masks = rcnn_augmentation(lambda _: sample)(0, seed)
    assert masks.shape == (len(found), *image.shape[:2])
    own = image[..., 2] == OWN
    assert (image[~own] == GREY).all()
    rows, columns = image[..., 1][own], image[..., 0][own]
    for label, box, mask in zip(labels, found, masks, strict=True):
        np.testing.assert_array_equal(mask[own], sample.masks[label][rows, columns])
        assert not mask[~own].any()
        assert box.tolist() == bounds(mask)
        assert 2 * mask.sum() >= sample.masks[label].sum()
    assert len(found) or not given_boxes
    assert len(set(labels.tolist())) == len(labels)


@given(boxes(1), st.integers(0, 10_000))
def test_boxes_alone_are_the_pixels_that_they_held(given_boxes, seed):
    sample = located(given_boxes, masks=False)
    image, found, labels, masks = rcnn_augmentation(lambda _: sample)(0, seed)
    assert masks is None
    for label, (left, top, right, bottom) in zip(labels, found.astype(int), strict=True):
        shown = image[top:bottom, left:right].reshape(-1, 3)
        assert (shown[:, 2] == OWN).all()
        x1, y1, x2, y2 = sample.boxes[label]
        assert ((shown[:, 0] >= x1) & (shown[:, 0] < x2) & (shown[:, 1] >= y1) & (shown[:, 1] < y2)).all()
        whole = image[..., 2] == OWN
        held = whole & (image[..., 0] >= x1) & (image[..., 0] < x2) & (image[..., 1] >= y1) & (image[..., 1] < y2)
        assert held.sum() == len(shown)


@given(boxes())
def test_mirrored_twice_is_as_before(given_boxes):
    sample = located(given_boxes)
    once = mirrored(sample)
    for box, mask in zip(once.boxes, once.masks, strict=True):
        assert box.tolist() == bounds(mask)
    for before, after in zip(sample, mirrored(once), strict=True):
        np.testing.assert_array_equal(before, after)


def test_images_are_expanded_cropped_and_mirrored_each_by_chance():
    sample = located([(20, 10, 40, 30)])
    seen = [rcnn_augmentation(lambda _: sample)(0, seed) for seed in range(400)]
    expanded = np.mean([(s.image[..., 2] == GREY).any() for s in seen])
    cropped = np.mean([((s.image[..., 2] == OWN).sum() < WIDTH * HEIGHT) for s in seen])
    flipped = np.mean([s.image[s.image[..., 2] == OWN][0][0] > s.image[s.image[..., 2] == OWN][-1][0] for s in seen])
    assert expanded == pytest.approx(0.25, abs=0.08)  # a crop may leave nothing of the canvas
    assert cropped == pytest.approx(0.45, abs=0.08)
    assert flipped == pytest.approx(0.5, abs=0.08)
    sides = np.array([s.image.shape[:2] for s in seen]) / (HEIGHT, WIDTH)
    assert pytest.approx(tuple(sides.min(0)), abs=0.05) == (0.5, 0.5)  # a crop holds the object, of half the height
    assert np.ptp(sides, axis=1).max() < 1.1 / HEIGHT, "in the image's proportions"
    assert 1.8 < sides.max() <= 2


def test_an_objects_crop_is_large_enough_to_hold_it():
    sample = located([(0, 0, WIDTH, HEIGHT)])
    for seed in range(50):
        augmented = rcnn_augmentation(lambda _: sample)(0, seed)
        assert augmented.masks.sum() == sample.masks.sum()


def test_an_augmented_sample_becomes_tensors_and_leaves_its_source_alone():
    sample = located([(3, 4, 30, 20), (10, 10, 50, 35)])
    kept = Sample(*(a.copy() for a in sample))
    sample.image.flags.writeable = False  # as the image store's may be
    for seed in range(20):
        augmented = rcnn_augmentation(lambda _: sample)(0, seed)
        image, target = to_tensors(augmented)
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), augmented.image)
        np.testing.assert_array_equal(target["masks"].numpy(), augmented.masks)
        assert image.is_contiguous() and target["boxes"].dtype == torch.float32
        image.zero_()
    for before, after in zip(kept, sample, strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_object_of_less_than_a_pixel_is_not_lost_with_its_image():
    sample = Sample(np.zeros((40, 60, 3), np.uint8), np.float32([[10, 10, 10.5, 10.5]]), np.int64([0]))
    for seed in range(20):
        assert len(rcnn_augmentation(lambda _: sample)(0, seed).boxes) == 1


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000), st.data())
def test_columns_of_a_mask_are_those_of_the_whole(height, width, seed, data):
    mask = np.random.default_rng(seed).random((height, width)) < data.draw(st.sampled_from([0, 0.1, 0.6, 1]))
    rle = encoded(mask)
    theirs = pycocotools.decode({"size": [height, width], "counts": rle.counts.encode()})
    left = data.draw(st.integers(0, width - 1))
    right = data.draw(st.integers(left, width))
    np.testing.assert_array_equal(decoded(rle), theirs)
    np.testing.assert_array_equal(decoded(rle, left, right), theirs[:, left:right])


def test_samples_have_the_masks_of_their_outlines_and_the_boxes_of_their_masks(tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.png")
    blot = np.zeros((HEIGHT, WIDTH), bool)
    blot[5:20:3, 7:31:2] = True
    crowd, empty = Instance("a", rle=encoded(~blot), isCrowd=True), Instance("a", rle=encoded(blot & False))
    objects = (crowd, Instance("b", ((0.1, 0.1, 0.5, 0.2, 0.3, 0.9),)), empty, Instance("a", rle=encoded(blot)))
    samples = InstanceSamples([Record(str(tmp_path / "a.png"), Polygons(objects), WIDTH, HEIGHT)], ["a", "b"])
    sample = samples.training(0)
    assert sample.labels.tolist() == [1, 0]
    for instance, mask, box in zip((objects[1], objects[3]), sample.masks, sample.boxes, strict=True):
        np.testing.assert_array_equal(mask, mask_of(instance, WIDTH, HEIGHT))
        assert box.tolist() == bounds(mask)
