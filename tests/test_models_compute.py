"""The memory layout and precision that a probe chooses, and what it leaves as it was."""

import json
from copy import deepcopy

import pytest
import torch

from automl_images.models import compute
from tests.helpers.classifiers import CPU, made, noise


def test_a_probe_leaves_the_model_and_the_random_state_as_they_were():
    model, batch = made("mobilenetv2").train(), noise(2)  # it has a dropout, which draws
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state, random, images = deepcopy(model.state_dict()), torch.get_rng_state(), batch.clone()
    choice = compute.fastest(model, batch, CPU, steps=10_000)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random) and torch.equal(batch, images) and model.training
    assert json.loads(json.dumps(choice)) == choice
    assert "times as fast" in choice["note"]


@pytest.mark.parametrize(
    ("name", "layouts"),
    [("resnest50", {None}), ("resnest101", {None}), ("vits16r224", {None}), ("resnet50", {False, True})],
)
def test_a_resnest_and_a_vit_are_never_channels_last(monkeypatch, name, layouts):
    tried = []
    monkeypatch.setattr(compute, "_probe", lambda *a: tried.extend(a[3]) or [1.0] * len(a[3]))
    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: True)
    with torch.device("meta"):
        model = made(name)
    compute.fastest(model, noise(), CPU, steps=10_000)
    assert {t["channels_last"] for t in tried} == layouts


@pytest.mark.parametrize(
    ("has", "precision", "dtypes"),
    [
        (True, None, {"float32", "bfloat16"}),
        (False, None, {"float32"}),
        (True, "float32", {"float32"}),
        (False, "float16", {"bfloat16"}),
    ],
)
@pytest.mark.parametrize("fast", [0, -1])
def test_the_precision_that_was_asked_for_is_kept_and_the_fastest_is_chosen(monkeypatch, has, precision, dtypes, fast):
    tried = []

    def probe(_, __, ___, choices, rounds):
        tried.extend(choices)
        return [0.5 if i == fast % len(choices) else 1.0 for i in range(len(choices))]

    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: has)
    monkeypatch.setattr(compute, "_probe", probe)
    model = made("resnet20")
    choice = compute.fastest(model, noise(4), CPU, steps=10_000, precision=precision)
    assert {t["dtype"] for t in tried} == dtypes
    assert {k: choice[k] for k in ("channels_last", "dtype")} == tried[fast]
    assert ("float16 is bfloat16 on a CPU" in choice["note"]) is (precision == "float16")


def test_a_layout_that_is_hardly_faster_stays_plain(monkeypatch):
    monkeypatch.setattr(compute, "_probe", lambda *a: [1.0] + [0.95] * (len(a[3]) - 1))
    choice = compute.fastest(made("resnet20"), noise(4, seed=1), CPU, steps=10_000)
    assert choice.items() >= {"channels_last": False, "dtype": "float32"}.items()
    assert "times as fast" in choice["note"]


@pytest.mark.parametrize(
    ("name", "has", "precision", "expected"),
    [
        ("resnet20", True, None, (True, "bfloat16")),
        ("resnet20", False, None, (False, "float32")),
        ("resnet20", True, "float32", (False, "float32")),
        ("resnet20", True, "float16", (True, "bfloat16")),
        ("resnet20", False, "float16", (False, "bfloat16")),
        ("resnest50", True, None, (None, "bfloat16")),
    ],
)
def test_a_trial_too_short_to_probe_computes_with_what_is_known(monkeypatch, name, has, precision, expected):
    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: has)
    monkeypatch.setattr(compute, "_probe", lambda *_: pytest.fail("probed"))
    with torch.device("meta"):
        model = made(name)
    choice = compute.fastest(model, noise(4), CPU, steps=10, precision=precision)
    assert (choice["channels_last"], choice["dtype"]) == expected
    assert "not probed" in choice["note"]


@pytest.mark.parametrize(
    ("steps", "milliseconds", "images"), [(10**6, 1, 16), (10**6, 40, 8), (10**6, 900, 4), (300, 1, 8)]
)
def test_a_probe_takes_as_many_images_as_there_is_time_and_training_for(monkeypatch, steps, milliseconds, images):
    """Of a trial of 300 batches of 32, a fiftieth is 192 images: 46 for each of four, 15 a pass with one untimed."""
    seen = []

    def timed(_, batch, *__):
        seen.append(len(batch))
        return milliseconds / 1000 * len(batch)

    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(compute, "_pass", timed)
    compute.fastest(made("resnet20"), noise(32), CPU, steps=steps)
    assert seen[:2] == [4, 4]
    assert set(seen[2:]) == {images}
    assert sum(seen) <= 0.02 * steps * 32


@pytest.mark.parametrize(
    ("name", "chosen", "dtype", "expected"),
    [
        ("resnet20", True, "float32", True),
        ("resnet20", False, "bfloat16", False),
        ("resnet20", None, "bfloat16", True),
        ("resnet20", None, "float32", False),
        ("resnest50", True, "bfloat16", False),
        ("resnest50", None, "bfloat16", False),
    ],
)
def test_a_layout_that_another_model_chose_is_taken_where_the_model_can(monkeypatch, name, chosen, dtype, expected):
    monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda: True)
    with torch.device("meta"):
        model = made(name)
    assert compute.laid_out(model, {"channels_last": chosen, "dtype": dtype}, CPU) is expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_choice_is_applied_without_changing_what_is_computed(channels_last, dtype):
    choice = {"channels_last": channels_last, "dtype": dtype}
    model = made("resnet18").eval()
    expected = model(noise())
    compute.apply(model, choice)
    assert model.network.conv1.weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    seen = []
    model.network.conv1.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with compute.autocast(choice, CPU):
        found = model(noise())
    assert seen == [compute._DTYPES[dtype]]
    assert torch.allclose(found, expected, atol=1e-5 if dtype == "float32" else 0.1)
