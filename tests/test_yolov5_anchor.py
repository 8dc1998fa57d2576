"""The anchor-based YOLOv5: its network, what its loss matches and weighs, its anchors, and that it learns."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.ops import box_convert, complete_box_iou_loss

from automl_images.hyperparameters import resolve, without_effect
from automl_images.metrics import detection_metrics
from automl_images.models import folder as model_folder
from automl_images.models.catalogue import initial
from automl_images.models.yolov5_anchors import fit, recall
from automl_images.models.yolov5_loss import AnchorLoss, complete_iou, fits, match
from automl_images.models.yolov5_network import SCALES, STRIDES, USUAL, AnchorNetwork, decoded
from tests.helpers.detectors import CLASSES, TASK, made, noise, settings_of

TARGET = {"boxes": torch.tensor([[4.0, 6, 30, 40], [33, 20, 60, 62]]), "labels": torch.tensor([0, 1])}
GRID = (8, 8)


@pytest.mark.parametrize(("scale", "millions"), [("small", 7.2), ("medium", 21.2), ("large", 46.6), ("xlarge", 86.7)])
def test_a_size_has_the_published_number_of_parameters(scale, millions):
    with torch.device("meta"):
        network = AnchorNetwork(80, scale)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("anchors", [1, 3, 10])
def test_three_grids_say_five_numbers_and_the_classes_for_each_anchor(anchors):
    network = AnchorNetwork(4, "nano", anchors)
    levels = network(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [(2, anchors, 64 // s, 96 // s, 9) for s in STRIDES]
    outputs, levels = network.eval()(torch.rand(2, 3, 64, 96))
    assert outputs.shape == (2, 4 + 4, anchors * sum(64 * 96 // s**2 for s in STRIDES))
    assert all(level.dtype == torch.float32 for level in levels)


def test_a_fresh_network_expects_few_objects_and_any_class():
    torch.manual_seed(0)
    with torch.no_grad():
        levels = AnchorNetwork(4, "nano")(torch.rand(1, 3, 64, 64))
    for level, stride in zip(levels, STRIDES, strict=True):
        shares = level.sigmoid().mean((0, 1, 2, 3))
        assert shares[4] == pytest.approx(8 * (stride / 640) ** 2, rel=0.5)
        assert shares[5:].tolist() == pytest.approx([0.25] * 4, rel=0.5)


def encoded(boxes, levels, score=9):
    """Write boxes, [n, 4] centres and sizes in pixels, into those places of the first image that learn them."""
    anchors = torch.tensor(USUAL, dtype=torch.float32) / torch.tensor(STRIDES)[:, None, None]
    none, written = torch.zeros(len(boxes)).long(), set()
    for level, own, stride in zip(levels, anchors, STRIDES, strict=True):
        found = match(boxes / stride, none, none, own, level.shape[2:4], 4, 0)
        values = torch.cat([(found.box[:, :2] + 0.5) / 2, (found.box[:, 2:] / own[found.anchor]) ** 0.5 / 2], 1)
        level[0, found.anchor, found.row, found.column, :4] = values.logit()
        level[0, found.anchor, found.row, found.column, 4:] = score
        written |= {(stride, *place) for place in zip(*(n.tolist() for n in found[1:4]), strict=True)}
    return len(written)


def test_decoding_gives_back_the_boxes_that_matching_encoded():
    boxes = torch.tensor([[20.0, 28, 30, 40], [44, 9, 15, 18], [33, 33, 60, 55]])
    levels = [torch.full((1, 3, 64 // s, 64 // s, 6), -9.0) for s in STRIDES]
    written = encoded(boxes, levels)
    outputs = decoded(levels, torch.tensor(USUAL) / torch.tensor(STRIDES)[:, None, None])[0].T
    told = outputs[outputs[:, 4] > 0.5][:, :4]
    assert len(told) == written > 40
    assert (told[:, None] - boxes).abs().amax(2).amin(1).max() < 1e-3


def test_an_object_is_learned_in_its_cell_and_the_two_nearest():
    box = torch.tensor([[2.3, 5.8, 2.0, 2.0]])
    found = match(box, torch.tensor([7]), torch.tensor([1]), torch.tensor([[2.0, 2], [20, 20]]), GRID, 4, 0.2)
    cells = set(zip(found.column.tolist(), found.row.tolist(), strict=True))
    assert cells == {(2, 5), (1, 5), (2, 6)}
    assert found.anchor.tolist() == [0] * 3 and found.image.tolist() == [7] * 3 and found.label.tolist() == [1] * 3
    corner = torch.stack([found.column, found.row], 1)
    torch.testing.assert_close(found.box[:, :2] + corner, box[:, :2].repeat(3, 1))
    assert ((found.box[:, :2] >= -0.5) & (found.box[:, :2] <= 1.5)).all()


@pytest.mark.parametrize(
    ("x", "y", "cells"),
    [
        (0.2, 0.3, {(0, 0)}),
        (7.9, 4.4, {(7, 4), (7, 3)}),
        (8.0, 8.0, {(7, 7)}),  # an object's centre on the far edge
        (3.5, 3.5, {(3, 3), (4, 3), (3, 4)}),
    ],
)
def test_no_cell_beyond_the_grid_learns(x, y, cells):
    one = torch.zeros(1).long()
    found = match(torch.tensor([[x, y, 1, 1]]), one, one, torch.ones(1, 2), GRID, 4, 0.2)
    assert set(zip(found.column.tolist(), found.row.tolist(), strict=True)) == cells


def test_an_anchor_fits_by_both_of_its_limits():
    shapes = torch.tensor([[10.0, 10], [39, 10], [41, 10], [10, 39], [3, 3]])
    anchor = torch.tensor([[10.0, 10]])
    assert fits(shapes, anchor, 4, 0)[:, 0].tolist() == [True, True, False, True, True]
    assert fits(shapes, anchor, 4, 0.2)[:, 0].tolist() == [True, True, False, True, False], "IoU 0.09"
    assert fits(shapes, anchor, 4, 0.3)[:, 0].tolist() == [True, False, False, False, False], "IoU 0.26"
    assert fits(shapes, anchor, 5, 0)[:, 0].tolist() == [True] * 5


@pytest.mark.parametrize(("name", "values"), [("anchor_t", (1.5, 2, 4, 8)), ("iou_t", (0.6, 0.4, 0.2, 0))])
def test_looser_limits_have_more_anchors_learn(name, values):
    boxes = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) * 8 + 0.1
    anchors, none = torch.tensor([[1.0, 2], [3, 3], [6, 4]]), torch.zeros(40).long()
    counts = []
    for value in values:
        limits = {"anchor_t": 8, "iou_t": 0, name: value}
        counts.append(len(match(boxes, none, none, anchors, GRID, **limits).label))
    assert counts == sorted(set(counts))


def test_complete_iou_is_torchvisions_and_so_is_its_gradient():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(99, 4, generator=generator) + 0.1 for _ in range(2))
    sides = [a.clone().requires_grad_(), a.clone().requires_grad_()]
    ours = 1 - complete_iou(sides[0], b)
    theirs = complete_box_iou_loss(*(box_convert(one, "cxcywh", "xyxy") for one in (sides[1], b)))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for one in (ours, theirs):
        one.sum().backward()
    torch.testing.assert_close(sides[0].grad, sides[1].grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(complete_iou(b, b), torch.ones(99), atol=1e-5, rtol=0)


def parts(levels=None, target=TARGET, **given):
    """Return the loss of a fixed network, or of ``levels``, with these settings, and the levels."""
    model = made("yolov5", head="anchor", img_size=64).train()
    generator = torch.Generator().manual_seed(1)
    if not levels:
        levels = [torch.randn(2, 3, 64 // s, 64 // s, 7, generator=generator) for s in STRIDES]
        encoded(box_convert(TARGET["boxes"][:1], "xyxy", "cxcywh"), levels, 0)
        levels = [level + torch.randn(level.shape, generator=generator) / 4 for level in levels]
    levels = [level.detach().requires_grad_() for level in levels]
    loss = AnchorLoss({**settings_of("yolov5 anchor"), **given}, 64)
    boxes = box_convert(target["boxes"], "xyxy", "cxcywh") / 64
    return loss(model.network, levels, torch.tensor([0, 1])[: len(boxes)], target["labels"], boxes), levels


@pytest.mark.parametrize("name", ["box", "obj", "cls"])
def test_a_gain_scales_its_part_alone(name):
    one, double, none = (parts(**{name: value})[0] for value in (0.5, 1, 0))
    for part in one:
        torch.testing.assert_close(double[part], one[part] * (2 if part == f"{name}_loss" else 1))
        assert bool(none[part] == 0) is (part == f"{name}_loss")


@pytest.mark.parametrize(("name", "part"), [("cls_pw", "cls_loss"), ("obj_pw", "obj_loss")])
def test_a_weight_above_1_pulls_harder_towards_what_is_there(name, part):
    gradients = []
    for weight in (1.0, 2.0):
        losses, levels = parts(**{name: weight})
        losses[part].backward()
        gradients.append(torch.cat([level.grad.flatten() for level in levels if level.grad is not None]))
    one, two = gradients
    assert ((one < 0) & (two < 1.5 * one)).any(), "a step raises these logits further"
    assert (two <= one + 1e-9).all(), "and none is pushed down harder"
    assert ((one > 0) & torch.isclose(one, two)).any(), "what is not there weighs as before"


def test_a_focal_loss_leaves_less_of_what_is_right_already():
    generator = torch.Generator().manual_seed(1)
    right = [torch.randn(2, 3, 64 // s, 64 // s, 7, generator=generator) for s in STRIDES]
    for level in right:
        level[..., 4] -= 3  # most places have nothing
    plain, halfway, focal = (parts(right, fl_gamma=gamma)[0] for gamma in (0, 1, 2))
    for part in ("obj_loss", "cls_loss"):
        assert plain[part] > halfway[part] > focal[part] > 0
    assert plain["box_loss"] == focal["box_loss"]
    wrong = [level * 0 + 9 for level in right]
    assert parts(wrong, fl_gamma=2)[0]["obj_loss"] > 0.9 * parts(wrong)[0]["obj_loss"], "what is wrong weighs as before"


def test_objectness_learns_how_well_a_box_is_found_and_elsewhere_nothing():
    losses, levels = parts(target={"boxes": TARGET["boxes"][:1], "labels": TARGET["labels"][:1]}, obj_pw=1)
    losses["obj_loss"].backward()
    for level in levels:
        assert (level.grad[1, ..., 4] > 0).all(), "an image without objects"
    assert any((level.grad[0, ..., 4] < 0).any() for level in levels)
    assert all(level.grad is None or not level.grad[..., :4].any() for level in levels), "the target is no way to learn"


def test_a_pair_weighs_the_same_in_a_grid_of_many_and_of_few():
    flat = [torch.zeros(2, 3, 64 // s, 64 // s, 7) for s in STRIDES]
    losses, levels = parts(flat, iou_t=0, anchor_t=2)
    losses["cls_loss"].backward()
    pulls = [level.grad[..., 5:].abs() for level in levels if level.grad is not None]
    counts = [int((pull > 0).any(-1).sum()) for pull in pulls]
    assert len(counts) > 1 and max(counts) > min(counts), counts
    pulls = torch.cat([pull[pull > 0] for pull in pulls])
    torch.testing.assert_close(pulls, torch.full_like(pulls, float(pulls[0])))


def test_an_image_without_objects_has_a_loss():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses, _ = parts(target=nothing)
    assert losses["box_loss"] == losses["cls_loss"] == 0 < losses["obj_loss"]


def test_each_part_grows_with_the_batch():
    model = made("yolov5", head="anchor", multi_scale=0)  # its norms hold still
    with torch.no_grad():
        model.network.training = True
        one, two = (model.losses([noise(64, 64)] * n, [TARGET] * n) for n in (1, 2))
    assert model.sums_batches
    for part, value in one.items():
        torch.testing.assert_close(two[part], 2 * value)


def shapes(count=400, seed=0):
    """Return long, thin shapes, which the usual anchors cannot match."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(np.log([[8, 60]]), 0.3, (count, 2)))


