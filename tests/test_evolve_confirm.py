"""An evolution's best trials trained again with several seeds: which, when, by whom, and what is chosen by it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from automl_images.cli import app
from automl_images.environment import STOP
from automl_images.errors import UserError
from automl_images.experiment import Experiment
from automl_images.pipelines.experiment import load
from automl_images.reports.evolution import evolution_of
from automl_images.steps import train
from automl_images.steps.plan import check_experiment, plan_sweep
from automl_images.steps.select import headline, select_trial
from automl_images.steps.trial import _journal
from automl_images.steps.watch import ended, newest_run, write_generations
from automl_images.sweep import proposal
from automl_images.sweep.hyp import read_hyp
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.liveness import identity
from automl_images.sweep.sampling.evolve import Evolve
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.space import parse_space
from automl_images.sweep.submission import Submission, again_with_seeds
from automl_images.sweep.termination import Unstopped
from automl_images.sweep.trial import State, Trial

CONFIRMS = {"by": "evolve", "confirm": 2, "confirm_seeds": 2}
SPACE = {"learning_rate": {"uniform": [0.001, 0.1]}}
UNIT = parse_space({"x": {"uniform": [0, 1]}})


def experiment(sampling=CONFIRMS, iterations=6, **sweep):
    sweep = {"sampling": sampling, "iterations": iterations, "max_concurrent_iterations": 1, "space": SPACE, **sweep}
    settings = {"model_name": "resnet18", "number_of_epochs": 1}
    return {"name": "e", "task": "image-classification", "settings": settings, "sweep": sweep}


def planned(folder, *arguments, **sweep):
    """Plan a submission, and return its ledger and its lanes."""
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").touch()
    records = str(folder / "records.jsonl")
    lanes = plan_sweep(experiment(*arguments, **sweep), records, records, default_storage=str(folder))
    return Ledger(json.loads(lanes[0])["ledger"]), lanes


def value_of(index, settings):
    """Return what a trial comes to: rises with the rate; with seed 0 luck has a part, most of it trial 1's."""
    return settings["learning_rate"] + (0.5 if index == 1 else 0.0)


def gone():
    """Return the identity of a process of this machine that has ended."""
    return f"{identity().rpartition(' ')[0]} 1"


def end(ledger, index, value, run=None, state=State.COMPLETED, **more):
    settings, names, _ = proposal.proposed(ledger, index)
    trial = ledger.start_trial(index, settings, names, run=run)
    best = None if value is None else {"metric": "accuracy", "value": value, "epoch": 1, "metrics": {}}
    return ledger.end_trial(trial, state, best=best, model=ledger.artifacts(index).model(1), **more)


@pytest.fixture
def trials_at_once(monkeypatch):
    """Let lanes in this process end each trial at once, with `value_of`; the fixture is a list of the trials begun."""
    begun = []

    class Popen:
        def __init__(self, command, **_):
            self.command, self.stdout, self.returncode, self.pid = command[3:], [], 0, 2**30

        def __enter__(self):
            url, run, index, _ = self.command
            begun.append(int(index))
            settings = proposal.proposed(Ledger(url), int(index))[0]
            end(Ledger(url), int(index), value_of(int(index), settings), run)
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(train.subprocess, "Popen", Popen)
    monkeypatch.setattr(train, "POLL", 0.05)
    return begun


def test_the_indexes_tell_which_trial_is_trained_again_with_which_seed():
    again = Trial(2007, State.COMPLETED)
    assert (again.confirms, again.seed, again.to_json()["confirms"]) == (7, 2000, 7)
    assert Trial.of_json(again.to_json()) == again
    own = Trial(7, State.COMPLETED)
    assert (own.confirms, own.seed) == (None, 7) and "confirms" not in own.to_json()
    assert again_with_seeds([0, 7], 2) == [1000, 1007, 2000, 2007]
    run = Submission("r", 8, 0.0, confirm=1, confirm_seeds=2)
    assert run.total == 8 + 4 and not run.done(range(3000))
    decided = dataclasses.replace(run, confirming=[1000, 2000])  # no other trial had a fitness
    assert decided.total == 8 + 2 and decided.done([*range(8), 1000, 2000]) and not decided.done([*range(8), 1000])
    assert [i for i in (7, 8, 1007, 1008, 2000, 3000) if run.counts(i)] == [7, 1007, 2000]
    assert [i for i in (7, 8, 1007) if dataclasses.replace(run, confirm=0).counts(i)] == [7]


