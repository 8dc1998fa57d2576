"""What fit() evaluates, keeps, stops at and resumes from."""

import json
import math
import re
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from automl_images.annotations import Box, Boxes, Record
from automl_images.annotations.record_file import write
from automl_images.data import store
from automl_images.errors import CheckpointError, UserError
from automl_images.hyperparameters import resolve
from automl_images.steps.plan import plan_sweep
from automl_images.training import detection as trial_module
from automl_images.training import machine
from automl_images.training.callbacks import Checkpoints
from automl_images.training.fit import _check_fits, fit
from automl_images.training.job import Job
from tests.helpers import training_probe
from tests.helpers.training_probe import PLAIN, PULLS, TASK, Journal, Probe, named, trainer


@pytest.fixture
def train(squares, tmp_path, monkeypatch):
    return trainer(squares, tmp_path, monkeypatch)


FLAT = [0.5] * 10
LATE = [0.1, 0.2, 0.3] + [0.3] * 7


@pytest.mark.parametrize(
    ("values", "patience", "delay", "more", "last"),
    [
        (FLAT, 2, 1, {}, 3),
        (FLAT, 4, 1, {}, 5),
        (FLAT, 2, 3, {}, 5),
        (FLAT, 2, 1, {"early_stopping": 0}, 10),
        (FLAT, 2, 1, {"evaluation_frequency": 2}, 6),
        (LATE, 2, 1, {}, 5),
        (LATE, 1, 1, {}, 4),
        (FLAT, 2, 1, {"early_stopping_min_epochs": 6}, 6),
        (LATE, 2, 1, {"early_stopping_tolerance": 0.6}, 4),
        (LATE, 2, 1, {"early_stopping_tolerance": 1}, 5),
        ([0.1 * 1.5**i for i in range(10)], 2, 1, {"early_stopping_tolerance": 0.4}, 10),
    ],
)
def test_early_stopping_counts_evaluations_without_improvement(train, values, patience, delay, more, last):
    given = {"number_of_epochs": 10, "early_stopping_patience": patience, "early_stopping_delay": delay, **more}
    _, fitted, journal = train(given, values=values)
    assert journal.evaluations[-1][0] == last
    assert (fitted.reason or "").startswith("early_stopping: ") is (last < 10)
    assert not fitted.stopped


