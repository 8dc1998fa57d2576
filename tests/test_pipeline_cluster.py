"""Each field of an experiment's ``cluster`` and ``resources``, in the compiled package, for every step."""

import json

import jsonschema
import pytest
import yaml

from automl_images.errors import UserError
from automl_images.pipelines.cluster import CA_VARIABLES, Cluster
from automl_images.pipelines.experiment import Experiment, load
from automl_images.steps import STEPS
from tests.helpers.package import Package
from tests.helpers.spec_walk import unresolved

CLUSTER = {
    "namespace": "team",
    "endpoint": "https://kubeflow.example.com",
    "service_account": "runner",
    "images": {"light": "r.example.com/light:1", "gpu": "r.example.com/gpu:1", "serve": "r.example.com/serve:1"},
    "image_pull_secrets": ["registry", "mirror"],
    "secret": "store",
    "object_store": "https://s3.example.com",
    "region": "eu-central-1",
    "cache_volume": "weights",
    "data_volume": {"claim": "images", "path": "/data/cells", "sub_path": "2026"},
    "labels": {"kueue.x-k8s.io/queue-name": "team", "cost": 17},
    "annotations": {"sidecar.istio.io/inject": "false", "note": "of any text: a, b"},
    "environment": {"HTTPS_PROXY": "http://proxy:3128", "LEVEL": 3},
    "environment_from": [
        {"secret": "tokens", "keys": {"hub": "HF_TOKEN"}},
        {"config_map": "proxy", "keys": {"none": "NO_PROXY"}},
    ],
    "ca_bundle": {"config_map": "authorities", "key": "all.pem"},
    "steps": {
        "convert": {"requests": {"cpu": 1, "memory": "2Gi"}, "limits": {"cpu": 4, "memory": "16Gi"}},
        "train": {"requests": {"cpu": "500m"}, "limits": {"memory": "64Gi"}},
        "evaluate": {"limits": {"cpu": "3"}},
    },
}
EXPERIMENT = {
    "name": "cells",
    "task": "image-object-detection",
    "data": {"training": {"source": "/data/cells/annotations.jsonl"}},
    "sweep": {"iterations": 3, "space": {"learning_rate": {"uniform": [0.001, 0.01]}}},
    "cluster": CLUSTER,
}


def written(folder, **cluster):
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**EXPERIMENT, "cluster": cluster}))
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return Package(written(tmp_path_factory.mktemp("package"), **CLUSTER))


def variables(package, step):
    return {e["name"]: e["value"] for e in package.container(step)["env"]}


def kubernetes(package, step, field):
    return package.kubernetes(step).get(field)


def image(package, step):
    return package.container(step)["image"] == f"r.example.com/{'gpu' if step in ('train', 'evaluate') else 'light'}:1"


def pull_secrets(package, step):
    return [s["secretName"] for s in kubernetes(package, step, "imagePullSecret")] == ["registry", "mirror"]


def keys(package, step):
    (secret,) = (s for s in kubernetes(package, step, "secretAsEnv") if s["secretName"] == "store")
    return {k["envVar"] for k in secret["keyToEnv"]} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def volumes(package, step):
    found = {v["constant"]: (v["mountPath"], v.get("subPath", "")) for v in kubernetes(package, step, "pvcMount")}
    return found == {"weights": ("/cache", ""), "images": ("/data/cells", "2026")}


def from_elsewhere(package, step):
    (secret,) = (s for s in kubernetes(package, step, "secretAsEnv") if s["secretName"] == "tokens")
    (held,) = kubernetes(package, step, "configMapAsEnv")
    assert held["keyToEnv"] == [{"configMapKey": "none", "envVar": "NO_PROXY"}]
    assert not secret.get("optional") and not held.get("optional"), "what is named must be there"
    return held["configMapName"] == "proxy" and secret["keyToEnv"] == [{"secretKey": "hub", "envVar": "HF_TOKEN"}]


def authorities(package, step):
    (mounted,) = kubernetes(package, step, "configMapAsVolume")
    named = {variables(package, step)[name] for name in CA_VARIABLES}
    return mounted["configMapName"] == "authorities" and named == {f"{mounted['mountPath']}/all.pem"}


AMOUNTS = {  # requests and limits in CPUs and GiB; None: not given, so that Kubernetes takes the limit
    "convert": (1, 4, 2, 16),
    "train": (0.5, 8, None, 64),
    "evaluate": (None, 3, None, 32),
}


def amounts(package, step):
    found = package.container(step)["resources"]
    named = [found.get(n) for n in ("cpuRequest", "cpuLimit", "memoryRequest", "memoryLimit")]
    scaled = [n if n is None or i < 2 else n * 1e9 / 2**30 for i, n in enumerate(named)]
    return scaled == pytest.approx(AMOUNTS.get(step, (0.1, 2, 0.25, 4)))


FIELDS = {  # what each field does to a step's pod
    "images": image,
    "image_pull_secrets": pull_secrets,
    "secret": keys,
    "object_store": lambda p, s: variables(p, s)["AWS_ENDPOINT_URL"] == "https://s3.example.com",
    "region": lambda p, s: {variables(p, s)[n] for n in ("AWS_REGION", "AWS_DEFAULT_REGION")} == {"eu-central-1"},
    "cache_volume": lambda p, s: volumes(p, s) and variables(p, s)["TORCH_HOME"] == "/cache/torch",
    "data_volume": lambda p, s: volumes(p, s) and variables(p, s)["AUTOML_IMAGES_SHARED"] == "/data/cells",
    "labels": lambda p, s: (
        kubernetes(p, s, "podMetadata")["labels"] == {"kueue.x-k8s.io/queue-name": "team", "cost": "17"}
    ),
    "annotations": lambda p, s: kubernetes(p, s, "podMetadata")["annotations"] == CLUSTER["annotations"],
    "environment": lambda p, s: (
        (variables(p, s)["HTTPS_PROXY"], variables(p, s)["LEVEL"]) == ("http://proxy:3128", "3")
    ),
    "environment_from": from_elsewhere,
    "ca_bundle": authorities,
    "steps": amounts,
}
SUBMITTED = {"namespace", "endpoint", "service_account"}  # what submit uses; tests/test_submit.py


