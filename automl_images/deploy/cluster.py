"""A namespace of a cluster, through the API server alone: the official client brings credentials, TLS and the wire."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from automl_images.deploy.manifests import MANAGER
from automl_images.errors import UserError, first_line

PATHS = {
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
}
_OWN = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = (10, 120)  # to connect, and for an answer
_PATIENCE = 60.0  # seconds that an API server which gives none is asked again


class Refused(Exception):
    """What the API server answered instead: its status, and a line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


class Cluster:
    """One namespace: objects are read, applied and deleted by kind and name; pods tell of themselves.

    Args:
        namespace: None is that of the kubeconfig's context, or of the pod that this runs in.
        context: of the kubeconfig; None is its current one, or the pod's own account where there is no kubeconfig.

    Raises:
        UserError: the client is not installed, or neither credentials are found.
    """

    def __init__(self, namespace: str | None = None, context: str | None = None):
        try:
            from kubernetes import client, config
        except ImportError:
            raise UserError("a cluster needs Kubernetes' client: pip install 'automl-images[deploy]'") from None
        configuration = client.Configuration()
        try:
            file = os.environ.get("KUBECONFIG")  # which the client looks at when it is imported
            config.load_kube_config(file, context=context, client_configuration=configuration)
            contexts, current = config.list_kube_config_contexts(file)
            chosen = next((c for c in contexts if c["name"] == context), current)
            own = chosen["context"].get("namespace") or "default"
        except config.ConfigException as error:
            if context:
                raise UserError(f"--context {context}: {first_line(error)}") from None
            try:
                config.load_incluster_config(client_configuration=configuration)
                own = _OWN.read_text().strip()
            except (config.ConfigException, OSError):
                raise UserError("no cluster is known: set KUBECONFIG, or run in a pod with a service account") from None
        configuration.retries = False  # urllib3's own: what is asked again is said below
        self.namespace, self._client = namespace or own, client.ApiClient(configuration)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None.

        Raises:
            UserError: the API server refuses, does not answer, or does not know the kind.
        """
        try:
            return json.loads(self._ask("GET", kind, name))
        except Refused as refused:
            if refused.status == 404 and f'"{name}" not found' in str(refused):
                return None
            raise self._explained(refused, "get", kind, name) from None

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make an object as a manifest says, by server-side apply; what others set stays. UserError: as get."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        how = {"fieldManager": MANAGER, "force": "true"}
        try:
            return json.loads(self._ask("PATCH", kind, name, how, manifest, "application/apply-patch+yaml"))
        except Refused as refused:
            raise self._explained(refused, "patch", kind, name) from None

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, and in the background what it owns; nothing happens if there is none. UserError: as get."""
        try:
            self._ask("DELETE", kind, name, {"propagationPolicy": "Background"})
        except Refused as refused:
            if refused.status != 404:
                raise self._explained(refused, "delete", kind, name) from None

    def pods(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the pods with such labels, the oldest first. UserError: as get."""
        selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
        try:
            found = json.loads(self._ask("GET", "Pod", "", selector))["items"]
        except Refused as refused:
            raise self._explained(refused, "list", "Pod", "") from None
        return sorted(found, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"]))

    def warnings(self) -> list[dict[str, Any]]:
        """Return the namespace's events that warn, the oldest first. Refused: they are not to be read."""
        found = json.loads(self._ask("GET", "Event", "", {"fieldSelector": "type=Warning"}))["items"]
        return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    def log(self, pod: str, container: str, lines: int, *, previous: bool = False) -> list[str]:
        """Return the last lines that a container wrote, or the one before it that ended. Refused: there are none."""
        how = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        return self._ask("GET", "Pod", f"{pod}/log", how).decode(errors="replace").splitlines()

    def post(self, pod: str, port: int, path: str, body: Any) -> Any:
        """Send JSON to a pod's port through the API server; return the JSON that it answers with.

        Raises:
            Refused: the answer is an error, the pod's own or the API server's.
        """
        return json.loads(self._ask("POST", "Pod", f"{pod}:{port}/proxy{path}", None, body, "application/json"))

    def _ask(
        self,
        method: str,
        kind: str,
        name: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> bytes:
        """Return the answer's body; one that may come later is waited for, unless asking twice could do more."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        def once() -> bytes:
            try:
                answer = self._client.call_api(
                    PATHS[kind].format(self.namespace) + (f"/{name}" if name else ""),
                    method,
                    query_params=list((query or {}).items()),
                    header_params={"Accept": "*/*", "Content-Type": content},
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=_SECONDS,
                )
            except ApiException as error:
                raise Refused(error.status or 0, _message(error)) from None
            except HTTPError as error:
                raise Refused(0, f"the API server does not answer: {first_line(error)}") from None
            return answer.data

        again = retry_if_exception(lambda e: isinstance(e, Refused) and (e.status in (0, 429) or e.status >= 500))
        attempts = Retrying(
            retry=again,
            stop=stop_after_delay(0 if method == "POST" else _PATIENCE),
            wait=wait_exponential_jitter(0.2, 5, jitter=0.2),
            reraise=True,
        )
        return attempts(once)

    def _explained(self, refused: Refused, verb: str, kind: str, name: str) -> UserError:
        what = f"{kind} {self.namespace}/{name}".rstrip("/")
        if refused.status == 404 and kind == "InferenceService" and '"' not in str(refused):  # no such route
            return UserError(f"{what}: the cluster has no KServe; install it, or use to: kubernetes")
        if refused.status == 403:
            return UserError(f"{what}: not allowed to {verb} it: {refused}; an administrator grants it with rbac.yaml")
        if refused.status == 401:
            return UserError(f"{what}: the cluster does not take these credentials: {refused}")
        return UserError(f"{what}: {refused}")


def _message(error: Any) -> str:
    """Return what the API server, or a pod behind it, says of an error."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        told = json.loads(body)
        body = str(told.get("message") or told.get("error") or told.get("detail") or body)
    except (ValueError, AttributeError):
        pass
    return " ".join(body.split())[:500] or str(error.reason)
