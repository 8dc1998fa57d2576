"""What is written for a cluster, against published schemas and by what a careful cluster asks of a pod."""

import importlib.util
import uuid
from pathlib import Path

import jsonschema
import pytest
import yaml
from kubernetes import client

from automl_images import storage
from automl_images.deploy.fetch import fetch
from automl_images.deploy.manifests import STAMP, kubernetes_name, manifests, storage_uri
from automl_images.errors import UserError
from automl_images.steps.serve import as_yaml, made_for, read_block, serve_model
from tests.helpers.fake_kubernetes import model_folder

SCHEMA = yaml.safe_load((Path(__file__).parent / "data/kserve_inferenceservice.yaml").read_text())
MODELS = {"s3": "s3://b/m", "gs": "gs://b/m", "pvc": "pvc://claim/a/model", "oci": "oci://registry/model:1"}
HOW = {
    "plain": {},
    "all": {
        "namespace": "serving",
        "gpus": 1,
        "min_replicas": 2,
        "max_replicas": 3,
        "secret": "store",
        "service_account": "reader",
        "node_selector": {"pool": "gpu"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 3}
        ],
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
        "timeout_seconds": 120,
    },
}
EVERY = [(to, model, how) for to in ("manifest", "kserve", "kubernetes") for model in MODELS for how in HOW]
every = pytest.mark.parametrize(("to", "model", "how"), EVERY, ids=["-".join(one) for one in EVERY])


@pytest.fixture
def model(tmp_path):
    return model_folder(tmp_path / "model")


def made(to="kserve", model="s3", how="plain", **more):
    return manifests("cells", MODELS[model], read_block({"to": to, **HOW[how], **more}), "serve:1", "light:1")


def pod_of(to, *rest):
    spec = made(to, *rest)[0]["spec"]
    return spec["template"]["spec"] if to == "kubernetes" else spec["predictor"]


def faults(value, kind, where=""):
    """Return what a value has that a model of Kubernetes' API has not: unknown fields, other types, missing ones."""
    if kind in ("str", "int", "bool", "object", "datetime", "float"):
        wanted = {"str": str, "int": int, "bool": bool}.get(kind, object)
        odd = not isinstance(value, wanted) or (kind == "int" and isinstance(value, bool))
        return [f"{where}: {value!r} is no {kind}"] if odd else []
    if kind.startswith("list["):
        return [f for i, one in enumerate(value) for f in faults(one, kind[5:-1], f"{where}[{i}]")]
    if kind.startswith("dict("):
        inner = kind[5:-1].split(", ", 1)[1]
        return [f for key, one in value.items() for f in faults(one, inner, f"{where}.{key}")]
    model = getattr(client, kind)
    names = {written: name for name, written in model.attribute_map.items()}
    found = [f"{where}.{key}: unknown to {kind}" for key in value if key not in names]
    known = {key: one for key, one in value.items() if key in names}
    try:
        model(**{names[key]: one for key, one in known.items()})
    except ValueError as error:  # one that is needed is missing
        found.append(f"{where}: {error}")
    return found + [
        f for key, one in known.items() for f in faults(one, model.openapi_types[names[key]], f"{where}.{key}")
    ]


def api_faults(manifest):
    kind = {"HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler"}.get(manifest["kind"], f"V1{manifest['kind']}")
    return faults(manifest, kind)


@every
def test_manifests_fit_published_schemas(to, model, how):
    """KServe's resource by its own definition; Kubernetes' by the client's models, made from its API's definition."""
    found = made(to, model, how)
    if to != "kubernetes":
        (one,) = found
        jsonschema.validate(one, SCHEMA)
        pod = {k: v for k, v in one["spec"]["predictor"].items() if k not in {"minReplicas", "maxReplicas"}}
        assert faults({k: v for k, v in pod.items() if k not in {"labels", "annotations"}}, "V1PodSpec") == []
        return
    assert [one["kind"] for one in found] == ["Deployment", "Service", "HorizontalPodAutoscaler"]
    # volumes that are images came with Kubernetes 1.31; the client's models are of 1.30
    later = [".spec.template.spec.volumes[1].image: unknown to V1Volume"] if model == "oci" else []
    assert [f for one in found for f in api_faults(one)] == later


