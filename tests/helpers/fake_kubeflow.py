"""The API of Kubeflow Pipelines 2.17, in a thread, as far as a submission speaks to it."""

import email
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import yaml

WORKFLOW = "cells-x7k2p"


class FakeKubeflow:
    """Keeps experiments, pipelines, versions and runs, and refuses what the real one refuses.

    Attributes:
        backend: runs packages (:class:`tests.helpers.fake_cluster.Backend`); None: ``play`` tells what a run does.
        play: called with (run, number of the look) at each look at a run; returns its (state, task details).
        log: what the failed pod has printed; None: there is no pod and no archive any more.
        requests: (method, path, headers) of all that was asked.
        broken: how many of the next looks at a run are answered by 503.
    """

    def __init__(self, play=None, backend=None):
        self.play, self.backend, self.log, self.broken = play, backend, "", 0
        self.token, self.multi_user, self.tag = None, False, "2.17.0"
        self.experiments, self.pipelines, self.versions, self.runs = {}, {}, {}, {}
        self.workflow = None
        self.requests, self.faults, self.looks = [], [], {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def parameters(self, run):
        """Return what a run's steps are given: the package's defaults under the run's own parameters."""
        reference = run["pipeline_version_reference"]
        declared = self.declared(reference["pipeline_version_id"])
        given = (run.get("runtime_config") or {}).get("parameters") or {}
        return {**{n: d.get("defaultValue") for n, d in declared.items()}, **given}

    def declared(self, version):
        return self.versions[version]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]

    def asked(self, method, path):
        """Return the headers of the requests for a path."""
        return [h for m, p, h in self.requests if m == method and urlsplit(p).path == path]


