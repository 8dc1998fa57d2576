"""What each hyperparameter of a classifier observably does, by the catalogue's definition, and the ends of its range.

Each has a function that bears its name; one without fails.
"""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from automl_images.annotations.records import Record
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.models.freeze import groups
from automl_images.steps.hyperparameters import list_hyperparameters
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.ledger import Ledger
from automl_images.training.fit import fit
from tests.effects_probe import (
    MULTI,
    SINGLE,
    SMALL,
    STEADY,
    Tiny,
    draw_classes,
    record,
    replayed,
    watched,
    write_labels,
)
from tests.test_models import settings_of
from tests.training_probe import Journal

EFFECTS = {}
FLAT = [0.5] * 9
PLAIN = {**STEADY, "learning_rate": 0.1, "number_of_epochs": 2}


def effect(check):
    EFFECTS[check.__name__.removeprefix("of_")] = check
    return check


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower with more, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Lab:
    """Trials on the same eight training and four validation images."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        drawn = draw_classes(folder / "images", ["blue", "green", "red"] * 4)
        self.data = drawn[:8], drawn[8:]

    def run(self, data=None, **more):
        """Train resnet20; settings by name, and ``watched``'s other arguments."""
        self.count += 1
        known = {n: more.pop(n) for n in ("task", "network", "scores", "seed", "checkpoint") if n in more}
        return watched(self.folder / str(self.count), data or self.data, more, **known)

    def tiny(self, **more):
        return self.run(**{"network": Tiny, **PLAIN, **more})

    def follows(self, **given):
        """Train the linear classifier, compare its weights' path with the formula, and return where they end."""
        seen = self.tiny(**given)
        for name, weight in seen.weights[0].items():
            path = replayed(seen.settings, name, seen.gradients, seen.rates, weight)
            for now, expected in zip(seen.weights, path, strict=True):
                torch.testing.assert_close(now[name], expected, rtol=1e-5, atol=1e-6)
        return seen.weights[-1]["layer.weight"]

    def rates(self, epochs=4, **given):
        """Return the rate of each of two steps an epoch."""
        return self.tiny(number_of_epochs=epochs, **given).rates

    def evaluations(self, scores=FLAT, **given):
        """Return the epochs that are evaluated under early stopping."""
        given = {"early_stopping": 1, "early_stopping_delay": 1, "early_stopping_patience": 2, **given}
        seen = self.tiny(number_of_epochs=len(scores), scores=scores, training_batch_size=8, **given)
        return [epoch for epoch, *_ in seen.journal.evaluations]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("name", [row["name"] for row in list_hyperparameters(SINGLE, "resnet20")])
def test_effect(lab, name):
    assert name in EFFECTS, f"{name} has no test of its effect"
    EFFECTS[name](lab)


def refused(line, **given):
    with pytest.raises(UserError, match=line):
        resolve(given.pop("task", SINGLE), {**SMALL, **given})


def differ(*ends):
    return all(not torch.equal(a, b) for i, a in enumerate(ends) for b in ends[:i])


@effect
def of_number_of_epochs(lab):
    for count in (1, 3):
        seen = lab.tiny(number_of_epochs=count)
        assert sorted(set(seen.epochs)) == list(range(count))
        assert [e for e, *_ in seen.journal.evaluations] == [*range(1, count + 1)]


@effect
def of_training_batch_size(lab):
    for size, batches in ((1, [1] * 8), (3, [3, 3, 2]), (100, [8])):
        seen = lab.run(training_batch_size=size)
        assert seen.batches == batches


@effect
def of_validation_batch_size(lab):
    runs = [lab.run(validation_batch_size=size) for size in (1, 3, 100)]
    assert [[len(images) for images in seen.scored] for seen in runs] == [[1] * 4, [3, 1], [4]]
    for seen in runs[1:]:
        assert seen.fitted.best["value"] == runs[0].fitted.best["value"]
        assert seen.fitted.best["metrics"]["log_loss"] == pytest.approx(
            runs[0].fitted.best["metrics"]["log_loss"], abs=1e-6
        )
        for i, probs in runs[0].found.items():
            np.testing.assert_allclose(seen.found[i], probs, atol=1e-6)


