"""Deployments through the official client, against a small API server that speaks the real protocol."""

import json
from pathlib import Path

import pytest
import yaml

from automl_images.deploy import cluster as wire
from automl_images.deploy import rollout
from automl_images.deploy.cluster import Cluster
from automl_images.deploy.manifests import STAMP, manifests
from automl_images.errors import UserError
from automl_images.steps import serve as step
from automl_images.steps.serve import read_block, serve_model
from tests.helpers.command import call_step
from tests.helpers.fake_kubernetes import kubernetes, model_folder

ROLE = Path(wire.__file__).with_name("rbac.yaml")
REQUEST = {"instances": [{"image": {"b64": "aGVsbG8="}}]}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The API server, which allows what the shipped Role does and nothing else; the environment names it."""
    monkeypatch.setattr(rollout, "_POLL", 0.005)
    monkeypatch.setattr(rollout, "_GRACE", 0.02)
    monkeypatch.setattr(wire, "_PATIENCE", 0.3)
    with kubernetes(tmp_path) as (held, config):
        held.rules = next(yaml.safe_load_all(ROLE.read_text()))["rules"]
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield held


def put(to="kserve", image="good:1", model="s3://bucket/1/model", timeout=5.0, **how):
    """Deploy a model."""
    made = manifests("cells", model, read_block({"to": to, **how}), image, "light:1")
    return rollout.deploy(Cluster(how.get("namespace")), made, REQUEST, timeout)


def images(fake, to):
    """Return the images of what is applied."""
    (one,) = fake.objects["inferenceservices" if to == "kserve" else "deployments"].values()
    pod = one["spec"]["predictor"] if to == "kserve" else one["spec"]["template"]["spec"]
    return [container["image"] for container in pod["containers"]]


BOTH = pytest.mark.parametrize("to", ["kserve", "kubernetes"])


@BOTH
def test_a_model_is_applied_waited_for_and_asked(fake, to, capsys):
    found = put(to)
    kinds = ["InferenceService"] if to == "kserve" else ["Deployment", "Service", "HorizontalPodAutoscaler"]
    assert [kind for kind, _ in fake.applied] == kinds
    url = "http://cells.example.com" if to == "kserve" else "http://cells.serving.svc"
    assert found == {
        "name": "cells",
        "namespace": "serving",
        "kind": kinds[0],
        "url": url,
        "model": "s3://bucket/1/model",
        "replaced": None,
        "answer": {"predictions": [{"boxes": []}]},
        "not_sent": None,
    }
    assert fake.asked == [("8080", "/v1/models/cells:predict", REQUEST)]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"serving/cells: applying {', '.join(kinds)}" and said[-1] == "serving/cells: ready, and answers"
    assert "serving/cells: no pods yet" in said and any("ContainerCreating" in line for line in said)


@BOTH
def test_what_runs_is_replaced_and_the_same_again_is_not(fake, to):
    put(to)
    found = put(to, model="s3://bucket/2/model")
    assert (found["replaced"], found["model"]) == ("s3://bucket/1/model", "s3://bucket/2/model")
    assert len(fake.asked) == 2 and len(fake.objects["pods"]) == 1
    assert put(to, model="s3://bucket/2/model")["replaced"] == "s3://bucket/2/model"
    assert len(fake.objects["pods"]) == 1


FAILURES = {
    "crash:1": ("ended 3 times, with exit code 2 (Error)", ["BackOff", "the one before: ***", "error: no model"]),
    "pull:1": ("ImagePullBackOff: no such image", ["Failed to pull image"]),
    "wrong:1": ("answers the request with 500: KeyError : 'boxes'", []),
    "slow:1": ("not ready in 0 s: 0 of 1 pods ready", ["starting"]),
}


@BOTH
@pytest.mark.parametrize("image", FAILURES)
def test_on_failure_pods_are_told_of_and_what_ran_before_runs_again(fake, to, image, capsys, monkeypatch):
    put(to)
    capsys.readouterr()
    line, said = FAILURES[image]
    with pytest.raises(UserError) as failed:
        put(to, image=image, model="s3://bucket/2/model", timeout=0.3 if image == "slow:1" else 5)
    assert line in str(failed.value) and str(failed.value).endswith("; s3://bucket/1/model serves again")
    told = capsys.readouterr().err
    assert all(text in told for text in said) and "sesame" not in told
    assert images(fake, to) == ["good:1"]
    (pod,) = fake.objects["pods"].values()
    assert pod["fate"] == "good"
    assert put(to, model="s3://bucket/3/model")["replaced"] == "s3://bucket/1/model"


@BOTH
def test_a_first_deployment_that_fails_is_deleted(fake, to):
    with pytest.raises(UserError, match="; nothing ran before, and what was applied is deleted"):
        put(to, image="crash:1")
    kinds = ("inferenceservices", "deployments", "services", "horizontalpodautoscalers", "pods")
    assert not any(fake.objects[kind] for kind in kinds)


def test_a_quota_that_lets_no_pod_begin_is_told(fake):
    with pytest.raises(UserError, match="FailedCreate: exceeded quota; nothing ran before"):
        put("kubernetes", image="lost:1")


def test_a_half_that_is_refused_goes_back_whole(fake):
    put("kubernetes")
    fake.refuse = lambda verb, resource: (
        422 if (verb, resource) == ("patch", "horizontalpodautoscalers") and len(fake.applied) == 5 else None
    )
    with pytest.raises(
        UserError, match="HorizontalPodAutoscaler serving/cells: refused; s3://bucket/1/model serves again"
    ):
        put("kubernetes", model="s3://bucket/2/model")
    assert images(fake, "kubernetes") == ["good:1"]


def test_an_older_one_that_is_ready_does_not_stand_for_the_new(fake):
    """KServe says that a service is ready as long as any version of it is."""
    put()
    with pytest.raises(UserError, match="not ready in 0 s"):
        put(image="slow:1", timeout=0.3)


def test_a_deployment_that_another_overtakes_is_not_undone(fake, monkeypatch):
    put()
    other, real = [], rollout.look

    def meanwhile(*arguments, **options):
        if not other:
            other.append(True)
            (one,) = fake.objects["inferenceservices"].values()
            one["metadata"]["labels"][STAMP] = "another"
        return real(*arguments, **options)

    monkeypatch.setattr(rollout, "look", meanwhile)
    with pytest.raises(
        UserError, match="another deployment has taken its place; what has taken its place is left alone"
    ):
        put(model="s3://bucket/2/model")
    assert len(fake.applied) == 2


def test_what_somebody_else_made_is_left_alone(fake):
    put("kubernetes")
    fake.objects["services"]["cells"]["metadata"]["labels"] = {}
    with pytest.raises(UserError, match="Service serving/cells: is there and was not deployed by this command"):
        put("kubernetes", model="s3://bucket/2/model")
    with pytest.raises(UserError, match="Deployment serving/cells: serves it without KServe"):
        put("kserve")
    assert len(fake.applied) == 3


def test_what_kubectl_applied_is_brought_back(fake):
    """smoke.sh applies the manifest with kubectl, which keeps it in an annotation of its own."""
    put()
    (one,) = fake.objects["inferenceservices"].values()
    annotations = one["metadata"]["annotations"]
    annotations["kubectl.kubernetes.io/last-applied-configuration"] = annotations.pop(rollout.APPLIED)
    with pytest.raises(UserError, match="s3://bucket/1/model serves again"):
        put(image="wrong:1")
    (one,) = fake.objects["inferenceservices"].values()
    del one["metadata"]["annotations"][rollout.APPLIED]
    with pytest.raises(UserError, match="what ran before is not known"):
        put(image="wrong:1")


def test_a_service_scaled_to_zero_is_not_asked(fake):
    put(min_replicas=0)
    fake.objects["pods"].clear()
    (one,) = fake.objects["inferenceservices"].values()
    fake._step = lambda *_: None
    one["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    made = manifests("cells", "s3://bucket/1/model", read_block({"to": "kserve", "min_replicas": 0}), "good:1", "")
    assert (
        rollout.wait(Cluster(), "InferenceService", "cells", made[0]["metadata"]["labels"][STAMP], 1, unchanged=True)
        is None
    )
    assert rollout.ask(Cluster(), "cells", None, REQUEST) == (None, "no pod runs while nobody asks")


NOT_SENT = {
    "not allowed": ("pods/proxy", None, 'cannot create resource "pods/proxy"'),
    "not reached": (None, (503, {"kind": "Status", "message": "error trying to reach service: no route"}), "no route"),
}


@pytest.mark.parametrize("case", NOT_SENT)
def test_a_request_that_does_not_get_there_says_nothing_of_the_model(fake, case, capsys):
    denied, answer, line = NOT_SENT[case]
    fake.rules = [rule for rule in fake.rules if denied not in rule["resources"]]
    fake.answer = answer or fake.answer
    found = put()
    assert found["answer"] is None and line in found["not_sent"]
    assert "ready; the request was not sent" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [{}, {"predictions": []}, [], {"predictions": [1, 2]}, (200, "no JSON")])
def test_an_answer_without_a_prediction_is_a_failure(fake, answer):
    fake.answer = answer
    with pytest.raises(UserError, match="answers the request with no (prediction for each image|JSON)"):
        put()


def test_what_the_cluster_refuses_is_said_in_a_line(fake, tmp_path, monkeypatch):
    fake.kserve = False
    with pytest.raises(UserError, match="the cluster has no KServe; install it, or use to: kubernetes"):
        put()
    fake.kserve, fake.rules = True, []
    with pytest.raises(UserError, match=r"not allowed to get it: .* is forbidden: .* grants it with rbac\.yaml"):
        put()
    fake.rules = None
    with pytest.raises(UserError, match='namespaces "elsewhere" not found; nothing ran before'):
        put(namespace="elsewhere")
    config = tmp_path / "kubeconfig"
    config.write_text(config.read_text().replace("a-token", "stolen"))
    with pytest.raises(UserError, match="does not take these credentials"):
        put()
    with pytest.raises(UserError, match="--context other: "):
        Cluster(context="other")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="no cluster is known: set KUBECONFIG"):
        Cluster()


def test_an_api_server_that_stumbles_is_asked_again(fake, monkeypatch):
    monkeypatch.setattr(wire, "_PATIENCE", 20)
    left = [503, 429, 500]
    fake.refuse = lambda verb, resource: left.pop() if left and verb == "get" else None
    assert put()["answer"] and not left


def test_an_api_server_that_is_gone_is_said(fake, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text())).replace("127.0.0.1:", "127.0.0.1:1#"))
    with pytest.raises(UserError, match="the API server does not answer"):
        Cluster().get("Deployment", "cells")


def test_the_step_writes_deploys_and_answers(fake, tmp_path, monkeypatch):
    model = model_folder(tmp_path / "model")
    with pytest.raises(UserError, match="KServe cannot read .* from a cluster"):
        serve_model(str(model), "cells", {"to": "kserve"})
    monkeypatch.setattr(step, "storage_uri", lambda model, how: ("s3://bucket/1/model", None))
    found = serve_model(str(model), "Cells", {"to": "kubernetes"}, output=str(tmp_path / "out"), image="good:1")
    assert found["deployed"]["answer"] == {"predictions": [{"boxes": []}]}
    assert step.headline(found) == "serving/cells serves http://cells.serving.svc"
    written = list(yaml.safe_load_all(Path(found["manifest"]).read_text()))
    assert [one["kind"] for one in written] == [kind for kind, _ in fake.applied]
    assert fake.asked[0][2] == json.loads(Path(found["request"]).read_text())


def test_a_registered_version_is_deployed_by_its_alias(fake, monkeypatch, capsys):
    """The command names the service after the model; the registry and the folder are stood in for."""
    monkeypatch.setattr("automl_images.cli_serve.resolve", lambda model: "pvc://models/cells/3/model")
    code, out, err = call_step(
        monkeypatch,
        capsys,
        "serve",
        "s3://b/registry/Cells@champion",
        "--to",
        "kserve",
        "--image",
        "good:1",
        "--gpus",
        1,
    )
    assert code == 0, err
    told = json.loads(out)
    assert (told["manifest"], told["deployed"]["name"]) == (None, "cells")
    assert told["deployed"]["model"] == "pvc://models/cells/3/model"
    (one,) = fake.objects["inferenceservices"].values()
    assert one["spec"]["predictor"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    asked = len(fake.requests)
    code, out, _ = call_step(
        monkeypatch, capsys, "serve", "s3://b/registry/Cells@champion", "--to", "kubernetes", "--dry-run"
    )
    made = list(yaml.safe_load_all(out))
    assert code == 0 and [one["kind"] for one in made] == ["Deployment", "Service", "HorizontalPodAutoscaler"]
    assert len(fake.requests) == asked


def test_the_role_grants_no_more_than_is_used(fake):
    """What is deployed, replaced, undone and deleted above uses each rule; here each verb is found in the requests."""
    for to in ("kserve", "kubernetes"):
        put(to, **({"image": "good:2"}))
        with pytest.raises(UserError):
            put(to, image="crash:1")
        for kind in ("inferenceservices", "deployments", "services", "horizontalpodautoscalers"):
            fake.objects[kind].clear()
        with pytest.raises(UserError):
            put(to, image="crash:1")
    used = {(verb, resource) for verb, resource, _ in fake.requests}
    granted = {(verb, r) for rule in fake.rules for r in rule["resources"] for verb in rule["verbs"]}
    assert granted == used
