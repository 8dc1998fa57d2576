"""Whole runs against a stand-in for Kubeflow 2.17 that executes the packages which it is sent."""

import json
import re
import sys
import threading
from pathlib import Path

import boto3
import fsspec
import kfp
import pytest

from automl_images import storage
from automl_images.pipelines import follow
from automl_images.pipelines import submit as module
from automl_images.registry import Registry
from automl_images.sample_data import make_sample
from automl_images.steps import train
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State
from benchmarks.ledger_scale import s3_server
from tests.helpers import command
from tests.helpers.fake_cluster import Backend, ByThread, Terminated
from tests.helpers.fake_kubeflow import FakeKubeflow

EXPERIMENTS = {p.stem: p for p in sorted((Path(__file__).parents[1] / "pipelines/experiments").glob("*.yaml"))}
SMALL = ["settings.number_of_epochs=1", "settings.evaluation_frequency=1"]
SHORTER = {  # the least that still goes through every step
    "classification": ["data.training={source: digits, format: folder}", "settings.train_crop_size=32", *SMALL],
    "evolve": [
        "weights={pretrained: false}",
        "settings.img_size=64",
        "sweep.iterations=2",
        "sweep.sampling.confirm=1",
        *SMALL,
    ],
    "multilabel": SMALL,
    "segmentation": ["settings.base_size=32", "settings.crop_size=32", *SMALL],
    "quickstart": ["settings.img_size=64", "settings.warmup_cosine_lr_warmup_epochs=1", *SMALL],
    "smoke": SMALL,
    "sweep": [
        "sweep.iterations=2",
        "sweep.space=[{model_name: fasterrcnn_resnet18_fpn, min_size: 64, max_size: 64}]",
        *SMALL,
    ],
}
STEPS = ["convert", "split", "plan", "train", "select", "evaluate", "register", "serve"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pytest.importorskip("s3fs")
    with s3_server("moto", tmp_path_factory.mktemp("moto")) as url:
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="mlpipeline")
        yield url
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_sample(folder / "sample", images=16, size=64)
    for i, image in enumerate(sorted((folder / "sample/JPEGImages").iterdir())):
        target = folder / "digits" / ("even" if i % 2 == 0 else "odd") / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.read_bytes())
    return folder


@pytest.fixture
def backend(tmp_path):
    return Backend(tmp_path / "pods")


@pytest.fixture
def fake(backend, store):
    made = FakeKubeflow(backend=backend)
    yield made
    made.close()
    assert made.faults == []


@pytest.fixture
def submit(fake, data, monkeypatch, capsys, tmp_path, request):
    """Return a function that submits an example, and returns exit code, standard output and standard error."""
    monkeypatch.chdir(data)
    monkeypatch.setattr(module, "EVERY", 0.05)
    monkeypatch.setattr(follow, "_PACE", 0.1)
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))
    root = f"s3://mlpipeline/{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}"

    def call(name="classification", *options):
        for stream in ("stdout", "stderr"):  # here, for pytest puts its own in place before each test's call
            if not isinstance(getattr(sys, stream), ByThread):
                monkeypatch.setattr(sys, stream, ByThread(getattr(sys, stream)))
        overrides = [x for o in [*SHORTER[name], f"storage={root}"] for x in ("--set", o)]
        arguments = ["submit", str(EXPERIMENTS[name]), "--host", fake.url, *overrides, *options]
        arguments += [] if "--follow" in options else ["--local-images"]
        return command.call(monkeypatch, capsys, *arguments)

    call.root = root
    return call


@pytest.fixture
def instant(monkeypatch):
    """Have trials done at once: what trains them is tested elsewhere."""

    def run(shared, _, trial, attempt, __):
        content = shared.start_trial(
            trial, attempt=attempt, sampled=[], settings={"number_of_epochs": 1, "model_name": "resnet18"}
        )
        for name in ("model.pt", "settings.json", "labels.json"):
            storage.write(
                storage.join(shared.artifacts(trial).model(attempt), name), json.dumps({"task": "image-classification"})
            )
        best = {"metric": "accuracy", "value": 0.5, "epoch": 1}
        shared.end_trial(content, State.COMPLETED, best=best, model=shared.artifacts(trial).model(attempt))
        return State.COMPLETED.value

    monkeypatch.setattr(train, "_run", run)
    monkeypatch.setattr("automl_images.steps.evaluate.evaluate_model", evaluated)


