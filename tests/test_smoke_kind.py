"""The smoke run on a kind cluster, as far as it can be proved without one: its scripts, its checks, its workflow."""

import copy
import json
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from automl_images import steps
from automl_images.errors import UserError
from automl_images.pipelines.cli import app
from automl_images.prediction import load_model
from automl_images.registry import Registry
from automl_images.serving.requests import answer
from automl_images.steps.serve import serve_model
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State
from tests.helpers.package import Package
from tests.kind import check

ROOT = Path(__file__).parents[1]
KIND = ROOT / "tests" / "kind"
SCRIPTS = sorted(KIND.glob("*.sh"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
SMOKE = ROOT / "pipelines" / "experiments" / "smoke.yaml"
POOL = {"run.ai/simulated-gpu-node-pool": "default"}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
METRIC = "mean_average_precision"
BIN = Path(sys.executable).parent

# Every tool that the scripts call, python included: writes down how it was called, and answers what they go by.
TOOL = """#!{python} -IS
import base64, json, os, socket, sys, time
from pathlib import Path

name, args = Path(sys.argv[0]).name, sys.argv[1:]
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([name, *args, os.environ.get("KUBECONFIG", "")]) + "\\n")
line = " ".join([name, *args])
if os.environ.get("BREAK") and os.environ["BREAK"] in line:
    sys.exit("broken")
if "port-forward" in args:
    server = socket.create_server(("127.0.0.1", int(args[-1].partition(":")[0])))
    while True:
        server.accept()
if "-c" in args and "import steps" in line:
    print("a/light:1 a/gpu:1 a/serve:1")
elif "-c" in args:
    print("a/gpu:1")
elif "secret" in args and "get" in args:
    print(base64.b64encode(b"key").decode(), end="")
elif "manifest" in args:
    Path(args[-1]).mkdir(parents=True)
    Path(args[-1], "smoke.sh").write_text("echo asked")
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Return a function that runs a script with fake tools: exit code, standard error, calls."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("docker", "kind", "kubectl", "helm", "curl", "git", "python"):
        (folder / name).write_text(TOOL.replace("{python}", sys.executable))
        (folder / name).chmod(0o755)

    def run(script, *arguments, **environment):
        ports = []
        for _ in range(3):
            with socket.create_server(("127.0.0.1", 0)) as server:
                ports.append(str(server.getsockname()[1]))
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            ["bash", str(KIND / script), *arguments],
            env={
                "PATH": f"{folder}:/usr/bin:/bin",
                "PYTHON": str(folder / "python"),
                "WORK": str(tmp_path / "work"),
                "CALLS": str(calls),
                **dict(zip(("API_PORT", "STORE_PORT", "SERVING_PORT"), ports, strict=True)),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stderr, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def lines(calls):
    return [" ".join(c[:-1]) for c in calls]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_sound(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = ["--external-sources", "--source-path=SCRIPTDIR"]
    linted = subprocess.run([BIN / "shellcheck", *options, script], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    assert script.name == "settings.sh" or os.access(script, os.X_OK)


def test_the_smoke_test_that_the_serve_step_writes_is_sound(model, tmp_path):
    written = serve_model(str(model), "cells", output=str(tmp_path))
    linted = subprocess.run([BIN / "shellcheck", written["smoke"]], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("lane", ["cpu", "gpu"])
def test_the_run_makes_installs_submits_checks_serves_and_removes(lane, tools, tmp_path):
    code, said, calls = tools("smoke.sh", lane)
    assert code == 0, said
    wanted = [
        "kind create cluster",
        "kind load docker-image --name automl-images-smoke a/light:1",
        "kind load docker-image --name automl-images-smoke a/serve:1",
        "kubectl apply -k github.com/kubeflow/pipelines/manifests/kustomize/cluster-scoped-resources?ref=2.17.0",
        "kubectl apply -k github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=2.17.0",
        "helm upgrade --install kserve-resources",
        *(["helm upgrade --install fake-gpu-operator"] if lane == "gpu" else []),
        "kubectl -n kubeflow wait deployment",
        "python -m pipelines submit",
        f"python {KIND}/check.py model s3://mlpipeline/smoke/registry smoke",
        *([f"python {KIND}/check.py pods"] if lane == "gpu" else []),
        f"python {KIND}/check.py manifest s3://mlpipeline/smoke/registry smoke s3://mlpipeline/v2/artifacts",
        "kubectl -n serving apply -f",
        "kubectl -n serving wait inferenceservice/smoke",
        "docker run --rm",
        "docker run --rm",
        "kind delete cluster --name automl-images-smoke",
    ]
    found = iter(lines(calls))
    for start in wanted:
        assert any(line.startswith(start) for line in found), f"{start} is missing, or not in its place"
    ours = str(tmp_path / "work" / "kubeconfig")
    assert {c[-1] for c in calls if c[0] in ("kubectl", "helm") or c[:2] == ["kind", "create"]} == {ours}
    assert "fake-gpu" in str(calls) or lane == "cpu"


@pytest.mark.parametrize("broken", ["kind create", "env/platform-agnostic", "pipelines submit", "check.py predictions"])
def test_a_failure_fails_the_run_keeps_logs_and_removes_the_cluster(broken, tools, tmp_path):
    code, _, calls = tools("smoke.sh", BREAK=broken)
    assert code != 0
    assert lines(calls)[-1].startswith("kind delete cluster")
    logs = {p.name for p in (tmp_path / "work" / "logs").iterdir()}
    assert {"nodes.txt", "events.txt", "pods.txt", "workflows.yaml", "kubeflow-pods.txt", "serving-pods.txt"} <= logs


def test_the_cluster_is_kept_on_request_and_nothing_starts_without_the_images(tools):
    code, _, calls = tools("smoke.sh", KEEP="1")
    assert code == 0 and not [line for line in lines(calls) if line.startswith("kind delete")]
    code, said, calls = tools("smoke.sh", BREAK="image inspect a/gpu:1")
    assert code == 2 and "there is no image a/gpu:1; make images first" in said
    assert not [line for line in lines(calls) if line.startswith("kind")]
    assert tools("smoke.sh", "tpu")[:2] == (2, "error: lane 'tpu': write cpu or gpu\n")


def submitted(tools, lane):
    """Return what submit.sh gives the command: its parameters as the command itself reads them."""
    code, said, calls = tools("submit.sh", lane)
    assert code == 0, said
    (call,) = (c[:-1] for c in calls if c[1:4] == ["-m", "pipelines", "submit"])
    return get_command(app).commands["submit"].make_context("submit", call[4:]).params


@pytest.mark.parametrize("lane", ["cpu", "gpu"])
def test_the_experiment_as_it_is_submitted(lane, tools, tmp_path):
    given = submitted(tools, lane)
    assert given["experiment"].samefile(SMOKE) and given["wait"]
    (tmp_path / SMOKE.name).write_text(SMOKE.read_text())
    package = Package(tmp_path / SMOKE.name, overrides=given["overrides"])
    assert package.experiment.storage == "s3://mlpipeline/smoke" and package.experiment.name == "smoke"
    assert package.experiment.lanes() == package.experiment.sweep.iterations == check.TRIALS
    for step in package.steps():
        wanted = lane == "gpu" and step in ("train", "evaluate")
        asked = package.container(step).get("resources", {}).get("accelerator", {})
        assert asked.get("resourceCount") == ("1" if wanted else None)
        assert asked.get("resourceType") == ("nvidia.com/gpu" if wanted else None)
        placed = package.kubernetes(step)
        assert placed.get("nodeSelector", {}).get("labels") == (POOL if wanted else None)
        assert placed.get("tolerations") == ([TOLERATION] if wanted else None)
    assert package.container("train")["image"] == steps.GPU


def registered(folder, model, states=(State.COMPLETED, State.COMPLETED), figure=0.4):
    """Register a model as a pipeline does, its ledger beside the registry; return the registry's address."""
    ledger = Ledger(str(folder / "ledgers" / "smoke-1"))
    ledger.open({"primary_metric": METRIC})
    for trial, state in enumerate(states):
        best = {"metric": METRIC, "value": 0.2 * (trial + 1), "epoch": 1}
        ledger.end_trial(ledger.start_trial(trial, {"number_of_epochs": 1}, []), state, best=best)
    registry = Registry(str(folder / "registry"))
    registry.register("smoke", str(model), {METRIC: figure}, {"ledger": ledger.url, "trial": 1}, METRIC)
    return registry.url


def test_the_registered_model_is_checked(model, tmp_path, capsys):
    assert check.main(["model", registered(tmp_path, model), "smoke"]) == 0
    assert "smoke version 1: mean_average_precision 0.4000, trial 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"figure": 0.1}, "is 0.1, the best trial's 0.4"),
        ({"figure": None}, "is None"),
        ({"figure": float("nan")}, "is nan"),
        ({"states": (State.COMPLETED, State.FAILED)}, "the trials are"),
        ({"states": (State.COMPLETED,)}, "the trials are"),
    ],
)
def test_a_model_that_is_not_right_is_told(changes, says, model, tmp_path, capsys):
    assert check.main(["model", registered(tmp_path, model, **changes), "smoke"]) == 2
    assert says in capsys.readouterr().err
    assert check.main(["model", str(tmp_path / "registry"), "other"]) == 2
    assert check.main(["model"]) == check.main([]) == 2


