"""What Kubernetes needs to serve a model with KServe."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from automl_images import storage
from automl_images.errors import UserError

RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
# what KServe's storage initializer downloads, or mounts, without further set-up
_SCHEMES = ("s3", "gs", "pvc", "hdfs", "webhdfs", "http", "https", "hf")
_SCRATCH = {"name": "scratch", "emptyDir": {}}
_LONGEST = 63 - len("-predictor")  # KServe names a service after the predictor, a DNS label


def kubernetes_name(name: str) -> str:
    """Return ``name`` as KServe takes it: lower-case letters, digits and ``-``, a letter first, at most 53 characters.

    Raises:
        UserError: nothing is left of the name.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not label:
        raise UserError(f"the name '{name}' has no letter or digit that Kubernetes takes")
    return (label if label[0].isalpha() else f"model-{label}")[:_LONGEST].rstrip("-")


def manifest(
    name: str,
    model_uri: str,
    image: str,
    resources: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a KServe InferenceService that serves a model folder.

    KServe copies the folder to ``/mnt/models`` because the container has ``STORAGE_URI``. The container runs without
    privileges and writes to ``/tmp`` alone; the image's user must be numeric and not root.

    Args:
        name: the service's and the model's name, made to fit.
        model_uri: the model folder, where the cluster reaches it; if it cannot, a line on standard error says so.
        image: the container image, with this package and its ``serve`` extra.
        resources: Kubernetes' ``requests`` and ``limits``; None for 1 to 2 CPUs and 2 to 4 GiB.

    Raises:
        UserError: the name cannot be one, or ``resources`` has other keys.
    """
    if resources and set(resources) - {"requests", "limits"}:
        raise UserError(f"resources: has {', '.join(sorted(resources))}; write Kubernetes' requests and limits")
    name = kubernetes_name(name)
    model_uri = re.sub("^minio://", "s3://", storage.absolute(model_uri))
    if storage.is_local(model_uri) or model_uri.partition("://")[0] not in _SCHEMES:
        print(
            f"note: KServe cannot read {storage.redact(model_uri)} from a cluster; register the model in a registry on "
            "S3, GCS or a pvc:// and serve that",
            file=sys.stderr,
        )
    container = {
        "name": "kserve-container",
        "image": image,
        "command": ["python", "-m", "automl_images.serving.server"],
        "args": ["--model_dir", "/mnt/models", "--model_name", name],
        "env": [{"name": "STORAGE_URI", "value": model_uri}, {"name": "HOME", "value": "/tmp"}],  # noqa: S108
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": f"/v1/models/{name}", "port": 8080}, "timeoutSeconds": 5},
        "resources": dict(resources or RESOURCES),
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "automl-images"}},
        "spec": {"predictor": {"minReplicas": 1, "containers": [container], "volumes": [_SCRATCH]}},
    }