def evaluated(model, data, folder, **_):
    report = Path(folder, "report.html")
    report.write_text("<html></html>")
    figures = dict.fromkeys(("iou", "accuracy", "accuracy_per_class_mean", "balanced_accuracy", "log_loss"), 0.5)
    means = [f"{m}_{k}" for m in ("precision_score", "recall_score", "f1_score", "AUC", "average_precision_score")
             for k in ("macro", "micro", "weighted")]  # fmt: skip
    figures |= dict.fromkeys(means, 0.5) | {"top_k": None, "images": 4, "report": str(report), "roc": None}
    return {"task": "image-classification", "per_label_metrics": {}, **figures}


def ended(err):
    """Return the steps whose end was shown, in order."""
    return re.findall(r"^(\w+) +[\d.]+ s", err, re.M)


LONG = (
    "quickstart",
    "sweep",
    "multilabel",
    "smoke",
    "evolve",
    "segmentation",
)  # as the other, with larger models and more trials


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.full) if n in LONG else n for n in EXPERIMENTS])
def test_each_example_ends_in_a_registered_model(submit, backend, name):
    code, out, err = submit(name)
    assert code == 0, err
    assert ended(err) == STEPS
    registered = Registry(f"{submit.root}/registry").get(name)
    assert {"model.pt", "settings.json", "labels.json", "score.py"} <= set(storage.names(registered["uri"]))
    ledger = Ledger(registered["lineage"]["ledger"])
    assert {t.state for t in ledger.trials()} == {State.COMPLETED}
    (run,) = backend.runs.values()
    assert f"run {run.id}: " in out
    told = next(
        json.loads(storage.read_bytes(f"minio://mlpipeline/v2/artifacts/{path}"))
        for path in storage.files_below("minio://mlpipeline/v2/artifacts")
        if f"{run.id}/register/" in path and path.endswith("/registered")
    )
    assert told == {"name": name, "version": registered["version"], "uri": registered["uri"]}


quick = pytest.mark.usefixtures("instant")
TWO = ("--set", "sweep.iterations=2", "--set", "sweep.space={momentum: {choice: [0.1, 0.01]}}")


@quick
def test_a_deleted_pod_is_brought_back_by_kubeflow_and_nothing_is_sent_again(submit, backend):
    backend.events = {"train 1": ["deleted"], "register": ["deleted", "deleted"]}
    code, _, err = submit("classification", *TWO)
    assert code == 0, err
    assert len(backend.runs) == 1 and "submitting again" not in err
    (run,) = backend.runs.values()
    attempts = [n["displayName"] for n in run.nodes.values() if n["displayName"].startswith("executor(")]
    assert attempts.count("executor(1)") == 2 and attempts.count("executor(2)") == 1


LOST = {
    "killed": "main: OOMKilled (exit code 137)",
    "evicted": "The node was low on resource: memory. Container main was using 4Gi.",
}


@quick
@pytest.mark.parametrize("how", ["evicted", pytest.param("killed", marks=pytest.mark.full)])
def test_a_lane_whose_pod_is_lost_is_sent_again_and_goes_on(submit, backend, fake, how):
    backend.events = {"train 1": [how]}
    code, _, err = submit("classification", *TWO, "--fresh")
    assert code == 0, err
    first, second = backend.runs
    assert f"train (lane 1): {LOST[how]}; see {fake.url}/#/runs/details/{first}\n" in err
    assert f"submitting again (1 of 2), what is finished is kept: run {second}: " in err
    assert ended(err)[:4] == STEPS[:4] and ended(err)[4:] == STEPS
    ledgers = storage.names(f"{submit.root}/ledgers")
    assert len(ledgers) == 1, "a fresh ledger stays the one that it goes on in"
    assert [t.attempt for t in Ledger(f"{submit.root}/ledgers/{ledgers[0]}").trials()] == [1, 1]


@quick
def test_it_is_sent_again_as_often_as_is_said_and_no_more(submit, backend):
    backend.events = {"train": ["killed"] * 9}
    code, _, err = submit("classification", "--resubmit", "1")
    assert code == 2 and len(backend.runs) == 2
    assert err.splitlines()[-1].startswith("error: train (lane 0): main: OOMKilled (exit code 137); see http")
    code, _, err = submit("classification", "--resubmit", "0")
    assert code == 2 and len(backend.runs) == 3 and "submitting again" not in err


