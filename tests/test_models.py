"""The architectures' own hyperparameters, by what the networks see and find."""

import copy
import sys

import numpy as np
import pytest
import torch
import torchvision
from faster_coco_eval import mask as coco
from torch import nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou
from torchvision.ops.misc import FrozenBatchNorm2d

from automl_images.errors import UserError
from automl_images.models.catalogue import build
from automl_images.models.folding import fold
from tests.helpers.detectors import CLASSES, MASK, RCNN, TASK, made, noise, settings_of

YOLO = ("yolov5 anchor", "yolov5 anchor_free")
NO_BOX = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def shapes_seen(module, work, times=1):
    """Return the (height, width) of what goes into a module while some work is done."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[-2:])))
    for _ in range(times):
        work()
    hook.remove()
    return seen


@pytest.mark.parametrize(
    ("shortest", "longest", "expected"),
    [(64, 1000, (64, 128)), (96, 1000, (96, 192)), (64, 64, (32, 64)), (64, 96, (64, 96))],
)
def test_faster_rcnn_scales_the_shorter_side_within_the_longer(shortest, longest, expected):
    model = made(RCNN, min_size=shortest, max_size=longest)
    assert shapes_seen(model.network.backbone, lambda: model.predict([noise(32, 64)])) == [expected]
    assert float(model.predict([noise(32, 64)])[0]["boxes"].max()) <= 64  # in the picture's own pixels


def test_faster_rcnn_keeps_so_many_boxes_and_no_overlapping_ones():
    state = made(RCNN).state_dict()
    state["network.roi_heads.box_predictor.cls_score.weight"] *= 50  # else all scores are alike

    def found(**given):
        model = made(RCNN, **given)
        model.load_state_dict(state)
        return model.predict([noise(64, 64)])[0]

    all_of_them = found(box_detections_per_img=1000, nms_iou_thresh=1)
    some, few = found(box_detections_per_img=1000, nms_iou_thresh=0.2), found(box_detections_per_img=3)
    assert len(all_of_them["scores"]) > len(some["scores"]) > 3
    assert len(found(box_detections_per_img=1000)["scores"]) > len(few["scores"]) == 3
    assert torch.equal(few["scores"], found(box_detections_per_img=1000)["scores"][:3])
    for label in (0, 1):
        boxes = some["boxes"][some["labels"] == label]
        assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.2


@pytest.mark.parametrize("name", [RCNN, MASK, "retinanet_resnet50_fpn", *YOLO])
def test_what_is_found_on_an_image_does_not_depend_on_its_batch(name):
    model, small, wide = made(name), noise(48, 40), noise(64, 128, seed=1)
    alone, together = model.predict([small])[0], model.predict([wide, small])[1]
    assert len(alone["scores"])
    assert together.pop("masks", None) == alone.pop("masks", None)
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        (MASK, 2, 8000),
        pytest.param(RCNN, 1, 65535, marks=pytest.mark.full),
        (RCNN, 8000, 2),
        *((name, *size) for name in YOLO for size in ((1, 65535), (8000, 2))),
    ],
)
def test_a_row_of_pixels_is_an_image(name, height, width):
    model = made(name)
    boxes = model.predict([noise(height, width)])[0]["boxes"]
    assert ((boxes[:, 2:] > boxes[:, :2]).all(1)).all() and (boxes >= 0).all()
    assert (boxes <= torch.tensor([width, height, width, height])).all()
    target = {"boxes": torch.tensor([[0.0, 0, width, height]]), "labels": torch.tensor([0])}
    target["masks"] = torch.ones(1, height, width, dtype=torch.uint8)
    losses = model.train().losses([noise(height, width)] * 2, [target] * 2)
    assert all(torch.isfinite(loss).all() for loss in losses.values())


def test_frozen_norms_within_convolutions_change_neither_outputs_nor_gradients_nor_names():
    torch.manual_seed(0)
    plain = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d)
    norms = [module for module in plain.modules() if isinstance(module, FrozenBatchNorm2d)]
    for norm in norms:
        norm.running_var.uniform_(0.5, 2)
        for tensor in (norm.running_mean, norm.bias, norm.weight):
            tensor.normal_(0.3, 0.2)
    folded = copy.deepcopy(plain)
    fold(folded.body)
    folded = copy.deepcopy(folded)
    assert list(folded.state_dict()) == list(plain.state_dict())
    images, sides = torch.randn(2, 3, 64, 96), (plain, folded)
    outputs = [torch.cat([level.flatten() for level in side(images).values()]) for side in sides]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)
    assert not torch.equal(*outputs), "the norms act elsewhere"
    for output in outputs:
        output.square().mean().backward()
    pairs = list(zip(plain.parameters(), folded.parameters(), strict=True))
    assert sum(a.grad is not None for a, _ in pairs) > 20
    for a, b in pairs:
        assert (a.grad is None) is (b.grad is None)
        assert a.grad is None or (a.grad - b.grad).abs().max() <= 1e-3 * a.grad.abs().max()
    folded.body.bn1.bias.add_(1)
    assert not torch.allclose(folded(images)["0"], plain(images)["0"]), "a norm that is loaded later acts"


def test_masks_are_torchvisions_own():
    model, image = made(MASK, box_detections_per_img=20), noise(50, 64)
    plain = model.network.transform
    (found,) = model.predict([image])
    model.network.transform = GeneralizedRCNNTransform((64,), 64, plain.image_mean, plain.image_std).eval()
    with torch.no_grad():
        (theirs,) = model.network([image.float() / 255])
    assert len(found["masks"]) == len(theirs["masks"]) == 20
    assert torch.equal(found["labels"], theirs["labels"] - 1)
    ours = np.stack([coco.decode(mask) for mask in found["masks"]])
    assert np.array_equal(ours, (theirs["masks"][:, 0] > 0.5).numpy())
    assert 0 < ours.mean() < 1


@pytest.mark.parametrize("name", [RCNN, "retinanet_resnet50_fpn"])
def test_boxes_are_computed_in_full_precision_under_autocast(name):
    model, kinds = made(name).train(), []
    real = torchvision.models.detection._utils.BoxCoder.decode_single

    def watch(self, codes, boxes):
        kinds.append((codes.dtype, boxes.dtype))
        return real(self, codes, boxes)

    target = {"boxes": torch.tensor([[9.0, 10, 60, 40]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 48, 64, dtype=torch.uint8)
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(torchvision.models.detection._utils.BoxCoder, "decode_single", watch)
        losses = model.losses([noise(48, 64)], [target])
        if not kinds:  # RetinaNet decodes in prediction alone
            model.eval().predict([noise(48, 64)])
    assert kinds and set(kinds) == {(torch.float32, torch.float32)}
    assert all(loss.dtype == torch.float32 for loss in losses.values())


class Scripted(nn.Module):
    """Stands in for YOLOv5's network: three boxes of class 0 (IoU 0.6 and 0 with the first) and one of class 1."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        centres = [[16, 16, 16, 16, 0.9, 0], [20, 16, 16, 16, 0.8, 0], [48, 48, 8, 8, 0.7, 0], [16, 16, 16, 16, 0, 0.6]]
        return (torch.tensor(centres).T[None].repeat(len(batch), 1, 1), None)


