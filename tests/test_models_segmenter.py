"""Segmentation networks: torchvision's by name and value, the pyramid's means, losses, and what is predicted."""

import pytest
import torch
import torchvision
from torch.nn import functional as F
from torchvision.models.segmentation.fcn import FCN

from automl_images.architectures import models_of
from automl_images.errors import UserError
from automl_images.models import catalogue, published, segmenter
from automl_images.models.catalogue import build
from automl_images.models.segmenter import Pyramid, Segmenter
from tests.helpers.segments import TASK, settings_of

CLASSES = ["a", "b", "c"]
ALL = ["fcn_resnet50", "psp_resnet50", "deeplab_resnet50"]


def made(name="fcn_resnet50", **given):
    torch.manual_seed(0)
    return build(TASK, settings_of(model_name=name, **given), CLASSES)


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplab_resnet101"])
def test_names_and_shapes_are_those_of_torchvisions_published_weights(name):
    with torch.device("meta"):
        ours = Segmenter([str(i) for i in range(21)], {"model_name": name, "base_size": 520}).network.state_dict()
        make = getattr(torchvision.models.segmentation, name.replace("deeplab", "deeplabv3"))
        theirs = make(weights=None, weights_backbone=None, aux_loss=True).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}


def test_the_scores_are_those_of_torchvisions_module():
    model = made().eval()
    theirs = FCN(*(model.network[name] for name in ("backbone", "classifier", "aux_classifier")))
    images = noise(2, 3, 41, 33)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in model.architecture.normalisation)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(images), theirs((images.float() / 255 - mean) / std)["out"])


def test_the_pyramid_has_the_means_over_squares_beside_the_features():
    pyramid = Pyramid(8).eval()
    for stage in pyramid.stages:
        stage[1].weight.data = torch.eye(2, 8).view(2, 8, 1, 1)
    features = torch.rand(1, 8, 12, 12)
    with torch.no_grad():
        out = pyramid(features) * torch.tensor(1 + 1e-5).sqrt()  # the norms' epsilon
    assert out.shape == (1, 16, 12, 12)
    torch.testing.assert_close(out[:, :8], features * torch.tensor(1 + 1e-5).sqrt())
    torch.testing.assert_close(out[0, 8:10], features[0, :2].mean((1, 2), keepdim=True).expand(2, 12, 12))
    assert out[0, 14, 0, 0] == pytest.approx(float(features[0, 0, :2, :2].mean()), rel=1e-5), "of six a side"


@pytest.mark.parametrize("name", ALL)
def test_losses_are_means_over_the_pixels_that_count(name):
    model, images = made(name).eval(), noise(2, 3, 24, 24)
    targets = torch.randint(0, 3, (2, 24, 24))
    targets[0, :9] = targets[1, :, 3] = 255
    with torch.no_grad():
        parts = model.losses(images, targets)
        expected = F.cross_entropy(model.logits(images), targets, ignore_index=255)
        features = model.network["backbone"](model._input(images))["aux"]
        aside = F.interpolate(model.network["aux_classifier"](features), (24, 24), mode="bilinear")
    assert list(parts) == ["loss", "auxiliary"]
    torch.testing.assert_close(parts["loss"], expected)
    torch.testing.assert_close(parts["auxiliary"], 0.4 * F.cross_entropy(aside, targets, ignore_index=255))


@pytest.mark.parametrize("name", ALL)
def test_one_image_alone_and_one_that_is_all_ignored_can_be_trained_on(name):
    model = made(name).train()
    for targets in (torch.zeros(1, 24, 24, dtype=torch.int64), torch.full((1, 24, 24), 255)):
        losses = model.losses(noise(1, 3, 24, 24), targets)
        sum(losses.values()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(float(loss.detach()) == 0 for loss in losses.values())


def test_predictions_are_the_likeliest_at_an_images_own_size_seen_at_the_base_size():
    model, seen = made(base_size=32).eval(), []
    model.network["backbone"].register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    images = [noise(3, *size, seed=i) for i, size in enumerate([(40, 64), (64, 40), (40, 64), (1, 200), (16, 8)])]
    found = model.predict(images)
    assert [tuple(mask.shape) for mask in found] == [tuple(image.shape[1:]) for image in images]
    assert {mask.dtype for mask in found} == {torch.uint8}
    assert seen == [(2, 3, 20, 32), (1, 3, 32, 20), (1, 3, 1, 32), (1, 3, 32, 16)]
    with torch.no_grad():
        small = F.interpolate(images[2][None].float(), (20, 32), mode="bilinear", antialias=True)
        scores = F.interpolate(model._coarse(small), (40, 64), mode="bilinear")
    assert torch.equal(found[2], scores[0].argmax(0).to(torch.uint8))
    same = made(base_size=24).eval()
    images = noise(2, 3, 24, 17)
    with torch.no_grad():
        assert torch.equal(torch.stack(same.predict(list(images))), same.logits(images).argmax(1).to(torch.uint8))


def test_scores_are_scaled_a_few_classes_at_a_time(monkeypatch):
    scores = torch.randn(11, 4, 5, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    whole = segmenter._likeliest(scores, (9, 13))
    for pixels in (1, 9 * 13 * 3, 9 * 13 * 10):
        monkeypatch.setattr(segmenter, "_PIXELS", pixels)
        assert torch.equal(segmenter._likeliest(scores, (9, 13)), whole)
    assert len(whole.unique()) > 3


def test_scores_that_are_no_numbers_are_refused():
    model = made().eval()
    model.network["classifier"][4].bias.data[1] = torch.nan
    with pytest.raises(UserError, match="the model's scores are not numbers: its training diverged"):
        model.predict([noise(3, 24, 24)])
    with pytest.raises(UserError, match="the model's scores are not numbers"):
        model.logits(noise(1, 3, 24, 24))


@pytest.fixture
def library(monkeypatch):
    """Let the library publish these weights for each of its entries, and return the entries that were asked for."""
    asked = []

    def get(network, entry):
        asked.append(entry)
        torch.manual_seed(len(entry))
        if "COCO" in entry:
            kind = "deeplab" if "DeepLab" in entry else "fcn"
            others = build(TASK, settings_of(model_name=f"{kind}_resnet50"), [str(i) for i in range(21)])
            return others.network.state_dict()
        return build(TASK, settings_of(model_name="psp_resnet50"), CLASSES).network["backbone"].state_dict()

    monkeypatch.setitem(published._LIBRARIES, "torchvision", get)
    return asked


@pytest.mark.parametrize("name", models_of("segmentation"))
def test_published_weights_are_of_the_whole_or_of_the_backbone(library, name):
    kind, network = name.split("_resnet")
    coco = {"fcn": "FCN", "deeplab": "DeepLabV3"}.get(kind)
    imagenet = f"ResNet{network}_Weights.IMAGENET1K_V1"
    for part in ("whole", "backbone") if coco else (None,):
        given = {"pretrained_weights": part} if part else {}
        model, said = catalogue.initial(TASK, settings_of(model_name=name, **given), CLASSES, {"pretrained": True})
        whole = part == "whole"
        assert library.pop() == (f"{coco}_ResNet{network}_Weights.COCO_WITH_VOC_LABELS_V1" if whole else imagenet)
        afresh = int(said.split("; ")[1].split()[0])
        heads = [n for n in model.state_dict() if "backbone" not in n and not n.endswith("num_batches_tracked")]
        assert afresh == (4 if whole else len(heads)), "of the whole the last layers alone"
    with pytest.raises(UserError, match="pretrained_weights: "):
        settings_of(model_name=name, pretrained_weights="half")
