"""Masks as indices of classes, and crops in which image and truth follow one another."""

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.annotations import Record
from automl_images.annotations.labels import Mask, OneClass
from automl_images.annotations.masks import IGNORE, indices_of
from automl_images.data.segmentation import EvaluationSet, Samples, TrainingSet, as_lists, classes_of, cropped
from automl_images.errors import UserError
from tests.helpers.segments import MAP, drawn, masked, settings_of

CLASSES = ["sky", "red", "blue"]


def written(folder, pixels, mode=None):
    path = folder / "mask.png"
    Image.fromarray(np.array(pixels), mode).save(path)
    return str(path)


def test_a_masks_values_become_indices_of_the_classes(tmp_path):
    url = written(tmp_path, np.array([[0, 20], [10, 255]], np.uint8))
    assert indices_of(Mask(url, MAP), CLASSES).tolist() == [[0, 2], [1, IGNORE]]
    assert indices_of(Mask(url, MAP), ["blue", "sky", "red"]).tolist() == [[1, 0], [2, IGNORE]]
    assert indices_of(Mask(url), ["0", "10", "20"]).tolist() == [[0, 2], [1, IGNORE]], "named by their digits"
    assert indices_of(Mask(url, MAP, (10, 255)), ["sky", "blue"]).tolist() == [[0, 1], [IGNORE] * 2]


def test_colours_and_values_of_16_bits_become_indices_too(tmp_path):
    colours = np.array([[[1, 2, 3], [255, 0, 0]], [[255, 0, 0], [9, 9, 9]]], np.uint8)
    mask = Mask(written(tmp_path, colours), (("sky", "#010203"), ("red", "#ff0000")), ("#090909",))
    assert indices_of(mask, ["sky", "red"]).tolist() == [[0, 1], [1, IGNORE]]
    assert indices_of(Mask(mask.mask_url, (), ("#090909",)), ["#010203", "#ff0000"]).tolist() == [[0, 1], [1, IGNORE]]
    deep = Mask(written(tmp_path, np.array([[1000, 2], [2, 60000]], np.uint16)), (("a", 2), ("b", 1000)), (60000,))
    assert indices_of(deep, ["a", "b"]).tolist() == [[1, 0], [0, IGNORE]]


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ({"classes": MAP}, "has the pixel value 7, which is of no class"),
        ({"classes": (*MAP, ("green", 7))}, "has the pixel value 7, the class 'green', which is not in the training"),
        ({}, "has the pixel value 7, the class '7', which is not in the training data"),
    ],
)
def test_a_value_of_no_class_is_refused_with_file_and_value(tmp_path, label, why):
    url = written(tmp_path, np.array([[0, 7]], np.uint8))
    with pytest.raises(UserError, match=f"mask.png {why}"):
        indices_of(Mask(url, **label), ["sky", "red", "blue", "0"])


def test_classes_are_in_the_order_of_the_one_map_else_sorted():
    one, other = Mask("a.png", MAP), Mask("b.png", (("sky", 0), ("green", 3)))
    assert classes_of([Record("a", one), Record("b", one)]) == CLASSES
    assert classes_of([Record("a", one), Record("b", other)]) == ["blue", "green", "red", "sky"]
    numbered = [Record("a", Mask("a.png", present=("10", "2"))), Record("b", Mask("b.png", present=("1",)))]
    assert classes_of(numbered) == ["1", "2", "10"]


def test_classes_of_masks_that_were_not_checked_are_read(tmp_path):
    url = written(tmp_path, np.array([[0, 7, 255, 11]], np.uint8))
    assert classes_of([Record("a", Mask(url, ignore=(255, 11)))]) == ["0", "7"]


@pytest.mark.parametrize(("count", "found"), [(1, 1), (255, 255)])
def test_too_few_and_too_many_classes_are_refused(count, found):
    classes = tuple((f"c{i}", i) for i in range(count))
    with pytest.raises(UserError, match=f"^training data: the masks have {found} classes; a model takes 2 to 254"):
        classes_of([Record("a", Mask("a.png", classes))])
    assert len(classes_of([Record("a", Mask("a.png", tuple((f"c{i}", i) for i in range(254))))])) == 254


def test_what_is_no_mask_or_of_an_unknown_class_is_refused_by_its_record():
    with pytest.raises(UserError, match="^line 3: its label is not a mask"):
        classes_of([Record("a", OneClass("x"), where="line 3")])
    shown = Record("a", Mask("a.png", (("sky", 0), ("rod", 1)), present=("rod",)), where="line 4")
    with pytest.raises(UserError, match="^line 4: the class 'rod' is not in the training data; did you mean 'red'"):
        Samples([shown], CLASSES)
    assert len(Samples([Record("a", Mask("a.png", (("sky", 0), ("rod", 1)), present=("sky",)))], CLASSES)) == 1


def test_a_mask_of_another_size_or_that_is_missing_is_refused_by_its_record(tmp_path):
    wrong = masked(tmp_path, "x", np.zeros((4, 6, 3)), np.zeros((6, 4)))
    with pytest.raises(UserError, match=r"data, x: the mask .*x_mask.png has 4 x 6 pixels, and its image 6 x 4"):
        Samples([wrong], CLASSES).pair(0)
    (tmp_path / "x_mask.png").unlink()
    with pytest.raises(UserError, match=r"data, x: .*x_mask.png"):
        Samples([wrong], CLASSES).pair(0)


