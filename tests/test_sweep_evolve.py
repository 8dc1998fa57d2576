"""Evolution: the operator's statistics, what is a parent, what the plan completes, hyp files."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.steps.plan import check_experiment
from automl_images.sweep import proposal
from automl_images.sweep.hyp import read_hyp
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.space import parse_space
from automl_images.sweep.trial import State, Trial

DRAWS = 10_000
TASK = "image-object-detection"
HYP = """# Hyperparameters for low-augmentation training from scratch
lr0: 1e-2  # initial learning rate
lrf: 0.01
momentum: 0.937
weight_decay: 5e-4
warmup_epochs: 2.5
warmup_momentum: 0.8
warmup_bias_lr: 0.1
box: 0.05
cls: 0.5
cls_pw: 1.0
obj: 1.0
obj_pw: 1.0
iou_t: 0.20
anchor_t: 4.0
# anchors: 3
fl_gamma: 0.0
hsv_h: 0.015
hsv_s: 0.7
hsv_v: 0.4
degrees: 0.0
translate: 0.1
scale: 0.5
shear: 0.0
perspective: 0.0
flipud: 0.0
fliplr: 0.5
mosaic: 1.0
mixup: 0.0
copy_paste: 0.0
"""
UNIT = parse_space({f"x{i}": {"uniform": [0, 1]} for i in range(4)})
SMALL = parse_space({f"x{i}": {"uniform": [0, 1000]} for i in range(4)})


def ended(index, settings, value, state=State.COMPLETED, metrics=None):
    best = None if value is None else {"value": value, "epoch": 1, "metrics": metrics or {}}
    return Trial(index, state, 1, settings, tuple(settings), best=best, model=f"/none/{index}")


def children(sampler, branches, trials=(), draws=DRAWS):
    """Return the values of the trials from 1 on, one row each."""
    names = sorted(branches[0])
    made = [sampler.propose(branches, 7, i, trials) for i in range(1, draws + 1)]
    return np.array([[child[name] for name in names] for child in made])


def test_a_normalised_child_moves_four_of_five_genes_by_its_gain_and_stays_in_its_limits():
    start = {"x0": 0.5, "x1": 0.5, "x2": 0.0, "x3": 1.0}
    sampler = Evolve(start=start, gains={"x1": 0.5})
    assert sampler.propose(UNIT, 7, 0) == start
    moves = children(sampler, UNIT) - np.array(list(start.values()))
    moved = moves != 0
    assert moved.any(axis=1).all()
    assert np.abs(moved.mean(axis=0) - 0.8 / (1 - 0.2**4)).max() < 0.015
    spread = [moves[moved[:, i], i].std() for i in (0, 1)]
    assert spread == pytest.approx([0.2, 0.1], rel=0.04)
    assert np.abs(moves[:, :2].mean(axis=0)).max() < 0.01
    # a gene at a wall, 0 too, moves away from it and never beyond
    assert np.abs(moves[moved[:, 2], 2]).mean() == pytest.approx(0.2 * np.sqrt(2 / np.pi), rel=0.04)
    assert moves[:, 2].min() >= 0 and moves[:, 3].max() <= 0


def test_the_normalised_step_shrinks_with_what_has_ended():
    sampler = Evolve(start=dict.fromkeys(UNIT[0], 0.5))
    running = [Trial(i, State.RUNNING, 1, dict.fromkeys(UNIT[0], 0.1), tuple(UNIT[0])) for i in range(50)]
    done = [ended(i, dict.fromkeys(UNIT[0], 0.5), 0.3) for i in range(50)]
    wide, half = (children(sampler, UNIT, t, 1000).std() for t in ([], done))
    assert half / wide == pytest.approx(0.5, abs=0.05)
    assert (children(sampler, UNIT, running, 50) == children(sampler, UNIT, [], 50)).all()


def test_a_classic_child_is_the_definition():
    start = {"x0": 100.0, "x1": 100.0, "x2": 0.0, "x3": 990.0}
    sampler = Evolve(form="classic", start=start, gains={"x1": 0.3})
    made = children(sampler, SMALL)
    factors = made[:, :2] / 100
    changed = factors != 1
    # all four are drawn, one of them is at 0: of a child whose drawn factors are 1 for both others nothing is seen
    assert np.abs(changed.mean(axis=0) - 0.8 / (1 - 0.2**4)).max() < 0.015
    # one scale u in [0, 1] a child: the deviation of N x u is sqrt(1/3)
    assert factors[changed[:, 0], 0].std() == pytest.approx(0.2 / np.sqrt(3), rel=0.06)
    assert factors[changed[:, 1], 1].std() == pytest.approx(0.06 / np.sqrt(3), rel=0.06)
    assert factors.min() >= 0.3 and factors.max() <= 3
    both = changed.all(axis=1)
    sizes = np.log(np.abs(factors[both] - 1))
    assert np.corrcoef(sizes.T)[0, 1] > 0.2  # of equal scale, so large with large
    assert (made[:, 2] == 0).all()  # the zero trap
    assert made[:, 3].max() == 1000 and made[:, 3].min() >= 0
    assert (np.round(made, 5) == made).all()


def test_parents_are_the_best_five_and_weigh_by_fitness():
    corners = [dict.fromkeys(UNIT[0], i / 10) for i in range(8)]
    trials = [ended(i, c, 0.1 * i) for i, c in enumerate(corners)]
    sampler = Evolve(start=corners[0], gains=dict.fromkeys(UNIT[0], 5e-4))
    found = np.round(children(sampler, UNIT, trials, 3000)[:, 0], 3)
    shares = [(found == i / 10).mean() for i in range(8)]
    assert shares == pytest.approx([0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4], abs=0.03)
    mean = np.dot([0.1, 0.2, 0.3, 0.4], [0.4, 0.5, 0.6, 0.7])
    weighted = children(changed(sampler, parents="weighted"), UNIT, trials, 100)
    assert np.abs(weighted - mean).max() < 0.001
    crossed = np.round(children(changed(sampler, parents="crossover"), UNIT, trials, 500), 3)
    kinds = [len(set(row)) for row in crossed.tolist()]
    assert set(kinds) == {1, 2} and set(np.unique(crossed)) <= {0.4, 0.5, 0.6, 0.7}


def changed(sampler, **changes):
    return Evolve(**{**sampler.model_dump(exclude_unset=True), **changes})


def test_running_and_failed_trials_are_no_parents_and_equal_ledgers_give_equal_children():
    sampler = Evolve(start=dict.fromkeys(UNIT[0], 0.5))
    far = dict.fromkeys(UNIT[0], 0.9)
    lost = ended(0, far, 0.9, State.FAILED)
    running = dataclasses.replace(ended(1, far, 0.9), state=State.RUNNING)
    assert sampler.best([lost, running], UNIT[0]) == []
    child = sampler.propose(UNIT, 3, 5, [lost, running])
    assert child == sampler.propose(UNIT, 3, 5) and child == sampler.propose(UNIT, 3, 5, [running, lost])
    assert child != sampler.propose(UNIT, 3, 6) and child != sampler.propose(UNIT, 4, 5)
    assert child != sampler.propose(UNIT, 3, 5, [ended(0, far, 0.9)])


def test_a_small_grid_of_whole_numbers_is_left_for_another_point():
    space = parse_space({"layers": {"quniform": [1, 3, 1]}})
    sampler = Evolve(start={"layers": 2}, gains={"layers": 0.1})
    made = {sampler.propose(space, 0, i)["layers"] for i in range(1, 40)}
    assert made == {1.0, 3.0}
    every = [ended(i, {"layers": i + 1.0}, 0.1) for i in range(3)]
    assert sampler.propose(space, 0, 9, every)["layers"] in (1, 2, 3)  # no other point is left, and it ends


def test_fitness_weighs_the_best_evaluation_and_is_undefined_rather_than_less():
    metrics = {"precision": 0.5, "recall": 0.25, "coco": {"map_50": 0.6, "map": 0.4}}
    trial = ended(0, {}, 0.6, metrics=metrics)
    assert Evolve(fitness=[0, 0, 0.1, 0.9]).fitness_of(trial) == pytest.approx(0.42)
    assert Evolve(fitness=[1, 2, 0, 0]).fitness_of(trial) == pytest.approx(1.0)
    assert Evolve().fitness_of(trial) == 0.6
    without = ended(0, {}, 0.6, metrics={**metrics, "precision": None, "coco": {}})
    assert Evolve(fitness=[0, 0, 0.1, 0.9]).fitness_of(without) is None
    assert Evolve(fitness=[1, 2, 0, 0]).fitness_of(without) is None
    assert Evolve(fitness=[0, 1, 0, 0]).fitness_of(without) == 0.25


def checked(sampling="evolve", settings=(), space=None, task=TASK):
    sweep = {"sampling": sampling} | ({"space": space} if space else {})
    return check_experiment(Experiment.read({"task": task, "settings": dict(settings), "sweep": sweep}))


@pytest.fixture
def hyp(tmp_path):
    path = tmp_path / "hyp.scratch.yaml"
    path.write_text(HYP)
    return str(path)


def test_a_models_genes_evolve_from_a_hyp_file_with_their_limits(hyp, capsys):
    yolo = {"model_name": "yolov5", "head": "anchor"}
    made = checked({"by": "evolve", "start": hyp}, yolo)
    start, gains, space = made["sampling"]["start"], made["sampling"]["gains"], made["space"]
    assert len(space) == 25 and start.keys() == gains.keys() == space.keys()  # 29 less those whose gain is 0
    assert start["learning_rate"] == 0.01 and start["warmup_cosine_lr_warmup_epochs"] == 2.5
    assert (start["anchors"], gains["anchors"], gains["momentum"]) == (3, 2, 0.3)
    assert space["degrees"] == {"uniform": [0, 45]} and list(space["learning_rate"]) == ["loguniform"]
    assert made["settings"]["fliplr"] == 0.5 and made["settings"]["validation_metric_type"] == "coco_voc"
    assert made["sampling"]["fitness"] == [0, 0, 0.1, 0.9]
    assert "coco_voc, for the fitness" in capsys.readouterr().err
    fixed = checked({"by": "evolve", "start": hyp, "fixed": ["lr0"], "genes": ["fliplr"]}, yolo)
    assert fixed["settings"]["learning_rate"] == 0.01 and "learning_rate" not in fixed["space"]
    assert fixed["space"]["fliplr"] == {"uniform": [0, 1]}
    free = checked({"by": "evolve", "start": hyp}, {**yolo, "head": "anchor_free"})
    lines = [line for line in capsys.readouterr().err.splitlines() if "no effect" in line]
    named = "cls_pw, obj, obj_pw, iou_t, anchor_t, fl_gamma have no effect with head: anchor_free; it needs anchor"
    assert lines == [f"note: settings: {named}"]
    assert "dfl" in free["space"] and "obj" not in free["space"]


def test_any_models_numbers_evolve_in_a_space_and_by_its_primary_metric():
    space = {"learning_rate": {"loguniform": [-9, -3]}, "number_of_epochs": {"quniform": [1, 5, 1]}}
    made = checked(space=space, task="image-classification", settings={"model_name": "resnet18"})
    assert made["sampling"]["start"]["learning_rate"] == 0.01 and "fitness" not in made["sampling"]
    assert made["sampling"]["start"]["number_of_epochs"] == 3  # 15 is outside
    assert Experiment.read({"task": TASK, "sweep": {"sampling": "evolve"}}).sweep.iterations == 300
    assert Experiment.read({"task": TASK, "sweep": {"sampling": "evolve", "iterations": 5}}).sweep.iterations == 5


YOLO = {"model_name": "yolov5", "head": "anchor"}
SPACE = {"learning_rate": {"uniform": [0.001, 0.1]}}
REFUSED = {
    "voc": ({"settings": {**YOLO, "validation_metric_type": "voc"}}, "voc has no COCO figures"),
    "choice": ({"space": {"momentum": {"choice": [0.8, 0.9]}}}, "sweep.space.momentum: evolve moves numbers"),
    "conditional": ({"space": [SPACE, SPACE]}, "evolve has one set of genes"),
    "auto": ({"space": "auto"}, "auto has choices"),
    "no genes": ({"settings": {"model_name": "retinanet_resnet50_fpn"}}, "has no gene that is left"),
    "fixed and asked": (
        {"settings": YOLO, "sampling": {"by": "evolve", "fixed": ["fliplr"], "genes": ["fliplr"]}},
        "fliplr is in fixed too",
    ),
    "no such gene": ({"settings": YOLO, "sampling": {"by": "evolve", "genes": ["flipper"]}}, "sampling.genes: flipper"),
    "no limits": ({"settings": YOLO, "sampling": {"by": "evolve", "genes": ["img_size"]}}, "no limits as a gene"),
    "other head": (
        {"settings": {**YOLO, "head": "anchor_free"}, "sampling": {"by": "evolve", "genes": ["iou_t"]}},
        "iou_t has no effect with head: anchor_free",
    ),
    "started twice": (
        {"settings": {**YOLO, "lr0": 0.1}, "sampling": {"by": "evolve", "start": {"learning_rate": 0.1}}},
        "sampling.start.learning_rate: is in settings too",
    ),
    "start out of range": (
        {"settings": YOLO, "sampling": {"by": "evolve", "start": {"mosaic": 2}}},
        "sampling.start.mosaic: 2 is out of range",
    ),
    "gain of none": (
        {"space": SPACE, "sampling": {"by": "evolve", "gains": {"momentum": 1}}},
        "momentum does not evolve",
    ),
    "classifier": (
        {
            "task": "image-classification",
            "space": SPACE,
            "sampling": {"by": "evolve", "fitness": [0, 0, 0, 1]},
            "settings": {"model_name": "resnet18"},
        },
        "is of detectors",
    ),
    "no weight": ({"settings": YOLO, "sampling": {"by": "evolve", "fitness": [0, 0, 0, 0]}}, "all weights are 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_evolve_is_refused_by_name(case):
    given, line = REFUSED[case]
    with pytest.raises(UserError, match=line):
        checked(**given)


def test_hyp_files_are_read_as_they_are_and_refused_by_name(hyp, tmp_path):
    read = read_hyp(hyp)
    assert len(read) == 28 and read["learning_rate"] == 0.01 and read["weight_decay"] == 0.0005
    made = Experiment.read({"task": TASK, "settings": {"hyp": hyp, "lr0": 0.02}}).settings
    assert made["learning_rate"] == 0.02 and made["copy_paste"] == 0 and "hyp" not in made
    bad = tmp_path / "bad.yaml"
    for text, line in (
        ("lr0: 0.01\nlr1: 2\n", "bad.yaml: lr1: no hyperparameter is called that; did you mean"),
        ("lr0: 0.01\nlearning_rate: 2\n", "is the same hyperparameter as"),
        ("lr0: fast\n", "lr0: 'fast' is no number"),
        ("# nothing\n", "is no hyp file"),
        ("- lr0\n", "is no hyp file"),
    ):
        bad.write_text(text)
        with pytest.raises(UserError, match=line):
            Experiment.read({"task": TASK, "settings": {"hyp": str(bad)}})
    with pytest.raises(UserError, match="no such hyp file"):
        checked({"by": "evolve", "start": str(tmp_path / "none.yaml")})
    with pytest.raises(UserError, match="settings.hyp: 3 is no file"):
        Experiment.read({"task": TASK, "settings": {"hyp": 3}})


def test_a_ledger_proposes_from_what_it_holds_and_again_the_same(tmp_path):
    ledger = Ledger(f"{tmp_path}/ledger")
    ledger.open(json.loads(json.dumps(checked(space=SPACE, settings={"model_name": "retinanet_resnet50_fpn"}))))
    first = proposal.sampled(ledger, 0)
    settings, names, _ = proposal.proposed(ledger, 0)
    assert names == ["learning_rate"] and settings["validation_metric_type"] == "coco_voc"
    metrics = {"coco": {"map_50": 0.5, "map": 0.3}}
    ledger.end_trial(ledger.start_trial(0, settings, names), State.COMPLETED, best={"value": 0.5, "metrics": metrics})
    other = {**settings, "learning_rate": 0.09}
    better = {"value": 0.6, "metrics": {"coco": {"map_50": 0.9, "map": 0.8}}}
    ledger.end_trial(ledger.start_trial(1, other, names), State.COMPLETED, best=better)
    child = proposal.sampled(ledger, 2)
    assert child != first and child == proposal.sampled(Ledger(ledger.url), 2)
    ledger.end_trial(ledger.start_trial(3, other, names), State.FAILED, error="killed")
    assert proposal.sampled(ledger, 2) == child


def test_train_takes_a_hyp_file_whose_values_a_set_goes_before(hyp, monkeypatch):
    given = {}
    monkeypatch.setattr("automl_images.steps.train.train_once", lambda *_, settings, **__: given.update(settings) or {})
    arguments = ["train", "t.jsonl", "v.jsonl", "model", "--hyp", hyp, "--set", "lr0=0.03"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    made = Experiment.read({"task": TASK, "settings": given}).settings
    assert made["learning_rate"] == 0.03 and made["mosaic"] == 1 and len(made) == 28
