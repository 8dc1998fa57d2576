"""What happens to a classifier's images: how they are kept, cropped, coloured and weighed."""

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images import memory
from automl_images.annotations import Classes, OneClass, Record
from automl_images.data import classification as data
from automl_images.data import store as store_module
from automl_images.data.augment_batch import augment_batch, jitter, shift_hls, turn
from automl_images.data.store import ImageStore
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve

TASK = "image-classification"


def settings(**given):
    return resolve(TASK, {"model_name": "resnet18", **given})


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(height, width):
    """Return an image whose red is its row and green its column, in shares of 255."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([255 * rows / height, 255 * columns / width, 0 * rows], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("has", "given", "size"),
    [
        ((300, 400), {}, (224, 224)),
        ((100, 90), {}, (224, 224)),
        ((500, 300), {"valid_resize_size": 64, "valid_crop_size": 40}, (40, 40)),
        ((500, 300), {"image_shape": "3,64,48"}, (64, 48)),
    ],
)
def test_a_scored_image_has_the_size_asked_for(has, given, size):
    assert data.evaluation_image(picture(*has), settings(**given)).shape == (*size, 3)


def test_a_scored_image_is_the_centre_and_with_a_shape_the_whole():
    given = {"valid_resize_size": 64, "valid_crop_size": 32}
    cropped = data.evaluation_image(gradient(64, 128), settings(**given)).astype(int)
    assert (cropped[0, 0, 0], cropped[-1, 0, 0]) == pytest.approx((255 * 16 / 64, 255 * 47 / 64), abs=3)
    assert (cropped[0, 0, 1], cropped[0, -1, 1]) == pytest.approx((255 * 48 / 128, 255 * 79 / 128), abs=3)
    whole = data.evaluation_image(gradient(64, 128), settings(image_shape="3,32,32")).astype(int)
    assert (whole[0, 0, 1], whole[0, -1, 1]) == pytest.approx((0, 255), abs=8)


def test_valid_resize_size_says_how_much_of_the_image_is_scored():
    near, far = (
        data.evaluation_image(gradient(200, 200), settings(valid_resize_size=r, valid_crop_size=64, train_crop_size=64))
        for r in (64, 128)
    )
    assert int(near[-1, 0, 0]) - int(near[0, 0, 0]) > 1.8 * (int(far[-1, 0, 0]) - int(far[0, 0, 0]))


def test_large_images_are_kept_small_and_small_ones_as_they_are():
    assert data.kept_image(picture(1000, 2000), settings()).shape == (336, 672, 3)
    assert data.kept_image(picture(100, 90), settings()).shape == (100, 90, 3)
    small = settings(train_crop_size=64, valid_crop_size=64, valid_resize_size=72)
    assert data.kept_image(picture(1000, 2000), small).shape == (96, 192, 3)
    assert data.kept_image(picture(100, 90), settings(augmentation_type="crop")).shape == (284, 256, 3)


def test_with_a_shape_smaller_images_are_refused_unless_resized():
    with pytest.raises(UserError, match=r"the image is 90 x 100 pixels, smaller than image_shape \(64 x 128\)"):
        data.kept_image(picture(100, 90), settings(image_shape="3,128,64"))
    assert data.kept_image(picture(100, 90), settings(image_shape="3,128,64", resize=150)).shape == (128, 64, 3)
    crop = settings(image_shape="3,128,64", resize=150, augmentation_type="crop")
    assert data.kept_image(picture(100, 90), crop).shape == (167, 150, 3)


KINDS = [None, "crop", "crop_color", "crop_color_transform"]


@pytest.mark.parametrize("kind", KINDS)
def test_crops_differ_from_sample_to_sample_and_repeat_by_seed(kind):
    given = settings(augmentation_type=kind, train_crop_size=32, valid_crop_size=32, valid_resize_size=48)
    image = data.kept_image(picture(90, 120), given)
    views = [data.training_crop(image, given, np.random.default_rng([1, e])).copy() for e in range(12)]
    again = data.training_crop(image, given, np.random.default_rng([1, 3]))
    assert {v.shape for v in views} == {(32, 32, 3)}
    assert np.array_equal(views[3], again)
    assert len({v.tobytes() for v in views}) > 8


def test_without_an_augmentation_type_a_shape_is_cropped_at_its_centre_alone():
    given = settings(image_shape="3,32,32", resize=40)
    kept = data.kept_image(gradient(40, 60), given)
    view = data.training_crop(kept, given, np.random.default_rng(0))
    assert np.array_equal(view, kept)
    assert (view[0, 0, 0], view[0, 0, 1]) == pytest.approx((255 * 4 / 40, 255 * 14 / 60), abs=3)


def test_azures_recipe_crops_areas_and_aspects_in_range():
    """The width of green and the height of red that a view spans tell the crop's."""
    given, rng = settings(train_crop_size=64, valid_crop_size=64), np.random.default_rng(0)
    image = gradient(300, 300)
    areas, aspects = [], []
    for _ in range(200):
        view = data.training_crop(image, given, rng).astype(int)
        high, wide = abs(view[-1, 0, 0] - view[0, 0, 0]) / 255, abs(view[0, -1, 1] - view[0, 0, 1]) / 255
        areas.append(high * wide)
        aspects.append(wide / high)
    assert 0.3 < min(areas) < 0.45
    assert max(areas) > 0.85
    assert 0.7 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.42