def test_fitted_anchors_match_more_and_are_the_same_each_time():
    usual = np.array(USUAL, dtype=np.float64).reshape(-1, 2)
    before = recall(shapes(), usual, 4, 0.2)
    once, again = fit(shapes(), 9, 4, 0.2), fit(shapes(), 9, 4, 0.2)
    assert before < 0.96 < 0.99 <= once.recall
    assert np.array_equal(once.anchors, again.anchors)
    assert (np.diff(once.anchors.prod(1)) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_few_objects_are_enough_to_fit(count):
    found = fit(shapes(count), 9, 4, 0.2)
    assert found.anchors.shape == (9, 2) and found.recall == 1


def test_anchors_are_kept_where_they_do_and_fitted_where_they_do_not():
    usual, thin = np.array(USUAL).reshape(-1, 2) / 640, shapes() / 640
    model = made("yolov5", head="anchor", img_size=640)
    start = model.network.head.anchors.clone()
    assert model.adapt(lambda: usual) == "; anchors kept: they can match 1.000 of the objects"
    assert torch.equal(model.network.head.anchors, start)
    said = model.adapt(lambda: thin)
    assert said.startswith("; anchors fitted to 400 objects (")
    assert "they can match 1.000 of them, those before 0.9" in said
    assert not torch.equal(model.network.head.anchors, start)
    assert "kept" in model.adapt(lambda: thin), "they do now"
    assert "no object" in model.adapt(lambda: np.zeros((0, 2)))


@pytest.mark.parametrize("count", [None, 0, 2, 5])
def test_so_many_anchors_as_are_asked_for_are_fitted(count, tmp_path):
    settings = settings_of("yolov5 anchor", anchors=count)
    model, _ = initial(TASK, settings, CLASSES, {})
    said = model.adapt(lambda: np.array(USUAL).reshape(-1, 2) / 640 * 10)
    assert ("fitted" in said) is bool(count)
    assert model.network.head.anchors.shape == (3, count or 3, 2)
    model_folder.save(tmp_path, model.eval(), task=TASK, settings=settings, classes=CLASSES, metrics={})
    loaded = model_folder.load(tmp_path)[0]
    assert torch.equal(loaded.network.head.anchors, model.network.head.anchors)
    for key, value in model.predict([noise(64, 64)])[0].items():
        assert torch.equal(loaded.predict([noise(64, 64)])[0][key], value)


def test_weights_bring_their_anchors_and_the_head_starts_afresh_for_other_classes(tmp_path):
    model = made("yolov5", head="anchor")
    model.network.head.anchors.mul_(2)
    model_folder.save(tmp_path, model, task=TASK, settings=settings_of("yolov5 anchor"), classes=CLASSES, metrics={})
    other, said = initial(TASK, settings_of("yolov5 anchor"), ["x", "y", "z"], {"source": str(tmp_path)})
    assert torch.equal(other.network.head.anchors, model.network.head.anchors)
    assert "6 start afresh, such as network.model.24.m.0.bias" in said
    same, said = initial(TASK, settings_of("yolov5 anchor"), CLASSES, {"source": str(tmp_path)})
    assert "0 start afresh" in said
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), model.state_dict().values(), strict=True))


