"""Masks traced as polygons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from automl_images.annotations import Instance
from automl_images.annotations.shapes import encoded, mask_of
from automl_images.annotations.tracing import outlined, traced


@given(npst.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_traced_mask_is_the_mask_with_its_holes_filled(mask):
    parts, holes = traced(encoded(mask))
    filled = ndimage.binary_fill_holes(mask)  # what no path of side by side pixels reaches from outside
    assert bool(parts) == mask.any()
    again = mask_of(Instance("cat", parts), mask.shape[1], mask.shape[0]) if parts else mask
    # a hole whose corners touch the outside twice is none to an outline, and stays empty
    assert not (mask & ~again).any() and not (again & ~filled).any()
    assert (holes > 0) == bool((again & ~mask).any())


@given(npst.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_an_outline_with_points_enough_is_the_mask_with_its_holes(mask):
    polygons = outlined(mask, 1000)
    again = (
        mask_of(Instance("cat", tuple(map(tuple, polygons))), *mask.shape[::-1]) if polygons else np.zeros_like(mask)
    )
    assert np.array_equal(again, mask)


@pytest.mark.parametrize("most", [1, 3, 10, 30, 100])
def test_an_outline_has_no_more_points_than_it_may(most):
    mask = blob(0, 120, 160)
    polygons = outlined(mask, most)
    assert 3 <= max(len(polygon) for polygon in polygons) / 2 <= max(3, most)
    assert overlap(mask, filled_by(polygons, mask)) > {1: 0.4, 3: 0.4, 10: 0.8, 30: 0.9, 100: 0.99}[most]


@pytest.mark.parametrize("seed", range(8))
def test_the_default_points_of_an_outline_lose_at_most_a_hundredth(seed):
    mask = blob(seed, 480, 640)
    polygons = outlined(mask, 100)
    assert overlap(mask, filled_by(polygons, mask)) > 0.99


def blob(seed, height, width):
    """Return a mask with a wavy edge, and every other time a hole."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    angle = np.arctan2(y - height / 2, x - width / 2)
    radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    edge = 0.3 + sum(rng.uniform(0, 0.1 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(1, 6))
    return (radius < edge) & ((radius > 0.1) | (seed % 2 == 0))


def filled_by(polygons, mask):
    """Return the pixels that polygons fill of an image of a mask's size."""
    return mask_of(Instance("cat", tuple(map(tuple, polygons))), mask.shape[1], mask.shape[0])


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_hole_is_filled_and_counted():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    parts, holes = traced(encoded(mask))
    assert holes == 1 and mask_of(Instance("cat", parts), 3, 3).all()


def test_an_outline_has_its_corners_alone():
    mask = np.zeros((4, 8), bool)
    mask[1:3, 2:6] = True
    ((*corners,),), holes = traced(encoded(mask))
    points = sorted(zip(corners[::2], corners[1::2], strict=True))
    assert holes == 0 and points == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