class Refused(Exception):
    """An answer other than 200: status, gRPC code, message."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeKubeflow

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def answer(self, method):
        self.fake.requests.append((method, self.path, {k.lower(): v for k, v in self.headers.items()}))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        try:
            if self.fake.token and self.headers.get("Authorization") != f"Bearer {self.fake.token}":
                raise Refused(401, 16, f"Request is not authenticated: {self.headers.get('Authorization')}")
            for verb, pattern, handle in ROUTES:
                found = re.fullmatch(pattern, parts.path)
                if verb == method and found:
                    status, content = 200, handle(self, body, *found.groups())
                    break
            else:
                raise Refused(404, 5, f"Not Found: {self.path}")
        except Refused as refusal:
            status, code, message = refusal.args
            content = {"error": message, "code": code, "message": message, "details": []}
        except Exception as error:
            self.fake.faults.append(repr(error))
            status, content = 400, {"message": repr(error)}
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(content, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def health(self, body):
        tag = {"tag_name": self.fake.tag, "commit_sha": "unknown", "pipeline_store": "database"}
        return {**tag, "multi_user": self.fake.multi_user}

    def listed(self, kind, items):
        if self.fake.multi_user and kind == "experiments" and not self.query.get("namespace"):
            raise Refused(400, 3, "Invalid input error: A namespace is needed in multi-user mode")
        if self.fake.multi_user and kind == "experiments":
            items = [i for i in items if i.get("namespace") in (None, self.query["namespace"])]
        for predicate in json.loads(self.query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] in (1, "EQUALS") and predicate["key"] == "display_name"
            items = [i for i in items if i["display_name"] == predicate["stringValue"]]
        return {kind: items, "total_size": len(items)} if items else {}

    def list_experiments(self, body):
        return self.listed("experiments", list(self.fake.experiments.values()))

    def create_experiment(self, body):
        made = {**json.loads(body), "experiment_id": str(uuid.uuid4())}
        if self.fake.multi_user and not made.get("namespace"):
            raise Refused(400, 3, "An experiment cannot have an empty namespace in multi-user mode")
        self.fake.experiments[made["experiment_id"]] = made
        return made

    def list_pipelines(self, body):
        return self.listed("pipelines", list(self.fake.pipelines.values()))

    def create_pipeline(self, body):
        made = {**json.loads(body), "pipeline_id": str(uuid.uuid4())}
        if any(p["display_name"] == made["display_name"] for p in self.fake.pipelines.values()):
            raise Refused(409, 6, f"Already exist error: pipeline {made['display_name']}")
        self.fake.pipelines[made["pipeline_id"]] = made
        return made

    def list_versions(self, body, pipeline):
        return self.listed(
            "pipeline_versions", [v for v in self.fake.versions.values() if v["pipeline_id"] == pipeline]
        )

    def upload_version(self, body):
        if self.query["pipelineid"] not in self.fake.pipelines:
            raise Refused(404, 5, "pipeline not found")
        kind = self.headers["Content-Type"].encode()
        message = email.message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
        (part,) = message.get_payload()
        assert part.get_param("name", header="content-disposition") == "uploadfile"
        documents = list(yaml.load_all(part.get_payload(decode=True), yaml.CSafeLoader))
        made = {
            "pipeline_version_id": str(uuid.uuid4()),
            "pipeline_id": self.query["pipelineid"],
            "display_name": self.query["name"],
            "pipeline_spec": documents[0],
        }
        self.fake.versions[made["pipeline_version_id"]] = made
        return made

    def create_run(self, body):
        made = {**json.loads(body), "run_id": str(uuid.uuid4()), "state": "PENDING"}
        reference = made["pipeline_version_reference"]
        version = self.fake.versions.get(reference["pipeline_version_id"])
        if not version or version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(404, 5, "PipelineVersion not found")
        if made["experiment_id"] not in self.fake.experiments:
            raise Refused(404, 5, "Experiment not found")
        known = self.fake.declared(reference["pipeline_version_id"])
        for name in (made.get("runtime_config") or {}).get("parameters") or {}:
            if name not in known:
                raise Refused(400, 3, f"Invalid input error: parameter {name} is not defined")
        made["state_history"] = [{"state": "PENDING", "update_time": "2026-01-01T00:00:00Z"}]
        self.fake.runs[made["run_id"]] = made
        if self.fake.backend:
            self.fake.backend.start(made, version, self.fake.parameters(made))
        return made

    def list_runs(self, body):
        runs = [r for r in self.fake.runs.values() if r["experiment_id"] == self.query["experiment_id"]]
        return {"runs": [self.seen(r) for r in reversed(runs)], "total_size": len(runs)} if runs else {}

    def get_version(self, body, pipeline, version):
        return self.fake.versions[version]

    def terminate(self, body, run):
        self.fake.runs[run]["state_history"].append({"state": "CANCELING", "update_time": "2026-01-01T00:00:09Z"})
        if self.fake.backend:
            self.fake.backend.runs[run].terminate()
        return {}

    def seen(self, run):
        """Return a run with its state now."""
        if not self.fake.backend:
            return run
        made = self.fake.backend.runs[run["run_id"]]
        history = [{"state": s, "update_time": "2026-01-01T00:00:00Z"} for s in made.history]
        return {**run, "state": made.state, "state_history": history}

    def get_run(self, body, run):
        if self.fake.broken:
            self.fake.broken -= 1
            raise Refused(503, 14, "upstream connect error")
        found = self.fake.runs[run]
        if self.fake.backend:
            details = self.fake.backend.runs[run].details()
            return {**self.seen(found), "run_details": {"task_details": details}}
        look = self.fake.looks[run] = self.fake.looks.get(run, -1) + 1
        state, details = self.fake.play(found, look)
        found["state"] = state
        return {**found, "state": state, "run_details": {"task_details": details}}

    def get_workflow(self, body, run):
        if self.fake.backend:
            manifest = json.dumps(self.fake.backend.runs[run].manifest())
            return {"run": {"id": run}, "pipeline_runtime": {"workflow_manifest": manifest}}
        if self.fake.workflow is None:
            raise Refused(404, 5, "Run not found")
        return {"run": {"id": run}, "pipeline_runtime": {"workflow_manifest": json.dumps(self.fake.workflow)}}

    def get_log(self, body, run, pod):
        if self.fake.backend:
            return self.fake.backend.runs[run].logs[pod].getvalue().encode()
        if self.fake.log is None:
            raise Refused(500, 13, f"Failed to read logs from pod {pod}")
        assert pod == f"{WORKFLOW}-retry-system-container-impl-333", pod
        return self.fake.log.encode()


ROUTES = [
    ("GET", r"/apis/v2beta1/healthz", _Handler.health),
    ("GET", r"/apis/v2beta1/experiments", _Handler.list_experiments),
    ("POST", r"/apis/v2beta1/experiments", _Handler.create_experiment),
    ("GET", r"/apis/v2beta1/pipelines", _Handler.list_pipelines),
    ("POST", r"/apis/v2beta1/pipelines", _Handler.create_pipeline),
    ("POST", r"/apis/v2beta1/pipelines/upload_version", _Handler.upload_version),
    ("GET", r"/apis/v2beta1/pipelines/([^/]+)/versions", _Handler.list_versions),
    ("GET", r"/apis/v2beta1/pipelines/([^/]+)/versions/([^/]+)", _Handler.get_version),
    ("POST", r"/apis/v2beta1/runs", _Handler.create_run),
    ("GET", r"/apis/v2beta1/runs", _Handler.list_runs),
    ("POST", r"/apis/v2beta1/runs/([^/]+):terminate", _Handler.terminate),
    ("GET", r"/apis/v2beta1/runs/([^/]+)", _Handler.get_run),
    ("GET", r"/apis/v1beta1/runs/([^/]+)", _Handler.get_workflow),
    ("GET", r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", _Handler.get_log),
]


def detail(name, state, start=0, end=None):
    """Return a task as the API has it: an Argo node's name and state, and times."""
    times = {"start_time": f"2026-01-01T00:00:{start:02d}Z", "end_time": "1970-01-01T00:00:00Z"}
    if end is not None:
        times["end_time"] = f"2026-01-01T00:00:{end:02d}Z"
    return {"display_name": name, "state": state, "task_id": str(uuid.uuid4()), **times}