@quick
def test_what_the_user_can_mend_is_never_sent_again(submit, backend, monkeypatch):
    monkeypatch.setattr(train, "_run", lambda *_: "failed")
    code, _, err = submit("classification", *TWO)
    assert code == 2 and len(backend.runs) == 1
    assert re.match(r"error: select: no trial of s3://.* has a model: none has started; see http", err.splitlines()[-1])


@quick
def test_where_the_launcher_fails_its_own_words_are_the_reason(submit, monkeypatch):
    """An output artifact that leaves the run's root: what Kubeflow refused of register, before it kept its URI."""
    original = storage.redact
    monkeypatch.setattr(
        "automl_images.steps.repeat.address", lambda a: (setattr(a, "uri", "s3://elsewhere/x"), original(a.uri))[1]
    )
    code, _, err = submit("classification")
    assert code == 2
    assert 'error: convert: failed to upload output artifact "test": URI "s3://elsewhere/x" does not have' in err


@quick
def test_a_step_from_the_cache_is_said_to_be(submit):
    assert submit("classification")[0] == 0
    code, _, err = submit("classification", "--set", "sweep.timeout_hours=1")
    assert code == 0, err
    assert re.search(r"^convert .* s  taken from an earlier run \(Kubeflow's cache\)$", err, re.M)
    assert re.search(r"^split .* s  taken from an earlier run", err, re.M)
    assert not re.search(r"^(plan|select) .* taken from", err, re.M)


@quick
def test_what_a_pod_waits_for_is_shown_once_and_when_it_changes(submit, backend):
    few = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    backend.pending("train 0", few, 1.0)
    backend.pending("train 1", "Unschedulable: 0/4 nodes are available.", 0.6)
    code, _, err = submit("classification", *TWO)
    assert code == 0, err
    assert err.count(f"train (lane 0) waits: {few}\n") == 1
    assert err.count("train (lane 1) waits: Unschedulable: 0/4 nodes are available.\n") == 1


@quick
def test_a_terminated_run_is_called_that(submit, backend, fake):
    def end(_):
        (run,) = backend.runs.values()
        run.terminate()
        raise Terminated

    backend.events = {"plan": [end]}
    code, _, err = submit("classification")
    (run,) = backend.runs
    assert code == 2 and err.splitlines()[-1] == f"error: the run was terminated: {fake.url}/#/runs/details/{run}"


@quick
def test_an_experiment_that_runs_is_followed_or_taken_over_and_never_doubled(submit, backend, fake):
    going = threading.Event()
    backend.events = {"train": [lambda _: going.wait(60)]}
    code, out, _ = submit("classification", "--no-wait")
    (first,) = backend.runs
    assert code == 0
    code, _, err = submit("classification", "--set", "sweep.iterations=2", "--no-wait")
    assert code == 2 and len(backend.runs) == 1
    assert err.splitlines()[-1] == (
        f"error: run {first} of this experiment still goes, and this one would take its trials over: "
        f"--follow {first} shows it, --take-over ends it and goes on with its trials"
    )
    code, _, err = submit("classification", "--set", "settings.momentum=0.5", "--no-wait")
    assert code == 0, "another experiment of the same name has a ledger of its own"
    for run in backend.runs.values():
        going.set()
        run.thread.join(60)

    backend.events, slow = {"train": [lambda _: slow.wait(60)]}, threading.Event()
    assert submit("classification", "--set", "settings.momentum=0.4", "--no-wait")[0] == 0
    *_, old = backend.runs
    code, out, err = submit("classification", "--set", "settings.momentum=0.4", "--take-over", "--no-wait")
    *_, new = backend.runs
    assert code == 0 and f"ended run {old}; its trials go on in this one" in err and new != old
    assert backend.runs[old].terminated
    slow.set()
    code, out, err = submit("classification", "--set", "settings.momentum=0.4", "--follow", new)
    assert code == 0 and out == "", err
    assert ended(err) == STEPS and fake.looks == {}
    code, _, err = submit("classification", "--follow", new, "--fresh")
    assert (
        code == 2
        and err
        == "error: --follow: sends nothing, so it does not go with --fresh, --take-over, --local-images or --no-wait\n"
    )
