"""A step of a finished run, repeated: by the command that its log has, and with the inputs that the run kept."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from automl_images import steps, storage
from automl_images.annotations import Boxes, Record, read_records, record_file
from automl_images.components.split.component import split
from automl_images.components.train.component import train
from automl_images.environment import IMAGE, MOUNTS
from automl_images.errors import StepFailed, UserError
from automl_images.pipelines.kubeflow import Kubeflow
from automl_images.pipelines.rerun import in_container, rerun
from automl_images.sweep.ledger import Ledger
from tests.conftest import draw_squares, write_voc
from tests.helpers.command import call_step
from tests.helpers.fake_kubeflow import FakeKubeflow, executed_workflow

ROOT = Path(__file__).parents[1]


def ran(folder, trials):
    """Run the smoke experiment in a folder; return its summary."""
    write_voc(folder / "sample", draw_squares(folder / "sample/JPEGImages", 10))
    command = [sys.executable, "-m", "pipelines", "run", str(ROOT / "pipelines/experiments/smoke.yaml"), "--json"]
    changes = ["settings.number_of_epochs=1", "settings.evaluation_frequency=1", f"sweep.iterations={trials}"]
    command += [word for change in changes for word in ("--set", change)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("rerun"), 1)


@pytest.fixture
def place(summary, monkeypatch):
    """Return the run's folder, and be where it was started."""
    monkeypatch.chdir(Path(summary["folder"]).parents[2])
    return Path(summary["folder"])


def fingerprint(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "reruns" not in p.parts}


def test_each_logged_line_does_by_hand_what_its_step_did(summary, place, monkeypatch, capsys):
    """Without an engine: the container's command is run here, in the folder and on the files that the line names."""
    folder = next((place / "steps").iterdir())
    before = fingerprint(folder)
    for log in sorted((place / "logs").glob("*.log")):
        lines = [x.partition(": ")[2] for x in log.read_text().splitlines() if x.startswith("repeat with: ")]
        assert len(lines) == (0 if log.stem == "kfp" else 1), log
        for line in lines:
            words = shlex.split(line)
            image = next(i for i, w in enumerate(words) if w in (steps.LIGHT, steps.GPU))
            assert words[words.index("-w") + 1] == str(Path.cwd())
            given = words[2] if words[0] == "printf" else None
            code, out, err = call_step(monkeypatch, capsys, *words[image + 1 :], given=given)
            assert code == 0, (line, err)
            if log.stem.startswith("train"):
                told = json.loads(out)
                assert "/reruns/" in told["ledger"] and set(told["trials"].values()) == {"completed"}
    after = fingerprint(folder)
    kept = {p: c for p, c in before.items() if "leaderboard" not in p.name and p.suffix != ".html"}
    assert {p: after[p] for p in kept} == kept
    assert len(set(after) - set(before)) == 2  # the evaluation's metrics and report
    figures = json.loads((folder / "evaluate/evaluation/metrics.json").read_text())
    assert figures["coco"] == summary["evaluation"]["coco"]


def test_a_step_is_repeated_in_a_folder_of_its_own(summary, place):
    before = fingerprint(place)
    made = rerun(str(place), "evaluate", runner="subprocess")
    figures = json.loads(made["outputs"]["Output"])
    assert figures["coco"] == summary["evaluation"]["coco"]
    assert Path(made["folder"], "outputs/report").stat().st_size > 1000
    assert Path(made["folder"]).parent == place / "reruns"
    assert "repeat with" in Path(made["log"]).read_text()
    assert fingerprint(place) == before


@pytest.mark.full
def test_a_lane_trains_its_trials_once_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    summary = ran(tmp_path, 2)
    ledger = Ledger(summary["ledger"])
    before = fingerprint(Path(ledger.url))
    made = [rerun(summary["folder"], "train", lane=1, runner="subprocess")]
    told = [json.loads(m["outputs"]["Output"]) for m in made]
    assert len(told[0]["trials"]) == 1 and told[0]["trials"].keys() < {"0", "1"}
    for each, again in zip(told, made, strict=True):
        assert each["ledger"] == f"{again['folder']}/ledger"
        for trial in map(int, each["trials"]):
            copy, original = Ledger(each["ledger"]).trial(trial), ledger.trial(trial)
            assert (copy.settings, copy.best) == (original.settings, original.best)
            assert copy.started > original.ended
    assert fingerprint(Path(ledger.url)) == before


