"""Deploys: applies, waits until the new pods serve, asks them once, and goes back to what ran before if they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from automl_images.deploy.cluster import Cluster, Refused
from automl_images.deploy.manifests import MANAGED, MANAGER, MODEL, PORT, STAMP
from automl_images.deploy.state import Look, look
from automl_images.errors import UserError, redact, say

APPLIED = f"{MANAGER}/applied"  # the manifest that an object was made by, for who has to go back to it
_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"
_POLL, _GRACE, _REMIND = 2.0, 30.0, 30.0  # seconds: between looks; that a trouble must last; between equal lines
_LINES = 20  # of a log
_ASKED = 5  # times that a request is sent when the API server does not reach a pod


class Failed(Exception):
    """The new version does not serve; the text says why."""


def deploy(
    cluster: Cluster, manifests: Sequence[Mapping[str, Any]], request: Any, timeout: float = 900.0
) -> dict[str, Any]:
    """Apply manifests, replacing what runs under their name, and wait until it serves.

    Lines of progress go to standard error. On failure: the pods' events and last log lines too; then what ran before is
    applied again, or what was new is deleted.

    Args:
        manifests: as :func:`automl_images.deploy.manifests.manifests` returns them.
        request: the JSON that the model is asked with once it is ready.
        timeout: seconds to be ready in.

    Returns:
        ``name, namespace, kind, url``; ``model`` and ``replaced``, the model folder before (None: nothing ran);
        ``answer`` to the request, None where it could not be sent, and ``not_sent``: why.

    Raises:
        UserError: the cluster refuses, something else has the name, or the new version does not serve.
    """
    main = manifests[0]
    kind, name, stamp = main["kind"], main["metadata"]["name"], main["metadata"]["labels"][STAMP]
    before = {one["kind"]: cluster.get(one["kind"], name) for one in manifests}
    _check_ours(cluster, name, before)
    old = before[kind]
    replaced = (old["metadata"].get("annotations") or {}).get(MODEL, "another model") if old else None
    where = f"{cluster.namespace}/{name}"
    say(f"{where}: applying {', '.join(one['kind'] for one in manifests)}" + (f" over {replaced}" if replaced else ""))
    try:
        for one in manifests:
            cluster.apply({**one, "metadata": _keeping(one)})
        pod = wait(cluster, kind, name, stamp, timeout, unchanged=bool(old) and _stamp(old) == stamp)
        answer, not_sent = ask(cluster, name, pod, request)
    except (Failed, UserError) as failure:
        report(cluster, name, stamp)
        raise UserError(f"{where}: {failure}; {_go_back(cluster, manifests, before, timeout)}") from None
    say(f"{where}: " + (f"ready; the request was not sent: {not_sent}" if not_sent else "ready, and answers"))
    told = {"name": name, "namespace": cluster.namespace, "kind": kind, "url": _url(cluster, kind, name)}
    return {**told, "model": main["metadata"]["annotations"][MODEL], "replaced": replaced} | {
        "answer": answer,
        "not_sent": not_sent,
    }


def wait(cluster: Cluster, kind: str, name: str, stamp: str, timeout: float, *, unchanged: bool) -> str | None:
    """Return a pod of the deployment ``stamp`` that serves, once it is ready; None: it runs none while nobody asks.

    Args:
        unchanged: whether the same ran before, so that what is said of it is not of an older one.

    Raises:
        Failed: it is not ready in ``timeout`` seconds, something is wrong that stays so, or another has its place.
        UserError: as :meth:`Cluster.get`.
    """
    end = time.monotonic() + timeout
    said, told, since, trouble = "", 0.0, 0.0, ""
    while True:
        live = cluster.get(kind, name)
        if live is None or _stamp(live) != stamp:
            raise Failed("was deleted meanwhile" if live is None else "another deployment has taken its place")
        found: Look = look(live, cluster.pods({STAMP: stamp}), unchanged=unchanged)
        now = time.monotonic()
        if found.ready:
            return found.pod
        if found.trouble != trouble:
            trouble, since = found.trouble, now
        if trouble and (found.final or now - since >= _GRACE):
            raise Failed(trouble)
        if now >= end:
            raise Failed(f"not ready in {timeout:.0f} s: {trouble or found.line}")
        if found.line != said or now - told >= _REMIND:
            say(f"{cluster.namespace}/{name}: {found.line}")
            said, told = found.line, now
        time.sleep(_POLL)


def ask(cluster: Cluster, name: str, pod: str | None, request: Any) -> tuple[Any, str | None]:
    """Return what a pod answers to a request, or None and why it was not sent.

    Raises:
        Failed: the pod answers with an error, or with no prediction for each image.
    """
    if pod is None:
        return None, "no pod runs while nobody asks"
    for left in reversed(range(_ASKED)):
        try:
            answer = cluster.post(pod, PORT, f"/v1/models/{name}:predict", request)
            break
        except Refused as refused:
            if refused.status in (403, 404) and str(refused).startswith("pods "):  # the API server's own words
                return None, str(refused)
            if "error trying to reach service" not in str(refused) and refused.status:
                raise Failed(f"answers the request with {refused.status}: {refused}") from None
            if not left:
                return None, str(refused)
            time.sleep(_POLL)
        except ValueError:
            raise Failed("answers the request with no JSON") from None
    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    if not isinstance(predictions, list) or len(predictions) != len(request["instances"]):
        raise Failed(f"answers the request with no prediction for each image: {json.dumps(answer)[:200]}")
    return answer, None


def report(cluster: Cluster, name: str, stamp: str) -> None:
    """Say what events warn of, and the last lines that each container wrote which is not ready."""
    try:
        pods = cluster.pods({STAMP: stamp})
        names = {pod["metadata"]["name"] for pod in pods}
        for event in [e for e in cluster.warnings() if _of(e["involvedObject"], name, names)][-10:]:
            on, times = event["involvedObject"], event.get("count") or 1
            also = f" ({times} times)" if times > 1 else ""
            say(f"event {on['kind']} {on['name']}: {event.get('reason')}: {event.get('message')}{also}")
    except (Refused, UserError) as error:
        return say(f"the events could not be read: {error}")
    for pod in pods:
        status = pod.get("status") or {}
        for row in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            if row.get("ready") or not (
                row.get("restartCount") or row.get("state", {}).keys() & {"running", "terminated"}
            ):
                continue
            _say_log(cluster, pod["metadata"]["name"], row)


def _say_log(cluster: Cluster, pod: str, row: Mapping[str, Any]) -> None:
    ended = bool(row.get("restartCount")) and "waiting" in row.get("state", {})
    try:
        lines = cluster.log(pod, row["name"], _LINES, previous=ended)
    except Refused as error:
        return say(f"the log of {pod} {row['name']} could not be read: {error}")
    for line in lines or ["(nothing)"]:
        say(f"log {pod} {row['name']}: {line}")


def _of(on: Mapping[str, Any], name: str, pods: set[str]) -> bool:
    """Return whether an event is of what was deployed: its pods, or what is called after it."""
    return on["name"] in pods if on["kind"] == "Pod" else f"{on['name']}-".startswith(f"{name}-")


def _go_back(
    cluster: Cluster,
    manifests: Sequence[Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any] | None],
    timeout: float,
) -> str:
    """Apply what ran before, or delete what is new; return in a few words what was done."""
    main = manifests[0]
    kind, name, stamp = main["kind"], main["metadata"]["name"], main["metadata"]["labels"][STAMP]
    try:
        live = cluster.get(kind, name)
        if live is not None and _stamp(live) != stamp:
            unmoved = before[kind] is not None and _stamp(live) == _stamp(before[kind])
            return "what ran before was not touched" if unmoved else "what has taken its place is left alone"
        earlier = {k: _applied(one) for k, one in before.items() if one}
        if before[kind] and _stamp(before[kind]) == stamp:
            return "the same ran before, so there is nothing to go back to"
        lost = [k for k, manifest in earlier.items() if manifest is None]
        if lost:
            return f"what ran before is not known ({', '.join(lost)} {name} was not made by this command), so it stays"
        for one in manifests:
            manifest = earlier.get(one["kind"])
            if manifest:
                cluster.apply({**manifest, "metadata": _keeping(manifest)})
            else:
                cluster.delete(one["kind"], name)
        if kind not in earlier:
            return "nothing ran before, and what was applied is deleted"
        manifest = earlier[kind]
        assert manifest
        model = redact((manifest["metadata"].get("annotations") or {}).get(MODEL, "what ran before"))
        if STAMP not in (manifest["metadata"].get("labels") or {}):
            return f"{model} was applied again"
        wait(cluster, kind, name, _stamp(manifest), timeout, unchanged=False)
        return f"{model} serves again"
    except (Failed, UserError) as error:
        return f"and what ran before could not be brought back: {error}"


def _check_ours(cluster: Cluster, name: str, before: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Refuse a name that something else has.

    Raises:
        UserError: an object was made by another hand, belongs to another, or the model is served the other way.
    """
    for kind, live in before.items():
        meta = live["metadata"] if live else {}
        if live and (not MANAGED.items() <= (meta.get("labels") or {}).items() or meta.get("ownerReferences")):
            raise UserError(
                f"{kind} {cluster.namespace}/{name}: is there and was not deployed by this command; choose another "
                "name, or delete it"
            )
    if "Deployment" not in before:
        live = cluster.get("Deployment", name)
        if live and MANAGED.items() <= (live["metadata"].get("labels") or {}).items():
            raise UserError(
                f"Deployment {cluster.namespace}/{name}: serves it without KServe; delete it, its Service and its "
                "HorizontalPodAutoscaler first, or use to: kubernetes"
            )


def _keeping(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's metadata with the whole manifest in an annotation."""
    metadata = dict(manifest["metadata"])
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != APPLIED}
    text = json.dumps({**manifest, "metadata": {**metadata, "annotations": annotations}})
    return {**metadata, "annotations": {**annotations, APPLIED: text}}


def _applied(live: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest that an object was made by, with this command or with kubectl; None: it does not say."""
    annotations = live["metadata"].get("annotations") or {}
    text = annotations.get(APPLIED) or annotations.get(_KUBECTL)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _stamp(one: Mapping[str, Any] | None) -> str:
    return str(((one or {}).get("metadata", {}).get("labels") or {}).get(STAMP, ""))


def _url(cluster: Cluster, kind: str, name: str) -> str | None:
    if kind == "Deployment":
        return f"http://{name}.{cluster.namespace}.svc"
    return ((cluster.get(kind, name) or {}).get("status") or {}).get("url")
