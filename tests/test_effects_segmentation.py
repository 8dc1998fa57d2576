"""What each hyperparameter of segmentation networks observably does: each row of the catalogue names its tests."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from automl_images.annotations import Record
from automl_images.architectures import ARCHITECTURES
from automl_images.data.segmentation import as_lists
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.steps.hyperparameters import list_hyperparameters
from automl_images.sweep.space import check_space, parse_space
from automl_images.training import segmentation
from automl_images.training.job import Compute, Job
from automl_images.training.machine import Machine
from tests import test_data_segmentation as crops
from tests import test_evaluation_segmentation as answers
from tests import test_models_segmenter as models
from tests.helpers.segments import STEADY, TASK, drawn, settings_of, watched

PLAIN = {**STEADY, "learning_rate": 0.1, "number_of_epochs": 2}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower with more, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    records = drawn(tmp_path_factory.mktemp("data"), 12)
    return records[:8], records[8:]


@pytest.fixture
def run(data, tmp_path):
    """Return a function that trains a linear network, and returns what was seen of it."""
    count = itertools.count()

    def trained(**given):
        more = {name: given.pop(name) for name in ("network", "weights") if name in given}
        return watched(tmp_path / str(next(count)), data, {**PLAIN, **given}, **more)

    return trained


def follows(seen, step):
    """Compare the weights' path with what ``step(gradient, weight, state, rate)`` makes of the gradients."""
    for name, weight in seen.weights[0].items():
        state, path = [0.0, 0.0], [weight]
        for gradient, rate in zip(seen.gradients, seen.rates, strict=True):
            path.append(step(gradient[name], path[-1], state, rate))
        for now, expected in zip(seen.weights, path, strict=True):
            torch.testing.assert_close(now[name], expected, rtol=1e-4, atol=1e-5)
    return seen.weights[-1]["layer.weight"]


def test_the_crop_is_rounded_up_and_both_sizes_reach_what_is_trained_on(run):
    for size, side in ((17, 24), (24, 24), (33, 40)):
        seen = run(crop_size=size, number_of_epochs=1)
        assert {tuple(images.shape) for images in seen.images} == {(4, 3, side, side)}
    small, large = (run(base_size=size, number_of_epochs=1).truths for size in (17, 200))
    assert (torch.cat(small) == 255).float().mean() > 0.3 > (torch.cat(large) == 255).float().mean()
    for name, value in (("crop_size", 16), ("base_size", 16)):
        with pytest.raises(UserError, match=f"^{name}: 16 is out of range; allowed: at least 17"):
            settings_of(**{name: value})


def test_poly_and_cosine_fall_from_the_rate_to_nothing_step_by_step(run):
    for accumulated, steps in ((1, 8), (2, 4)):
        given = {"number_of_epochs": 4, "grad_accumulation_step": accumulated}
        poly = run(lr_scheduler="poly", **given).rates
        assert poly == pytest.approx([0.1 * (1 - i / steps) ** 0.9 for i in range(steps)])
        cosine = run(lr_scheduler="cosine", **given).rates
        assert cosine == pytest.approx([0.05 * (1 + math.cos(math.pi * i / steps)) for i in range(steps)])


def test_steps_and_the_warm_cosine_are_as_everywhere(run):
    assert run(lr_scheduler_step="1", number_of_epochs=3).rates == pytest.approx([0.1] * 2 + [0.01] * 4)
    warm = run(lr_scheduler="warmup_cosine", number_of_epochs=3).rates
    assert warm[:4] == pytest.approx([0, 0.025, 0.05, 0.075])
    with pytest.raises(UserError, match="lr_scheduler: 'linear' is out of range"):
        settings_of(lr_scheduler="linear")


def test_adagrad_divides_by_all_gradients_so_far(run):
    def adagrad(gradient, weight, state, rate):
        state[0] = state[0] + gradient**2
        return weight - rate * gradient / (state[0] ** 0.5 + 1e-8)

    ends = [follows(run(optimizer="adagrad", weight_decay=decay), adagrad) for decay in (0, 0.5)]
    assert torch.equal(*ends), "it decays no weight"
    given = {"optimizer": "adagrad", "weight_decay": 0.5}
    assert "weight_decay has no effect with optimizer: adagrad" in without_effect(resolve(TASK, given), given)[0]
    with pytest.raises(UserError, match="eps: 0 divides by nothing"):
        settings_of(optimizer="adagrad", eps=0)
    with pytest.raises(UserError, match="optimizer: 'adagrad' is out of range"):
        resolve("image-classification", {"optimizer": "adagrad"})