@pytest.fixture(scope="module")
def served(model, tmp_path_factory, squares):
    """Serve a registered model over HTTP as KServe's V1 protocol has it; yield (folder, request, response)."""
    root = tmp_path_factory.mktemp("served")
    registry = registered(root, model)
    uri = Registry(registry).get("smoke")["uri"]
    for number, address in enumerate((str(model), uri)):  # the first is of another run
        serve_model(address, "smoke", output=str(root / "artifacts" / str(number) / "manifest"))
    folder = root / "fetched"
    assert check.main(["manifest", registry, "smoke", str(root / "artifacts"), str(folder)]) == 0
    assert uri in (folder / "inferenceservice.yaml").read_text() and (folder / "model" / "model.pt").exists()
    photographs = Path(squares[0][0].image_url).parent
    assert check.main(["request", str(photographs), str(folder / "images.json")]) == 0
    predictor = load_model(folder / "model")

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/models/smoke:predict"
            body = json.dumps(answer(predictor, self.rfile.read(int(self.headers["Content-Length"])))).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(served, request):
    import urllib.request

    folder, address = served
    with urllib.request.urlopen(f"{address}/v1/models/smoke:predict", (folder / request).read_bytes()) as answered:
        return json.load(answered)


def test_what_is_served_is_checked(served, tmp_path, capsys):
    for request, count in (("request.json", 1), ("images.json", 2)):
        (tmp_path / "response.json").write_text(json.dumps(ask(served, request)))
        arguments = [str(served[0] / "model"), str(served[0] / request), str(tmp_path / "response.json")]
        assert check.main(["predictions", *arguments]) == 0
        assert f"{count} predictions as they should be" in capsys.readouterr().out