@pytest.mark.skipif(not importlib.util.find_spec("kubernetes_validate"), reason="kubernetes-validate is not installed")
@pytest.mark.parametrize("model", MODELS)
def test_kubernetes_validate_finds_nothing(model):
    import kubernetes_validate

    for how in HOW:
        for one in made("kubernetes", model, how):
            kubernetes_validate.validate(one, "1.35", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(made("kubernetes")[0] | {"spec": {"replica": 1}}, "1.35", strict=True)


def test_the_schemas_would_find_a_fault():
    (one,) = made()
    one["spec"]["predictor"]["containers"][0]["ports"][0]["containerPort"] = "8080"
    with pytest.raises(jsonschema.ValidationError, match="is not of type 'integer'"):
        jsonschema.validate(one, SCHEMA)
    (one,) = made()
    one["spec"]["predictor"]["minReplica"] = 0
    with pytest.raises(jsonschema.ValidationError, match="'minReplica' was unexpected"):
        jsonschema.validate(one, SCHEMA)
    deployment = made("kubernetes")[0]
    deployment["spec"]["progressDeadline"] = 3
    del deployment["spec"]["selector"]
    deployment["spec"]["template"]["spec"]["containers"][0]["tty"] = "yes"
    assert [f.partition(":")[0] for f in api_faults(deployment)] == [
        ".spec.progressDeadline",
        ".spec",
        ".spec.template.spec.containers[0].tty",
    ]


@every
def test_pods_are_as_a_careful_cluster_wants_them(to, model, how):
    """What the pod security level restricted asks, a root file system that is only read, limits, and probes."""
    pod = pod_of(to, model, how)
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["resources"]["limits"]["memory"]
        written = [m for m in container["volumeMounts"] if not m.get("readOnly")]
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert {"name": "scratch", "mountPath": "/tmp"} in written
        assert all("emptyDir" in volumes[mount["name"]] for mount in written)
        assert {"name": "HOME", "value": "/tmp"} in container["env"]
    (server,) = pod["containers"]
    probes = {kind: server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert probes["startup"] == probes["readiness"] == {"path": "/v1/models/cells", "port": 8080}
    assert probes["liveness"] == {"path": "/v2/health/live", "port": 8080}
    assert server["args"] == ["--model_dir", "/mnt/models", "--model_name", "cells"]


@pytest.mark.parametrize("to", ["kserve", "kubernetes"])
def test_options_reach_the_pods(to):
    pod, server = pod_of(to, "s3", "all"), pod_of(to, "s3", "all")["containers"][0]
    assert server["resources"] == {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}
    assert (pod["serviceAccountName"], pod["nodeSelector"]) == ("reader", {"pool": "gpu"})
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
    ]
    found = made(to, "s3", "all")
    assert {one["metadata"]["namespace"] for one in found} == {"serving"}
    if to == "kserve":
        assert (pod["minReplicas"], pod["maxReplicas"]) == (2, 3)
        assert set(pod["annotations"].values()) == {"store"}
        assert pod_of(to)["minReplicas"] == 1 and not pod_of(to).keys() & {"maxReplicas", "annotations"}
        assert made(min_replicas=0)[0]["spec"]["predictor"]["minReplicas"] == 0
    else:
        assert (found[2]["spec"]["minReplicas"], found[2]["spec"]["maxReplicas"]) == (2, 3)
        assert "replicas" not in found[0]["spec"] and found[0]["spec"]["progressDeadlineSeconds"] == 120
        assert made(to)[2]["spec"]["maxReplicas"] == 1


def test_a_model_comes_into_a_pod_without_kserve():
    fetching = pod_of("kubernetes", "s3", "all")
    (init,) = fetching["initContainers"]
    assert (init["image"], init["args"]) == ("light:1", ["s3://b/m", "/mnt/models"])
    assert init["command"] == ["python", "-m", "automl_images.deploy.fetch"]
    assert init["envFrom"] == [{"secretRef": {"name": "store"}}]
    (init,) = pod_of("kubernetes", "gs", "all")["initContainers"]
    key = {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/var/secrets/gcloud-application-credentials.json"}
    assert key in init["env"] and "envFrom" not in init
    assert "envFrom" not in pod_of("kubernetes", "s3")["initContainers"][0]
    claim = pod_of("kubernetes", "pvc")
    assert "initContainers" not in claim
    assert claim["volumes"][1]["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    assert claim["containers"][0]["volumeMounts"][1]["subPath"] == "a/model"
    image = pod_of("kubernetes", "oci", "all")
    assert image["volumes"][1]["image"]["reference"] == "registry/model:1"
    assert image["imagePullSecrets"] == [{"name": "store"}]


def test_a_stamp_tells_one_deployment_from_another():
    def stamps(**how):
        return {one["metadata"]["labels"][STAMP] for one in made("kubernetes", **how)}

    assert stamps() == stamps() and len(stamps()) == 1
    assert stamps() != stamps(model="gs") and stamps() != stamps(max_replicas=3)
    deployment = made("kubernetes")[0]
    assert deployment["spec"]["template"]["metadata"]["labels"][STAMP] in stamps()
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector == made("kubernetes")[1]["spec"]["selector"] == {"app.kubernetes.io/name": "cells"}
    (one,) = made()
    assert one["spec"]["predictor"]["labels"][STAMP] == one["metadata"]["labels"][STAMP]


@pytest.mark.parametrize(
    ("to", "uri", "how", "written", "why"),
    [
        ("kserve", "s3://b/m/", {}, "s3://b/m", None),
        ("manifest", "gs://b/m", {}, "gs://b/m", None),
        ("kserve", "oci://r/m:1", {}, "oci://r/m:1", None),
        ("kserve", "minio://b/m/", {"secret": "s"}, "s3://b/m", None),
        ("kubernetes", "minio://b/m/", {"service_account": "s"}, "s3://b/m", None),
        (
            "kserve",
            "minio://b/m",
            {},
            "s3://b/m",
            "minio:// is no address that KServe reads; write s3://b/m and name a",
        ),
        ("kubernetes", "minio://b/m", {}, "s3://b/m", "minio:// is no address that a pod reads; write s3://b/m"),
        ("kserve", "/data/m", {}, "/data/m", "KServe cannot read /data/m from a cluster"),
        ("manifest", "abfs://b/m", {}, "abfs://b/m", "KServe cannot read abfs://b/m"),
        ("kubernetes", "abfs://b/m", {}, "abfs://b/m", None),
        ("kubernetes", "hdfs://b/m", {}, "hdfs://b/m", "a pod cannot read hdfs://b/m from a cluster: it reads s3://"),
    ],
)
def test_what_a_cluster_cannot_read_is_said(to, uri, how, written, why):
    found, said = storage_uri(uri, read_block({"to": to, **how}))
    assert found == written
    assert said is None if why is None else said.startswith(why)


def test_a_manifest_is_written_with_a_note_and_a_deployment_is_refused(model, capsys):
    (one,) = made_for(str(model), "cells", read_block({}))
    assert {"name": "STORAGE_URI", "value": str(model)} in one["spec"]["predictor"]["containers"][0]["env"]
    assert capsys.readouterr().err.startswith("note: KServe cannot read ")
    for to in ("kserve", "kubernetes"):
        with pytest.raises(UserError, match=f"cannot read {model} from a cluster"):
            made_for(str(model), "cells", read_block({"to": to}))
    for uri in (MODELS["pvc"], MODELS["oci"]):  # which this machine cannot look into
        assert made_for(uri, "cells", read_block({"to": "kserve"}))
    text = as_yaml(made("kubernetes", "s3", "all"))
    assert list(yaml.safe_load_all(text)) == made("kubernetes", "s3", "all") and "&id" not in text


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("Blood_Cells", "blood-cells"), ("7up", "model-7up"), ("-a..b-", "a-b"), ("x" * 80, "x" * 53), ("cells", "cells")],
)
def test_names_are_made_to_fit_kubernetes(name, wanted):
    assert kubernetes_name(name) == wanted


def test_the_step_refuses_what_cannot_be_served(model, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for change, line in (
        ({"model": str(tmp_path / "none")}, "has no model.pt, settings.json, labels.json"),
        ({"name": "___"}, "no letter or digit"),
        ({"example": str(text)}, "is not an image that opens"),
        ({"example": str(tmp_path / "absent.jpg")}, "is not there"),
        ({"how": {"resources": {"cpu": "1"}}}, r"serve\.resources.*cpu.*'requests' or 'limits'"),
    ):
        with pytest.raises(UserError, match=line):
            serve_model(**{"model": str(model), "name": "cells", "output": str(tmp_path / "out"), **change})
        assert not (tmp_path / "out").exists()


def test_a_pod_fetches_a_whole_model_folder(tmp_path):
    root = f"memory://deploy-{uuid.uuid4().hex}"
    for name, text in {"model.pt": "weights", "labels.json": "[]", "more/a.txt": "a"}.items():
        storage.write(f"{root}/model/{name}", text)
    assert fetch(f"{root}/model", str(tmp_path / "models")) == f"{root}/model: 3 files, 0.0 MB"
    assert (tmp_path / "models/model.pt").read_text() == "weights"
    assert (tmp_path / "models/more/a.txt").read_text() == "a"
    with pytest.raises(UserError, match=r"elsewhere: has no model\.pt or model\.onnx"):
        fetch(f"{root}/elsewhere", str(tmp_path / "models"))