def rated(index, x, value, state=State.COMPLETED):
    best = {"value": value, "epoch": 1}
    return Trial(index, state, 1, {"x": x}, ("x",), best=best, model="m")


def test_confirming_trials_have_the_genes_of_another_and_are_no_parents(tmp_path):
    sampler = Evolve(start={"x": 0.5})
    own = [rated(0, 0.5, 0.1), rated(1, 0.6, 0.2), rated(2, 0.7, 0.3)]
    again = [rated(1002, 0.7, 0.9), rated(1000, 0.5, 0.8)]
    assert sampler.propose(UNIT, 3, 5, [*own, *again]) == sampler.propose(UNIT, 3, 5, own)
    assert sampler.to_confirm([*own, *again], ["x"], 5) == [0, 2, 1]
    ledger, _ = planned(tmp_path)
    rates = [end(ledger, i, 0.5).settings["learning_rate"] for i in range(3)]
    assert [proposal.sampled(ledger, i)["learning_rate"] for i in (1000, 2002)] == [rates[0], rates[2]]
    assert proposal.sampled(Ledger(ledger.url), 1000) == proposal.sampled(ledger, 0)
    with pytest.raises(UserError, match="trial 5 has no settings, so that trial 1005 cannot"):
        proposal.sampled(ledger, 1005)


def test_the_best_that_differ_are_confirmed_and_the_start_always():
    sampler = Evolve(start={"x": 0.5})
    trials = [rated(0, 0.5, 0.5), rated(1, 0.5, 0.9), rated(2, 0.6, 0.6), rated(3, 0.6, 0.7), rated(4, 0.7, 0.4)]
    trials += [rated(5, 0.8, 0.8, State.FAILED), rated(6, 0.9, 0.1, State.TERMINATED)]
    assert sampler.to_confirm(trials, ["x"], 9) == [0, 3, 4, 6]
    assert sampler.to_confirm(trials, ["x"], 1) == [0, 3] and sampler.to_confirm([], ["x"], 1) == [0]


def test_what_is_confirmed_is_no_part_of_the_ledgers_identity(tmp_path):
    without = check_experiment(Experiment.read(experiment("evolve")))
    assert check_experiment(Experiment.read(experiment())) == without
    (tmp_path / "e.yaml").write_text(json.dumps({**experiment(), "data": {"training": {"source": "sample"}}}))
    made = load(tmp_path / "e.yaml")
    for sampling, same in (("evolve", True), ("{by: evolve, confirm: 1}", True), ("{by: evolve, sigma: 0.1}", False)):
        other = load(tmp_path / "e.yaml", [f"sweep.sampling={sampling}"])
        assert made.trains_as(json.loads(json.dumps(other.trained()))) is same


def test_what_cannot_be_confirmed_is_refused(tmp_path, monkeypatch):
    for message, sampling, sweep in (
        ("confirm: 2 of 2 iterations, the first of which", CONFIRMS, {"iterations": 2}),
        ("needs sweep.lanes: concurrent", CONFIRMS, {"lanes": "per_trial"}),
        ("confirm_seeds has no effect without confirm", {"by": "evolve", "confirm_seeds": 4}, {}),
        ("confirm_seeds: input should be greater than or equal to 2", {**CONFIRMS, "confirm_seeds": 1}, {}),
    ):
        with pytest.raises(UserError, match=message):
            check_experiment(Experiment.read(experiment(sampling, **sweep)))
    monkeypatch.setattr(Ledger, "can_claim", lambda *_: False)
    with pytest.raises(UserError, match="this store may create an object twice"):
        planned(tmp_path)
    planned(tmp_path, "evolve")