@pytest.mark.parametrize(("frequency", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_every_so_many_epochs_and_the_last_are_evaluated(train, frequency, epochs):
    _, _, journal = train({"number_of_epochs": 5, "evaluation_frequency": frequency})
    assert [e for e, *_ in journal.evaluations] == epochs
    assert journal.numbers == list(range(1, len(epochs) + 1)), "the last epoch is an evaluation of its own"


def test_evaluation_changes_no_draw_of_training(train):
    often, rarely, other = (
        train({"number_of_epochs": 4, "evaluation_frequency": f}, seed=s)[0].calls for f, s in ((1, 1), (9, 1), (1, 2))
    )
    assert often == rarely
    assert {draw for *_, draw in often}.isdisjoint(draw for *_, draw in other)
    assert len({draw for *_, draw in often}) == len(often)


@pytest.mark.parametrize(
    ("given", "value", "coco", "recall"),
    [
        ({}, 1 / 3, False, 1 / 3),
        ({"validation_metric_type": "coco"}, 34 / 101, True, 1 / 3),
        ({"validation_metric_type": "coco_voc"}, 1 / 3, True, 1 / 3),
        ({"validation_iou_threshold": 0.6}, 1 / 3, False, 1 / 3),
        ({"validation_iou_threshold": 0.7}, 0, False, 0),
        ({"box_score_thresh": 0.95}, 1 / 3, False, 0),
    ],
    ids=named,
)
def test_the_metric_is_the_one_asked_for(train, given, value, coco, recall):
    _, fitted, journal = train({"number_of_epochs": 1, **given})
    assert fitted.best["value"] == journal.evaluations[0][1] == pytest.approx(value)
    assert ("coco" in fitted.best["metrics"]) is coco
    assert fitted.best["metrics"]["recall"] == pytest.approx(recall)
    assert fitted.best["metrics"]["baseline"] == {"mean_average_precision": 0.0}


def test_without_a_metric_the_last_epoch_is_kept(train):
    probe, fitted, journal = train({"validation_metric_type": "none", "number_of_epochs": 3})
    assert (probe.predicted, journal.evaluations, fitted.best, fitted.reason) == ([], [], None, None)
    assert journal.saved == [3]
    assert float(journal.model()["w"]) == probe.path[-1]


def test_the_best_epochs_model_is_kept_and_means_are_reported(train):
    given = {"number_of_epochs": 4, "training_batch_size": 6}
    probe, fitted, journal = train(given, values=[0.1, 0.5, 0.5, 0.3])
    assert (fitted.best["epoch"], fitted.best["value"], journal.saved) == (2, 0.5, [1, 2])
    assert float(journal.model()["w"]) == probe.path[2] != probe.path[4]
    rows = [(1, 0.1, 0.1, 0.1), (2, 0.5, 0.5, 0.3), (3, 0.5, 0.5, 1.1 / 3), (4, 0.3, 0.5, 0.35)]
    np.testing.assert_allclose(journal.evaluations, rows)


@pytest.mark.parametrize(("large", "small", "times"), [(6, 3, 2), (6, 2, 3), (4, 2, 2), (4, 1, 4)])
@pytest.mark.parametrize("summed", [True, False])
def test_accumulated_batches_move_the_weights_as_one_large_batch(train, monkeypatch, large, small, times, summed):
    class Summing(Probe):
        sums_batches = summed

        def losses(self, images, targets):
            return {"loss": super().losses(images, targets)["loss"] * (len(images) if summed else 1)}

    monkeypatch.setattr(training_probe, "Probe", Summing)
    given = {"number_of_epochs": 2, "momentum": 0.9}
    whole, *_ = train({**given, "training_batch_size": large}, pulls=[0.5])
    parts, *_ = train({**given, "training_batch_size": small, "grad_accumulation_step": times}, pulls=[0.5])
    assert len(parts.calls) > len(whole.calls)
    assert parts.path[-1] == pytest.approx(whole.path[-1], abs=1e-9)
    assert 1 - whole.path[1] == pytest.approx(0.1 * 1.9 * 0.5 * (large if summed else 1)), "Nesterov's first step"


@pytest.mark.parametrize(("every", "kept"), [(1, ["1", "2", "3"]), (2, ["2"]), (4, [])])
def test_an_epochs_model_is_kept_every_so_often(train, every, kept):
    probe, _, journal = train({"number_of_epochs": 3, "training_batch_size": 6, "checkpoint_frequency": every})
    folder = journal.folder / "epochs"
    assert sorted(f.name for f in folder.glob("*")) == kept
    for name in kept:
        weights = torch.load(folder / name / "model.pt", weights_only=True)
        assert float(weights["w"]) == probe.path[int(name)]
    assert train({"number_of_epochs": 1}, name="none")[2].folder.joinpath("epochs").exists() is False


def test_a_kept_epoch_has_its_own_figures_or_none(train):
    given = {"number_of_epochs": 5, "evaluation_frequency": 2, "checkpoint_frequency": 1}
    _, _, journal = train(given, values=[0.1, 0.2, 0.3])
    kept = [json.loads((journal.folder / "epochs" / str(e) / "metrics.json").read_text()) for e in range(1, 6)]
    assert [k.get("mean_average_precision") for k in kept] == [None, 0.1, None, 0.2, 0.3]
    assert [k["epoch"] for k in kept] == [1, 2, 3, 4, 5]


def test_the_journal_may_stop_a_trial(train):
    probe, fitted, _ = train({"number_of_epochs": 9, "training_batch_size": 6}, stop_at=2)
    assert (len(probe.calls), fitted.reason, fitted.stopped) == (2, "told to", True)


def test_what_cannot_be_trained_is_one_line(train, squares, tmp_path):
    with pytest.raises(UserError, match=r"diverged in epoch 2 .*lower learning_rate \(0\.1\)"):
        train({"number_of_epochs": 3, "training_batch_size": 6}, pulls=[1.0, math.nan])
    with pytest.raises(UserError, match="validation data: has no image"):
        fit(Job(TASK, resolve(TASK, PLAIN), squares[0], [], {}, seed=1), Journal(tmp_path))


@pytest.mark.parametrize(
    "given",
    [
        {"step_lr_gamma": 0.5, "step_lr_step_size": 1},
        {"step_lr_gamma": 0.5, "step_lr_step_size": 2, "grad_accumulation_step": 2, "evaluation_frequency": 2},
        {"lr_scheduler": "warmup_cosine", "optimizer": "adamw", "amsgrad": 1},
        {"early_stopping_patience": 2, "early_stopping_delay": 2},
    ],
    ids=named,
)
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_resumed_trial_is_the_uninterrupted_one(train, monkeypatch, given, after):
    monkeypatch.setattr(Checkpoints, "SHARE", 0)
    given = {"number_of_epochs": 5, "training_batch_size": 2, **given}
    whole, fitted, journal = train(given)
    done = sum(e <= after for e, *_ in journal.evaluations)
    pulls = [*PULLS[(3 * after) % 8 :], *PULLS[: (3 * after) % 8]]
    rest, again, later = train(given, pulls, checkpoint=journal.folder / f"checkpoint-{after}", name="resumed")
    assert rest.calls == whole.calls[3 * after :]
    assert rest.path[-1] == whole.path[-1]
    assert (later.evaluations, again) == (journal.evaluations[done:], fitted)
    kept = later.folder / "model" / "training.json"
    assert not kept.exists() or json.loads(kept.read_text()) == json.loads(
        (journal.folder / "model" / "training.json").read_text()
    )


def test_a_seed_of_any_size_draws_its_own(train):
    given = {"number_of_epochs": 1}
    first, again, other = (train(given, seed=s)[0].calls for s in (2**40 + 1, 2**40 + 1, 2**40 + 2))
    assert first == again != other


def losses_of(captured):
    """Return each evaluated epoch's loss, from the lines of progress, which is the sum of the parts beside it."""
    found = re.findall(r"^epoch \d+/\d+: mean_.*; loss ([\d.]+) \((.*)\); ", captured.readouterr().err, re.M)
    for total, parts in found:
        assert sum(float(part.split()[-1]) for part in parts.split(", ")) == pytest.approx(float(total), abs=0.003)
    return [float(total) for total, _ in found]


def test_faster_rcnn_learns_and_resumes_to_the_same_bits(squares, tmp_path, monkeypatch, capsys):
    rising, scored = iter(range(9)), []

    def metrics(truth, found, *_):  # later is better, so that each epoch's model is kept
        scored.append(found)
        return {"mean_average_precision": float(next(rising))}

    monkeypatch.setattr(trial_module, "detection_metrics", metrics)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a GPU adds in any order
    sizes = {"model_name": "fasterrcnn_resnet18_fpn", "min_size": 64, "max_size": 64}
    settings = resolve(TASK, {**sizes, "number_of_epochs": 2, "warmup_cosine_lr_warmup_epochs": 1})
    whole, resumed = Journal(tmp_path / "whole"), Journal(tmp_path / "resumed")
    data = (squares[0][:4], squares[1][:2])
    fit(Job(TASK, settings, *data, {}, seed=5), whole)
    fit(Job(TASK, settings, *data, {}, seed=5, checkpoint=tmp_path / "whole" / "checkpoint-1"), resumed)
    assert (whole.saved, resumed.saved) == ([1, 2], [2])
    expected, found = whole.model(), resumed.model()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    for a, b in zip(scored[1], scored[2], strict=True):
        assert all(np.array_equal(a[k], b[k]) for k in a)
    first, second, same = losses_of(capsys)
    assert first > second == same


@pytest.mark.parametrize(("budget", "decoded"), [(1 << 30, [1, 1]), (0, [3, 3])], ids=["kept", "not kept"])
def test_a_detectors_images_are_decoded_once_where_memory_allows(train, monkeypatch, budget, decoded):
    """Without memory an epoch and an evaluation decode each once, and filling the store one batch of threads more."""
    loads, load = Counter(), store.load_image
    monkeypatch.setattr(store, "load_image", lambda url, *more: loads.update([url]) or load(url, *more))
    monkeypatch.setattr(machine, "memory_budget", lambda: budget)
    train({"number_of_epochs": 2, "training_batch_size": 6})
    assert [min(loads.values()), max(loads.values())] == decoded
    assert len(loads) == 9


def test_yolo_learns_squares(squares, tmp_path, capsys):
    given = {"img_size": 64, "number_of_epochs": 40, "training_batch_size": 4, "evaluation_frequency": 10}
    settings = resolve(TASK, {"model_name": "yolov5", **given, "optimizer": "adamw", "learning_rate": 0.003})
    fitted = fit(Job(TASK, settings | {"model_size": "nano"}, *squares, {}, seed=1), Journal(tmp_path))
    assert fitted.best["value"] > 0.5
    losses = losses_of(capsys)
    assert len(losses) == 4
    assert losses[-1] < 0.95 * losses[0], "how far it falls depends on the processor and the number of threads"


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_validation_without_a_box_to_find_is_refused_before_training(squares, tmp_path, kind):
    crowd = Boxes((Box("blue", 0, 0, 0.5, 0.5, isCrowd=True),))
    for label in (Boxes(()), crowd):
        validation = [Record(r.image_url, label, 64, 64) for r in squares[1]]
        given = {**PLAIN, "validation_metric_type": kind}
        with pytest.raises(UserError, match="no image has an object to find, so mean_average_precision is undefined"):
            fit(Job(TASK, resolve(TASK, given), squares[0], validation, {}, seed=1), Journal(tmp_path))
    write([Record(r.image_url, Boxes(()), 64, 64) for r in squares[1]], str(tmp_path / "v.jsonl"))
    write(squares[0], str(tmp_path / "t.jsonl"))
    experiment = {"task": TASK, "name": "n", "storage": str(tmp_path), "settings": {"validation_metric_type": kind}}
    with pytest.raises(UserError, match="v.jsonl: no image has anything to find, so mean_average_precision is undef"):
        plan_sweep(experiment, str(tmp_path / "t.jsonl"), str(tmp_path / "v.jsonl"))
    assert not (tmp_path / "ledgers").exists()


class Linear(torch.nn.Linear):
    """A module of one layer, whose bias and weight are a group of parameters each, or share one."""

    def __init__(self, wide, groups):
        super().__init__(2, wide)
        self.groups = groups

    def configure_optimizers(self):
        both = [[self.weight], [self.bias]] if self.groups == 2 else [[self.weight, self.bias]]
        return {"optimizer": torch.optim.SGD([{"params": each} for each in both], lr=0.1)}


@pytest.mark.parametrize(
    ("wide", "groups", "said"),
    [
        (3, 2, None),
        (4, 2, r"^its bias is \(3,\), the network's \(4,\)$"),
        (3, 1, r"has groups of \[1, 1\] parameters, this version's of \[2\]$"),
    ],
)
def test_a_checkpoint_of_another_network_or_optimiser_is_told_before_training(tmp_path, wide, groups, said):
    earlier = Linear(3, 2)
    states = [earlier.configure_optimizers()["optimizer"].state_dict()]
    torch.save({"state_dict": earlier.state_dict(), "optimizer_states": states}, tmp_path / "trainer.ckpt")
    with nullcontext() if said is None else pytest.raises(CheckpointError, match=said):
        _check_fits(tmp_path, Linear(wide, groups))
