"""What Kubernetes needs to serve a model: a KServe InferenceService, or a Deployment with all that it lacks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.deploy.block import Serve
from automl_images.errors import UserError, redact

RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
MANAGER = "automl-images"
MANAGED = {"app.kubernetes.io/managed-by": MANAGER}
STAMP = f"{MANAGER}/deployment"  # on what is applied and on its pods: a digest that tells one deployment from another
MODEL = f"{MANAGER}/model"  # the model folder's address
FOLDER, PORT, GRPC = "/mnt/models", 8080, 8081
_FETCHED = ("s3", "gs", "abfs", "abfss", "az")  # what the image light has drivers of
_SCHEMES = {
    "kserve": ("s3", "gs", "pvc", "oci", "hdfs", "webhdfs", "http", "https", "hf"),
    "kubernetes": (*_FETCHED, "pvc", "oci"),
}
_FETCHING = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
_SECRET = ("serving.kserve.io/storageSecretName", "serving.kserve.io/secretName")  # as KServe's YAML, and its chart
_LONGEST = 63 - len("-predictor")  # KServe names a service after the predictor, a DNS label
_SCRATCH = {"name": "scratch", "emptyDir": {}}
_WRITES = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108
_HOME = {"name": "HOME", "value": "/tmp"}  # noqa: S108
_UNPRIVILEGED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def kubernetes_name(name: str) -> str:
    """Return ``name`` as Kubernetes takes it: lower-case letters, digits, ``-``, a letter first, at most 53 characters.

    Raises:
        UserError: nothing is left of the name.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not label:
        raise UserError(f"the name '{name}' has no letter or digit that Kubernetes takes")
    return (label if label[0].isalpha() else f"model-{label}")[:_LONGEST].rstrip("-")


def storage_uri(model: str, how: Serve) -> tuple[str, str | None]:
    """Return a model folder's address as the cluster reads it, and why it cannot if it cannot.

    ``minio://`` is Kubeflow's word alone for a bucket at the store's own address, so that it becomes ``s3://``; the
    address is then for the secret, or what the service account brings, to tell.
    """
    model = storage.absolute(model)
    scheme = "file" if storage.is_local(model) else model.partition("://")[0]
    kind = "kubernetes" if how.to == "kubernetes" else "kserve"
    reader = "KServe" if kind == "kserve" else "a pod"
    if scheme == "minio":
        model = re.sub("^minio://", "s3://", model)
        if not how.secret and not how.service_account:
            return model, (
                f"minio:// is no address that {reader} reads; write {redact(model)} and name a secret with the store's "
                "keys and address, or a service account that has one"
            )
    elif scheme not in _SCHEMES[kind]:
        known = ", ".join(f"{s}://" for s in _SCHEMES[kind])
        return model, (
            f"{reader} cannot read {redact(model)} from a cluster: it reads {known}; register the model in a registry "
            "on S3, GCS or a pvc:// and serve that"
        )
    return model, None


def manifests(name: str, model: str, how: Serve, image: str, fetcher: str) -> list[dict[str, Any]]:
    """Return what serves a model folder: a KServe InferenceService, or Deployment, Service and HorizontalPodAutoscaler.

    Containers run without privileges, as the image's user, which must be numeric and not root, and write to ``/tmp``
    alone. All of it bears a digest (:data:`STAMP`), so that an unchanged one is told from a new one.

    Args:
        name: the service's and the model's name, made to fit.
        model: the model folder's address, as :func:`storage_uri` returned it.
        how: ``to: kubernetes`` is without KServe; the rest as said there.
        image: the container image that serves, with this package and its ``serve`` extra.
        fetcher: the image that copies the folder into a pod, for ``to: kubernetes``; KServe has its own.

    Raises:
        UserError: the name cannot be one.
    """
    name = kubernetes_name(name)
    made = _plain(name, model, how, image, fetcher) if how.to == "kubernetes" else [_kserve(name, model, how, image)]
    made = json.loads(json.dumps(made))  # nothing is shared, which YAML would write as a reference
    for one in made:
        place = {"namespace": how.namespace} if how.namespace else {}
        labels = {"app.kubernetes.io/name": name, **MANAGED}
        one["metadata"] = {"name": name, **place, "labels": labels, "annotations": {MODEL: model}}
    stamp = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    for one in made:
        one["metadata"]["labels"][STAMP] = stamp
    spec = made[0]["spec"]
    pods = spec["template"]["metadata"] if made[0]["kind"] == "Deployment" else spec["predictor"]
    pods.setdefault("labels", {}).update({**MANAGED, STAMP: stamp})
    return made


def _server(name: str, image: str, how: Serve) -> dict[str, Any]:
    """Return the container that serves what lies in ``/mnt/models``."""
    resources = {kind: dict(amounts) for kind, amounts in (how.resources or RESOURCES).items()}
    if how.gpus:
        resources.setdefault("limits", {})["nvidia.com/gpu"] = str(how.gpus)
    ready = {"httpGet": {"path": f"/v1/models/{name}", "port": PORT}}
    return {
        "image": image,
        "command": ["python", "-m", "automl_images.serving.server"],
        "args": ["--model_dir", FOLDER, "--model_name", name],
        "env": [_HOME],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        # loading may take minutes on a slow disk; only then do the other two begin
        "startupProbe": {**ready, "periodSeconds": 5, "failureThreshold": 120, "timeoutSeconds": 5},
        "readinessProbe": {**ready, "timeoutSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": PORT},
            "periodSeconds": 20,
            "failureThreshold": 6,
            "timeoutSeconds": 10,
        },
        "resources": resources,
        "securityContext": _UNPRIVILEGED,
        "volumeMounts": [_WRITES],
    }