def wrapped(name, state, start=0, end=None):
    """Return a task as the API has it, and its first attempt: Kubeflow wraps every template in a Retry node."""
    return [detail(name, state, start, end), detail(f"{name}(0)", state, start, end)]


def failed_workflow(step, message="main: Error (exit code 2)"):
    """Return the workflow behind a run whose step's pod failed, as a real 2.17 has it."""

    def node(number, name, kind, phase, template, children=(), **more):
        key = f"{WORKFLOW}-{number}"
        below = [f"{WORKFLOW}-{c}" for c in children]
        base = {"id": key, "displayName": name, "type": kind, "phase": phase, "templateName": template}
        return key, {**base, "children": below, **more}

    late, early = {"finishedAt": "2026-01-01T00:00:09Z"}, {"finishedAt": "2026-01-01T00:00:05Z"}
    first = {"finishedAt": "2026-01-01T00:00:01Z"}
    nodes = [
        node(0, WORKFLOW, "Retry", "Failed", "entrypoint", [1]),
        node(1, f"{WORKFLOW}(0)", "DAG", "Failed", "entrypoint", [2, 5, 6]),
        node(2, step, "Retry", "Failed", "retry-system-container-executor", [3]),
        node(3, f"{step}(0)", "DAG", "Failed", "retry-system-container-executor", [22]),
        node(22, "executor", "Retry", "Failed", "retry-system-container-impl", [333]),
        node(333, "executor(0)", "Pod", "Failed", "retry-system-container-impl", message=message, **early),
        node(5, "late-driver", "Retry", "Failed", "system-container-driver", [55]),
        node(55, "late-driver(0)", "Pod", "Error", "system-container-driver", message="deleted", **late),
        node(6, "mended", "Retry", "Succeeded", "retry-system-container-executor", [7]),
        node(7, "mended(0)", "DAG", "Succeeded", "retry-system-container-executor", [8]),
        node(8, "executor", "Retry", "Succeeded", "retry-system-container-impl", [9, 10]),
        node(9, "executor(0)", "Pod", "Error", "retry-system-container-impl", message="pod deleted", **first),
        node(10, "executor(1)", "Pod", "Succeeded", "retry-system-container-impl", **early),
    ]
    return {"metadata": {"name": WORKFLOW}, "status": {"nodes": dict(nodes)}}


def executed_workflow(tasks):
    """Return the workflow behind a run, with its pods' commands as Kubeflow's driver makes them.

    Args:
        tasks: (component, image, parameter values, input artifacts' URIs by name, names of output artifacts).
    """
    nodes = {}
    for number, (component, image, values, artifacts, outputs) in enumerate(tasks):
        container = component.component_spec.implementation.container
        listed = {n: {"artifacts": [{"name": n, "uri": uri}]} for n, uri in artifacts.items()}
        made = {n: {"artifacts": [{"name": n, "uri": f"minio://b/v2/{number}/{n}"}]} for n in outputs}
        told = {
            "inputs": {"parameterValues": values, "artifacts": listed},
            "outputs": {
                "parameters": {"Output": {"outputFile": "/tmp/kfp/outputs/Output"}},
                "artifacts": made,
                "outputFile": "/tmp/kfp_outputs/output_metadata.json",
            },
        }
        launcher = ["/kfp-launcher/launch", "--pipeline_name", "cells", "--executor_input", json.dumps(told), "--"]
        patch = {
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": launcher,
                    "args": [*container.command, *("{{$}}" if "{{$}}" in str(a) else a for a in container.args)],
                    "resources": {"limits": {"cpu": "1", "memory": "4Gi"}},
                }
            ]
        }
        key = f"{WORKFLOW}-{number}"
        parameters = [{"name": "pod-spec-patch", "value": json.dumps(patch)}, {"name": "retry", "value": "0"}]
        inputs = {"parameters": parameters}
        nodes[key] = {"id": key, "displayName": "executor", "type": "Pod", "phase": "Succeeded", "inputs": inputs}
    driver = {"id": "d", "displayName": "split-driver", "type": "Pod", "phase": "Succeeded"}
    return {"metadata": {"name": WORKFLOW}, "status": {"nodes": {"d": driver, **nodes}}}
