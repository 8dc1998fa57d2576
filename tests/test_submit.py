"""Submissions to Kubeflow Pipelines: the API is a fake that speaks the real protocol, the client is kfp's."""

import json
import re
from pathlib import Path

import fsspec
import kfp
import pytest
import yaml

from automl_images.annotations import read_records
from automl_images.errors import UserError
from automl_images.pipelines import submit as module
from automl_images.pipelines.experiment import load
from automl_images.pipelines.kubeflow import Kubeflow
from automl_images.steps.convert import convert_data
from automl_images.steps.plan import plan_sweep
from automl_images.steps.split import split_data
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State
from tests.conftest import draw_squares, write_jsonl
from tests.helpers import command
from tests.helpers.fake_kubeflow import FakeKubeflow, detail, failed_workflow, wrapped

STORE = "memory://store/automl"
IMAGES = {role: f"registry.example.com/{role}@sha256:{'0' * 64}" for role in ("light", "gpu", "serve")}
TOKEN = "secret-token-of-mine"


class Cluster:
    """Runs the light steps for real, in this process, where only the store is to be reached; trials are instant."""

    def __init__(self, folder):
        self.folder, self.fails, self.ledgers, self.lanes = folder, None, [], {}
        self.fake = FakeKubeflow(self.play)

    def play(self, run, look):
        """Return what a run's n-th look shows, and do what has happened by then."""
        done = [d for i, s in enumerate(("convert", "split", "plan")) for d in wrapped(s, "SUCCEEDED", i, i + 1)]
        drivers = [*wrapped("convert-driver", "SUCCEEDED"), *wrapped("executor", "SUCCEEDED")]
        loop = detail("for-loop-1", "RUNNING")
        train = [d for _ in range(2) for d in wrapped("train", "RUNNING", 4)]
        if look < 2:
            return ("PENDING", []) if look == 0 else ("RUNNING", [*drivers, *wrapped("convert", "RUNNING")])
        if look == 2:
            if self.fails == "convert":
                return "FAILED", [*drivers, *wrapped("convert", "FAILED", 0, 5)]
            self.prepare(run)
            return "RUNNING", [*drivers, *done, loop, *train]
        ledger = Ledger(json.loads(self.lanes[run["run_id"]][0])["ledger"])
        if look == 3:
            self.train(ledger, 0)
            return "RUNNING", [*drivers, *done, loop, *train]
        if self.fails == "train":
            return "FAILED", [*drivers, *done, detail("for-loop-1", "FAILED"), *wrapped("train", "FAILED", 4, 9)]
        for trial in range(ledger.run(run["run_id"]).iterations):
            self.train(ledger, trial)
        after = [d for s in ("select", "evaluate", "register", "serve") for d in wrapped(s, "SUCCEEDED", 10, 11)]
        return "SUCCEEDED", [
            *done,
            detail("for-loop-1", "SUCCEEDED"),
            *wrapped("train", "SUCCEEDED", 4, 9),
            *wrapped("train", "SUCCEEDED", 4, 9),
            *after,
        ]

    def prepare(self, run):
        given = self.fake.parameters(run)
        out = {n: str(self.folder / f"{run['run_id']}-{n}.jsonl") for n in ("a", "b", "c", "training", "validation")}
        sets = {"training": out["a"], "validation": out["b"], "test": out["c"]}
        convert_data(given["task"], json.loads(given["data_json"]), sets)
        split_data(out["a"], out["b"], out["training"], out["validation"])
        self.lanes[run["run_id"]] = plan_sweep(
            json.loads(given["experiment_json"]), out["training"], out["validation"], run=run["run_id"],
            default_storage=given["storage"], fresh=given["fresh"],
        )  # fmt: skip
        self.ledgers.append(json.loads(self.lanes[run["run_id"]][0])["ledger"])

    @staticmethod
    def train(ledger, trial):
        before = ledger.trial(trial)
        if before and before.state == State.COMPLETED:
            return
        content = ledger.start_trial(trial, {"number_of_epochs": 1}, [])
        best = {"metric": "mean_average_precision", "value": 0.5 + trial / 10, "epoch": 1}
        ledger.end_trial(content, State.COMPLETED, best=best, model=ledger.artifacts(trial).model(1))


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "pods").mkdir()
    made = Cluster(tmp_path / "pods")
    yield made
    made.fake.close()
    assert made.fake.faults == []