def shift(response):
    for box in response["predictions"][1]["boxes"]:
        box["box"] = {corner: min(1, v + 0.1) for corner, v in box["box"].items()}


SPOILT = {
    "an image less": lambda r: r["predictions"].pop(),
    "images in another order": lambda r: r["predictions"].reverse(),
    "no boxes": lambda r: r["predictions"][0].update(boxes=[]),
    "boxes shifted": shift,
    "another class": lambda r: r["predictions"][0]["boxes"][0].update(label="cat"),
    "a score above 1": lambda r: r["predictions"][0]["boxes"][0].update(score=1.5),
    "scores alone": lambda r: r.update(predictions=[{"probs": [1.0]}] * 2),
    "an error": lambda r: r.clear(),
}


@pytest.fixture(scope="module")
def response(served):
    """Return what is answered, not to be changed."""
    return ask(served, "images.json")


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_is_served_wrongly_is_told(spoil, served, response):
    response = copy.deepcopy(response)
    spoil(response)
    with pytest.raises(UserError):
        check.check_predictions(served[0] / "model", json.loads((served[0] / "images.json").read_text()), response)


def pod(name, function, limits=None, node="n1", run="this"):
    spec = {"nodeName": node, "nodeSelector": dict(POOL), "tolerations": [dict(TOLERATION)]}
    main = {"name": "main", "command": ["launch", "--"], "args": ["--function_to_execute", function]}
    main["resources"] = {"limits": limits or {}}
    spec["containers"] = [{"name": "wait"}, main]
    return {"metadata": {"name": name, "labels": {check.RUN: run}}, "spec": spec, "status": {"phase": "Succeeded"}}


