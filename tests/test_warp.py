"""Boxes follow their pixels through all that moves them, and maps are drawn as the settings say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from automl_images.data.tiles import GREY
from automl_images.data.warp import LONG, Scene, drawn_map, fitted, joined, moved, shrunk, warped, with_pasted
from tests.helpers.augmenting import GREEN, MAPS, NONE, SIZE, augmented, painted


def bounds(image, share=0.5):
    """Return the box of the pixels of which a share is green, at least; grey and black are not."""
    inside = image[..., 1].astype(int) - image[..., 0] >= 255 * share
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) if len(rows) else None


def follows(scene, share=0.5, least=8):
    """Assert that the one box is that of the green pixels, within one; small ones may be gone."""
    if (seen := bounds(scene.image, share)) is None or (seen[2:] - seen[:2]).min() < least:
        return
    if len(scene.boxes):
        assert np.abs(scene.boxes[0] - seen).max() <= 1
    else:
        assert (seen[2:] == scene.image.shape[1]).any() or (seen[:2] == 0).any(), "what is whole stays"


@st.composite
def rectangles(draw, longest=SIZE):
    """Return an image with one rectangle; its longer side is so many pixels."""
    sides = longest, draw(st.integers(20, longest))
    width, height = sides if draw(st.booleans()) else sides[::-1]
    left, top = draw(st.integers(0, width - 10)), draw(st.integers(0, height - 10))
    return painted(width, height, (left, top, draw(st.integers(left + 8, width)), draw(st.integers(top + 8, height))))


class Once:
    """Samples of which only the first that is asked for has an object."""

    def __init__(self, sample):
        self.left = [sample]

    def __len__(self):
        return 2

    def __getitem__(self, _):
        return self.left.pop() if self.left else painted(50, 60)


RECTANGLES, SEEDS = rectangles(), st.integers(0, 2**32)


@pytest.mark.parametrize("name", [*MAPS, "flipud", "fliplr", "mosaic", "all"])
@limits(deadline=None, max_examples=40)
@given(sample=RECTANGLES, seed=SEEDS)
def test_a_box_is_that_of_its_pixels(name, sample, seed):
    most = {**MAPS, "scale": 0.5, "flipud": 0.5, "fliplr": 0.5, "mosaic": 0.5}
    tilts = name in ("degrees", "shear", "perspective", "all")  # a corner that points up is a quarter of a pixel
    given = most if name == "all" else {name: most[name]}
    follows(augmented(Once(sample), seed, **given), 0.25 if tilts else 0.5)


@limits(deadline=None)
@given(RECTANGLES, SEEDS, st.integers(0, 3))
def test_a_box_is_that_of_its_pixels_on_a_canvas(sample, seed, place):
    empty = painted(30, 80)
    scenes = [fitted(sample if n == place else empty, SIZE) for n in range(4)]
    rng = np.random.default_rng(seed)
    centre = rng.integers(SIZE // 2, 3 * SIZE // 2 + 1, 2).tolist()
    scene = joined(scenes, SIZE, centre)
    assert scene.image.shape == (2 * SIZE, 2 * SIZE, 3)
    follows(scene)


def test_four_images_meet_at_the_centre():
    four = [painted(40, 20, (0, 0, 40, 20)), *(painted(20, 40, back=(n, n, n)) for n in (1, 2, 3))]
    image, boxes, labels, shown = joined([fitted(s, 40) for s in four], 40, (30, 50))
    assert image[49, 29].tolist() == list(GREEN)
    assert [image[y, x, 0] for x, y in ((30, 49), (29, 50), (30, 50))] == [1, 2, 3]
    assert (boxes.tolist(), labels.tolist(), shown.tolist()) == ([[0, 30, 30, 50]], [0], [0.75])
    assert set(image[:, :9][:30].ravel()) == {GREY}


@limits(deadline=None)
@given(st.integers(20, 200).flatmap(rectangles), st.integers(8, 200))
def test_a_box_is_that_of_its_pixels_when_resized(sample, longest):
    scene = fitted(sample, longest)
    assert max(scene.image.shape[:2]) == longest
    follows(scene, least=1)
    assert max(shrunk(sample.image, longest).shape) == min(longest, max(sample.image.shape))


@limits(deadline=None)
@given(RECTANGLES, SEEDS)
def test_a_pasted_box_is_that_of_its_pixels(sample, seed):
    scene = fitted(sample, max(sample.image.shape))
    after = with_pasted(scene, 1.0, np.random.default_rng(seed))
    follows(after._replace(image=after.image if len(after.boxes) == 1 else scene.image))
    if len(after.boxes) == 2:
        width = scene.image.shape[1]
        left, top, right, bottom = scene.boxes[0]
        assert after.boxes[1].tolist() == [width - right, top, width - left, bottom]
        pasted = after.image.copy()
        pasted[int(top) : int(bottom), int(left) : int(right)] = 0
        beyond = max(0, min(right, width - left) - max(left, width - right))
        assert beyond > 0 or np.abs(bounds(pasted) - after.boxes[1]).max() == 0


@pytest.mark.parametrize(
    ("box", "left", "kept"),
    [
        ((10, 10, 30, 30), 27.9, True),
        ((10, 10, 30, 30), 28.1, False),  # less than a tenth is left
        ((10, 10, 12, 30), 0, True),
        ((10, 10, 11, 30), 0, False),  # thin
        ((10, 10, 30, 11), 0, False),
        ((0, 0, 2, 2 * LONG), 0, True),
        ((0, 0, 2, 2 * LONG + 2), 0, False),
    ],
)
def test_what_little_is_left_of_goes(box, left, kept):
    sample = painted(300, 300, tuple(map(int, box)))
    assert len(warped(fitted(sample, 300), moved(-left, 0), 300).boxes) == kept


def test_a_share_is_that_of_the_whole_object():
    """Cut at the canvas to a quarter and at the square to a third of that, less than a tenth is left."""
    scene = Scene(np.zeros((90, 90, 3), np.uint8), np.array([[60.0, 0, 90, 30]]), np.array([0]), np.array([0.25]))
    assert len(warped(scene, moved(-80, 0), 90).boxes) == 0
    assert len(warped(scene._replace(shown=np.ones(1)), moved(-80, 0), 90).boxes) == 1


def of_maps(**given):
    """Return what 500 maps do to the middle and to two points a pixel from it."""
    settings = {**NONE, **given}
    maps = [drawn_map(400, 200, settings, np.random.default_rng(seed)) for seed in range(500)]
    points = np.array(maps) @ np.array([[200.0, 200, 1], [201, 200, 1], [200, 201, 1]]).T
    points = points[:, :2] / points[:, 2:]
    return points[..., 0], points[..., 1] - points[..., 0], points[..., 2] - points[..., 0], np.array(maps)


@pytest.mark.parametrize("name", MAPS)
def test_each_part_of_the_map_acts_within_its_range_alone(name):
    middle, right, down, maps = of_maps(**{name: MAPS[name]})
    sides = np.hypot(*right.T), np.hypot(*down.T)
    angle = np.degrees(np.arctan2(right[:, 1], right[:, 0]))
    ranges = {
        "translate": (middle - 100) / 200,
        "degrees": angle,
        "scale": np.sqrt(np.abs(np.cross(right, down))) - 1,
        "shear": np.degrees([np.arctan(maps[:, 0, 1]), np.arctan(maps[:, 1, 0])]),
        "perspective": maps[:, 2, :2],
    }
    seen, most = ranges.pop(name), MAPS[name]
    assert -most <= seen.min() < -0.97 * most < 0.97 * most < seen.max() <= most + 1e-9
    assert abs(np.mean(seen)) < 0.1 * most and np.std(seen) == pytest.approx(most / np.sqrt(3), rel=0.1), "drawn evenly"
    if name == "shear":
        del ranges["degrees"], ranges["scale"]  # lines turn when sheared, and areas change a little
    elif name == "degrees":
        del ranges["shear"]
        np.testing.assert_allclose(sides, 1, atol=1e-9)
    elif name == "perspective":
        del ranges["degrees"], ranges["scale"], ranges["shear"]
    for values in ranges.values():
        np.testing.assert_allclose(values, 0, atol=1e-9)


@pytest.mark.parametrize("size", [640, 2000])
def test_no_corner_of_a_canvas_comes_to_the_horizon(size):
    corners = np.array([[0, 0, 1], [2 * size, 0, 1], [0, 2 * size, 1], [2 * size, 2 * size, 1]]).T
    depths = [
        (drawn_map(2 * size, size, {**NONE, "perspective": 0.001}, np.random.default_rng(seed)) @ corners)[2]
        for seed in range(300)
    ]
    assert np.min(depths) >= 0.2 - 1e-9


def test_masks_are_refused():
    sample = painted(20, 20, (0, 0, 9, 9))._replace(masks=np.ones((1, 20, 20), np.uint8))
    with pytest.raises(AssertionError, match="masks are not moved along"):
        augmented([sample])