@pytest.fixture
def fake(cluster):
    return cluster.fake


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Look often; keep kfp from a context file and from addresses in the environment."""
    monkeypatch.setattr(module, "EVERY", 0.01)
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield
    memory.store.clear()


@pytest.fixture
def experiment(tmp_path):
    """Return a function that writes an experiment on local data, and returns its file."""
    records = draw_squares(tmp_path / "data", 10)
    write_jsonl(tmp_path / "data", records)

    def write(**changes):
        content = {
            "name": "Cells",
            "task": "image-object-detection",
            "data": {"training": {"source": str(tmp_path / "data")}},
            "settings": {"model_name": "fasterrcnn_resnet18_fpn"},
            "weights": {"pretrained": False},
            "sweep": {"iterations": 2, "space": {"learning_rate": {"uniform": [0.001, 0.01]}}},
            "storage": STORE,
            "cluster": {"images": IMAGES, **changes.pop("cluster", {})},
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}))
        return path

    return write


@pytest.fixture
def run(fake, monkeypatch, capsys):
    """Return a function that gives the command's exit code, standard output and standard error."""

    def call(path, *options):
        return command.call(monkeypatch, capsys, "submit", path, "--host", fake.url, *options)

    return call


def stored():
    """Return the paths in the store."""
    return {p: bytes(f.getbuffer()) for p, f in fsspec.filesystem("memory").store.items()}


def test_a_run_is_followed_to_its_end(cluster, fake, experiment, run):
    code, out, err = run(experiment())
    assert code == 0, err
    (made,) = fake.runs.values()
    assert out == f"run {made['run_id']}: {fake.url}/#/runs/details/{made['run_id']}\n"
    assert made["display_name"].startswith("Cells 20")
    (group,) = fake.experiments.values()
    assert group["display_name"] == "Cells" and made["experiment_id"] == group["experiment_id"]
    (pipeline,) = fake.pipelines.values()
    assert pipeline["display_name"] == "cells"
    order = re.findall(r"^(\w+) +[\d.]+ s", err, re.M)
    assert order == ["convert", "split", "plan", "train", "select", "evaluate", "register", "serve"]
    assert f"plan           1.0 s  2 lanes; ledger {cluster.ledgers[0]}" in err
    assert "trial 0" in err and "trial 1" in err, "the trials of the ledger are shown"
    assert "select         1.0 s  trial 1: mean_average_precision 0.6" in err
    assert "train          5.0 s  2 trials" in err


def test_pods_get_addresses_that_they_reach(cluster, fake, experiment, run, tmp_path):
    run(experiment())
    (made,) = fake.runs.values()
    data = json.loads(fake.parameters(made)["data_json"])
    assert data["training"]["source"].startswith(f"{STORE}/data/") and data["training"]["format"] == "jsonl"
    records = list(read_records(data["training"]["source"]))
    assert len(records) == 10
    assert all(r.image_url.startswith(f"{STORE}/images/") for r in records)
    by_name = {r.image_url.rpartition("-")[2]: stored()["/" + r.image_url.partition("://")[2]] for r in records}
    assert by_name == {p.name: p.read_bytes() for p in (tmp_path / "data").glob("*.png")}
    assert len(fake.parameters(made)["digest"]) == 64
    assert fake.parameters(made)["copy_images"] is True


def test_what_is_there_already_is_not_sent_again(fake, experiment, run, tmp_path, monkeypatch):
    run(experiment(), "--no-wait")
    before, version = stored(), list(fake.versions)
    next(iter(fake.runs.values()))["state"] = "SUCCEEDED"
    written = []
    memory = type(fsspec.filesystem("memory"))
    pipe = memory.pipe_file
    monkeypatch.setattr(memory, "pipe_file", lambda s, p, *a, **k: (written.append(p), pipe(s, p, *a, **k))[1])
    _, _, err = run(experiment(), "--no-wait")
    assert written == [] and stored() == before
    assert "10 present images" in err and "copied images" not in err
    assert list(fake.versions) == version, "the same package is not uploaded twice"
    assert len(fake.runs) == 2

    list(fake.runs.values())[1]["state"] = "FAILED"
    changed = sorted((tmp_path / "data").glob("*.png"))[0]
    changed.write_bytes((tmp_path / "data" / "001.png").read_bytes())
    _, _, err = run(experiment(), "--no-wait")
    assert "1 copied images, 9 present images" in err.replace("; ", ", ")
    assert before.items() <= stored().items(), "what earlier runs use stays as it is"
    digests = [fake.parameters(r)["digest"] for r in fake.runs.values()]
    assert digests[0] == digests[1] != digests[2]