def _pod(model: str, how: Serve) -> dict[str, Any]:
    """Return what a pod has in either way: its account, its place, what pulls images."""
    pod: dict[str, Any] = {"automountServiceAccountToken": False}
    if how.service_account:
        pod["serviceAccountName"] = how.service_account
    if how.secret and model.startswith("oci://"):
        pod["imagePullSecrets"] = [{"name": how.secret}]
    if how.node_selector:
        pod["nodeSelector"] = dict(how.node_selector)
    if how.tolerations:
        rows = [t.model_dump(exclude_none=True) for t in how.tolerations]
        pod["tolerations"] = [{_camel(key): value for key, value in row.items()} for row in rows]
    return pod


def _camel(key: str) -> str:
    return re.sub("_([a-z])", lambda m: m[1].upper(), key)


def _kserve(name: str, model: str, how: Serve, image: str) -> dict[str, Any]:
    # KServe copies, mounts or pulls the folder to /mnt/models because the container has STORAGE_URI
    container = {"name": "kserve-container", **_server(name, image, how)}
    container["env"] = [{"name": "STORAGE_URI", "value": model}, _HOME]
    annotations = dict.fromkeys(_SECRET, how.secret) if how.secret and not model.startswith("oci://") else {}
    predictor: dict[str, Any] = {"minReplicas": how.min_replicas}
    if how.max_replicas:
        predictor["maxReplicas"] = how.max_replicas
    if annotations:
        predictor["annotations"] = annotations
    predictor |= {**_pod(model, how), "containers": [container], "volumes": [_SCRATCH]}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {},
        "spec": {"predictor": predictor},
    }


def _plain(name: str, model: str, how: Serve, image: str, fetcher: str) -> list[dict[str, Any]]:
    selector = {"app.kubernetes.io/name": name}
    pod, server = _pod(model, how), {"name": "server", **_server(name, image, how)}
    server["ports"] = [{"name": "http", "containerPort": PORT}, {"name": "grpc", "containerPort": GRPC}]
    # the endpoint goes from the service's list while the pod still answers
    server["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    pod |= {"terminationGracePeriodSeconds": 60, "securityContext": {"runAsNonRoot": True}}
    volume, mount, before = _folder(model, how, fetcher)
    server["volumeMounts"] = [_WRITES, mount]
    pod |= {"initContainers": before} if before else {}
    pod |= {"containers": [server], "volumes": [_SCRATCH, *volume]}
    deployment = {  # without replicas, which are the autoscaler's
        "selector": {"matchLabels": selector},
        "progressDeadlineSeconds": max(how.timeout_seconds, 60),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": dict(selector)}, "spec": pod},
    }
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "grpc", "port": GRPC, "targetPort": "grpc"}]
    scaler = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": how.min_replicas,
        "maxReplicas": how.max_replicas or how.min_replicas,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    }
    return [
        {"apiVersion": version, "kind": kind, "metadata": {}, "spec": spec}
        for version, kind, spec in (
            ("apps/v1", "Deployment", deployment),
            ("v1", "Service", {"type": "ClusterIP", "selector": selector, "ports": ports}),
            ("autoscaling/v2", "HorizontalPodAutoscaler", scaler),
        )
    ]


def _folder(model: str, how: Serve, fetcher: str) -> tuple[list[Mapping], dict[str, Any], list[Mapping]]:
    """Return the volumes that hold a model folder, its mount in the server, and the container that fills them."""
    scheme, _, rest = model.partition("://")
    mount: dict[str, Any] = {"name": "model", "mountPath": FOLDER, "readOnly": True}
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        volume = {"name": "model", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return [volume], {**mount, **({"subPath": path} if path else {})}, []
    if scheme == "oci":
        return [{"name": "model", "image": {"reference": rest, "pullPolicy": "IfNotPresent"}}], mount, []
    fetch: dict[str, Any] = {
        "name": "fetch",
        "image": fetcher,
        "command": ["python", "-m", "automl_images.deploy.fetch"],
        "args": [model, FOLDER],
        "env": [_HOME],
        "resources": _FETCHING,
        "securityContext": _UNPRIVILEGED,
        "volumeMounts": [_WRITES, {"name": "model", "mountPath": FOLDER}],
    }
    volumes: list[Mapping] = [{"name": "model", "emptyDir": {}}]
    if how.secret and scheme == "gs":  # a key file, under the name that KServe gives it
        volumes.append({"name": "key", "secret": {"secretName": how.secret}})
        fetch["volumeMounts"].append({"name": "key", "mountPath": "/var/secrets", "readOnly": True})
        path = "/var/secrets/gcloud-application-credentials.json"
        fetch["env"] = [_HOME, {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": path}]
    elif how.secret:
        fetch["envFrom"] = [{"secretRef": {"name": how.secret}}]
    return volumes, mount, [fetch]