def test_half_the_views_are_flipped():
    given, image = settings(train_crop_size=32, valid_crop_size=32), gradient(60, 60)
    views = [data.training_crop(image, given, np.random.default_rng(i)).astype(int) for i in range(300)]
    flipped = np.mean([v[0, 0, 1] > v[0, -1, 1] for v in views])
    assert 0.4 < flipped < 0.6
    assert not any(v[0, 0, 0] > v[-1, 0, 0] for v in views)


def batch(count=6, size=24, same=True):
    return torch.from_numpy(np.stack([picture(size, size, 0 if same else i) for i in range(count)])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_of_a_batch_draws_its_own_parameters(kind):
    torch.manual_seed(0)
    changed = augment_batch(batch(), kind).float()
    different = {tuple(image.flatten()[:50].tolist()) for image in changed}
    assert len(different) == (1 if kind == "crop" else 6)
    assert changed.min() >= 0
    assert changed.max() <= 255
    torch.manual_seed(0)
    assert torch.equal(augment_batch(batch(), kind).float(), changed)


def test_colours_change_within_their_ranges():
    torch.manual_seed(1)
    grey = torch.full((400, 3, 4, 4), 100, dtype=torch.uint8)
    levels = jitter(grey)[:, :, 0, 0]
    assert torch.allclose(levels[:, 0], levels[:, 1], atol=1e-2), "grey stays grey, whatever hue and saturation"
    assert levels.min() >= 60 - 1e-3
    assert levels.max() <= 140 + 1e-3
    assert levels.min() < 65
    assert levels.max() > 135
    assert torch.equal(augment_batch(grey, "crop"), grey)


def test_jitter_scales_contrast_about_the_images_own_mean(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: torch.full(shape, 0.5))
    image = batch(1)
    assert torch.allclose(jitter(image), image.float(), atol=1e-2), "in the middle of the ranges nothing changes"
    drawn = iter([torch.tensor([0.5, 1.0, 0.5]).reshape(3, 1, 1, 1), torch.tensor([0.5])])
    monkeypatch.setattr(torch, "rand", lambda *_, device=None: next(drawn))
    calm = (128 + (batch(1).float() - 128) / 4).to(torch.uint8)
    mean = (calm.float().mean((2, 3)) @ torch.tensor([0.299, 0.587, 0.114])).item()
    assert torch.allclose(jitter(calm), mean + 1.4 * (calm.float() - mean), atol=0.1)


def test_hls_offsets_are_sagemakers(monkeypatch):
    import colorsys

    draws = torch.tensor([1.0, 0.0, 0.5])  # the most hue, the least lightness, saturation as it is
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: draws.reshape(3, 1, 1, 1).expand(shape))
    image = batch(1, 8).float()
    changed = shift_hls(image)
    for place in [(0, 0), (3, 5), (7, 2)]:
        before, after = (tuple((x[0, :, *place] / 255).tolist()) for x in (image, changed))
        h, lightness, s = colorsys.rgb_to_hls(*before)
        expected = colorsys.hls_to_rgb((h + 36 / 180) % 1, max(0.0, lightness - 50 / 255), s)
        assert after == pytest.approx(expected, abs=2e-3)


def test_turning_is_at_most_ten_degrees_and_a_tenth_of_shear(monkeypatch):
    dot = torch.zeros(1, 3, 101, 101)
    dot[:, :, 48:53, 88:93] = 255
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: torch.ones(shape) * torch.tensor([[1.0], [0.5]]))
    rows, columns = torch.nonzero(turn(dot)[0, 0] > 100, as_tuple=True)
    angle = np.degrees(np.arctan2(50 - rows.float().mean().item(), columns.float().mean().item() - 50))
    assert abs(angle) == pytest.approx(10, abs=0.6)
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: torch.full(shape, 0.5))
    assert torch.allclose(turn(dot), dot, atol=1e-2)


def records(folder, count, size=(20, 30)):
    made = []
    for i in range(count):
        path = folder / f"{i}.png"
        Image.fromarray(picture(*size, seed=i)).save(path)
        made.append(Record(str(path), OneClass("ab"[i % 2]), where=f"data, line {i + 1}"))
    return made