def test_a_lane_trains_the_best_again_once_all_have_ended_and_more_generations_confirm_others(
    tmp_path, trials_at_once, capsys
):
    ledger, (lane,) = planned(tmp_path)
    assert "6 trials and 6 that train the best again in 1 lane" in capsys.readouterr().err
    train.train_lane(lane)
    rates = {t.index: t.settings["learning_rate"] for t in ledger.trials()}
    second = max(range(2, 6), key=rates.get) if max(rates[i] for i in range(2, 6)) > rates[0] else None
    assert second, "the draws have a child that is better than the start"
    wanted = [1000, 1001, 1000 + second, 2000, 2001, 2000 + second]
    assert trials_at_once == [*range(6), 1000, 2000, 1001, 1000 + second, 2001, 2000 + second]
    run, written = newest_run(ledger)
    assert run.confirming == wanted and run.total == 12 and ended(ledger.trials(), run, written)
    assert all(rates[i] == rates[i % 1000] for i in wanted)
    chosen = select_trial(ledger.url, run.run)
    # trial 1 had the luck of its seed, and not the best mean
    assert chosen["trial"] % 1000 == chosen["confirmation"]["chosen"] == max((0, 1, second), key=rates.get)

    _, (lane,) = planned(tmp_path, CONFIRMS, 12)
    del trials_at_once[:]
    train.train_lane(lane)
    assert trials_at_once[:6] == list(range(6, 12)), "indexes of new generations are those of no confirming trial"
    assert not set(trials_at_once) & set(wanted), "what is confirmed is not trained once more"
    _, (lane,) = planned(tmp_path, "evolve", 12)
    del trials_at_once[:]
    train.train_lane(lane)
    run = json.loads(lane)["run"]
    assert trials_at_once == [] and "confirmation" not in (without := select_trial(ledger.url, run))
    assert without["trial"] == 1 and all(t["trial"] < 12 for t in without["trials"])


def test_a_lane_waits_for_what_others_train_and_leaves_out_what_is_lost(tmp_path, trials_at_once, monkeypatch, capsys):
    monkeypatch.setattr(train, "GRACE", 0.3)
    ledger, (lane,) = planned(tmp_path, max_concurrent_iterations=1)
    run = json.loads(lane)["run"]
    for index in range(2):
        end(ledger, index, 0.2, run)
    began = {}
    for index, process in ((2, identity()), (3, gone())):
        ledger.claim(run, index, 1)
        settings, names, _ = proposal.proposed(ledger, index)
        began[index] = ledger.start_trial(index, settings, names, run=run, process=process)
    ledger.claim(run, 4, 1)  # that lane has not even begun
    best = {"metric": "accuracy", "value": 0.9, "epoch": 1, "metrics": {}}
    model = ledger.artifacts(2).model(1)
    later = threading.Timer(1.0, lambda: ledger.end_trial(began[2], State.COMPLETED, best=best, model=model))
    later.start()
    train.train_lane(lane)
    later.join()
    printed = capsys.readouterr().err
    assert "waiting for trial 2, 3, 4, to train the best again" in printed
    assert [i for i in (2, 3, 4) if f"trial {i}: its lane is lost" in printed] == [3, 4]
    assert {1002, 2002} <= set(ledger.run(run).confirming)
    assert trials_at_once[:3] == [5, 1000, 2000], "the starting point waits for nobody"


def test_a_sweep_that_is_ended_says_of_each_what_was_not_trained_again(tmp_path, trials_at_once, monkeypatch):
    ledger, (lane,) = planned(tmp_path)
    for index in range(6):
        end(ledger, index, 0.1 * index)
    monkeypatch.setenv(STOP, "1")
    train.train_lane(lane)
    assert trials_at_once == [] and len(ledger.run(json.loads(lane)["run"]).confirming) == 6
    assert all(t.state is State.SKIPPED for t in ledger.trials() if t.confirms is not None)
    chosen = select_trial(ledger.url)
    assert chosen["trial"] == 5 and chosen["confirmation"]["chosen"] is None
    assert [row["lacking"] for row in chosen["confirmation"]["trials"]] == [{"skipped": 2}] * 3


def test_no_rule_stops_a_confirming_trial_and_none_is_judged_by_it(tmp_path):
    ledger, _ = planned(tmp_path, early_termination={"policy": "bandit", "slack_amount": 0})
    judged = ledger.start_trial(0, {"number_of_epochs": 9}, [])
    again = ledger.start_trial(1000, {"number_of_epochs": 9}, [])
    assert isinstance(_journal(ledger, again, 99).rule, Unstopped)
    ledger.evaluate(Evaluation(1000, 1, Score(1, 1, 0.9, 0.9, 0.9)))
    assert _journal(ledger, judged, 99).evaluated(Score(1, 1, 0.1, 0.1, 0.1)) is None
    ledger.evaluate(Evaluation(1, 1, Score(1, 1, 0.9, 0.9, 0.9)))
    assert "bandit" in _journal(ledger, judged, 99).evaluated(Score(1, 1, 0.1, 0.1, 0.1))
    assert _journal(ledger, again, 99).evaluated(Score(1, 1, 0.1, 0.1, 0.1)) is None


