"""The Docker runner against an engine that the test plays, and once, if there is one, against a real one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import docker
import pytest
import yaml
from docker.errors import APIError, DockerException, NotFound

from automl_images.environment import CREDENTIALS, IMAGE, MOUNTS
from automl_images.errors import UserError
from automl_images.experiment import Resources
from automl_images.pipelines import containers
from automl_images.pipelines.experiment import Experiment
from automl_images.pipelines.local import Runner
from automl_images.pipelines.mounts import mounts
from automl_images.sweep.liveness import identity
from tests.conftest import draw_squares, write_voc
from tests.helpers.containers import built

GIB = 1 << 30


class Container:
    def __init__(self, engine, image, command, options):
        self.engine, self.image, self.command, self.options = engine, image, command, options
        self.calls, self.killed = [], threading.Event()

    def start(self):
        self.calls.append("start")
        if self.engine.refusal:
            raise self.engine.refusal

    def logs(self, stream, follow):
        self.calls.append("logs")
        if self.engine.forever:
            self.killed.wait(20)
        yield from self.engine.output

    def wait(self):
        self.calls.append("wait")
        return {"StatusCode": 137 if self.killed.is_set() else self.engine.code}

    def kill(self, number):
        self.calls.append(number)
        self.killed.set()

    def remove(self, force):
        self.calls.append("remove")


class Engine:
    """Makes containers that print ``output`` and end with ``code``, has the images ``known``."""

    def __init__(self):
        self.output, self.code, self.refusal, self.forever, self.made, self.known = [], 0, None, False, [], set()
        self.containers = self.images = self
        self.left = []

    def create(self, image, command, **options):
        self.made.append(Container(self, image, command, options))
        return self.made[-1]

    def list(self, all, filters, ignore_removed):
        assert all and ignore_removed
        return [c for c in self.left if filters["label"] in c.labels]

    def get(self, image):
        if image not in self.known:
            raise NotFound("no such image")

    def ping(self):
        return True


@pytest.fixture
def engine(monkeypatch):
    made = Engine()
    monkeypatch.setattr(docker, "from_env", lambda: made)
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    return made


def task(step, folder, lane=None):
    parameters = {} if lane is None else {"lane": json.dumps({"lane": lane, "lanes": 9})}
    described = {"inputs": {"parameterValues": parameters}, "outputs": {"outputFile": f"{folder}/{step}.json"}}
    script = "x; _KFP_RUNTIME=true python3 -m kfp"
    return ["sh", "-c", script, "--executor_input", json.dumps(described), "--function_to_execute", step]


def place(folder, *arguments, **more):
    made = containers.Containers(folder, *arguments, **more)
    made.logs.mkdir(parents=True)
    return made


def test_a_container_that_fails_at_once_has_failed(engine, tmp_path):
    """kfp takes a container that is gone before it is asked how it ended for a success."""
    engine.output, engine.code = [b"error: data.training: ", b"is empty\n"], 2
    runner = place(tmp_path, 1)
    assert runner.execute(task("convert", tmp_path), {IMAGE: "light:1"}) == 2
    assert engine.made[0].calls == ["start", "logs", "wait", "remove"]
    assert runner.failed().error() == "data.training: is empty"
    assert (tmp_path / "logs/convert.log").read_text() == "error: data.training: is empty\n"


def test_a_container_has_its_user_and_no_more_rights_than_that(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    runner = place(tmp_path / "runs/x", 1, Resources(), (), [f"{tmp_path}/runs:{tmp_path}/runs", "/data:/data:ro"])
    runner.execute(task("convert", tmp_path), {IMAGE: "light:1"})
    made = engine.made[0]
    assert made.image == "light:1" and made.command[:2] == ["sh", "-c"]
    assert made.command[2] == "x; _KFP_RUNTIME=true exec python3 -m kfp", "signals are the step's, not its shell's"
    options = made.options
    assert options["user"] == f"{os.getuid()}:{os.getgid()}"
    assert options["cap_drop"] == ["ALL"] and options["security_opt"] == ["no-new-privileges"]
    assert options["entrypoint"] == [] and options["working_dir"] == str(Path.cwd())
    assert options["volumes"] == [f"{tmp_path}/runs:{tmp_path}/runs", "/data:/data:ro"]
    assert options["environment"]["AWS_ACCESS_KEY_ID"] == "me" and options["network_mode"] == "host"
    assert options["environment"][MOUNTS].splitlines() == options["volumes"]
    assert "me" not in (tmp_path / "runs/x/tasks/convert.json").read_text().split('"')
    assert not {"nano_cpus", "mem_limit", "shm_size", "device_requests"} & set(options)


def test_steps_that_compute_have_the_limits_of_the_experiment_as_far_as_the_machine_goes(engine, tmp_path):
    resources = Resources(count=2, cpu="1500m", memory="3Gi", shared_memory="1Gi")
    runner = place(tmp_path, 2, resources, ["0", "1", "2", "3"])
    runner.execute(task("train", tmp_path, lane=0), {IMAGE: "gpu:1"})
    options = engine.made[0].options
    assert (options["nano_cpus"], options["mem_limit"], options["shm_size"]) == (1500000000, 3 * GIB, GIB)
    assert options["device_requests"][0]["DeviceIDs"] == ["0", "1"]
    assert "CUDA_VISIBLE_DEVICES" not in options["environment"]  # a container numbers its own from 0
    big = place(tmp_path / "big", 1, Resources(count=0, cpu="999", memory=None, shared_memory=None), ["0"])
    big.execute(task("evaluate", tmp_path), {IMAGE: "gpu:1"})
    options = engine.made[1].options
    assert options["nano_cpus"] == os.cpu_count() * 1e9
    assert not {"mem_limit", "shm_size", "device_requests"} & set(options)


def test_what_docker_refuses_is_a_line(engine, tmp_path):
    engine.refusal = APIError("x", explanation='could not select device driver "" with capabilities: [[gpu]]')
    runner = place(tmp_path, 1)
    assert runner.execute(task("train", tmp_path, lane=0), {IMAGE: "gpu:1"}) == 2
    assert runner.failed().error().startswith("Docker does not run the container: could not select device driver")
    assert engine.made[0].calls == ["start", "remove"]


def test_stopping_kills_what_runs_and_starts_no_more(engine, tmp_path):
    engine.forever = True
    runner = place(tmp_path, 1)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(runner.execute(task("train", tmp_path, lane=0), {IMAGE: "gpu:1"}))
    )
    thread.start()
    while not (engine.made and "logs" in engine.made[0].calls):
        time.sleep(0.01)
    runner.stop()
    thread.join(10)
    assert codes == [137] and engine.made[0].calls[-2:] == ["wait", "remove"]
    assert "SIGTERM" in engine.made[0].calls, "which the container's init passes on to the lane"
    assert runner.execute(task("select", tmp_path), {IMAGE: "light:1"}) == 1
    assert len(engine.made) == 1


def test_what_a_killed_run_of_the_same_root_left_running_is_removed_and_said(engine, tmp_path, capsys):
    def left(run, process):
        container = Container(engine, "gpu:1", [], {})
        container.labels = {containers.RUN: str(tmp_path / run), containers.PROCESS: process}
        engine.left.append(container)
        return container

    def other():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        return child, identity(child.pid)

    (dead, dead_id), (stopped, stopped_id) = other(), other()
    dead.communicate(b"\n")
    stopped.send_signal(signal.SIGSTOP)
    removed = [left("runs/cells/1", dead_id), left("runs/cells/1", dead_id)]
    kept = [
        left("runs/cells/2", identity()),
        left("runs/cells/3", stopped_id),
        left("runs/cells/4", f"elsewhere {dead_id.partition(' ')[2]}"),
        left("others/cells/1", dead_id),
    ]
    try:
        runner = place(tmp_path / "runs/other/5", 1)
        assert [c.calls for c in removed + kept] == [["remove"]] * 2 + [[]] * 4
    finally:
        stopped.kill()
        stopped.wait()
    said = f"{tmp_path}/runs/cells/1: was killed; what it left running in Docker is removed (2 containers)"
    assert capsys.readouterr().err.splitlines() == [said]
    runner.execute(task("convert", tmp_path), {IMAGE: "light:1"})
    labels = engine.made[0].options["labels"]
    assert labels[containers.RUN] == str(runner.folder) and labels[containers.PROCESS] == identity()


def test_an_image_that_is_not_here_and_an_engine_that_does_not_answer_are_lines(engine, monkeypatch):
    engine.known = {"light:1"}
    containers.check_images(["light:1"])
    with pytest.raises(UserError, match="there is no image gpu:1 here; make images"):
        containers.check_images(["light:1", "gpu:1"])

    def refuse():
        raise DockerException("Permission denied\n(/var/run/docker.sock)")

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(UserError, match=r"no Docker engine answers: Permission denied \(/var/run"):
        containers.check_images(["light:1"])


def experiment(**more):
    return Experiment.model_validate({"name": "cells", "task": "image-object-detection", **more})


def test_the_folders_of_an_experiment_are_mounted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / "voc", draw_squares(tmp_path / "voc/JPEGImages", 2))
    for folder in ("lists", "prefixed", "weights"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lists/all.jsonl").write_text("")
    found = mounts(
        experiment(
            data={
                "training": {"source": "voc/Annotations"},
                "validation": {"source": "lists/all.jsonl", "format": "jsonl"},
                "test": {"source": "s3://bucket/x", "images": "s3://old/=prefixed"},
            },
            weights={"source": "weights/model.pt"},
            storage="store",
            register={"registry": "store/registry"},
        ),
        "runs",
    )
    written = [f"{tmp_path}/{n}:{tmp_path}/{n}" for n in ("runs", "store", "store/registry")]
    read = [
        f"{tmp_path}/{n}:{tmp_path}/{n}:ro"
        for n in ("lists", "prefixed", "voc/Annotations", "voc/JPEGImages", "weights")
    ]
    assert found == written + read
    assert all(Path(m.partition(":")[0]).is_dir() for m in found)


def test_a_file_of_keys_is_mounted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/key.json")
    remote = experiment(data={"training": {"source": "s3://bucket/x"}})
    assert mounts(remote, "runs") == [f"{tmp_path}/runs:{tmp_path}/runs"]
    (tmp_path / "key.json").write_text("{}")
    assert f"{tmp_path}/key.json:{tmp_path}/key.json:ro" in mounts(remote, "runs")


def test_a_folder_within_another_is_mounted_once_and_what_is_missing_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/a", "runs/earlier"):
        (tmp_path / folder).mkdir(parents=True)
    found = mounts(
        experiment(
            data={
                "training": {"source": "data"},
                "validation": {"source": "data/a"},
                "test": {"source": "nowhere/below"},
            },
            weights={"source": "runs/earlier"},
        ),
        "runs",
    )
    assert found == [f"{tmp_path}/runs:{tmp_path}/runs", f"{tmp_path}/data:{tmp_path}/data:ro"]


def test_lanes_that_run_at_once_never_share_a_gpu(tmp_path):
    """Nine lanes, two at a time, as with a pod for each trial: a lane's number does not tell its GPU."""
    runner = Runner(tmp_path, 2, Resources(count=2), ["GPU-a", "GPU-b", "GPU-c", "GPU-d"])
    runner.logs.mkdir()
    script = "date +%s.%N; echo $CUDA_VISIBLE_DEVICES; sleep 0.$((1 + $0 % 3)); date +%s.%N"
    waiting = list(range(9))

    def work():
        while True:
            try:
                lane = waiting.pop(0)
            except IndexError:
                return
            command = ["sh", "-c", script, str(lane), *task("train", tmp_path, lane)[3:]]
            assert runner.execute(command) == 0

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = []
    for lane in range(9):
        begun, gpus, ended = (tmp_path / f"logs/train-{lane}.log").read_text().split()
        assert gpus in ("GPU-a,GPU-b", "GPU-c,GPU-d")
        spans.append((float(begun), float(ended), gpus))
    for i, (begun, ended, gpus) in enumerate(spans):
        assert not [s for s in spans[i + 1 :] if s[2] == gpus and s[0] < ended and begun < s[1]]
    assert {s[2] for s in spans} == {"GPU-a,GPU-b", "GPU-c,GPU-d"}