def test_what_is_no_run_or_step_is_refused(place, tmp_path):
    with pytest.raises(UserError, match="'trian' is no step; did you mean 'train'"):
        rerun(str(place), "trian")
    with pytest.raises(UserError, match=r"is no run with train-7; it has convert, .* train-0"):
        rerun(str(place), "train", lane=7)
    with pytest.raises(UserError, match="--lane 1: evaluate has no lanes"):
        rerun(str(place), "evaluate", lane=1)
    with pytest.raises(UserError, match="give the folder that its summary names"):
        rerun(str(tmp_path), "split")


def test_a_step_that_fails_again_says_why(place):
    kept = place / "tasks/evaluate.json"
    content = json.loads(kept.read_text())
    try:
        kept.write_text(kept.read_text().replace("/model", "/nothing"))
        with pytest.raises(UserError, match="evaluate: .*/nothing.*"):
            rerun(str(place), "evaluate", runner="subprocess")
        broken = {**content, "command": ["sh", "-c", "echo oh; exit 7", *content["command"][4:]]}
        kept.write_text(json.dumps(broken))
        with pytest.raises(StepFailed, match=r"exit code 7(.|\n)*oh"):
            rerun(str(place), "evaluate", runner="subprocess")
    finally:
        kept.write_text(json.dumps(content))


@pytest.fixture
def kubeflow():
    made = FakeKubeflow(lambda *_: ("SUCCEEDED", []))
    yield made
    made.close()


def test_a_task_of_a_run_on_kubeflow_is_repeated_here(kubeflow, tmp_path):
    """Its inputs are fetched from the store; its outputs stay here."""
    record_file.write([Record(f"s3://b/{i}.png", Boxes(())) for i in range(10)], "memory://b/v2/convert/training")
    for name in ("validation", "test"):
        storage.write(f"memory://b/v2/convert/{name}", "")
    values = {"data": '{"split_ratio": 0.3}', "converted": "{}"}
    places = {"records": "training", "given": "validation", "tested": "test"}
    artifacts = {name: f"memory://b/v2/convert/{place}" for name, place in places.items()}
    outputs = ["training", "validation", "test"]
    lanes = [json.dumps({"ledger": f"memory://l{i}", "run": "r", "lane": i, "lanes": 2}) for i in range(2)]
    kubeflow.workflow = executed_workflow(
        [
            (train, steps.GPU, {"lane": lanes[0]}, {}, []),
            (train, steps.GPU, {"lane": lanes[1]}, {}, []),
            (split, steps.LIGHT, values, artifacts, outputs),
        ]
    )
    connected = Kubeflow(kubeflow.url, "kubeflow")
    made = rerun("7-8", "split", runner="subprocess", root=str(tmp_path), kubeflow=connected)
    assert json.loads(made["outputs"]["Output"]) == {"training": 7, "validation": 3, "test": 0}
    folder = Path(made["folder"])
    assert folder.parent == tmp_path / "reruns/7-8"
    assert len(list(read_records(str(folder / "outputs/validation")))) == 3
    assert storage.names("memory://b/v2") == ["convert"]
    kept = connected.task("7-8", "train", 1)
    assert kept["variables"] == {IMAGE: steps.GPU}
    assert kept["resources"]["memory"] == "4Gi"
    inputs = json.loads(kept["command"][kept["command"].index("--executor_input") + 1])
    assert inputs["inputs"]["parameterValues"]["lane"] == lanes[1]
    with pytest.raises(UserError, match="the run 7-8 has no task train of lane 2"):
        connected.task("7-8", "train", 2)
    with pytest.raises(UserError, match="has no task evaluate"):
        rerun("7-8", "evaluate", root=str(tmp_path), kubeflow=connected)


def test_a_command_runs_in_its_image_with_the_folders_it_names(tmp_path, monkeypatch, capfd):
    """An engine of the test's own prints what it is asked."""
    script = tmp_path / "bin/docker"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    script.chmod(0o755)
    (tmp_path / "here").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv(MOUNTS, "")
    assert in_container("convert", [f"{tmp_path}/data", "all.jsonl", "--images", "a b"]) == 3
    words = capfd.readouterr().out.splitlines()
    here, data = f"{tmp_path}/here", f"{tmp_path}/data"
    assert [words[i + 1] for i, w in enumerate(words) if w == "-v"] == [f"{here}:{here}", f"{data}:{data}"]
    assert words[words.index("-w") + 1] == here
    assert words[words.index(steps.LIGHT) :] == [steps.LIGHT, "convert", data, "all.jsonl", "--images", "a b"]