ALONE = """
import sys
sys.modules["ultralytics"] = None  # an import fails
from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import build
task = "image-object-detection"
build(task, resolve(task, {"model_name": "yolov5", "img_size": 64, "head": "anchor"}) | {"model_size": "nano"}, ["a"])
print(sorted(name for name in sys.modules if "ultralytics" in name and sys.modules[name]))
"""


def test_it_needs_no_package_of_another_licence(tmp_path):
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    settings = settings_of("yolov5 anchor")
    model_folder.save(tmp_path, made("yolov5", head="anchor"), task=TASK, settings=settings, classes=["a"], metrics={})
    assert "ultralytics" not in (tmp_path / "requirements.txt").read_text()


def test_what_the_other_head_alone_has_is_named():
    for head, names in (("anchor", {"dfl"}), ("anchor_free", {"obj", "anchors", "fl_gamma"})):
        given = {"model_name": "yolov5", "head": head, "obj": 1, "anchors": 3, "fl_gamma": 1, "dfl": 1}
        said = without_effect(resolve(TASK, given), given)
        assert {line.split()[0] for line in said} == names
        assert all(f"has no effect with head: {head}" in line for line in said)


@pytest.mark.full
def test_four_images_are_learned_by_heart():
    rng = np.random.default_rng(0)
    images, targets = [], []
    for place, label in itertools.product((6, 30), (0, 1)):
        image = torch.from_numpy(rng.integers(0, 60, (3, 64, 64), dtype=np.uint8))
        image[label, place : place + 24, 10 + place // 2 : 40 + place // 2] = 230
        images.append(image)
        corners = [10 + place // 2, place, 40 + place // 2, place + 24]
        targets.append({"boxes": torch.tensor([corners]).float(), "labels": torch.tensor([label])})
    model = made("yolov5", head="anchor", multi_scale=0).train()
    for norm in model.modules():
        norm.momentum = 0.5  # that of its norms is for thousands of steps
    optimizer = torch.optim.AdamW(model.parameters(), 0.005)
    for _ in range(50):
        optimizer.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        optimizer.step()
    found = [{k: v.double().numpy() for k, v in one.items()} for one in model.eval().predict(images)]
    truth = [{k: v.double().numpy() for k, v in one.items()} for one in targets]
    metrics = detection_metrics(truth, found, CLASSES, "voc", 0.5, 0.1)
    assert metrics["mean_average_precision"] > 0.9


def test_every_size_is_a_size_of_the_catalogue():
    sizes = resolve(TASK, {"model_name": "yolov5", "model_size": "xlarge"})["model_size"]
    assert sizes in SCALES