def test_a_truncated_copy_is_sent_again(experiment, run):
    run(experiment(), "--no-wait")
    before = stored()
    image = next(p for p in before if "/images/" in p)
    fsspec.filesystem("memory").pipe_file(image, before[image][:10])
    run(experiment(), "--no-wait")
    assert stored() == before


def test_a_failure_says_its_reason_and_a_resubmission_goes_on(cluster, fake, experiment, run):
    cluster.fails, fake.workflow = "train", failed_workflow("train")
    fake.log = "epoch 1\nTraceback (most recent call last):\n  File x\nRuntimeError: CUDA went away\n"
    code, _, err = run(experiment())
    assert code == 2
    (first,) = fake.runs
    last = err.splitlines()[-1]
    assert last == f"error: train: RuntimeError: CUDA went away; see {fake.url}/#/runs/details/{first}"
    assert "train          5.0 s  FAILED" in err
    ledger = Ledger(cluster.ledgers[0])
    assert [t.state for t in ledger.written()] == [State.COMPLETED]

    cluster.fails, started = None, ledger.trial(0).started
    code, _, err = run(experiment())
    assert code == 0, err
    assert cluster.ledgers[1] == cluster.ledgers[0], "the same experiment has the same ledger"
    assert [t.state for t in ledger.written()] == [State.COMPLETED] * 2
    assert ledger.trial(0).started == started, "what was finished is kept"

    code, _, _ = run(experiment(), "--fresh")
    assert code == 0 and cluster.ledgers[2] != cluster.ledgers[0]
    assert [bool(fake.parameters(r)["fresh"]) for r in fake.runs.values()] == [False, False, True]
    assert [bool(fake.parameters(r)["digest"]) for r in fake.runs.values()] == [True, True, False]


REASONS = {
    "a user's error": ("note: x\nerror: data.training: has no image\nerror: step\n", True, "step"),
    "with times": ("2026-01-01T00:00:00.1Z error: data.training: has no image\n", True, "data.training: has no image"),
    "a traceback": ("Traceback\n  x\nValueError: bad\nI0101 launcher ended\n", True, "ValueError: bad"),
    "a silent death": ("epoch 3\n", True, "main: Error (exit code 2)"),
    "no log": (None, True, "main: Error (exit code 2)"),
    "the launcher's own": (
        "ValueError: caught\nF0821 10:11:12.1314       7 main.go:74] failed to upload output artifact\n",
        True,
        "failed to upload output artifact",
    ),
    "the launcher on its child": (
        "error: no image\n2026-01-01T00:00:00Z F0821 10:11:12.1314 7 main.go:74] failed to execute component: exit "
        "status 2\n",
        True,
        "no image",
    ),
    "the launcher on its silent child": (
        "F0821 10:11:12.1314 7 main.go:74] failed to execute component: exit status 1\n",
        True,
        "failed to execute component: exit status 1",
    ),
    "no workflow": ("", False, "failed; the reason is in its log"),
}


@pytest.mark.parametrize(("log", "workflow", "said"), REASONS.values(), ids=REASONS)
def test_the_reason_of_a_failure(cluster, fake, experiment, run, log, workflow, said):
    cluster.fails, fake.log, fake.workflow = "convert", log, failed_workflow("convert") if workflow else None
    code, _, err = run(experiment())
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: convert: {said}; see http://")


def test_a_cancelled_run(cluster, fake, experiment, run):
    fake.play = lambda run, look: ("CANCELED", [])
    code, _, err = run(experiment())
    assert code == 2 and "error: the run was canceled: " in err


def test_no_wait_does_not_look(fake, experiment, run):
    code, out, _ = run(experiment(), "--no-wait")
    assert code == 0 and out.startswith("run ")
    assert fake.looks == {}


def test_what_is_not_followed_is_not_sent_again(fake, experiment, run):
    code, _, err = run(experiment(), "--no-wait", "--resubmit", "2")
    assert code == 2 and err == (
        "error: --resubmit: is done while the run is followed, so it does not go with --no-wait\n"
    )
    assert fake.runs == {}


def test_an_api_that_pauses_is_waited_for(fake, experiment, run):
    fake.broken = 3
    code, _, err = run(experiment())
    assert code == 0, err


def test_a_ledger_out_of_reach_leaves_the_steps(cluster, fake, experiment, run, monkeypatch):
    monkeypatch.setattr("automl_images.pipelines.follow.Ledger", lambda url: 1 / 0)
    code, _, err = run(experiment())
    assert code == 0, err
    assert "trial 0" not in err
    assert [line for line in err.splitlines() if line.startswith("train ")] == ["train          5.0 s"]


