"""A classifier's trial: resumed, several labels, out of memory, spilt to a file, continued from another model."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from lightning.pytorch import Callback

from automl_images.annotations import OneClass, Record
from automl_images.data import classification as data_module
from automl_images.data.classification import TrainingBatches, truth_of
from automl_images.data.images import load_image
from automl_images.data.store import ImageStore
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.models import catalogue
from automl_images.steps.evaluate import evaluate_model
from automl_images.steps.plan import plan_sweep
from automl_images.sweep.computing import Computing
from automl_images.sweep.ledger import Ledger
from automl_images.training import machine as machine_module
from automl_images.training.callbacks import Checkpoints
from automl_images.training.classification import ClassificationModule
from automl_images.training.fit import fit
from automl_images.training.job import Job
from tests.effects.probe import MULTI, SINGLE, SMALL, Tiny, draw_classes, record, watched, write_labels
from tests.helpers.training_probe import Journal

SIZES = {f"{n}_size": 32 for n in ("train_crop", "valid_crop", "valid_resize")}
RESNET = {**SMALL, **SIZES, "model_name": "resnet18"}
VIT = {**RESNET, "model_name": "vits16r224"}
SCHEDULES = {
    "warmup_cosine": {"lr_scheduler": "warmup_cosine"},
    "step": {"lr_scheduler": "step", "step_lr_step_size": 1, "step_lr_gamma": 0.5},
    "lr_scheduler_step": {"lr_scheduler": "step", "lr_scheduler_step": "1,2", "lr_scheduler_factor": 0.3},
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_vit(monkeypatch):
    """Have timm make a ViT of two narrow blocks, with dropout, which draws."""
    create = timm.create_model
    shrunk = {"embed_dim": 48, "depth": 2, "num_heads": 3, "proj_drop_rate": 0.1}
    monkeypatch.setattr(timm, "create_model", lambda name, **more: create(name, **more, **shrunk))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    drawn = draw_classes(tmp_path_factory.mktemp("classes"), ["blue", "green", "red"] * 5)
    return drawn[:10], drawn[10:]


def trained(folder, data, given, task=SINGLE, weights=None, checkpoint=None, callbacks=()):
    journal = Journal(folder)
    return fit(Job(task, resolve(task, given), *data, weights or {}, 3, checkpoint), journal, callbacks), journal


def furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[n].double() - other[n].double()).abs().max().item() for n in other)


RESNETS = [pytest.param("resnet18", name, marks=[pytest.mark.full] * (name != "step")) for name in SCHEDULES]


@pytest.mark.parametrize(("model", "schedule"), [*(("vits16r224", name) for name in SCHEDULES), *RESNETS])
def test_a_resumed_trial_is_the_uninterrupted_one(data, tmp_path, monkeypatch, small_vit, model, schedule):
    monkeypatch.setattr(Checkpoints, "SHARE", 0)
    given = {
        **(VIT if model == "vits16r224" else RESNET),
        **SCHEDULES[schedule],
        "number_of_epochs": 3,
        "training_batch_size": 3,
        "grad_accumulation_step": 2,
        "learning_rate": 0.02,
        "augmentation_type": "crop_color_transform" if schedule == "step" else None,
        "checkpoint_frequency": 1,
    }
    whole, journal = trained(tmp_path / "whole", data, given)
    after = 1 if model == "resnet18" else 2
    resumed, rest = trained(tmp_path / str(after), data, given, checkpoint=journal.folder / f"checkpoint-{after}")
    assert rest.evaluations == journal.evaluations[after:]
    assert resumed.best == whole.best
    assert sorted(f.name for f in (rest.folder / "epochs").iterdir()) == ["1", "2", "3"][after:]
    last = [torch.load(j.folder / "epochs/3/model.pt", weights_only=True) for j in (journal, rest)]
    assert furthest(*last) <= 1e-6
    figures = [json.loads((j.folder / "epochs/3/metrics.json").read_text()) for j in (journal, rest)]
    assert figures[0] == figures[1]
    first = torch.load(journal.folder / "epochs/1/model.pt", weights_only=True)
    assert furthest(first, last[0]) > 1e-4, "there was something to learn after the first epoch"


@pytest.mark.full
def test_a_whole_vit_resumes_too(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SHARE", 0)
    given = {**VIT, "number_of_epochs": 2, "grad_accumulation_step": 2, "checkpoint_frequency": 2}
    _, journal = trained(tmp_path / "whole", data, given)
    _, rest = trained(tmp_path / "rest", data, given, checkpoint=journal.folder / "checkpoint-1")
    last = [torch.load(j.folder / "epochs/2/model.pt", weights_only=True) for j in (journal, rest)]
    assert furthest(*last) <= 1e-6


def test_several_labels_are_learned(tmp_path, capsys):
    several = [[], ["blue"], ["green"], ["red"], ["blue", "red"], ["green", "red"]]
    drawn = draw_classes(tmp_path / "images", several * 4)
    given = {**SMALL, "number_of_epochs": 10, "learning_rate": 0.05, "training_batch_size": 6}
    fitted, journal = trained(tmp_path, (drawn, drawn), given, MULTI)
    values = [value for _, value, *_ in journal.evaluations]
    assert fitted.best["metric"] == "iou"
    assert values[0] < 0.8
    assert fitted.best["value"] > 0.95
    assert fitted.best["metrics"]["iou"] == fitted.best["value"]
    # no label is on more than half of the images, so that none is predicted: right of the one image without any
    assert fitted.best["metrics"]["baseline"]["iou"] == pytest.approx(1 / 6)
    said = "baseline: iou 0.1667, which a model reaches that looks at no image"
    assert capsys.readouterr().err.splitlines().count(said) == 1
    card = (tmp_path / "model/README.md").read_text()
    assert f"| iou | {fitted.best['value']:.4f} | 0.1667 |" in card
    assert json.loads((tmp_path / "model/labels.json").read_text()) == ["blue", "green", "red"]


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_a_weighted_loss_finds_more_of_the_rare_class(tmp_path, task):
    """Of images that no class can be told from, each mode's network answers with what its weights make likely."""
    grey = np.full((16, 16, 3), 128, dtype=np.uint8)
    labels = ["blue"] * 9 + ["red"] if task == SINGLE else [["blue"]] * 9 + [["blue", "red"]]
    records = [record(tmp_path / f"{i}.png", grey, label) for i, label in enumerate(labels)]
    given = {"learning_rate": 1, "momentum": 0, "nesterov": 0, "weight_decay": 0, "lr_scheduler": "step"}
    rare = []
    for mode in (0, 1, 2):
        more = {"number_of_epochs": 60, "evaluation_frequency": 100, "training_batch_size": 10, "weighted_loss": mode}
        seen = watched(
            tmp_path / str(mode), (records, records), {**given, **more, "step_lr_gamma": 1}, task=task, network=Tiny
        )
        rare.append(float(seen.found[0][1]))
    # odds of 1 : 9, times the classes' ratio of weights: 1, 3 and 9 in both forms
    assert rare == pytest.approx([0.1, 0.25, 0.5], abs=0.02)


