"""An evolution through the whole pipeline: killed, resumed, its files, and a next one that starts from them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from automl_images.experiment import Experiment
from automl_images.pipelines.experiment import load
from automl_images.steps.plan import check_experiment
from automl_images.sweep.hyp import read_hyp
from automl_images.sweep.ledger import Ledger
from tests.conftest import draw_squares, write_voc

ROOT = Path(__file__).parents[1]
COUNT = 12


def test_the_guides_scenario_is_an_experiment(tmp_path):
    made = load(ROOT / "pipelines/experiments/evolve.yaml", [])
    assert made.sweep.iterations == 300 and made.settings["number_of_epochs"] == 10
    covered = check_experiment(Experiment.read(made.trained()))
    start, space = covered["sampling"]["start"], covered["space"]
    assert len(space) == 25 and start.keys() == space.keys()
    assert {n: covered["settings"][n] for n in ("iou_t", "fl_gamma", "perspective", "fliplr")} == {
        "iou_t": 0.2,
        "fl_gamma": 0,
        "perspective": 0,
        "fliplr": 0.5,
    }


def run(folder, *overrides):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines", "run", "experiment.yaml", "--json"]
    command += [part for override in overrides for part in ("--set", override)]
    log = (folder / f"log-{len(list(folder.glob('log-*')))}").open("w")
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
    )


def done(folder):
    found = list(folder.glob("runs/ledgers/evolving-*"))
    return [t for t in Ledger(str(found[0])).trials() if t.succeeded] if found else []


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_an_evolution_is_killed_and_resumed_and_the_next_starts_from_its_file(tmp_path):
    write_voc(tmp_path / "data", draw_squares(tmp_path / "data/JPEGImages", 8))
    genes = {"learning_rate": {"loguniform": [-9, -3]}, "momentum": {"uniform": [0.6, 0.98]}}
    sampling = {"by": "evolve", "start": {"lr0": 0.002, "momentum": 0.9}, "confirm": 1, "confirm_seeds": 2}
    experiment = {
        "name": "evolving",
        "task": "image-object-detection",
        "data": {"training": {"source": "data"}, "split_ratio": 0.25},
        "settings": {
            "model_name": "yolov5",
            "head": "anchor_free",
            "model_size": "small",
            "img_size": 64,
            "number_of_epochs": 1,
            "training_batch_size": 4,
            "lr_scheduler": "step",
        },
        "weights": {"pretrained": False},
        "sweep": {"sampling": sampling, "iterations": COUNT, "max_concurrent_iterations": 2, "space": genes},
    }
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    first = run(tmp_path)
    while len(done(tmp_path)) < 4:
        assert first.poll() is None, (tmp_path / "log-0").read_text()[-2000:]
        time.sleep(0.5)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    kept = {t.index: t for t in done(tmp_path)}
    assert len(kept) < COUNT
    second = run(tmp_path)
    out, _ = second.communicate()
    assert second.returncode == 0, (tmp_path / "log-1").read_text()[-2000:]
    found = json.loads(out)
    trials = {t.index: t for t in done(tmp_path)}
    again = [*trials][COUNT:]
    assert [*trials][:COUNT] == list(range(COUNT)) and all(trials[i] == t for i, t in kept.items())
    confirmed = again[1] % 1000
    assert again == [1000, 1000 + confirmed, 2000, 2000 + confirmed] and 0 < confirmed < COUNT
    assert all(trials[i].settings == trials[i % 1000].settings for i in again)
    assert (trials[0].settings["learning_rate"], trials[0].settings["momentum"]) == (0.002, 0.9)
    assert len({t.settings["learning_rate"] for t in trials.values()}) > COUNT // 2
    losses = {i: Path(trials[i].model, "training.json").read_text() for i in again}
    assert len(set(losses.values())) == 4, "each seed trains differently, and each trial"
    assert found["confirmation"]["chosen"] in (0, confirmed) and found["best"]["trial"] in again
    folder = Path(found["folder"])
    assert len((folder / "evolve.csv").read_text().splitlines()) == 1 + COUNT
    assert (folder / "evolve.png").read_bytes().startswith(b"\x89PNG")
    assert "Best generation" in Path(found["leaderboard"]).read_text()
    read = read_hyp(str(folder / "hyp_evolve.yaml"))
    best = trials[found["best"]["trial"]].settings
    assert all(best[name] == value for name, value in read.items()) and {"learning_rate", "box", "dfl"} <= set(read)
    third = run(
        tmp_path, "name=next", f"sweep.sampling={{by: evolve, start: {folder}/hyp_evolve.yaml}}", "sweep.iterations=1"
    )
    out, _ = third.communicate()
    assert third.returncode == 0, (tmp_path / "log-2").read_text()[-2000:]
    started = json.loads(out)["trials"][0]["settings"]
    assert {name: started[name] for name in read} == read