@pytest.mark.parametrize("budget", [1 << 20, 4000, 0], ids=["memory", "both", "file"])
def test_images_are_decoded_once_and_spill_into_a_file(tmp_path, monkeypatch, budget):
    made, loads = records(tmp_path, 5), []
    load = store_module.load_image
    monkeypatch.setattr(store_module, "load_image", lambda *a: loads.append(a) or load(*a))
    kept = ImageStore(made, lambda image: image[:, ::-1], tmp_path, budget)
    kept.fill()
    for _ in range(2):
        for i in (4, 0, 2, 1, 3):
            assert np.array_equal(kept.image(i), picture(20, 30, seed=i)[:, ::-1])
    assert len(loads) == 5
    spilled = max(0, 5 - budget // 1800)
    assert (tmp_path / "decoded-images").exists() is (spilled > 0)
    if spilled:
        assert (tmp_path / "decoded-images").stat().st_size == 1800 * spilled


def test_an_image_that_cannot_be_used_names_its_record(tmp_path):
    made = records(tmp_path, 2)
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=r"^data, line 2: the image .*1\.png does not open"):
        ImageStore(made, lambda image: image, tmp_path).fill()
    given = settings(image_shape="3,64,64")
    with pytest.raises(UserError, match=r"^data, line 1: the image is 30 x 20 pixels, smaller than"):
        ImageStore(made[:1], lambda image: data.kept_image(image, given), tmp_path).fill()


def test_truth_and_classes(tmp_path):
    multi = [
        Record("x", Classes(("b", "a"))),
        Record("y", Classes(())),
        Record("z", Classes(("b",)), where="f, line 3"),
    ]
    assert data.classes_of(multi, True) == ["a", "b"]
    assert data.truth_of(multi, ["a", "b"], True).tolist() == [[True, True], [False, False], [False, True]]
    numbers = [Record(str(i), OneClass(str(i))) for i in (10, 9, 2)]
    assert data.classes_of(numbers, False) == ["2", "9", "10"]
    assert data.truth_of(numbers, ["2", "9", "10"], False).tolist() == [2, 1, 0]
    with pytest.raises(UserError, match="f, line 3: the class 'b' is not in the training data"):
        data.truth_of(multi[2:], ["a"], True)
    with pytest.raises(UserError, match="the only class is 'a'"):
        data.classes_of([Record("x", OneClass("a"))], False)
    with pytest.raises(UserError, match="no image has a class"):
        data.classes_of([Record("x", Classes(()))], True)


def test_weighted_loss_weighs_classes_by_their_rarity():
    truth = np.array([0] * 8 + [1] * 2)
    full = data.class_weights(truth, 2, 2)
    assert full.tolist() == pytest.approx([10 / (2 * 8), 10 / (2 * 2)]), 'scikit-learn\'s "balanced"'
    root = data.class_weights(truth, 2, 1)
    assert (root[1] / root[0]).item() == pytest.approx(2)
    assert data.class_weights(truth, 2, 0) is None
    several = np.array([[True, False]] * 8 + [[True, True]] * 2)
    full = data.class_weights(several, 2, 2)
    assert full[:, 1].tolist() == pytest.approx([0.625, 2.5])
    assert full[1, 0].item() == pytest.approx(1), "every image has the class, so there is nothing to weigh"


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("rare", [1, 10, 40, 50])
def test_a_weighted_loss_has_a_mean_weight_of_one_over_the_training_images(rare, mode):
    truth = np.array([0] * (100 - rare) + [1] * rare)
    assert data.class_weights(truth, 2, mode)[torch.from_numpy(truth)].mean().item() == pytest.approx(1)
    several = np.stack([truth, 1 - truth], axis=1).astype(bool)
    weights = data.class_weights(several, 2, mode)
    each = torch.where(torch.from_numpy(several), weights[1], weights[0])
    assert each.mean(0).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(("height", "width"), [(2, 8000), (1, 65535), (8000, 2)])
@pytest.mark.parametrize("kind", [None, "crop", "crop_color_transform"])
def test_a_row_of_pixels_is_cropped_before_it_is_scaled(height, width, kind):
    """Scaled whole, 2 x 8000 pixels would be 256 x 1,024,000, and 1 x 65535 fifteen times as many."""
    image = np.zeros((height, width, 3), np.uint8)
    given = settings(model_name="resnet20", augmentation_type=kind)
    assert data.evaluation_image(image, given).shape == (224, 224, 3)
    kept = data.kept_image(image, given)
    assert kept.nbytes < 20e6
    assert data.training_crop(kept, given, np.random.default_rng(0)).shape == (224, 224, 3)


def test_the_centre_of_a_thin_image_is_seen():
    image = np.zeros((2, 8000, 3), np.uint8)
    image[:, 4000:] = 200
    seen = data.evaluation_image(image, settings(model_name="resnet20"))
    assert seen[:, :8].max() < 30 and seen[:, -8:].min() > 170 and abs(seen.mean() - 100) < 2


def test_decoded_images_have_a_quarter_of_the_memory_that_a_container_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    monkeypatch.delenv("AUTOML_IMAGES_LANES_HERE", raising=False)
    whole = store_module.memory_budget()
    for name, text in {"max": "max\n", "current": "0\n", "stat": "anon 0\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert store_module.memory_budget() == whole
    (tmp_path / "memory.max").write_text(f"{1 << 20}\n")
    assert store_module.memory_budget() == 1 << 18
    monkeypatch.setenv("AUTOML_IMAGES_LANES_HERE", "2")
    assert store_module.memory_budget() == 1 << 17