@effect
def of_grad_accumulation_step(lab):
    apart, together, most = (
        lab.tiny(learning_rate=0, training_batch_size=3, grad_accumulation_step=n, number_of_epochs=1)
        for n in (1, 2, 50)
    )
    g = [step["layer.weight"] for step in apart.gradients]
    for seen, expected in ((together, [(g[0] + g[1]) / 2, g[2]]), (most, [sum(g) / 3])):
        assert len(seen.gradients) == len(expected)
        for step, gradient in zip(seen.gradients, expected, strict=True):
            torch.testing.assert_close(step["layer.weight"], gradient)


@effect
def of_early_stopping(lab):
    assert (lab.evaluations(), lab.evaluations(early_stopping=0)) == ([1, 2, 3], [*range(1, 10)])


@effect
def of_early_stopping_patience(lab):
    assert [len(lab.evaluations(early_stopping_patience=n)) for n in (1, 4, 100)] == [2, 5, 9]


@effect
def of_early_stopping_delay(lab):
    assert [len(lab.evaluations(early_stopping_delay=n)) for n in (1, 4, 100)] == [3, 6, 9]


@effect
def of_early_stopping_min_epochs(lab):
    assert [len(lab.evaluations(early_stopping_min_epochs=n)) for n in (1, 6, 100)] == [3, 6, 9]


@effect
def of_early_stopping_tolerance(lab):
    rising = [0.1 * 1.3**i for i in range(7)]
    assert [len(lab.evaluations(rising, early_stopping_tolerance=n)) for n in (0, 0.35, 0.75, 1)] == [7, 7, 3, 3]


@effect
def of_learning_rate(lab):
    start = lab.tiny(number_of_epochs=1, training_batch_size=8, learning_rate=0)
    assert torch.equal(start.end["layer.weight"], start.start["layer.weight"])
    ends = [lab.follows(number_of_epochs=1, training_batch_size=8, learning_rate=r) for r in (0.1, 0.2, 1)]
    moved = [end - start.end["layer.weight"] for end in ends]
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved[2], 10 * moved[0], rtol=1e-4, atol=1e-6)


@effect
def of_lr_scheduler(lab):
    assert lab.rates(lr_scheduler="step") == [0.1] * 8
    rates = lab.rates(lr_scheduler="warmup_cosine")
    assert rates[:3] == pytest.approx([0, 0.05, 0.1])
    assert all(a > b for a, b in itertools.pairwise(rates[2:]))


@effect
def of_step_lr_gamma(lab):
    for gamma in (0, 0.5, 1):
        rates = lab.rates(step_lr_gamma=gamma, step_lr_step_size=1)
        assert rates == pytest.approx([0.1 * gamma**epoch for epoch in (0, 0, 1, 1, 2, 2, 3, 3)])


@effect
def of_step_lr_step_size(lab):
    for size, steps in ((1, [0, 1, 2, 3]), (3, [0, 0, 0, 1]), (100, [0] * 4)):
        rates = lab.rates(step_lr_gamma=0.5, step_lr_step_size=size)
        assert rates[::2] == pytest.approx([0.1 * 0.5**n for n in steps])


@effect
def of_lr_scheduler_step(lab):
    for epochs, steps in (("1,3", [0, 1, 1, 2]), ("2", [0, 0, 1, 1]), ("100", [0] * 4)):
        assert lab.rates(lr_scheduler_step=epochs)[::2] == pytest.approx([0.1 * 0.1**n for n in steps])
    for wrong in ("2,1", "0,1", "a", "1.5", ""):
        refused("^lr_scheduler_step: .* is not a list of epochs", lr_scheduler_step=wrong)


@effect
def of_lr_scheduler_factor(lab):
    for factor in (0, 0.5, 1):
        rates = lab.rates(lr_scheduler_step="1,2", lr_scheduler_factor=factor)
        assert rates[::2] == pytest.approx([0.1 * factor**n for n in (0, 1, 2, 2)])


@effect
def of_warmup_cosine_lr_cycles(lab):
    for cycles in (0, 0.45, 1):
        rates = lab.rates(lr_scheduler="warmup_cosine", warmup_cosine_lr_cycles=cycles)
        cosine = [0.05 * (1 + math.cos(2 * math.pi * cycles * p / 6)) for p in range(6)]
        assert rates == pytest.approx([0, 0.05, *cosine])


@effect
def of_warmup_cosine_lr_warmup_epochs(lab):
    for epochs in (1, 2, 4, 100):
        rates = lab.rates(lr_scheduler="warmup_cosine", warmup_cosine_lr_warmup_epochs=epochs)
        warm = 2 * epochs
        assert rates[: min(warm, 8)] == pytest.approx([0.1 * i / warm for i in range(min(warm, 8))])
        assert max(rates) <= 0.1