def confirmed(folder, **values):
    """Return the ledger of an evolution of six whose trials 3 and 5 were confirmed, and its run; values by index."""
    ledger, (lane,) = planned(folder)
    for index in range(6):
        end(ledger, index, 0.5 + 0.01 * index)
    run = json.loads(lane)["run"]
    found = {"1000": 0.50, "2000": 0.52, "1003": 0.56, "2003": 0.58, "1005": 0.40, "2005": 0.60, **values}
    ledger.decide(run, sorted(map(int, found)))
    for index, value in found.items():
        if value is not None:
            failed = {"state": State.FAILED, "error": "it diverged"} if value == 0 else {}
            end(ledger, int(index), None if value == 0 else value, **failed)
    return ledger, run


def test_the_highest_mean_is_chosen_and_told_with_its_spread(tmp_path, capsys):
    ledger, run = confirmed(tmp_path)
    chosen = select_trial(ledger.url, run, report=f"{tmp_path}/board.html", evolution=f"{tmp_path}/out")
    # 5 was the best of one training each, and has the best single seed too
    assert (chosen["trial"], chosen["value"], chosen["confirmation"]["chosen"]) == (2003, 0.58, 3)
    rows = {row["trial"]: row for row in chosen["confirmation"]["trials"]}
    assert [row["mean"] for row in rows.values()] == pytest.approx([0.51, 0.57, 0.5]) and list(rows) == [0, 3, 5]
    assert rows[5]["deviation"] == pytest.approx(0.1414, abs=1e-4)
    assert "trial 3 0.5700 +/- 0.0141, the starting point 0.5100 +/- 0.0141" in headline(chosen)
    printed = capsys.readouterr().err
    assert "confirm: trial 5 again: 0.5000 +/- 0.1414 over 2 seeds; itself: fitness 0.5500" in printed
    assert "confirm: chosen: trial 3, the highest mean" in printed
    assert "not trained again: trial 4, among the best by now" in printed
    header, *lines = (tmp_path / "out/confirm.csv").read_text().splitlines()
    assert header == "trial,fitness,mean,deviation,lacking,seed 1,seed 2" and lines[1].endswith(",0,0.56,0.58")
    hyp = (tmp_path / "out/hyp_evolve.yaml").read_text()
    assert "# Best generation: 3, fitness 0.53" in hyp and "# trial 3 again: 0.5700" in hyp
    assert read_hyp(f"{tmp_path}/out/hyp_evolve.yaml")["learning_rate"] == chosen["settings"]["learning_rate"]
    page = (tmp_path / "board.html").read_text()
    assert "The best, trained again" in page and "(3 again)" in page and "by its mean over seeds, is 3" in page
    made = evolution_of(ledger.experiment(), ledger.trials())
    assert len(made.rows) == 6 and (made.last, made.without) == (5, 0)
    shown = CliRunner().invoke(app, ["sweep", "show", ledger.url]).stdout
    assert "confirm: chosen: trial 3, the highest mean" in shown and "2003 (3)" in shown
    assert "confirm: chosen: trial 3" in write_generations(ledger.url, None, None)