@pytest.mark.parametrize("field", sorted(set(Cluster.model_fields) - SUBMITTED))
def test_every_field_reaches_every_pod(package, field):
    assert set(package.steps()) == set(STEPS)
    for step in STEPS:
        assert FIELDS[field](package, step), (field, step, package.container(step), package.kubernetes(step))


def test_what_no_field_names_is_in_no_pod(tmp_path):
    bare = Package(written(tmp_path))
    for step in STEPS:
        assert set(bare.kubernetes(step)) <= {"securityContext", "secretAsEnv", "emptyDirMounts"}
        assert set(variables(bare, step)) == {"AUTOML_IMAGES_IMAGE", "AWS_ENDPOINT_URL"}


def test_the_package_is_sound_and_what_serves_is_named_in_it(package):
    assert unresolved(package.spec, package.platform) == []
    given = package.tasks["serve"]["inputs"]["parameters"]["image"]["runtimeValue"]["constant"]
    assert given == "r.example.com/serve:1"


def test_certificates_of_a_secret(tmp_path):
    package = Package(written(tmp_path, ca_bundle={"secret": "authorities"}, secret=None, object_store="https://s3"))
    for step in STEPS:
        (mounted,) = kubernetes(package, step, "secretAsVolume")
        assert mounted["secretName"] == "authorities" and not mounted.get("optional")
        assert variables(package, step)["AWS_CA_BUNDLE"] == f"{mounted['mountPath']}/ca-bundle.crt"
        assert variables(package, step)["AWS_ENDPOINT_URL"] == "https://s3", "an account has access without a secret"


BAD = {
    "priority class": (
        {"priority_class": "high"},
        "cluster: priority_class cannot be given to a run: Kubeflow .* 2.17",
    ),
    "two places": (
        {"ca_bundle": {"secret": "a", "config_map": "b"}},
        "cluster.ca_bundle: name a config_map or a secret",
    ),
    "no place": (
        {"environment_from": [{"keys": {"a": "B"}}]},
        r"cluster.environment_from\[0\]: name a config_map or a",
    ),
    "no keys": (
        {"environment_from": [{"secret": "a", "keys": {}}]},
        r"environment_from\[0\].keys: dictionary should have",
    ),
    "no name": ({"image_pull_secrets": ["Mine!"]}, r"cluster.image_pull_secrets\[0\]: string should match"),
    "no label": ({"labels": {"team": "a b"}}, "cluster.labels.team: string should match"),
    "a boolean": ({"labels": {"inject": False}}, "cluster.labels.inject: input should be a valid string, not False"),
    "no variable": ({"environment": {"A-B": "1"}}, "cluster.environment"),
    "set twice": (
        {"environment": {"AWS_REGION": "x"}, "region": "y"},
        "environment: AWS_REGION is set by cluster.region",
    ),
    "set by two": (
        {"environment": {"A": "1"}, "environment_from": [{"secret": "s", "keys": {"a": "A"}}]},
        r"environment_from\[0\]: A is set by cluster.environment; give one of the two",
    ),
    "ours": ({"environment": {"AUTOML_IMAGES_IMAGE": "x"}}, "AUTOML_IMAGES_IMAGE is set by each step itself"),
    "relative": ({"data_volume": {"claim": "c", "path": "data"}}, "cluster.data_volume.path: string should match"),
    "taken": ({"data_volume": {"claim": "c", "path": "/cache/x"}}, "path: /cache/x is no free place in a pod: /cache"),
    "all": ({"data_volume": {"claim": "c", "path": "/"}}, "path: / is no free place in a pod"),
    "no step": ({"steps": {"trains": {}}}, "cluster.steps.trains"),
    "no quantity": (
        {"steps": {"train": {"limits": {"memory": "64GB"}}}},
        "cluster.steps.train.limits.memory: '64GB' is",
    ),
}


@pytest.mark.parametrize(("cluster", "line"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_by_name(tmp_path, cluster, line):
    with pytest.raises(UserError, match=line):
        load(written(tmp_path, **cluster))


@pytest.mark.parametrize(
    ("step", "asked", "line"),
    [
        ("convert", {"requests": {"cpu": "4"}}, "cluster.steps.convert.requests.cpu: 4 is more than its limit, 2"),
        ("train", {"requests": {"memory": "40Gi"}}, "cluster.steps.train.requests.memory: 40Gi is more than .*, 32Gi"),
    ],
)
def test_no_step_asks_for_more_than_it_may_have(tmp_path, step, asked, line):
    with pytest.raises(UserError, match=line):
        Package(written(tmp_path, steps={step: asked}))


def test_the_schema_has_every_field_with_its_rules():
    schema = json.loads(json.dumps(Experiment.model_json_schema(by_alias=True)))
    assert set(schema["$defs"]["Cluster"]["properties"]) == set(Cluster.model_fields)
    jsonschema.validate(
        {**EXPERIMENT, "cluster": {**CLUSTER, "labels": {"a": "b"}, "environment": {}, "steps": {}}}, schema
    )
    for wrong in ({"labels": {"a": "b c"}}, {"steps": {"trains": {}}}, {"priority_class": "high"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**EXPERIMENT, "cluster": wrong}, schema)