def test_the_token_is_sent_and_never_said(fake, experiment, run, monkeypatch):
    fake.token = TOKEN
    code, out, err = run(experiment(), "--token", TOKEN)
    assert code == 0, err
    assert TOKEN not in out + err
    assert all(h.get("authorization") == f"Bearer {TOKEN}" for _, _, h in fake.requests)
    monkeypatch.setenv("KF_PIPELINES_TOKEN", TOKEN)
    assert run(experiment(), "--no-wait")[0] == 0

    fake.token = "another"
    code, out, err = run(experiment())
    assert code == 2 and "refuses the token (401)" in err.splitlines()[-1]
    assert TOKEN not in out + err and "Traceback" not in err


def test_an_answer_that_repeats_the_token_is_cleaned(fake, experiment, run):
    fake.tag = "2.17.0"
    fake.play = lambda run, look: ("FAILED", [detail("plan", "FAILED", 0, 1)])
    fake.workflow, fake.log = failed_workflow("plan"), f"error: no access with {TOKEN} to s3://me:pass@host/x\n"
    _, out, err = run(experiment(), "--token", TOKEN)
    assert TOKEN not in out + err and "pass" not in err
    assert "plan: no access with *** to s3://***@host/x" in err


@pytest.mark.parametrize("name", ["automl-images/gpu:0.1.0", "gpu", "team/gpu@sha256:00"])
def test_an_image_without_a_registry_is_refused_unless_the_nodes_have_it(fake, experiment, run, name):
    images = {"cluster": {"images": {**IMAGES, "gpu": name}}}
    code, _, err = run(experiment(**images), "--no-wait")
    assert (code, fake.runs, stored()) == (2, {}, {}), "nothing is copied"
    assert err.startswith(f"error: cluster.images.gpu: {name} names no registry")
    assert "make push" in err and err.count("\n") == 1
    assert run(experiment(**images), "--no-wait", "--local-images")[0] == 0


def test_registries_have_many_names(fake, experiment, run):
    for images in ({"light": "localhost/light"}, {"light": "registry:5000/light"}, {"serve": "mine"}):
        path = experiment(cluster={"images": {**IMAGES, **images}}, serve=None if "serve" in images else {})
        assert run(path, "--no-wait", "--fresh")[0] == 0, images


def test_data_on_a_volume_is_converted_anew_each_time(fake, experiment, run):
    data = {"training": {"source": "/data/cells"}}
    assert run(experiment(data=data, cluster={"data_volume": {"claim": "cells"}}), "--no-wait")[0] == 0
    (given,) = (fake.parameters(r) for r in fake.runs.values())
    assert given["digest"] == "" and json.loads(given["data_json"])["training"]["source"] == "/data/cells"
    assert stored() == {}


def test_several_users(fake, experiment, run):
    fake.multi_user = True
    code, _, err = run(experiment(cluster={"namespace": "team", "service_account": "runner"}), "--no-wait")
    assert code == 0, err
    assert next(iter(fake.experiments.values()))["namespace"] == "team"
    assert next(iter(fake.runs.values()))["service_account"] == "runner"
    assert run(experiment(), "--namespace", "other", "--no-wait")[0] == 0


def test_old_versions_are_refused(fake, experiment, run, monkeypatch):
    fake.tag = "2.5.0"
    code, _, err = run(experiment())
    assert (code, fake.runs) == (2, {}) and stored() == {}
    assert err == f"error: {fake.url}: Kubeflow Pipelines 2.5.0; at least 2.17 is needed\n"
    monkeypatch.setattr(kfp, "__version__", "2.9.0")
    assert "kfp 2.9.0 is installed here; at least 2.17 is needed" in run(experiment())[2]


def test_an_unreachable_cluster_is_one_line():
    with pytest.raises(UserError, match="^http://127.0.0.1:9: cannot be reached: ") as caught:
        Kubeflow("http://127.0.0.1:9", "kubeflow", TOKEN)
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)
    assert stored() == {}, "nothing is copied before it is known to be there"


def test_a_refused_run_says_what_the_api_says(fake, experiment, monkeypatch):
    kubeflow = Kubeflow(fake.url, "kubeflow")
    monkeypatch.setattr(fake, "declared", lambda version: {})
    with pytest.raises(UserError, match="does not take the run: Invalid input error: parameter .* is not defined"):
        package = Path(experiment()).with_name("p.yaml")
        from automl_images.pipelines.pipeline import compile_package

        compile_package(load(experiment()), package)
        kubeflow.start(kubeflow.upload(package, "cells"), "Cells", "Cells 1", {"fresh": "x"}, None)