def test_a_sample_is_an_image_and_its_truth_however_it_is_kept(tmp_path):
    records = drawn(tmp_path, 2)
    for budget in (None, 0):
        samples = Samples(records, CLASSES, budget)
        samples.fill()
        for i, record in enumerate(records):
            image, truth = samples.pair(i)
            assert np.array_equal(image, np.asarray(Image.open(record.image_url)))
            assert set(np.unique(truth)) == {0, 1 + i % 2, IGNORE} and (truth[0] == IGNORE).all()
            assert ((truth == 1 + i % 2) == (image.max(2) == 220)).all()


def shaded(height, width):
    """Return an image whose channels are its row and column, and 255 - column, and a truth that is its row // 8."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.dstack([rows, columns, 255 - columns, rows // 8])


@pytest.mark.parametrize("size", [(48, 96), (96, 48), (20, 96), (30, 30), (1, 96), (200, 200)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_image_and_truth_follow_one_another_in_crops(size, scale):
    for seed in range(5):
        both = cropped(shaded(*size), scale, 32, np.random.default_rng(seed))
        assert both.shape == (32, 32, 4)
        counted = both[..., 3] != IGNORE
        whole = [min(32, max(1, round(side * scale))) for side in size]
        assert counted.sum() == whole[0] * whole[1], "what the image does not fill is ignored, and nothing else"
        assert (both[~counted][:, :3] == (124, 116, 104)).all()
        rows, truth = both[counted][:, 0].astype(int), both[counted][:, 3].astype(int)
        assert (np.abs(truth * 8 + 3.5 - rows) <= 4.5 + 1 / scale).all(), "the truth is that of the row that is shown"


def test_crops_are_of_the_scale_that_is_asked_for_and_from_everywhere():
    spans, lefts = [], []
    for seed in range(40):
        both = cropped(shaded(200, 200), 0.5, 32, np.random.default_rng(seed))
        spans.append(int(both[-1, 0, 0]) - int(both[0, 0, 0]))
        lefts.append(int(both[0, 0, 1]))
    assert set(spans) <= {61, 62, 63} and len(set(lefts)) > 15
    assert min(lefts) < 20 and max(lefts) > 116
    middle = cropped(shaded(200, 200), 0.5, 32)
    assert abs(int(middle[0, 0, 0]) - 68) <= 1 and abs(int(middle[0, 0, 1]) - 68) <= 1


def test_training_crops_depend_on_seed_epoch_and_index_alone_and_half_are_mirrored(tmp_path):
    both = shaded(48, 96)
    record = masked(tmp_path, "x", both[..., :3], both[..., 3], tuple((f"c{i}", i) for i in range(6)))
    settings = settings_of(base_size=96, crop_size=17)
    samples = Samples([record], [f"c{i}" for i in range(6)])
    crops = [TrainingSet(samples, settings, 1)[e, 0] for e in range(60)]
    again = [TrainingSet(samples, settings, 1)[e, 0] for e in reversed(range(60))]
    assert all(
        torch.equal(a, b) for x, y in zip(crops, reversed(again), strict=True) for a, b in zip(x, y, strict=True)
    )
    other = TrainingSet(samples, settings, 2)[0, 0]
    assert not torch.equal(crops[0][0], other[0])
    assert {tuple(image.shape) for image, _ in crops} == {(3, 24, 24)}, "17 rounded up to a multiple of 8"
    turned, spans = 0, []
    for image, truth in crops:
        rows, columns = image[0].int(), image[1].int()
        counted = truth != IGNORE
        assert ((truth[counted].int() * 8 + 3.5 - rows[counted]).abs() <= 6.5).all()
        turned += int(columns[12, 4] > columns[12, 20])
        spans.append(abs(int(columns[12, 4]) - int(columns[12, 20])) / 16)
    assert 15 <= turned <= 45
    assert 0.45 < min(spans) < 0.7 and 1.5 < max(spans) < 2.1, "scaled by 0.5 to 2"


def test_what_is_evaluated_is_whole_or_the_middle(tmp_path):
    samples, settings = Samples(drawn(tmp_path, 2), CLASSES), settings_of(base_size=28, crop_size=17)
    whole, crops = (EvaluationSet(samples, settings, crop) for crop in (False, True))
    images, truths, indices = as_lists([whole[0], whole[1]])
    assert indices == [0, 1] and np.array_equal(images[1].permute(1, 2, 0).numpy(), samples.pair(1)[0])
    assert np.array_equal(truths[1].numpy(), samples.pair(1)[1])
    image, truth, _ = crops[0]
    assert image.shape == (3, 24, 24) and truth.shape == (24, 24)
    assert (truth[[0, 1, 22, 23]] == IGNORE).all(), "half of 40 rows lie in the middle of 24"
    assert whole.pixels(3).sum() == 2 * 39 * 56 and whole.pixels(3)[1] == 16 * 18