def pods():
    gpu = {"nvidia.com/gpu": "1", "cpu": "1"}
    others = [pod("x", "train", run="an earlier one"), pod("y", "plan", gpu, run="an earlier one")]
    return [pod("a", "train", gpu), pod("b", "train", gpu), pod("c", "evaluate", gpu), pod("d", "plan"), *others]


NODES = [{"metadata": {"name": "n1", "labels": POOL}, "status": {"allocatable": {"nvidia.com/gpu": "2"}}}]
NO_GPUS = [{"metadata": {"name": "n1", "labels": POOL}, "status": {"allocatable": {"cpu": "4"}}}]
WRONG = {
    "one pod": lambda p: p.pop(0),
    "no limit": lambda p: p[0]["spec"]["containers"][1].update(resources={}),
    "no selector": lambda p: p[0]["spec"].pop("nodeSelector"),
    "no toleration": lambda p: p[1]["spec"].update(tolerations=[]),
    "another node": lambda p: p[1]["spec"].update(nodeName="n2"),
    "failed": lambda p: p[1]["status"].update(phase="Failed"),
    "plan has one, too": lambda p: p[3]["spec"]["containers"][1].update(resources={"limits": {"nvidia.com/gpu": "1"}}),
}


def test_pods_that_got_their_gpus(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    for name in ("model.pt", "settings.json", "labels.json"):
        (tmp_path / "model" / name).write_text("{}")
    registry = str(tmp_path / "registry")
    Registry(registry).register("smoke", str(tmp_path / "model"), {}, {"run": "this"}, "")
    for name, items in (("pods", pods()), ("nodes", NODES)):
        (tmp_path / name).write_text(json.dumps({"items": items}))
    label = "=".join(*POOL.items())
    assert check.main(["pods", registry, "smoke", str(tmp_path / "pods"), str(tmp_path / "nodes"), label]) == 0
    assert "2 pods asked for nvidia.com/gpu and got it: n1, n1" in capsys.readouterr().out
    assert check.main(["pods", registry, "smoke", str(tmp_path / "none"), str(tmp_path / "nodes"), label]) == 2


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG.keys())
def test_pods_that_did_not(spoil):
    items = copy.deepcopy(pods())
    spoil(items)
    with pytest.raises(UserError):
        check.check_pods("this", items, NODES, "=".join(*POOL.items()))
    with pytest.raises(UserError, match="without GPUs"):
        check.check_pods("this", pods(), NO_GPUS, "=".join(*POOL.items()))


def test_the_name_of_a_step_is_where_the_check_looks_for_it(tmp_path):
    (tmp_path / SMOKE.name).write_text(SMOKE.read_text())
    container = Package(tmp_path / SMOKE.name).container("train")
    assert check._function({"spec": {"containers": [{"name": "main", "command": container["args"]}]}}) == {"train"}


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_workflows_have_their_schema(schema):
    command = [BIN / "check-jsonschema", "--builtin-schema", schema, *WORKFLOWS]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_are_sound(workflow):
    text = workflow.read_text()
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in text or workflow.name == "release.yaml", "a pull request must not read a secret"
    steps = [s for job in content["jobs"].values() for s in job["steps"]]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", s["uses"]) for s in steps if "uses" in s)
    commands = "\n".join(s.get("run", "") for s in steps)
    named = re.findall(r"(?:^|\s)((?:tests/|\.ci/)\S+)", commands)
    targets = re.findall(r"\bmake ([a-z-]+)", commands)
    assert named or targets
    assert all(os.access(ROOT / name, os.X_OK) for name in named)
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_smoke_workflow_runs_each_lane_and_keeps_the_logs():
    job = yaml.safe_load((ROOT / ".github/workflows/smoke.yaml").read_text())["jobs"]["kind"]
    assert job["strategy"]["matrix"]["lane"] == ["cpu", "gpu"]
    (kept,) = (s for s in job["steps"] if "upload-artifact" in s.get("uses", ""))
    assert kept["if"] == "failure()" and kept["with"]["path"] == "runs/smoke-kind/logs"
    assert "WORK=${WORK:-$ROOT/runs/smoke-kind}" in (KIND / "settings.sh").read_text()
    assert '"$HERE/logs.sh" "$WORK/logs"' in (KIND / "smoke.sh").read_text()