@effect
def of_optimizer(lab):
    ends = {name: lab.follows(optimizer=name, momentum=0.5) for name in ("sgd", "nag", "adam", "adamw", "rmsprop")}
    assert differ(ends["sgd"], ends["nag"], ends["adam"], ends["rmsprop"])
    assert torch.equal(ends["adam"], ends["adamw"]), "they differ by their decay alone"
    assert differ(*(lab.follows(optimizer=name, weight_decay=0.5) for name in ("adam", "adamw")))
    refused("optimizer: 'lion' is out of range; allowed: one of sgd, adam", optimizer="lion")


@effect
def of_momentum(lab):
    assert differ(*(lab.follows(momentum=m) for m in (0, 0.5, 1)))
    assert differ(*(lab.follows(optimizer="nag", momentum=m) for m in (0.5, 1)))
    refused("momentum: 0 leaves nag nothing", optimizer="nag", momentum=0)
    refused("momentum: 0 leaves nesterov nothing", nesterov=1, momentum=0)


@effect
def of_weight_decay(lab):
    for name in ("sgd", "nag", "adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, momentum=0.5, weight_decay=d) for d in (0, 0.1, 1)))
    ends = [lab.follows(optimizer="rmsprop", weight_decay=d) for d in (0, 1)]
    assert torch.equal(*ends)


@effect
def of_nesterov(lab):
    plain, ahead = (lab.follows(nesterov=n, momentum=0.5) for n in (0, 1))
    assert differ(plain, ahead)
    assert torch.equal(ahead, lab.follows(optimizer="nag", nesterov=0, momentum=0.5))


@effect
def of_beta1(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, beta1=b) for b in (0, 0.5, 0.99)))
        refused("^beta1: 1 would never take in a new gradient", optimizer=name, beta1=1)


@effect
def of_beta2(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, beta2=b) for b in (0, 0.5, 0.99)))
        refused("^beta2: 1 would never take in a new gradient", optimizer=name, beta2=1)


@effect
def of_eps(lab):
    for name in ("adam", "adamw", "rmsprop"):
        small, large = (lab.follows(optimizer=name, eps=e, number_of_epochs=1) for e in (1e-8, 1))
        start = lab.tiny(learning_rate=0, number_of_epochs=1).end["layer.weight"]
        assert (large - start).abs().max() < (small - start).abs().max()
        refused("^eps: 0 divides by nothing", optimizer=name, eps=0)


@effect
def of_gamma(lab):
    assert differ(*(lab.follows(optimizer="rmsprop", gamma=g) for g in (0, 0.5, 0.99)))
    refused("^gamma: 1 would never take in a new gradient", optimizer="rmsprop", gamma=1)


@effect
def of_amsgrad(lab):
    for name in ("adam", "adamw"):
        assert differ(*(lab.follows(optimizer=name, amsgrad=a, beta2=0.3, number_of_epochs=4) for a in (0, 1)))