@pytest.fixture
def small_memory(monkeypatch):
    """Return a function after which batches above a size do not fit; it collects the sizes and the models."""
    loss_parts, initial, sizes, models = ClassificationModule.loss_parts, catalogue.initial, [], []

    def limited(most):
        def memory(self, batch):
            sizes.append(len(batch[1]))
            if len(batch[1]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return loss_parts(self, batch)

        def watch(*arguments):
            assert all(reference() is None for reference in models), "an attempt still holds its memory"
            made = initial(*arguments)
            models.append(weakref.ref(made[0]))
            return made

        monkeypatch.setattr(ClassificationModule, "loss_parts", memory)
        monkeypatch.setattr(catalogue, "initial", watch)
        return sizes

    return limited


def test_out_of_memory_the_batch_is_halved_and_more_accumulated(data, tmp_path, small_memory, monkeypatch, capsys):
    monkeypatch.setattr(Checkpoints, "SHARE", 0)
    sizes = small_memory(2)
    given = {**SMALL, "training_batch_size": 8, "number_of_epochs": 3, "layers_to_freeze": 4}
    fitted, journal = trained(tmp_path / "halved", data, given)
    assert sizes == [8, 4, *[2] * 15]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("out of")]
    assert said == [
        "out of GPU memory with training_batch_size 8: beginning again with training_batch_size 4, "
        "grad_accumulation_step 2",
        "out of GPU memory with training_batch_size 4: beginning again with training_batch_size 2, "
        "grad_accumulation_step 4",
    ]
    written = json.loads((tmp_path / "halved/model/settings.json").read_text())["settings"]
    assert (written["training_batch_size"], written["grad_accumulation_step"]) == (2, 4)
    assert [e for e, *_ in journal.evaluations] == [1, 2, 3]
    sizes.clear()
    gc.collect()
    resumed, rest = trained(tmp_path / "rest", data, given, checkpoint=journal.folder / "checkpoint-2")
    assert sizes == [2] * 5, "a resumed trial knows what fits"
    assert (rest.evaluations, resumed.best) == (journal.evaluations[2:], fitted.best)
    sizes.clear()
    gc.collect()
    older = journal.folder / "checkpoint-2"
    (older / "compute.json").unlink()
    batch = {"training_batch_size": 2, "grad_accumulation_step": 4}
    layout = {"channels_last": False, "dtype": "float32", "said": "layout: float32 NCHW (the only one)", "batch": batch}
    (older / "layout.json").write_text(json.dumps(layout))
    resumed, rest = trained(tmp_path / "older", data, given, checkpoint=older)
    assert sizes == [2] * 5, "as one does that resumes from a checkpoint of the version before"
    assert (rest.evaluations, resumed.best) == (journal.evaluations[2:], fitted.best)