@pytest.mark.parametrize(
    ("threshold", "scores"), [(0.5, [0.9, 0.7, 0.6]), (0.65, [0.9, 0.8, 0.7, 0.6]), (0, [0.9, 0.7, 0.6])]
)
def test_yolo_drops_boxes_that_overlap_more_within_a_class(threshold, scores):
    model = made(YOLO[0], nms_iou_thresh=threshold)
    model.network = Scripted()
    square, wide = model.predict([noise(64, 64), noise(64, 128)])
    assert square["scores"].tolist() == pytest.approx(scores)
    assert square["boxes"][0].tolist() == [8, 8, 24, 24]
    assert wide["boxes"][0].tolist() == [16, 0, 48, 16]  # scaled by a half and padded by 16 above and below


@pytest.mark.parametrize("name", YOLO)
@pytest.mark.parametrize(("size", "side"), [(64, 64), (65, 96), (1, 32), (128, 128)])
def test_yolo_scales_and_pads_to_a_square(name, size, side):
    model = made(name, img_size=size)
    assert shapes_seen(model.network, lambda: model.predict([noise(40, 64)])) == [(side, side)]
    assert shapes_seen(model.network, lambda: model.train().losses([noise(40, 64)] * 2, [NO_BOX] * 2)) == [(side, side)]


@pytest.mark.parametrize("name", YOLO)
@pytest.mark.parametrize(("flag", "sides"), [(0, {(64, 64)}), (1, {(32, 32), (64, 64), (96, 96)})])
def test_yolo_varies_the_size_of_training_batches_alone(name, flag, sides):
    model = made(name, multi_scale=flag)
    assert set(shapes_seen(model.network, lambda: model.predict([noise(64, 64)]), 5)) == {(64, 64)}
    model.train()
    assert set(shapes_seen(model.network, lambda: model.losses([noise(64, 64)] * 2, [NO_BOX] * 2), 15)) == sides


@pytest.mark.parametrize("name", YOLO)
def test_yolo_grows_with_its_size_and_knows_its_sizes(name):
    count = [sum(p.numel() for p in made(name, model_size=s).parameters()) for s in ("small", "medium")]
    count.insert(0, sum(p.numel() for p in made(name).parameters()))
    assert count == sorted(count)
    assert count[2] > 2 * count[1] > 4 * count[0]
    with pytest.raises(UserError, match="model_size: 'tiny' is unknown"):
        build(TASK, settings_of(name) | {"model_size": "tiny"}, CLASSES)


def test_yolo_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)
    real = __import__("importlib").import_module

    def absent(name, *rest):
        if name.startswith("ultralytics"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'automl-images\[yolo\]', or set head: anchor"):
        made("yolov5", head="anchor_free")
    assert made("yolov5", head="anchor").predict([noise(64, 64)])
