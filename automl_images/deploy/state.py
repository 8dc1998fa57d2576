"""What the status of an object and of its pods says: ready, on the way, or wrong; no cluster is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NOT_FOR_LONG = ("ContainerCreating", "PodInitializing")  # every other reason to wait is a trouble if it lasts
_RESTARTS = 3  # of a container, after which it is taken as one that does not start
_BLOCKED = ("BlockedByFailedLoad", "InvalidSpec")


@dataclass(frozen=True)
class Look:
    """What was seen: a ``line`` of progress; a ``trouble``, which fails if it lasts, or is ``final`` at once.

    ``pod`` is one that serves; None with ``ready`` where none runs while nobody asks.
    """

    ready: bool
    line: str
    pod: str | None = None
    trouble: str = ""
    final: bool = False


def look(live: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], *, unchanged: bool) -> Look:
    """Return how far a Deployment or InferenceService is, by itself and by the pods of its newest version.

    An InferenceService says that it is ready as long as an older version is: a ready pod of the new one must be there,
    unless it is ``unchanged``.
    """
    going = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    ready = [pod["metadata"]["name"] for pod in going if _condition(pod, "Ready").get("status") == "True"]
    serves = _rolled_out(live) if live["kind"] == "Deployment" else _condition(live, "Ready").get("status") == "True"
    if serves and (ready or (unchanged and live["kind"] != "Deployment")):
        return Look(True, "ready", ready[0] if ready else None)
    of_pods = [t for pod in going if (t := _pod_trouble(pod))]
    own, final = _own_trouble(live)
    line = f"{len(ready)} of {len(going)} pods ready" if going else "no pods yet"
    if waits := own or next(iter(of_pods), ("", False))[0] or _waits(going):
        line += f": {waits}"
    for text, at_once in of_pods:
        return Look(False, line, trouble=text, final=at_once)
    return Look(False, line, trouble=own, final=final)


def _condition(one: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    rows = (one.get("status") or {}).get("conditions") or []
    return next((row for row in rows if row.get("type") == kind), {})


def _rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Return whether all replicas are of the newest version and available, as ``kubectl rollout status`` has it."""
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return (
        seen
        and updated >= max(wanted, 1)
        and status.get("replicas", 0) <= updated <= status.get("availableReplicas", 0)
    )


def _own_trouble(live: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what an object says is wrong with it, and whether that is its last word."""
    status = live.get("status") or {}
    if live["kind"] == "Deployment":
        if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
            return "", False  # what it says is of the version before
        for kind, bad in (("ReplicaFailure", "True"), ("Progressing", "False")):
            row = _condition(live, kind)
            if row.get("status") == bad:
                return _said(row), row.get("reason") == "ProgressDeadlineExceeded"
        return "", False
    model = status.get("modelStatus") or {}
    if model.get("transitionStatus") in _BLOCKED:
        why = model.get("lastFailureInfo") or {}
        return (
            f"{model['transitionStatus']}: {why.get('message') or why.get('reason') or 'KServe does not say why'}",
            False,
        )
    return "", False


def _pod_trouble(pod: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Return what is wrong with a pod, and whether it has been given its chances."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    if status.get("phase") == "Failed":
        return f"pod {name} failed: {status.get('reason') or ''} {status.get('message') or ''}".rstrip(" :"), False
    for row in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state, last = row.get("state") or {}, (row.get("lastState") or {}).get("terminated") or {}
        where, restarts = f"{row['name']} of pod {name}", row.get("restartCount") or 0
        ended = state.get("terminated") or last
        code = f"ended {restarts} times, with exit code {ended.get('exitCode')} ({ended.get('reason') or 'no reason'})"
        if not row.get("ready") and restarts >= _RESTARTS and ended.get("exitCode"):
            return f"{where} {code}", True
        waiting = state.get("waiting") or {}
        if waiting.get("reason") == "CrashLoopBackOff":
            return f"{where} {code}", False
        if waiting.get("reason") and waiting["reason"] not in _NOT_FOR_LONG:
            return f"{where}: {_said(waiting)}", False
    return None


def _waits(pods: Sequence[Mapping[str, Any]]) -> str:
    """Return what a pod waits for that is no trouble yet: a node, or a container to start."""
    for pod in pods:
        scheduled = _condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"waits for a node: {scheduled.get('message') or scheduled.get('reason') or ''}"
        status = pod.get("status") or {}
        for row in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            state = row.get("state") or {}
            if waiting := state.get("waiting"):
                return f"{row['name']}: {waiting.get('reason')}"
            if "running" in state and not row.get("ready"):
                return f"{row['name']} runs and is not ready"
    return ""


def _said(row: Mapping[str, Any]) -> str:
    return ": ".join(str(row[key]) for key in ("reason", "message") if row.get(key))
