"""The ledger and the registry on S3: moto's server, and SeaweedFS where its ``weed`` is installed."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import Registry
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State
from benchmarks.ledger_scale import CREDENTIALS, counted_requests, s3_server, weed

pytest.importorskip("s3fs")
boto3 = pytest.importorskip("boto3")
CODES = {403: "AccessDenied", 409: "ConditionalRequestConflict", 412: "PreconditionFailed", 501: "NotImplemented"}
SETTINGS = {"model_name": "yolov5", "number_of_epochs": 3}


@pytest.fixture(scope="module")
def moto():
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    lock, put = threading.Lock(), S3Response.put_object

    def put_object(self):
        with lock:  # moto looks whether an object is there and writes it in two steps, a store in one
            return put(self)

    S3Response.put_object = put_object
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    S3Response.put_object = put


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory):
    if not weed():
        pytest.skip("weed is not installed")
    with s3_server("seaweedfs", tmp_path_factory.mktemp("weed")) as url:
        yield url


@pytest.fixture(params=["moto", "seaweedfs"])
def bucket(request, monkeypatch):
    """Return the address of an empty folder in a bucket, at the endpoint that AWS_ENDPOINT_URL names."""
    for key, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": request.getfixturevalue(request.param)}.items():
        monkeypatch.setenv(key, value)
    forget()
    if request.param == "moto":
        boto3.client("s3").create_bucket(Bucket="bucket")
    yield f"s3://bucket/{os.urandom(6).hex()}"
    forget()


@pytest.fixture
def ledger(bucket):
    made = Ledger(f"{bucket}/sweeps/ledger")
    made.open({"task": "t", "seed": 0})
    return made


def forget():
    """Drop fsspec's filesystems, as another process would have none."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def elsewhere(code, *arguments):
    """Run code in another process and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def report(ledger, trial, number, value, attempt=1):
    return ledger.evaluate(Evaluation(trial, attempt, Score(number, number, value, value, value)))


def test_a_ledger_opens_again_for_the_same_experiment_alone(ledger):
    Ledger(ledger.url + "/").open({"seed": 0, "task": "t"})
    with pytest.raises(UserError, match="is the ledger of another experiment"):
        ledger.open({"task": "t", "seed": 1})
    assert ledger.experiment() == {"task": "t", "seed": 0}


def test_an_object_is_created_by_one_of_eight_at_once(bucket):
    def create(name):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda i: storage.create(f"{bucket}/once/{name}", str(i)), range(8)))
        assert storage.read_text(f"{bucket}/once/{name}") == str(made.index(True))
        return sum(made)

    with counted_requests(bucket) as made:
        assert [create(name) for name in "abc"] == [1, 1, 1]
    assert made.count("PutObject") == 24
    assert "HeadObject" not in made[:8], "nobody looks first: the write itself is conditional"


def test_each_trial_is_claimed_by_one_lane(ledger):
    assert ledger.can_claim("r")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda lane: [t for t in range(4) if ledger.claim("r", t, lane)], range(8)))
    assert sorted(t for lane in taken for t in lane) == list(range(4))
    lane = next(i for i, trials in enumerate(taken) if trials)
    assert ledger.claim("r", taken[lane][0], lane)
    assert not ledger.claim("r", taken[lane][0], lane + 1)


@pytest.fixture
def conditions(monkeypatch):
    """Return a function that makes the store answer conditional writes otherwise, as some do."""
    from aiobotocore.client import AioBaseClient
    from botocore.exceptions import ClientError

    call, answers = AioBaseClient._make_api_call, []

    async def answered(self, operation, arguments):
        if arguments.get("IfNoneMatch") and answers:
            status = answers[0] if answers[0] in (200, 501) else answers.pop(0)
            if status == 200:  # does not know the header
                return await call(self, operation, {k: v for k, v in arguments.items() if k != "IfNoneMatch"})
            answer = {"Error": {"Code": CODES[status]}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, operation)
        return await call(self, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", answered)
    return answers.extend


@pytest.mark.parametrize("status", [200, 501], ids=["ignored", "refused"])
def test_a_store_without_conditional_writes_is_known_and_works(ledger, conditions, status):
    conditions([status])
    assert not ledger.can_claim("r")
    assert storage.create(f"{ledger.url}/new", "1")
    if status == 501:
        assert not storage.create(f"{ledger.url}/new", "2")
        assert storage.read_text(f"{ledger.url}/new") == "1"


def test_a_conflict_is_tried_again_and_any_refusal_is_taken_for_one(ledger, conditions):
    conditions([409, 409])
    assert storage.create(f"{ledger.url}/new", "1")
    conditions([412])
    assert not storage.create(f"{ledger.url}/another", "1"), "said without AWS's <Condition>"
    conditions([403])
    with pytest.raises(UserError, match="the store refuses: .*check the credentials"):
        storage.create(f"{ledger.url}/another", "1")


def test_a_driver_that_looks_and_then_writes_is_not_exclusive(monkeypatch):
    assert storage.creates_once("memory://probes/one")
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", fsspec.AbstractFileSystem.pipe_file)
    assert not storage.creates_once("memory://probes/two")


def test_a_trial_lives_through_its_states(ledger):
    assert ledger.trial(3) is None
    content = ledger.start_trial(3, SETTINGS, ["learning_rate"])
    assert ledger.trial(3).state == "running"
    for number, value in enumerate((0.1, 0.4), 1):
        report(ledger, 3, number, value)
    ledger.end_trial(content, State.COMPLETED)
    (trial,) = ledger.trials()
    assert (trial.state, trial.epoch, trial.settings) == (State.COMPLETED, 2, SETTINGS)
    assert trial.best == {"value": 0.4, "epoch": 2}
    assert storage.names(f"{ledger.url}/ended") == ["0003.1~2~2~0.4~0.4~0.4"]


def test_an_evaluation_returns_the_peers(ledger):
    content = ledger.start_trial(0, SETTINGS, [])
    report(ledger, 0, 1, 0.9)
    ledger.end_trial(content, State.COMPLETED)
    for number, value in enumerate((0.1, 0.2, 0.3), 1):
        report(ledger, 1, number, value)
    peers, superseded = report(ledger, 4, 2, 0.6)
    assert sorted((t, p.number, p.value) for t, p in peers.items()) == [(0, 1, 0.9), (1, 2, 0.2)]
    assert not superseded


def test_a_later_attempt_supersedes(ledger):
    ledger.start_trial(0, SETTINGS, [])
    assert report(ledger, 0, 1, 0.5) == ({}, False)
    ledger.start_trial(0, SETTINGS, [])
    assert report(ledger, 0, 2, 0.5) == ({}, True)


@pytest.mark.parametrize("ended", [0, 1], ids=["none-ended", "one-ended"])
def test_an_evaluation_is_one_write_and_two_listings(ledger, ended):
    for trial in range(ended):
        ledger.end_trial(ledger.start_trial(trial, SETTINGS, []), State.COMPLETED)
    with counted_requests(ledger.url) as made:
        report(ledger, 7, 1, 0.5)
    assert sorted(made) == ["ListObjectsV2", "ListObjectsV2", "PutObject"]


WRITER = """
import sys
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.score import Evaluation, Score
from automl_images.sweep.trial import State, Trial
ledger, trial = Ledger(sys.argv[1]), int(sys.argv[2])
content = ledger.start_trial(trial, {"number_of_epochs": 1}, [])
print(list(ledger.evaluate(Evaluation(trial, 1, Score(1, 1, 0.5, 0.5, 0.5)))[0]))
ledger.end_trial(content, State.COMPLETED)
"""


def test_what_another_process_writes_is_seen_at_once(ledger):
    report(ledger, 0, 1, 0.1)
    assert report(ledger, 0, 1, 0.1)[0] == {}, "listed once, so that a listing could be kept"
    assert ledger.trials() == []
    assert elsewhere(WRITER, ledger.url, 1) == "[0]\n"
    assert list(report(ledger, 0, 1, 0.1)[0]) == [1]
    assert [t.state for t in ledger.trials()] == [State.COMPLETED]
    assert storage.names(f"{ledger.url}/ended") == ["0001.1~1~1~0.5~0.5~0.5"]
    storage.remove(f"{ledger.url}/ended/0001.1~1~1~0.5~0.5~0.5")
    forget()
    storage.write(f"{ledger.url}/ended/0002.1~", "")
    assert storage.names(f"{ledger.url}/ended") == ["0002.1~"]


def folder(path, **files):
    path.mkdir()
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_folders_replace_folders_and_go(ledger, tmp_path):
    model = ledger.artifacts(0).model(1)
    storage.put_folder(folder(tmp_path / "first", model="1", gone="1"), model)
    storage.put_folder(folder(tmp_path / "second", model="2"), model)
    assert storage.files_below(model) == ["model"]
    assert storage.read_text(f"{model}/model") == "2"

    assert ledger.artifacts(0).checkpoint() is None
    ledger.artifacts(0).write_checkpoint(1, 1, tmp_path / "first")
    ledger.artifacts(0).write_checkpoint(1, 2, tmp_path / "second")
    assert ledger.artifacts(0).checkpoint() == "checkpoint-1-2"
    assert storage.files_below(ledger.artifacts(0).url) == ["checkpoint-1-2/model", "checkpoint.1", "model-1/model"]
    fetched = storage.get_folder(f"{ledger.artifacts(0).url}/checkpoint-1-2", tmp_path / "fetched")
    assert (fetched / "model").read_text() == "2"
    ledger.artifacts(0).clear(1)
    assert storage.files_below(ledger.artifacts(0).url) == ["model-1/model"]


def test_a_model_that_is_cut_short_has_no_metrics(ledger, tmp_path, monkeypatch):
    artifacts, files = ledger.artifacts(0), {"metrics.json": "{}", "model.pt": "1", "settings.json": "{}"}
    artifacts.write_model(1, folder(tmp_path / "whole", **files))
    assert artifacts.metrics(1) == b"{}" and storage.names(artifacts.model(1)) == sorted(files)
    ask = storage.ask

    def dies(url, work):
        if url.endswith("settings.json"):
            raise KeyboardInterrupt
        return ask(url, work)

    monkeypatch.setattr(storage, "ask", dies)
    with pytest.raises(KeyboardInterrupt):
        artifacts.write_model(1, folder(tmp_path / "better", **files))
    assert artifacts.metrics(1) is None and not artifacts.adopt_model(2, "checkpoint-1-3")


def test_models_are_registered_once_and_numbered_without_gaps(bucket, tmp_path):
    models = [folder(tmp_path / f"m{i}", **{"model.pt": str(i), "score.py": ""}) for i in range(3)]
    registry = Registry(f"{bucket}/registry")
    figures = [{"mean_average_precision": v} for v in (0.2, 0.9, 0.5)]
    told = {"evaluated": {"digest": "5e7"}}

    def register(i):
        return registry.register("blood", str(models[i]), figures[i], told, "mean_average_precision")["version"]

    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(register, range(3)))
    assert sorted(versions) == [1, 2, 3]
    assert register(1) == versions[1], "the same model keeps its version"
    assert registry.get("blood", "champion")["version"] == versions[1]
    assert registry.get("blood")["version"] == 3
    assert storage.files_below(registry.get("blood", versions[0])["uri"]) == ["model.pt", "score.py"]


def test_minio_addresses_are_s3(ledger):
    report(ledger, 0, 1, 0.5)
    same = Ledger(ledger.url.replace("s3://", "minio://"))
    assert same.experiment() == ledger.experiment()
    assert [e.trial for e in same.evaluations()] == [0]
    report(same, 1, 1, 0.6)
    assert list(report(ledger, 0, 1, 0.5)[0]) == [1]