def test_rmsprop_has_a_decay_and_a_momentum_by_sagemakers_names_too(run):
    def rmsprop(decay, momentum):
        def step(gradient, weight, state, rate):
            state[0] = decay * state[0] + (1 - decay) * gradient**2
            state[1] = momentum * state[1] + gradient / (state[0] ** 0.5 + 1e-8)
            return weight - rate * state[1]

        return step

    ends = []
    for decay, momentum in ((0.9, 0), (0.5, 0), (0.5, 0.5), (0.9, 0.9), (0.9, 1)):
        seen = run(optimizer="rmsprop", gamma1=decay, gamma2=momentum, learning_rate=0.01)
        ends.append(follows(seen, rmsprop(decay, momentum)))
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(ends, 2))
    given = {"gamma2": 0.5}
    assert "gamma2 has no effect with optimizer: sgd" in without_effect(resolve(TASK, given), given)[0]


def test_nag_and_sgd_and_the_adams_differ(run):
    ends = [run(optimizer=name, momentum=0.5).weights[-1]["layer.weight"] for name in ("sgd", "nag", "adam")]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(ends, 2))


def test_one_image_at_a_time_is_scored_whole_and_more_in_crops(run, monkeypatch):
    scored = []
    plain = segmentation.confusion
    monkeypatch.setattr(
        segmentation, "confusion", lambda truth, *more: (scored.append(truth.shape), plain(truth, *more))[1]
    )
    figures = []
    for size in (1, 2, 3, 100):
        scored.clear()
        figures.append(run(validation_mini_batch_size=size, base_size=28, number_of_epochs=1).fitted.best)
        assert set(scored) == {(40, 56) if size == 1 else (24, 24)} and len(scored) == 4
    assert figures[1]["value"] == figures[2]["value"] == figures[3]["value"] != figures[0]["value"]


def test_trials_are_scored_on_the_same_pixels():
    space = parse_space({"crop_size": {"choice": [240, 320]}})
    check_space(TASK, space, {}, False)
    for fixed, profile in (({"validation_batch_size": 2}, "azure"), ({}, "sagemaker")):
        with pytest.raises(UserError, match=r"^sweep.space.crop_size: with validation_batch_size \d+ trials"):
            check_space(TASK, space, fixed, False, profile)
    check_space(TASK, parse_space({"learning_rate": {"uniform": [0.1, 0.2]}}), {}, False, "sagemaker")
    with pytest.raises(UserError, match="validation_batch_size: must be one for the whole sweep"):
        check_space(TASK, parse_space({"validation_batch_size": {"choice": [1, 2]}}), {}, False)


def test_counts_that_are_given_are_checked(run):
    assert run(num_classes=3, num_training_samples=8, number_of_epochs=1).fitted.best
    for name, wrong, right in (("num_classes", 4, 3), ("num_training_samples", 7, 8)):
        with pytest.raises(UserError, match=f"^{name}: {wrong} is given, and the training data has {right}"):
            run(**{name: wrong})
    with pytest.raises(UserError, match="num_classes: 255 is out of range; allowed: 2 to 254"):
        settings_of(num_classes=255)


def test_early_stopping_looks_at_mean_iou(run, monkeypatch):
    script = [0.5, 0.6, 0.61, 0.6, 0.6, 0.9, 0.9, 0.9]
    score = segmentation.SegmentationModule.score

    def epochs(**given):
        values = iter(script)
        patched = lambda self, found: {**score(self, found), "mean_iou": next(values)}  # noqa: E731
        monkeypatch.setattr(segmentation.SegmentationModule, "score", patched)
        stops = {"early_stopping": 1, "early_stopping_delay": 1, "early_stopping_patience": 2, **given}
        return len(run(number_of_epochs=8, training_batch_size=8, **stops).journal.evaluations)

    assert [epochs(), epochs(early_stopping=0), epochs(early_stopping_patience=3)] == [5, 8, 8]
    assert epochs(early_stopping_min_epochs=6) == 8, "by then there is a better one"
    assert epochs(early_stopping_tolerance=0.05) == 4


def test_syncbn_normalises_over_all_gpus(data, tmp_path, monkeypatch):
    jobs = [Job(TASK, settings_of(syncbn=value), *data, {}, 1) for value in (0, 1)]

    def norms(job, machine):
        model = segmentation.prepare(job, Compute(dtype="float32"), machine, tmp_path).module.model
        return {type(module) for module in model.modules() if "Norm" in type(module).__name__}

    two = SimpleNamespace(**vars(Machine(True, 2, 0)))
    for name in ("image_memory", "share", "part"):
        setattr(two, name, getattr(Machine(True, 2, 0), name))
    two.loading = lambda most=8: {"num_workers": 0}
    assert norms(jobs[1], two) == {nn.SyncBatchNorm}
    assert norms(jobs[0], two) == {nn.BatchNorm2d} == norms(jobs[1], Machine(False, 1, 0))
    with pytest.raises(UserError, match="syncbn: 1 needs GPUs"):
        norms(jobs[1], Machine(False, 2, 0))


