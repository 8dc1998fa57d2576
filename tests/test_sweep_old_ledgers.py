"""Ledgers that the version before wrote are read, shown, resumed and selected from; ``old_ledgers.json`` holds two.

One has five trials of a Bayesian sweep, one of each end, and one that was skipped. The settings of the other were given
under aliases and as text.
"""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.hyperparameters import resolve
from automl_images.steps import train
from automl_images.steps.plan import plan_sweep
from automl_images.steps.select import select_trial
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.proposal import proposed
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State

OLD = json.loads(Path(__file__).with_name("old_ledgers.json").read_text())
RATES = {"learning_rate", "training_batch_size"}


@pytest.fixture
def lay(tmp_path):
    """Return a function that writes an old ledger where plan finds it, and returns it."""

    def lay(name):
        folder = tmp_path / "ledgers" / OLD[name]["folder"]
        for path, text in OLD[name]["files"].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace("LEDGER", str(folder)))
        run = folder / "runs" / "before.json"
        run.write_text(json.dumps({**json.loads(run.read_text()), "deadline": time.time() + 3600}))
        return Ledger(str(folder))

    return lay


def plan(name, folder):
    (folder / "records.jsonl").write_text("")
    records = str(folder / "records.jsonl")
    return plan_sweep(OLD[name]["experiment"], records, records, default_storage=str(folder))


@pytest.fixture
def instant(monkeypatch):
    """Have a lane's trials done at once, in the lane's process; return their indices and attempts."""
    begun = []

    class Popen:
        def __init__(self, command, **_):
            self.command, self.stdout, self.returncode, self.pid = command[3:], [], 0, 2**30

        def __enter__(self):
            url, _, index, attempt = self.command
            ledger, trial = Ledger(url), int(index)
            started = ledger.start_trial(trial, *proposed(ledger, trial)[:2], attempt=int(attempt))
            begun.append((trial, started.attempt))
            score = Score(1, 1, 0.5, 0.5, 0.5)
            ledger.evaluate(Evaluation(trial, started.attempt, score))
            best = {"metric": "mean_average_precision", "value": 0.5, "epoch": 1}
            ledger.end_trial(started, State.COMPLETED, score, best=best, model=ledger.artifacts(trial).model(1))
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(train.subprocess, "Popen", Popen)
    return begun


def shown(ledger):
    return json.loads(CliRunner().invoke(app, ["sweep", "show", ledger.url, "--json"]).output)


def test_it_is_shown_as_before(lay):
    ledger = lay("plain")
    expected = json.loads(json.dumps(OLD["plain"]["show"]).replace("LEDGER", ledger.url))
    assert shown(ledger) == expected
    assert list(shown(ledger)[0]) == list(expected[0]), "keys in the order that they had"
    table = CliRunner().invoke(app, ["sweep", "show", ledger.url], env={"COLUMNS": "250"}).output
    assert "1 running, 1 completed, 1 terminated, 2 failed, 1 skipped; best: trial 0 (*)" in table


def test_it_is_selected_from(lay):
    ledger = lay("plain")
    chosen = select_trial(ledger.url, "before", report=f"{ledger.url}/board.html")
    assert (chosen["trial"], chosen["value"], chosen["model"]) == (0, 2 / 3, f"{ledger.url}/trials/0000/model")
    assert [t["trial"] for t in chosen["trials"]] == [0, 1, 2, 3, 4, 5]
    assert "</html>" in Path(ledger.url, "board.html").read_text()


def test_the_same_experiment_finds_it_and_resumes(lay, tmp_path, instant):
    ledger = lay("plain")
    before = {t.index: t for t in ledger.written()}
    lanes = plan("plain", tmp_path)
    assert json.loads(lanes[0])["ledger"] == ledger.url
    train.train_lane(lanes[0])
    assert instant == [(3, 2), (4, 2), (5, 2)], "killed, running and skipped ones; the others are kept"
    after = {t.index: t for t in ledger.written()}
    assert [after[i] for i in range(3)] == [before[i] for i in range(3)]
    for index in (3, 4):
        assert after[index].settings.items() >= before[index].settings.items()
    assert [t.attempt for t in ledger.trials()] == [1, 1, 1, 2, 2, 2]


def test_a_peer_of_nine_digits_is_a_peer(lay):
    ledger = lay("plain")
    peers, _ = ledger.evaluate(Evaluation(9, 1, Score(2, 2, 0.5, 0.5, 0.4)))
    assert {i: p.value for i, p in peers.items()} == pytest.approx({0: 4 / 9, 1: 0.2, 2: 1 / 15, 3: 2 / 15, 4: 7 / 18})


def test_aliases_are_read_under_their_own_names(lay, instant):
    ledger = lay("aliases")
    assert [set(t["sampled"]) for t in shown(ledger)] == [RATES, RATES]
    assert (
        "training_batch_size" in CliRunner().invoke(app, ["sweep", "show", ledger.url], env={"COLUMNS": "250"}).output
    )
    before = ledger.trial(1).settings
    assert before["number_of_epochs"] == 3
    train.train_lane(json.dumps({"ledger": ledger.url, "run": "before", "lane": 0, "lanes": 1}))
    assert instant == [(1, 2), (2, 1)]
    assert ledger.trial(1).settings.items() >= before.items(), "a killed trial resumes with what it had"
    assert proposed(ledger, 2)[0]["training_batch_size"] in (2, 4)


@pytest.mark.parametrize(("kept", "head"), [({}, "anchor_free"), ({"head": "anchor"}, "anchor")])
def test_a_sweep_keeps_the_head_that_it_began_with(tmp_path, kept, head):
    (tmp_path / "records.jsonl").write_text("")
    records = str(tmp_path / "records.jsonl")
    experiment = {"task": "image-object-detection", "settings": {"model_name": "yolov5"}}
    (lane,) = plan_sweep(experiment, records, records, default_storage=str(tmp_path))
    ledger = Ledger(json.loads(lane)["ledger"])
    assert proposed(ledger, 0)[0]["head"] == resolve(experiment["task"], experiment["settings"])["head"], "a new one"
    file = Path(ledger.url, "experiment.json")
    file.write_text(json.dumps(ledger.experiment() | kept))
    settings, _, notes = proposed(ledger, 0)
    assert (settings["head"], notes) == (head, [])
    assert settings["box"] == {"anchor": 0.05, "anchor_free": 7.5}[head]
    (again,) = plan_sweep(experiment, records, records, default_storage=str(tmp_path))
    assert json.loads(again)["ledger"] == ledger.url, "it is found and goes on"
    copy = Ledger(json.loads(train.repeated(again))["ledger"])
    assert copy.head() == head
