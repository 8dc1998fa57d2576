"""The Argo workflow behind a run on Kubeflow: which task a pod is of, what it waits for, and why it failed.

Kubeflow's own configuration of Argo's controller gives every template a retry strategy, so that each node is wrapped in
a node of type Retry: ``train`` holds ``train(0)``, which holds ``executor``, which holds the pod ``executor(0)``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_ATTEMPT = re.compile(r"\(\d+(:[^)]*)?\)$")
_STARTING = ("", "ContainerCreating", "PodInitializing")  # no reason to wait, but the way that every pod goes
_MENDED = re.compile(  # by another run: what the kubelet, the node or the kernel did to a pod
    r"exit code (137|143)\b|signal: (killed|terminated)|OOMKilled|evict|preempt|pod deleted|pod was deleted"
    r"|node\w*.{0,40}\b(lost|shutdown|shutting down|not ready|unreachable|low on resource)|NodeLost|NodeShutdown",
    re.IGNORECASE | re.DOTALL,
)
_FATAL = re.compile(r"^F\d{4} [\d:.]+\s+\d+ [^ \]]+:\d+\] (.*)")  # glog's, of Kubeflow's launcher and driver
_TAIL = 20  # lines of a log
_OWN_PROCESS = re.compile(r"exit status \d+|signal: \w+")  # the launcher's words for a component that failed


class Workflow:
    """A workflow's nodes; ``manifest`` is the workflow as Kubeflow's API gives it, or an empty mapping."""

    def __init__(self, manifest: Mapping[str, Any]):
        self.name = str((manifest.get("metadata") or {}).get("name") or "")
        self.nodes: dict[str, dict[str, Any]] = (manifest.get("status") or {}).get("nodes") or {}
        self._above = {child: node for node in self.nodes.values() for child in node.get("children") or []}

    def task(self, node: Mapping[str, Any]) -> str:
        """Return the task that a node belongs to, as people call it, such as ``register`` or ``train (lane 2)``."""
        lane = _lane(node)
        name = _plain(node)
        while name == "executor" and node["id"] in self._above:
            node = self._above[node["id"]]
            name = _plain(node)
        return name.removesuffix("-driver") + ("" if lane is None else f" (lane {lane})")

    def pod(self, node: Mapping[str, Any]) -> str:
        """Return the name of a node's pod, as Argo makes it."""
        return f"{self.name}-{node['templateName']}-{str(node['id']).rpartition('-')[2]}"

    def failed(self) -> dict[str, Any] | None:
        """Return the pod that failed first; of a task that was tried again its last one, and none that was mended."""
        last: dict[str, dict[str, Any]] = {}
        for node in sorted(self._pods("Failed", "Error"), key=lambda n: n.get("finishedAt") or ""):
            if not self._mended(node):
                last[self.task(node)] = node
        return min(last.values(), key=lambda n: n.get("finishedAt") or "", default=None)

    def waiting(self) -> dict[str, str]:
        """Return by task why its pod has not begun, where there is more to say than that it is being made."""
        found = {self.task(n): str(n.get("message") or "") for n in self._pods("Pending")}
        return {t: " ".join(m.split()) for t, m in found.items() if m not in _STARTING}

    def cached(self) -> set[str]:
        """Return the tasks whose outputs Kubeflow took from an earlier run."""
        return {
            self.task(node)
            for node in self.nodes.values()
            for parameter in (node.get("outputs") or {}).get("parameters") or []
            if parameter["name"] == "cached-decision" and parameter.get("value") == "true"
        }

    def containers(self) -> Iterator[dict[str, Any]]:
        """Yield the components' containers as the driver made them."""
        return (patch["containers"][0] for patch in map(_patch, self.nodes.values()) if patch)

    def _pods(self, *phases: str) -> list[dict[str, Any]]:
        return [n for n in self.nodes.values() if n["type"] == "Pod" and n.get("phase") in phases]

    def _mended(self, node: Mapping[str, Any]) -> bool:
        """Return whether another attempt at the pod's task did well, or still may."""
        own = "executor"
        while node["id"] in self._above:
            node = self._above[node["id"]]
            if _plain(node) not in ("executor", own):
                if own != "executor":
                    break
                own = _plain(node)
            if node["type"] == "Retry" and node.get("phase") in ("Succeeded", "Running"):
                return True
        return False


def mended_by_another_run(message: str, log: str = "") -> bool:
    """Return whether a pod died of something that is not the component's own: killed, evicted, its node lost.

    The pod's message says so, or the launcher's fatal line at the end of the log.
    """
    return any(map(_MENDED.search, [message, *_fatal(log.splitlines()[-_TAIL:])]))


def reason(log: str) -> str | None:
    """Return the line of a pod's log that says what failed.

    The launcher's own fatal line where the launcher failed, else the component's ``error:``, else the last line of a
    traceback, else what the launcher says of the component's end.
    """
    lines = [_timeless(line) for line in log.splitlines()]
    fatal = _fatal(lines)
    if fatal and not _OWN_PROCESS.search(fatal[-1]):
        return fatal[-1]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return next(reversed(errors or raised or fatal), None)


def _fatal(lines: list[str]) -> list[str]:
    return [found[1] for line in lines if (found := _FATAL.match(_timeless(line)))]


def _timeless(line: str) -> str:
    """Return a line without the time that the cluster puts before it."""
    return re.sub(r"^\S*\d\d:\d\d:\d\d\S*\s+", "", line).strip()


def _plain(node: Mapping[str, Any]) -> str:
    return _ATTEMPT.sub("", str(node["displayName"]))


def _patch(node: Mapping[str, Any]) -> dict[str, Any] | None:
    for parameter in (node.get("inputs") or {}).get("parameters") or []:
        if parameter["name"] == "pod-spec-patch" and parameter.get("value"):
            return json.loads(parameter["value"])
    return None


def _lane(node: Mapping[str, Any]) -> int | None:
    """Return which lane of ``train`` a pod is, by the input that it was given."""
    try:
        launcher = (_patch(node) or {})["containers"][0]["command"]
        given = json.loads(launcher[launcher.index("--executor_input") + 1])
        return int(json.loads(given["inputs"]["parameterValues"]["lane"])["lane"])
    except (ValueError, LookupError, TypeError):
        return None
