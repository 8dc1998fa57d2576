"""Masks traced as polygons."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from automl_images.annotations import Instance
from automl_images.annotations.shapes import encoded, mask_of
from automl_images.annotations.tracing import traced


@given(npst.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_traced_mask_is_the_mask_with_its_holes_filled(mask):
    parts, holes = traced(encoded(mask))
    filled = ndimage.binary_fill_holes(mask)  # what no path of side by side pixels reaches from outside
    assert bool(parts) == mask.any() and (holes > 0) == bool((filled & ~mask).any())
    if parts:
        again = mask_of(Instance("cat", parts), mask.shape[1], mask.shape[0])
        assert (again == filled).all()


def test_an_outline_has_its_corners_alone():
    mask = np.zeros((4, 8), bool)
    mask[1:3, 2:6] = True
    ((*corners,),), holes = traced(encoded(mask))
    points = sorted(zip(corners[::2], corners[1::2], strict=True))
    assert holes == 0 and points == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