@effect
def of_evaluation_frequency(lab):
    for every, epochs in ((1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (100, [5])):
        seen = lab.tiny(number_of_epochs=5, training_batch_size=8, evaluation_frequency=every)
        assert [e for e, *_ in seen.journal.evaluations] == epochs


@effect
def of_checkpoint_frequency(lab):
    for every, kept in ((None, []), (1, ["1", "2", "3"]), (2, ["2"]), (100, [])):
        seen = lab.tiny(number_of_epochs=3, training_batch_size=8, checkpoint_frequency=every)
        folders = sorted((seen.journal.folder / "epochs").glob("*"))
        assert [f.name for f in folders] == kept
        for folder in folders:
            state = torch.load(folder / "model.pt", weights_only=True)
            assert torch.equal(state["layer.weight"].double(), seen.weights[int(folder.name)]["layer.weight"])


@effect
def of_layers_to_freeze(lab):
    for count in (None, 1, 4):
        seen = lab.run(layers_to_freeze=count)
        held = tuple(name + "." for group in groups("resnet20")[: count or 0] for name in group)
        for name, tensor in seen.start.items():
            assert torch.equal(seen.end[name], tensor) is (bool(held) and name.startswith(held)), name
    refused("layers_to_freeze: 5 is more than resnet20 has; use at most 4", layers_to_freeze=5)


def planned_weights(lab, **settings):
    data = [write_labels(lab.folder / f"{n}.jsonl", records) for n, records in zip("tv", lab.data, strict=True)]
    content = {"task": SINGLE, "settings": {**SMALL, **settings}, "weights": {"pretrained": False}}
    (lane,) = plan_sweep(content, *data, default_storage=str(lab.folder))
    lane = json.loads(lane)
    source = Ledger(lane["ledger"]).run(lane["run"])["weights"]["source"]
    return source and torch.load(source, weights_only=True)


def starts_from_a_file(lab, name):
    run, other = lab.run(), lab.run(seed=2)
    folder = lab.folder / "weights"
    folder.mkdir(exist_ok=True)
    torch.save(other.end, folder / "other.pt")
    given = {
        "checkpoint_run_id": {"checkpoint_run_id": str(run.journal.folder / "model")},
        "checkpoint_dataset_id": {"checkpoint_dataset_id": str(folder), "checkpoint_filename": "other.pt"},
    }
    given["checkpoint_filename"] = given["checkpoint_dataset_id"]
    expected = (run if name == "checkpoint_run_id" else other).end
    staged = planned_weights(lab, **given[name])
    assert staged.keys() == expected.keys()
    assert all(torch.equal(staged[n], t) for n, t in expected.items())
    assert planned_weights(lab) is None


@effect
def of_checkpoint_run_id(lab):
    starts_from_a_file(lab, "checkpoint_run_id")
    with pytest.raises(UserError, match=r"settings\.checkpoint_run_id: .*no such run"):
        planned_weights(lab, checkpoint_run_id=str(lab.folder / "nowhere"))


@effect
def of_checkpoint_dataset_id(lab):
    starts_from_a_file(lab, "checkpoint_dataset_id")
    with pytest.raises(UserError, match="goes together with checkpoint_filename"):
        planned_weights(lab, checkpoint_dataset_id=str(lab.folder))


@effect
def of_checkpoint_filename(lab):
    starts_from_a_file(lab, "checkpoint_filename")
    for given, line in (({}, "goes together"), ({"checkpoint_dataset_id": str(lab.folder)}, "no such file")):
        with pytest.raises(UserError, match=line):
            planned_weights(lab, checkpoint_filename="none.pt", **given)


@effect
def of_weighted_loss(lab):
    """From logits of zero the gradient of a class's bias is its weight times its images, against the others'."""
    images, labels = lab.data[0], ["blue"] * 6 + ["red"] * 2
    single = [Record(r.image_url, label) for r, label in zip(images, labels, strict=True)]
    several = [Record(r.image_url, ["blue", *more]) for r, more in zip(images, [[]] * 5 + [["red"]] * 3, strict=True)]
    several[0].label.clear()
    for mode in (0, 1, 2):
        common, rare = (1, 1) if mode == 0 else (1 / 6, 1 / 2) if mode == 2 else (6**-0.5, 2**-0.5)
        scale = 2 / (common + rare)
        expected = (rare * 2 - common * 6) * scale / 2 / 8
        bias = first_bias(lab, single, weighted_loss=mode)
        assert bias == pytest.approx([expected, -expected], abs=1e-6)
        positive = [((8 - n) / n) ** (mode / 2) for n in (7, 3)]
        expected = [(0.5 * (8 - n) - 0.5 * n * p) / 16 for n, p in zip((7, 3), positive, strict=True)]
        assert first_bias(lab, several, task=MULTI, weighted_loss=mode) == pytest.approx(expected, abs=1e-6)


def first_bias(lab, records, **given):
    seen = lab.tiny(data=(records, records), network=lambda n: Tiny(n, zero=True), training_batch_size=8, **given)
    return seen.gradients[0]["layer.bias"].tolist()


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


@effect
def of_precision_dtype(lab):
    for given, dtype in (("float32", torch.float32), ("float16", torch.bfloat16)):
        seen = lab.run(precision_dtype=given)
        assert {kind for kind, _ in seen.outputs} == {dtype}, "a CPU's float16 is bfloat16"
        assert {t.dtype for t in seen.end.values() if t.is_floating_point()} == {torch.float32}
    refused("precision_dtype: 'float64' is out of range", precision_dtype="float64")


@effect
def of_top_k(lab):
    metrics = {k: lab.run(top_k=k).fitted.best["metrics"] for k in (None, 2, 3)}
    assert "top_k_accuracy" not in metrics[None]
    assert metrics[None]["accuracy"] == metrics[2]["accuracy"] <= metrics[2]["top_k_accuracy"] <= 1
    seen = lab.run(top_k=2, learning_rate=0)
    truth = [["blue", "green", "red"].index(r.label) for r in lab.data[1]]
    hits = [truth[i] in np.argsort(probs)[-2:] for i, probs in seen.found.items()]
    assert seen.fitted.best["metrics"]["top_k_accuracy"] == pytest.approx(np.mean(hits))
    assert metrics[3]["top_k_accuracy"] == 1
    with pytest.raises(UserError, match="top_k: 4 is more than the 3 classes of the training data"):
        lab.run(top_k=4)
    refused("top_k: 1 is out of range; allowed: at least 2", top_k=1)


def said_of(**given):
    return without_effect(resolve(SINGLE, {**SMALL, **given}), given)


@effect
def of_kv_store(lab):
    ends = [lab.follows(kv_store=store) for store in (None, "dist_sync", "dist_async")]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    assert said_of(kv_store="dist_async") == [
        "kv_store has no effect: a trial runs on one machine, whose GPUs agree at each step"
    ]


def counted(lab, name, right):
    assert lab.tiny(**{name: right}).fitted.best
    for wrong in (right - 1, right + 1):
        line = f"{name}: {wrong} was said, and the training data has {right}; leave it out"
        with pytest.raises(UserError, match=line):
            lab.tiny(**{name: wrong})
        with pytest.raises(UserError, match=f"settings.{line}"):
            planned_weights(lab, **{name: wrong})


@effect
def of_num_classes(lab):
    counted(lab, "num_classes", 3)


@effect
def of_num_training_samples(lab):
    counted(lab, "num_training_samples", 8)


def elsewhere(name, place, *values):
    for value in values:
        refused(f"^{name}: is not given here but by {place}", **{name: value})


@effect
def of_split_ratio(lab):
    elsewhere("split_ratio", "data.split_ratio", 0, 0.2, 1)


@effect
def of_num_layers(lab):
    elsewhere("num_layers", "model_name", 18, 110)
    assert len(lab.run(model_name="resnet32").start) > len(lab.run().start)


@effect
def of_multi_label(lab):
    elsewhere("multi_label", "task", 0, 1)
    several = [[Record(r.image_url, [r.label]) for r in records] for records in lab.data]
    for task, total in ((SINGLE, True), (MULTI, False)):
        found = lab.run(data=lab.data if task == SINGLE else several, task=task).found
        assert bool(np.allclose([probs.sum() for probs in found.values()], 1, atol=1e-5)) is total


@effect
def of_use_pretrained_model(lab):
    elsewhere("use_pretrained_model", "weights.pretrained", 0, 1)


@effect
def of_use_weighted_loss(lab):
    elsewhere("use_weighted_loss", "weighted_loss", 0, 1)


@pytest.mark.parametrize(
    ("model", "frozen"),
    [("yolov5", 3), pytest.param("yolov5", 10, marks=pytest.mark.full), ("fasterrcnn_resnet18_fpn", 5)],
)
def test_a_detectors_frozen_layers_stay_as_they_were(squares, tmp_path, monkeypatch, model, frozen):
    from automl_images.models import catalogue

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    start, initial = {}, catalogue.initial

    def watch(*arguments):
        made, said = initial(*arguments)
        start.update({n: t.clone() for n, t in made.state_dict().items()})
        return made, said

    monkeypatch.setattr(catalogue, "initial", watch)
    given = {"number_of_epochs": 1, "training_batch_size": 4, "lr_scheduler": "step", "layers_to_freeze": frozen}
    journal = Journal(tmp_path)
    settings = {**settings_of(model, **given), "checkpoint_frequency": 1}
    fit("image-object-detection", settings, squares[0][:4], squares[1][:1], journal, weights={}, seed=1)
    held = tuple(name + "." for group in groups(model)[:frozen] for name in group)
    end = torch.load(tmp_path / "epochs" / "1" / "model.pt", weights_only=True)
    changed = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    assert not any(name.startswith(held) for name in changed)
    assert {name for name in end if name.startswith(held)}
    assert len(changed) > len([n for n in end if not n.startswith(held)]) / 2