def test_the_starting_point_may_win_and_what_lacks_a_seed_may_not(tmp_path, capsys):
    ledger, run = confirmed(tmp_path, **{"1000": 0.7, "2000": 0.8})
    chosen = select_trial(ledger.url, run)
    assert chosen["trial"] == 2000 and "no child with all its seeds has a higher mean" in capsys.readouterr().err
    ledger, run = confirmed(tmp_path / "failed", **{"2003": 0, "2005": None})
    chosen = select_trial(ledger.url, run)
    rows = {row["trial"]: row for row in chosen["confirmation"]["trials"]}
    assert rows[3]["lacking"] == {"failed": 1} and rows[5]["lacking"] == {"not begun": 1}
    assert (rows[3]["mean"], rows[3]["deviation"]) == (0.56, None)
    assert chosen["trial"] == 2000 and chosen["confirmation"]["chosen"] == 0
    unknown = {"1003": None, "2003": None, "1005": None, "2005": None}  # of the start alone something is known
    for name, values in (("none", {"2000": 0, "2003": 0, "2005": 0}), ("unknown", unknown)):
        ledger, run = confirmed(tmp_path / name, **values)
        chosen = select_trial(ledger.url, run)
        assert chosen["trial"] == 5 and chosen["confirmation"]["chosen"] is None
        assert "no child has all its seeds, so the best fitness of a single" in capsys.readouterr().err
        assert headline(chosen).endswith("; chosen by its fitness, 0.5500")
    ledger, (lane,) = planned(tmp_path / "lost")
    end(ledger, 0, 0.5)
    assert select_trial(ledger.url, json.loads(lane)["run"])["trial"] == 0
    assert "confirm: nothing was trained again" in capsys.readouterr().err


class Killed(BaseException):
    """What a test ends a lane with, as a kill does: nothing more is written."""


def test_killed_in_any_place_the_next_submission_goes_on_with_the_same(tmp_path, trials_at_once, monkeypatch):
    begin = train.subprocess.Popen.__enter__
    for place in (3, 1000, 1001, 2001):

        def enter(self, place=place):
            if int(self.command[2]) != place:
                return begin(self)
            ledger = Ledger(self.command[0])
            ledger.start_trial(place, *proposal.proposed(ledger, place)[:2], process=gone())
            raise Killed

        monkeypatch.setattr(train.subprocess.Popen, "__enter__", enter)
        ledger, (lane,) = planned(tmp_path)
        with pytest.raises(Killed):
            train.train_lane(lane)
        before = {t.index: t for t in ledger.written()}
        assert before[place].state is State.RUNNING
    monkeypatch.setattr(train.subprocess.Popen, "__enter__", begin)
    ledger, (lane,) = planned(tmp_path)
    train.train_lane(lane)
    trials, again = {t.index: t for t in ledger.written()}, ledger.run(json.loads(lane)["run"]).confirming
    assert sorted(trials) == sorted([*range(6), *again]) and len(again) == 6
    assert {t.state for t in trials.values()} == {State.COMPLETED}
    assert {i for i, t in trials.items() if t.attempt == 2} == {3, 1000, 1001, 2001}
    assert len(trials_at_once) == 12, "nothing is trained twice"
    assert all(trials[i] == t for i, t in before.items() if t.state is State.COMPLETED)


@pytest.fixture
def start(tmp_path):
    """Return a function that plans a submission and starts its two lanes, whose trials are processes of their own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "STAND_IN_PAUSE": "0.02"}
    command = [sys.executable, str(Path(__file__).parent / "helpers/stand_in_trial.py")]
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    started = []

    def lanes():
        ledger, planned_lanes = planned(tmp_path, max_concurrent_iterations=2)
        running = [subprocess.Popen([*command, lane], start_new_session=True, **options) for lane in planned_lanes]
        started.extend(running)
        return ledger, running

    yield lanes
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.full
def test_two_lanes_killed_while_the_best_are_trained_again_go_on_with_the_same(start):
    ledger, running = start()
    deadline = time.monotonic() + 200
    while not any(t.confirms and t.state is State.COMPLETED for t in ledger.written()):
        assert time.monotonic() < deadline and all(process.poll() is None for process in running)
        time.sleep(0.02)
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = {t.index: t for t in ledger.written()}
    first = newest_run(ledger)[0].confirming
    ledger, running = start()
    said = [json.loads(process.communicate(timeout=200)[0])["trials"] for process in running]
    assert not set(said[0]) & set(said[1]), "no trial is run by two lanes"
    trials = {t.index: t for t in ledger.written()}
    assert newest_run(ledger)[0].confirming == first and len(first) == 6
    assert sorted(trials) == [*range(6), *sorted(first)] and {t.state for t in trials.values()} == {State.COMPLETED}
    assert all(trials[i] == t for i, t in before.items() if t.state is State.COMPLETED)
    assert all(trials[i].settings == trials[i % 1000].settings for i in first)