def test_halved_batches_that_are_accumulated_learn_the_same(data, tmp_path, small_memory):
    """All but the last layer is frozen, norms included, so that only the size of a step counts."""
    given = {
        **SMALL,
        "training_batch_size": 10,
        "number_of_epochs": 2,
        "layers_to_freeze": 4,
        "augmentation_type": "crop",
    }
    plain = trained(tmp_path / "plain", data, given)[1].model()
    small_memory(5)
    halved = trained(tmp_path / "halved", data, given)[1].model()
    assert furthest(plain, halved) < 1e-6


def test_an_image_alone_that_does_not_fit_is_the_users_to_mend(data, tmp_path, small_memory):
    sizes = small_memory(0)
    with pytest.raises(UserError, match=r"^out of GPU memory with training_batch_size 1; lower it, or use a smaller"):
        trained(tmp_path, data, {**SMALL, "training_batch_size": 3})
    assert sizes == [3, 2, 1]


class Spilled(Callback):
    """Measures the files that hold what memory does not."""

    def on_train_start(self, trainer, module):
        stores = trainer.train_dataloader.dataset.store, trainer.val_dataloaders.dataset.store
        self.bytes = sum(store.file.stat().st_size for store in stores if store.file.exists())


def test_images_that_spill_into_a_file_train_the_same(data, tmp_path, monkeypatch):
    given = {**SMALL, "number_of_epochs": 2, "augmentation_type": None}
    results = []
    for budget in (1 << 20, 3000, 0):
        spilled = Spilled()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(machine_module, "memory_budget", lambda budget=budget: budget)
            fitted, journal = trained(tmp_path / str(budget), data, given, callbacks=[spilled])
        results.append((spilled.bytes, fitted, journal.evaluations, journal.model()))
    assert results[0][0] == 0 < results[1][0] < results[2][0]
    for _, fitted, evaluations, model in results[1:]:
        assert (fitted, evaluations) == results[0][1:3]
        assert furthest(model, results[0][3]) == 0


class Decoded:
    """A store that keeps nothing and scales nothing."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def image(self, i):
        return load_image(self.records[i].image_url)


@pytest.mark.parametrize(
    ("kind", "size", "same"),
    [
        (None, (40, 52), True),
        ("crop", (40, 52), True),
        ("crop_color", (40, 52), True),
        ("crop_color_transform", (40, 52), True),
        (None, (80, 104), False),
    ],
)
def test_the_kept_images_give_the_crops_of_a_fresh_decode(tmp_path, kind, size, same):
    rows = np.linspace(0, 255, size[0])[:, None, None]
    columns = np.linspace(0, 255, size[1])[None, :, None]
    smooth = (np.concatenate([rows + 0 * columns, columns + 0 * rows, 0 * (rows + columns)], 2)).astype(np.uint8)
    records = [record(tmp_path / f"{i}.png", smooth, "ab"[i % 2]) for i in range(6)]
    settings = resolve(SINGLE, {**SMALL, "augmentation_type": kind, "train_crop_size": 24, "valid_resize_size": 40})
    truth = truth_of(records, ["a", "b"], False)
    store = ImageStore(records, lambda image: data_module.kept_image(image, settings), tmp_path)
    store.fill()
    assert (store.image(0).shape[:2] == size) is same
    for epoch in (0, 1):
        keys = [(epoch, i) for i in range(6)]
        cached, fresh = (TrainingBatches(s, truth, settings, 5).__getitems__(keys) for s in (store, Decoded(records)))
        assert torch.equal(cached[1], fresh[1])
        away = (cached[0].float() - fresh[0].float()).abs()
        assert away.max() == 0 if same else away.mean() < 4, "scaled once to what crops need, then cropped and scaled"


@pytest.fixture(scope="module")
def earlier(data, tmp_path_factory):
    """Return the model folder of an earlier trial on blue, green and red, in the trial's folder of a ledger."""
    folder = tmp_path_factory.mktemp("earlier")
    trained(folder, data, {**SMALL, "number_of_epochs": 3, "learning_rate": 0.05})
    artifacts = Ledger(str(folder / "ledger")).artifacts(0)
    artifacts.write_model(1, folder / "model")
    return Path(artifacts.model(1))


def continued(earlier, by):
    """Return an experiment's settings and weights that continue from a model folder."""
    return {
        "model": ({"checkpoint_run_id": str(earlier)}, {}),
        "trial": ({"checkpoint_run_id": str(earlier.parent)}, {}),
        "file": ({"checkpoint_dataset_id": str(earlier), "checkpoint_filename": "model.pt"}, {}),
        "source": ({}, {"source": str(earlier)}),
    }[by]


