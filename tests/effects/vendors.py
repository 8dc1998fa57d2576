"""Precision, figures, and what SageMaker has a place of its own for."""

import numpy as np
import pytest
import torch

from automl_images.annotations import Classes, Record
from automl_images.errors import UserError
from tests.effects.lab import effect, planned_weights, refused, said_of
from tests.effects.probe import MULTI, SINGLE


@effect
def of_precision_dtype(lab):
    for given, dtype in (("float32", torch.float32), ("float16", torch.bfloat16)):
        seen = lab.run(precision_dtype=given)
        assert {kind for kind, _ in seen.outputs} == {dtype}, "a CPU's float16 is bfloat16"
        assert {kind for kind, _ in seen.evaluated} == {torch.float32}, "as it is served"
        assert {t.dtype for t in seen.end.values() if t.is_floating_point()} == {torch.float32}
    refused("precision_dtype: 'float64' is out of range", precision_dtype="float64")


@effect
def of_top_k(lab):
    metrics = {k: lab.run(top_k=k).fitted.best["metrics"] for k in (None, 2, 3)}
    assert "top_k_accuracy" not in metrics[None]
    assert metrics[None]["accuracy"] == metrics[2]["accuracy"] <= metrics[2]["top_k_accuracy"] <= 1
    seen = lab.run(top_k=2, learning_rate=0)
    truth = [["blue", "green", "red"].index(r.label.name) for r in lab.data[1]]
    hits = [truth[i] in np.argsort(probs)[-2:] for i, probs in seen.found.items()]
    assert seen.fitted.best["metrics"]["top_k_accuracy"] == pytest.approx(np.mean(hits))
    assert metrics[3]["top_k_accuracy"] == 1
    with pytest.raises(UserError, match="top_k: 4 is more than the 3 classes of the training data"):
        lab.run(top_k=4)
    refused("top_k: 1 is out of range; allowed: at least 2", top_k=1)


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
        line = f"{name}: {wrong} is given, and the training data has {right}; leave it out"
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
    several = [[Record(r.image_url, Classes((r.label.name,))) for r in records] for records in lab.data]
    for task, total in ((SINGLE, True), (MULTI, False)):
        found = lab.run(data=lab.data if task == SINGLE else several, task=task).found
        assert bool(np.allclose([probs.sum() for probs in found.values()], 1, atol=1e-5)) is total


@effect
def of_use_pretrained_model(lab):
    elsewhere("use_pretrained_model", "weights.pretrained", 0, 1)


@effect
def of_use_weighted_loss(lab):
    elsewhere("use_weighted_loss", "weighted_loss", 0, 1)
