"""A small API server of Kubernetes: the paths, verbs, server-side apply and errors that a deployment meets.

It speaks the real protocol, so that the official client talks to it: bearer tokens, ``application/apply-patch+yaml``
with a field manager, selectors, ``Status`` objects, pods' logs, and requests that are passed on to pods. What an
account may do is read from a Role. Controllers are played: each look at a Deployment or InferenceService is one step of
theirs, and the image's name says how its pods fare (see :data:`FATES`).
"""

import contextlib
import copy
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import yaml

TOKEN = "a-token"
KINDS = {
    "inferenceservices": ("serving.kserve.io", "InferenceService"),
    "deployments": ("apps", "Deployment"),
    "services": ("", "Service"),
    "horizontalpodautoscalers": ("autoscaling", "HorizontalPodAutoscaler"),
    "pods": ("", "Pod"),
    "events": ("", "Event"),
}
FATES = ("good", "crash", "pull", "lost", "wrong", "slow")
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/namespaces/(?P<namespace>[^/]+)/(?P<kind>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+)(?P<rest>/.*)?)?)?"
)


class FakeKubernetes:
    """One namespace of a cluster.

    Attributes:
        objects: by kind (in the plural) and name, as the API gives them.
        kserve: whether its resource is known.
        rules: of a Role; None: everything is allowed.
        requests: each (verb, resource, name) that was asked.
        asked: the bodies that pods were sent.
        refuse: for tests: given the verb and resource, a status to answer with, or None.
        answer: what a good pod answers to a request.
    """

    def __init__(self, namespace="serving"):
        self.namespace, self.kserve, self.rules = namespace, True, None
        self.objects = {kind: {} for kind in KINDS}
        self.requests, self.asked, self.applied = [], [], []
        self.refuse, self.answer = lambda verb, resource: None, {"predictions": [{"boxes": []}]}
        self.number, self.lock = 0, threading.Lock()

    def handle(self, method, path, query, headers, body):
        """Return the status, the body (JSON or text) of an answer."""
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return status(401, "Unauthorized", "Unauthorized")
        found = _PATH.fullmatch(path)
        group, kind = (found and KINDS.get(found["kind"], (None, None))) or (None, None)
        if not found or (found["group"] or "") != group or (kind == "InferenceService" and not self.kserve):
            return 404, "404 page not found\n"
        plural, name, sub = found["kind"], found["name"], found["sub"]
        verb = {"PATCH": "patch", "DELETE": "delete", "POST": "create"}.get(method, "get" if name else "list")
        resource = f"{plural}/{sub}" if sub else plural
        verbs = ["create", verb] if verb == "patch" and name not in self.objects[plural] else [verb]
        self.requests += [(one, resource, name) for one in verbs]
        if denied := [one for one in verbs if not self._allowed(one, group, resource)]:
            verb = denied[0]
            where = f'in API group "{group}" in the namespace "{found["namespace"]}"'
            line = f'{plural} "{name or ""}" is forbidden: User "u" cannot {verb} resource "{resource}" {where}'
            return status(403, "Forbidden", line)
        if code := self.refuse(verb, resource):
            return status(code, "Refused", "refused")
        if found["namespace"] != self.namespace and verb in ("patch", "create"):
            return status(404, "NotFound", f'namespaces "{found["namespace"]}" not found')
        with self.lock:
            if sub:
                return self._of_pod(name, sub, found["rest"], query, body)
            if verb == "list":
                return 200, {"items": self._selected(plural, query)}
            if verb == "patch":
                return self._apply(plural, name, query, headers, body)
            one = self.objects[plural].get(name)
            if one is None:
                dotted = f"{plural}.{group}" if group else plural
                return status(404, "NotFound", f'{dotted} "{name}" not found')
            if verb == "delete":
                self._remove(plural, name)
                return 200, {"kind": "Status", "status": "Success"}
            self._step(plural, one)
            return 200, one

    def _allowed(self, verb, group, resource):
        return self.rules is None or any(
            group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]
            for rule in self.rules
        )

    def _selected(self, plural, query):
        found = list(self.objects[plural].values())
        for term in filter(None, query.get("labelSelector", "").split(",")):
            key, value = term.split("=")
            found = [one for one in found if one["metadata"].get("labels", {}).get(key) == value]
        if query.get("fieldSelector") == "type=Warning":
            found = [one for one in found if one["type"] == "Warning"]
        return found

    def _apply(self, plural, name, query, headers, body):
        """Server-side apply by one manager: what it left out of its last manifest goes, the rest stays."""
        if headers.get("Content-Type") != "application/apply-patch+yaml":
            return status(415, "UnsupportedMediaType", f"no such patch: {headers.get('Content-Type')}")
        if not query.get("fieldManager"):
            return status(400, "BadRequest", "fieldManager is required for apply patch")
        manifest = yaml.safe_load(body)
        if manifest["metadata"]["name"] != name or manifest["kind"] != KINDS[plural][1]:
            return status(400, "BadRequest", "the name of the object does not match the name on the URL")
        if manifest["metadata"].get("namespace", self.namespace) != self.namespace:
            return status(400, "BadRequest", "the namespace of the object does not match the namespace on the request")
        self.number += 1
        self.applied.append((manifest["kind"], copy.deepcopy(manifest)))
        before = self.objects[plural].get(name)
        made = copy.deepcopy(manifest)
        meta = made["metadata"] | {
            "namespace": self.namespace,
            "resourceVersion": str(self.number),
            "uid": plural + name,
        }
        meta["generation"] = before["metadata"]["generation"] if before else 1
        if before and before["spec"] != made["spec"]:
            meta["generation"] += 1
        self.objects[plural][name] = made | {"metadata": meta, "status": before["status"] if before else {}}
        self.objects[plural][name]["looks"] = 0
        return 200 if before else 201, self.objects[plural][name]

    def _remove(self, plural, name):
        del self.objects[plural][name]
        if plural in ("deployments", "inferenceservices"):
            self.objects["pods"] = {n: p for n, p in self.objects["pods"].items() if p["of"] != name}

    def _step(self, plural, one):
        """Play a controller's next step: pods are made, then created, then fare as their image says."""
        if plural not in ("deployments", "inferenceservices"):
            return
        one["looks"] += 1
        template = one["spec"]["template"] if plural == "deployments" else one["spec"]["predictor"]
        labels = template.get("labels") or template["metadata"]["labels"]
        containers = (template.get("spec") or template)["containers"]
        fate = next((f for f in FATES if f in containers[0]["image"]), "good")
        name, stamp = one["metadata"]["name"], labels["automl-images/deployment"]
        pod = f"{name}-{stamp[:6]}"
        if one["looks"] == 2 and fate != "lost" and pod not in self.objects["pods"]:
            self.objects["pods"][pod] = {
                "metadata": {"name": pod, "labels": dict(labels)},
                "of": name,
                "fate": fate,
                "status": pod_status(containers[0]["name"], {"waiting": {"reason": "ContainerCreating"}}),
            }
        if one["looks"] >= 3 and pod in self.objects["pods"]:
            self._fare(self.objects["pods"][pod], containers[0]["name"])
        if pod in self.objects["pods"] and is_ready(self.objects["pods"][pod]):
            others = [n for n, p in self.objects["pods"].items() if p["of"] == name and n != pod]
            for other in others:
                del self.objects["pods"][other]
        mine = [p for p in self.objects["pods"].values() if p["of"] == name]
        ready = [p for p in mine if is_ready(p)]
        if plural == "inferenceservices":  # ready while any version is, as KServe has it
            state = {"type": "Ready", "status": str(bool(ready))}
            one["status"] = {"conditions": [state], "url": f"http://{name}.example.com"}
        else:
            new = [p for p in mine if p["metadata"]["name"] == pod]
            good = [p for p in new if p in ready]
            counts = {"replicas": len(mine), "updatedReplicas": len(new), "availableReplicas": len(good)}
            one["status"] = {**counts, "observedGeneration": one["metadata"]["generation"], "conditions": []}
            if fate == "lost":
                row = {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": "exceeded quota",
                }
                one["status"]["conditions"].append(row)

    def _fare(self, pod, container):
        name, fate = pod["metadata"]["name"], pod["fate"]
        if fate in ("good", "wrong"):
            pod["status"] = pod_status(container, {"running": {}}, ready=True)
        elif fate == "slow":
            pod["status"] = pod_status(container, {"running": {}})
        elif fate == "pull":
            self._warn(name, "Failed", "Failed to pull image: not found")
            pod["status"] = pod_status(
                container, {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
            )
        elif fate == "crash":
            self._warn(name, "BackOff", "Back-off restarting failed container")
            restarts = pod["status"]["containerStatuses"][0]["restartCount"] + 1
            pod["status"] = pod_status(container, {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=restarts)

    def _warn(self, pod, reason, message):
        event = {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": "2026-01-01T00:00:00Z"}
        self.objects["events"][f"{pod}.{reason}"] = event | {"involvedObject": {"kind": "Pod", "name": pod}, "count": 2}

    def _of_pod(self, name, sub, rest, query, body):
        pod, _, port = name.partition(":")
        if pod not in self.objects["pods"]:
            return status(404, "NotFound", f'pods "{pod}" not found')
        fate = self.objects["pods"][pod]["fate"]
        if sub == "log":
            which = "the one before" if query.get("previous") == "true" else "this one"
            return 200, f"{which}: token=sesame\nerror: no model\n" if fate == "crash" else "starting\n"
        self.asked.append((port, rest, json.loads(body)))
        if fate == "wrong":
            return 500, {"error": "KeyError : 'boxes'"}
        return self.answer if isinstance(self.answer, tuple) else (200, self.answer)


def model_folder(path):
    """Return a folder that has what one is known by, and weights that nobody loads."""
    path.mkdir()
    settings = json.dumps({"task": "image-object-detection", "settings": {"model_name": "yolov5"}})
    for name, text in {"model.pt": "weights", "settings.json": settings, "labels.json": "[]"}.items():
        (path / name).write_text(text)
    return path


def status(code, reason, message):
    return code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def pod_status(container, state, *, ready=False, restarts=0):
    row = {"name": container, "ready": ready, "restartCount": restarts, "state": state}
    if restarts:
        row["lastState"] = {"terminated": {"exitCode": 2, "reason": "Error"}}
    return {"phase": "Pending", "conditions": [{"type": "Ready", "status": str(ready)}], "containerStatuses": [row]}


def is_ready(pod):
    return pod["status"]["conditions"][0]["status"] == "True"


@contextlib.contextmanager
def kubernetes(folder):
    """Run the API server; give (what it holds, the path of a kubeconfig for it in ``folder``)."""
    held = FakeKubernetes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm, wbufsize = True, -1  # else headers and body wait 40 ms for each other

        def _any(self):
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, told = held.handle(self.command, split.path, dict(parse_qsl(split.query)), self.headers, body)
            data = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(told, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "c", "user": "u", "namespace": held.namespace}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield held, path
    finally:
        server.shutdown()
        server.server_close()