@pytest.mark.parametrize("by", ["model", "trial", "file", "source"])
@pytest.mark.parametrize("labels", [["blue", "green", "red"], ["blue", "green"], ["azure", "blue", "red"]], ids=str)
def test_a_trial_continues_from_an_earlier_model(earlier, tmp_path, by, labels):
    settings, weights = continued(earlier, by)
    colours = {"azure": "green"}
    drawn = draw_classes(tmp_path / "images", [colours.get(name, name) for name in labels * 2])
    named = [Record(r.image_url, OneClass(label)) for r, label in zip(drawn, labels * 2, strict=True)]
    data = [write_labels(tmp_path / f"{n}.jsonl", named) for n in "tv"]
    given = {**SMALL, "learning_rate": 0}
    experiment = {"task": SINGLE, "settings": {**given, **settings}, "weights": weights, "storage": str(tmp_path)}
    (lane,) = plan_sweep(experiment, *data)
    ledger = Ledger(json.loads(lane)["ledger"])
    staged = ledger.run(json.loads(lane)["run"]).weights
    assert Path(staged["source"]).is_relative_to(ledger.url), "a copy, which all lanes reach"
    assert (Path(ledger.url) / "weights/labels.json").read_text() == (earlier / "labels.json").read_text()
    before = torch.load(earlier / "model.pt", weights_only=True)
    seen = watched_start(tmp_path / "trial", (named, named), given, staged)
    same = {n for n, t in before.items() if n in seen and seen[n].shape == t.shape and torch.equal(seen[n], t)}
    head = {"network.fc.weight", "network.fc.bias"}
    if labels == ["blue", "green", "red"]:
        assert same == set(before)
    else:
        assert "network.fc.weight" not in same
        assert same >= set(before) - head


def watched_start(folder, data, given, weights):
    """Return the state dict that a trial begins with."""
    states, initial = [], catalogue.initial

    def watch(*arguments):
        made, said = initial(*arguments)
        states.append({n: t.clone() for n, t in made.state_dict().items()})
        return made, said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "initial", watch)
        trained(folder, data, given, weights=weights)
    return states[0]


def test_a_trials_precision_is_its_own(data, tmp_path):
    """What one trial of a process computed with is no other's."""
    for kind, dtype in (("float16", torch.bfloat16), ("float32", torch.float32), ("float16", torch.bfloat16)):
        seen = watched(tmp_path / kind / str(dtype), data, {"precision_dtype": kind})
        assert {found for found, _ in seen.outputs} == {dtype}


def test_trials_of_a_sweep_compute_as_the_first_chose(data, tmp_path, monkeypatch, capsys):
    probes = []

    def fastest(model, *_, **__):
        probes.append(model)
        return {"dtype": "bfloat16", "channels_last": len(probes) == 1, "note": "layout: probed"}

    monkeypatch.setattr("automl_images.training.classification.fastest", fastest)
    given = {**RESNET, "number_of_epochs": 1, "augmentation_type": "crop", "precision_dtype": None}
    for name, more in (("first", {}), ("second", {}), ("exact", {"precision_dtype": "float32"})):
        computing = Computing(str(tmp_path / "ledger")).chosen
        journal = Journal(tmp_path / name)
        job = Job(SINGLE, resolve(SINGLE, {**given, **more}), *data, {}, 3, computing=computing)
        fit(job, journal)
    assert len(probes) == 2, "one for each precision"
    assert furthest(Journal(tmp_path / "first").model(), Journal(tmp_path / "second").model()) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "layout: " in line]
    assert [line.partition("layout: ")[2] for line in lines] == [
        "probed",
        "bfloat16 channels_last (as the sweep's first trial chose)",
        "probed",
    ]
    kept = [json.loads(file.read_text()) for file in (tmp_path / "ledger" / "compute").iterdir()]
    assert {k["machine"].rpartition(", ")[2] for k in kept} == {"any precision", "float32 precision"}


def test_what_training_scores_is_what_evaluate_measures(data, tmp_path, monkeypatch):
    """In bfloat16 the losses of the two would differ in the third decimal."""
    choice = {"dtype": "bfloat16", "channels_last": True, "note": "layout: given"}
    monkeypatch.setattr("automl_images.training.classification.fastest", lambda *_, **__: dict(choice))
    fitted, journal = trained(tmp_path / "trial", data, {**RESNET, "number_of_epochs": 3, "learning_rate": 0.05})
    records = write_labels(tmp_path / "validation.jsonl", data[1])
    found = evaluate_model(str(journal.folder / "model"), records, str(tmp_path / "evaluation"))
    for name in ("accuracy", "log_loss", "AUC_macro"):
        assert found[name] == pytest.approx(fitted.best["metrics"][name], abs=1e-5)
