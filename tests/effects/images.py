"""What becomes of images."""

import numpy as np
import pytest
import torch

from automl_images.errors import UserError
from tests.effects.lab import effect, refused, said_of
from tests.effects.probe import Tiny, record


def of_one_image(lab, image, **given):
    """Return what the network sees in training of eight copies of an image, and the shapes that are scored."""
    name = f"one-{lab.count}"
    records = [record(lab.folder / name / f"{i}.png", image, "ab"[i % 2]) for i in range(8)]
    seen = lab.run(data=(records, records[:2]), network=Tiny, training_batch_size=8, **given)
    return seen, seen.inputs[0].float()


def ramp(height, width):
    """Return an image whose every channel is its column, in shares of 255."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2)


@effect
def of_valid_resize_size(lab):
    spans = []
    for size in (16, 40):
        whole = [record(lab.folder / "ramp.png", ramp(40, 40), "red")]
        (images,) = lab.run(data=(lab.data[0], whole), valid_resize_size=size).scored
        assert images.shape == (1, 3, 16, 16)
        spans.append(int(images.max()) - int(images.min()))
    assert spans[0] > 230
    assert spans[1] == pytest.approx(255 * 15 / 39, abs=3), "the 16 pixels in the middle of 40"
    refused("valid_resize_size: 15 is below valid_crop_size 16", valid_resize_size=15)


@effect
def of_valid_crop_size(lab):
    for size in (8, 12, 16):
        seen = lab.run(valid_crop_size=size)
        assert {tuple(images.shape) for images in seen.scored} == {(4, 3, size, size)}
        assert {tuple(images.shape[1:]) for images in seen.inputs} == {(3, 16, 16)}
    refused("valid_crop_size: 7 is too small for resnet20", valid_crop_size=7)
    vit = {"model_name": "vits16r224", "train_crop_size": 32, "valid_crop_size": 48, "valid_resize_size": 48}
    refused("valid_crop_size: 48 differs from train_crop_size 32, but vits16r224 takes one size", **vit)
    refused("valid_crop_size: seresnext takes multiples of 32", **{**vit, "model_name": "seresnext"})


@effect
def of_train_crop_size(lab):
    for size in (8, 12, 24):
        seen = lab.run(train_crop_size=size)
        assert {tuple(images.shape[1:]) for images in seen.inputs} == {(3, size, size)}
        assert {tuple(images.shape) for images in seen.scored} == {(4, 3, 16, 16)}
    refused("train_crop_size: 7 is too small for resnet20", train_crop_size=7)
    for name in ("seresnext", "vits16r224"):
        refused(f"train_crop_size: {name} takes multiples of", model_name=name, train_crop_size=50)


@effect
def of_augmentation_type(lab):
    """Of flat grey only lightness can change; a ramp shows flips and turns; a larger image shows what is cut out."""
    grey = np.full((16, 16, 3), 100, dtype=np.uint8)
    flat = {kind: one_image(lab, grey, augmentation_type=kind) for kind in (None, "crop", "crop_color")}
    for images in flat.values():
        assert (images - images[:, :1, :1, :1]).abs().max() < 0.01, "an image stays flat and grey"
    levels = {kind: images[:, 0, 0, 0] for kind, images in flat.items()}
    assert set(levels["crop"].tolist()) == {100.0}
    for kind, (low, high) in ((None, (60, 140)), ("crop_color", (50, 150))):
        assert len(set(levels[kind].tolist())) == 8, "each image draws its own"
        assert low - 0.01 <= levels[kind].min() < 95 < 105 < levels[kind].max() <= high + 0.01
    turned = {kind: one_image(lab, ramp(16, 16), augmentation_type=kind) for kind in ("crop", *COLOURED)}
    for kind, images in turned.items():
        tilt = (images - images[:, :, :1]).abs().amax((1, 2, 3))
        assert bool((tilt > 1).any()) is (kind == "crop_color_transform"), "columns of one value stay so unless turned"
    assert {bool(image[0, 0, 0] > image[0, 0, -1]) for image in turned["crop"]} == {True, False}
    seen = one_image(lab, ramp(40, 40), augmentation_type="crop", valid_resize_size=40)
    spans = seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))
    assert (spans - 255 * 15 / 39).abs().max() <= 2, "16 of 40 pixels, at the scale of the image"
    assert len(set(seen.amin((1, 2, 3)).tolist())) > 3, "wherever"
    spans = (seen := one_image(lab, ramp(40, 40), augmentation_type=None, valid_resize_size=40)).amax((1, 2, 3))
    assert len({round(v) for v in (spans - seen.amin((1, 2, 3))).tolist()}) > 5, "of any size"
    refused("augmentation_type: 'cropp' is out of range; .* did you mean 'crop'", augmentation_type="cropp")


COLOURED = ("crop_color", "crop_color_transform")


def one_image(lab, image, **given):
    """Return what the network sees in training of eight copies of an image."""
    records = [record(lab.folder / f"one-{lab.count}" / f"{i}.png", image, "ab"[i % 2]) for i in range(8)]
    (images,) = lab.tiny(data=(records, records[:2]), training_batch_size=8, **{"number_of_epochs": 1, **given}).inputs
    return images.float()


@effect
def of_image_shape(lab):
    for shape, channels in (("3,16,12", 3), ("1,8,20", 1)):
        seen = lab.run(image_shape=shape, augmentation_type=None)
        size = tuple(map(int, shape.split(",")))[1:]
        assert {tuple(images.shape[2:]) for images in seen.inputs + seen.scored} == {size}
        assert {found for _, found in seen.outputs} == {channels}
    whole = [record(lab.folder / "wide.png", ramp(30, 60), "red")]
    (scored,) = lab.run(data=(lab.data[0], whole), image_shape="3,16,16").scored
    assert scored.max() - scored.min() > 230, "scaled whatever its aspect"
    cut = one_image(lab, ramp(40, 40), image_shape="3,16,16", augmentation_type=None)
    assert torch.equal(cut[0], cut[5])
    assert cut.max() - cut.min() == pytest.approx(255 * 15 / 39, abs=2), "cropped at the centre, not scaled"
    with pytest.raises(UserError, match=r"data, 000.png: the image is 20 x 20 pixels, smaller than image_shape"):
        lab.run(image_shape="3,21,20")
    for wrong in ("3,16", "2,16,16", "3,0,16", "a", "4,16,16"):
        refused("^image_shape: .* is not an image's shape; allowed:", image_shape=wrong)
    refused("image_shape: 7 is too small for resnet20", image_shape="3,7,16")


@effect
def of_resize(lab):
    for side, span in ((20, 15 / 20), (40, 15 / 40)):
        cut = one_image(lab, ramp(40, 40), image_shape="3,16,16", resize=side, augmentation_type=None)
        assert cut.max() - cut.min() == pytest.approx(255 * span, abs=8)
    assert lab.run(image_shape="3,24,24", resize=25).inputs[0].shape == (4, 3, 24, 24), (
        "images of 20 pixels are large enough"
    )
    refused("resize: 16 must be above both sides of image_shape 3,12,16", image_shape="3,12,16", resize=16)
    assert "resize has no effect with image_shape: none" in said_of(resize=16)[0]