def test_an_experiment_without_gpus_sees_none(tmp_path):
    runner = Runner(tmp_path, 1, Resources(count=0), ["0"])
    runner.logs.mkdir()
    command = ["sh", "-c", 'echo "[$CUDA_VISIBLE_DEVICES]"', "x", *task("evaluate", tmp_path)[3:]]
    assert runner.execute(command) == 0
    assert (tmp_path / "logs/evaluate.log").read_text() == "[]\n"


@pytest.mark.full
@pytest.mark.skipif(not built(), reason="no container engine, or no images of this version")
def test_the_pipeline_runs_in_containers_and_each_step_is_repeated_by_its_line(tmp_path):
    write_voc(tmp_path / "sample", draw_squares(tmp_path / "sample/JPEGImages", 10))
    smoke = Path(__file__).parents[1] / "pipelines/experiments/smoke.yaml"
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(yaml.safe_load(smoke.read_text())))
    environment = {**os.environ, "PYTHONPATH": str(smoke.parents[2])}
    command = [sys.executable, "-m", "pipelines", "run", "--runner", "docker", "smoke.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [t["state"] for t in summary["trials"]] == ["completed", "completed"]
    logs = sorted(Path(summary["logs"]).glob("*.log"))
    lines = {p.stem: [x for x in p.read_text().splitlines() if x.startswith("repeat with: ")] for p in logs}
    assert {k for k, v in lines.items() if v} == {p.stem for p in logs} - {"kfp"}
    for step, repeated in lines.items():
        for line in repeated:
            again = subprocess.run(["sh", "-c", line.removeprefix("repeat with: ")], capture_output=True, text=True)
            assert again.returncode == 0, (step, again.stderr)
    assert {(p.stat().st_uid, p.stat().st_gid) for p in tmp_path.rglob("*")} == {(os.getuid(), os.getgid())}