@pytest.mark.parametrize("count", [None, 2, 5])
def test_frozen_stages_stay_as_they_were(run, count):
    seen = run(network=None, layers_to_freeze=count, number_of_epochs=1)
    held = tuple(n + "." for group in ARCHITECTURES["fcn_resnet50"].groups[: count or 0] for n in group)
    changed = {name for name, tensor in seen.model.state_dict().items() if not torch.equal(tensor, seen.start[name])}
    assert changed and not any(name.startswith(held) for name in changed if held)
    assert bool(held) or "network.backbone.conv1.weight" in changed
    with pytest.raises(UserError, match="layers_to_freeze: 6 is more than fcn_resnet50 has; use at most 5"):
        settings_of(layers_to_freeze=6)


def test_what_names_the_model_is_given_as_its_name():
    for name, value in (("algorithm", "psp"), ("backbone", "resnet-101")):
        with pytest.raises(UserError, match=f"^{name}: is not given here but by model_name"):
            resolve(TASK, {name: value})
    assert len(ARCHITECTURES["deeplab_resnet101"].groups) == 5


def test_validation_without_a_pixel_that_counts_is_refused(data, tmp_path):
    from tests.helpers.segments import masked

    blank = masked(tmp_path, "blank", np.zeros((8, 8, 3)), np.full((8, 8), 255))
    with pytest.raises(UserError, match="validation data: all pixels of its masks are ignored"):
        watched(tmp_path, (data[0], [blank]), PLAIN)
    unlike = Record(data[1][0].image_url, data[0][0].label, 56, 40)
    assert watched(tmp_path, (data[0], [unlike]), PLAIN).fitted.best


def test_processes_add_up_what_each_finds_in_one_matrix(data, tmp_path, monkeypatch):
    job = Job(TASK, settings_of(), *data, {}, 1)
    module = segmentation.prepare(job, Compute(dtype="float32"), Machine(False, 1, 0), tmp_path).module.eval()

    def found(rank, indices):
        monkeypatch.setattr(type(module), "global_rank", rank)
        module.on_validation_epoch_start()
        for i in indices:
            module.validation_step(as_lists([module.validation[i]]), i)
        return module._found

    monkeypatch.setattr(
        type(module), "trainer", SimpleNamespace(strategy=SimpleNamespace(reduce_boolean_decision=bool))
    )
    alone, parts = found(0, range(4)), {**found(0, (0, 2)), **found(1, (1, 3))}
    assert [matrix.shape for matrix in alone.values()] == [(3, 3)]
    assert alone[0].sum() == 4 * 39 * 56 == sum(parts.values()).sum()
    assert module.score(parts) == module.score(alone)
    assert found(4, (0,)) == {}, "with fewer images than processes some evaluate another's"


WHERE = {
    "base_size": [
        test_the_crop_is_rounded_up_and_both_sizes_reach_what_is_trained_on,
        crops.test_training_crops_depend_on_seed_epoch_and_index_alone_and_half_are_mirrored,
        models.test_predictions_are_the_likeliest_at_an_images_own_size_seen_at_the_base_size,
    ],
    "crop_size": [
        test_trials_are_scored_on_the_same_pixels,
        test_the_crop_is_rounded_up_and_both_sizes_reach_what_is_trained_on,
    ],
    "gamma": [test_rmsprop_has_a_decay_and_a_momentum_by_sagemakers_names_too],
    "gamma2": [test_rmsprop_has_a_decay_and_a_momentum_by_sagemakers_names_too],
    "syncbn": [test_syncbn_normalises_over_all_gpus],
    "pretrained_weights": [models.test_published_weights_are_of_the_whole_or_of_the_backbone],
    "use_pretrained_model": [models.test_published_weights_are_of_the_whole_or_of_the_backbone],
    "algorithm": [test_what_names_the_model_is_given_as_its_name],
    "backbone": [test_what_names_the_model_is_given_as_its_name],
    "lr_scheduler": [
        test_poly_and_cosine_fall_from_the_rate_to_nothing_step_by_step,
        test_steps_and_the_warm_cosine_are_as_everywhere,
    ],
    "optimizer": [test_adagrad_divides_by_all_gradients_so_far, test_nag_and_sgd_and_the_adams_differ],
    "validation_batch_size": [test_one_image_at_a_time_is_scored_whole_and_more_in_crops],
    "num_classes": [test_counts_that_are_given_are_checked],
    "num_training_samples": [test_counts_that_are_given_are_checked],
    "export_as_image": [answers.test_an_answer_as_an_image_has_the_class_of_each_pixel],
    "image_type": [answers.test_an_answer_as_an_image_has_the_class_of_each_pixel],
    "layers_to_freeze": [test_frozen_stages_stay_as_they_were],
    **{
        f"early_stopping{name}": [test_early_stopping_looks_at_mean_iou]
        for name in ("", "_patience", "_min_epochs", "_tolerance")
    },
}


def test_each_row_that_classifiers_lack_or_have_otherwise_has_a_test_of_its_effect():
    def told(task):
        return {(row["name"], row["description"]) for row in list_hyperparameters(task)}

    rows = {name for name, _ in told(TASK) - told("image-classification")}
    assert rows <= WHERE.keys()
    assert all(callable(test) and test.__name__.startswith("test_") for tests in WHERE.values() for test in tests)
