"""What stands behind the API of Kubeflow Pipelines 2.17: driver, launcher and Argo, as far as a package meets them.

A package is run task by task, in a thread: the component's own source from the package, in this process, on inputs that
the launcher has downloaded; what it leaves is uploaded. Behaves as a real 2.17 was seen to:

- an output artifact whose URI has left the run's root fails the task, in the launcher;
- every node is wrapped in one of type Retry, and names of attempts end in ``(0)``;
- ``retryPolicy: OnError``: a pod that was deleted is made again, a container that ended or was killed is not;
- a run that was terminated is FAILED, with CANCELING in its history.
"""

import contextlib
import importlib.util
import io
import json
import threading
import time
import traceback
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from kfp.dsl import executor
from kfp.dsl.types import artifact_types

from automl_images import storage

ROOT = "minio://mlpipeline/v2/artifacts"
_POD = threading.Lock()  # one pod at a time: KFP's paths are the process's
OURS = ("s3://", "minio://", "gs://")  # schemes that the launcher uploads to


class Failed(Exception):
    """A pod failed: its message."""


class Terminated(Exception):
    """The run was terminated."""


class Backend:
    """Runs what a :class:`tests.helpers.fake_kubeflow.FakeKubeflow` is asked to.

    Attributes:
        events: by task (``train`` or ``train 1`` for a lane's) what happens to its next pods, one each: ``deleted``,
            ``killed``, ``evicted``, or a function that is called instead.
        cache: outputs by what Kubeflow's cache goes by.
    """

    def __init__(self, folder: Path):
        self.folder, self.events, self.cache = folder, {}, {}
        self.runs: dict[str, Run] = {}

    def start(self, run, version, parameters):
        made = Run(self, run, version, parameters)
        self.runs[run["run_id"]] = made
        made.thread.start()

    def pending(self, task, message, seconds=0.3):
        """Return an event: a pod that cannot be placed for a while."""

        def event(node):
            node.update(phase="Pending", message=message)
            time.sleep(seconds)

        self.events.setdefault(task, []).append(event)


class Run:
    """One run: its state and history, its workflow's nodes, its tasks."""

    def __init__(self, backend, run, version, parameters):
        self.backend, self.id, self.parameters = backend, run["run_id"], parameters
        self.spec = version["pipeline_spec"]
        self.spec = self.spec.get("pipeline_spec", self.spec)
        self.pipeline = self.spec["pipelineInfo"]["name"]
        self.workflow, self.state, self.history = f"{self.pipeline}-{self.id[:5]}", "RUNNING", ["PENDING", "RUNNING"]
        self.nodes, self.logs, self.terminated = {}, {}, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def manifest(self):
        return {"metadata": {"name": self.workflow}, "status": {"nodes": json.loads(json.dumps(self.nodes))}}

    def details(self):
        """Return the tasks as the API has them: one for each of Argo's nodes."""
        phases = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Error": "FAILED", "Omitted": "SKIPPED"}
        phases |= {"Skipped": "SKIPPED", "Pending": "PENDING", "Running": "RUNNING"}
        return [
            {
                "display_name": n["displayName"],
                "task_id": n["id"],
                "state": phases[n["phase"]],
                "start_time": n["startedAt"],
                "end_time": n.get("finishedAt") or "1970-01-01T00:00:00Z",
            }
            for n in list(self.nodes.values())
        ]

    def terminate(self):
        self.terminated = True
        self.history.append("CANCELING")

    def run(self):
        top = self.open(None, self.workflow, "entrypoint", "Retry")
        inner = self.open(top, f"{self.workflow}(0)", "entrypoint", "DAG")
        try:
            self.dag(self.spec["root"]["dag"], self.parameters, {}, inner)
            phase = "Succeeded"
        except (Failed, Terminated):
            phase = "Failed"
        except Exception:
            traceback.print_exc()
            phase = "Failed"
        for node in (inner, top):
            self.close(node, phase)
        self.state = phase.upper()
        self.history.append(self.state)

    def open(self, parent, name, template, kind, phase="Running"):
        key = f"{self.workflow}-{len(self.nodes) + 100}"
        node = {"id": key, "displayName": name, "templateName": template, "type": kind, "phase": phase, "children": []}
        node["startedAt"] = _now()
        self.nodes[key] = node
        if parent:
            parent["children"].append(key)
        return node

    def close(self, node, phase, message=""):
        node.update(phase=phase, finishedAt=_now(), **({"message": message} if message else {}))

    def dag(self, dag, parameters, artifacts, parent, iteration=""):
        """Run a DAG's tasks, each once those that it needs are done; return its outputs."""
        done, left, failed = {}, dict(dag["tasks"]), None
        while left:
            ready = [n for n, t in left.items() if set(t.get("dependentTasks", ())) <= done.keys()]
            if not ready:
                raise failed or AssertionError(f"no task can run: {list(left)}")
            for name in ready:
                task = left.pop(name)
                try:
                    done[name] = self.task(name, task, parameters, artifacts, done, parent, iteration)
                except Failed as error:
                    failed = failed or error
        if failed:
            raise failed
        outputs = {}
        for name, output in dag.get("outputs", {}).get("parameters", {}).items():
            chosen = output["valueFromParameter"]
            outputs[name] = done[chosen["producerSubtask"]][0][chosen["outputParameterKey"]]
        return outputs, {}

    def task(self, name, task, parameters, artifacts, done, parent, iteration):
        component = self.spec["components"][task["componentRef"]["name"]]
        if "parameterIterator" in task:
            return self.loop(name, task, component, parameters, done, parent)
        values = {
            n: self.value(given, parameters, done) for n, given in task.get("inputs", {}).get("parameters", {}).items()
        }
        given = {}
        for n, source in task.get("inputs", {}).get("artifacts", {}).items():
            chosen = source["taskOutputArtifact"]
            given[n] = done[chosen["producerTask"]][1][chosen["outputArtifactKey"]]
        outer = self.open(parent, name, "system-container-executor", "Retry")
        key = json.dumps([component["executorLabel"], values, {n: a["name"] for n, a in given.items()}])
        hit = task.get("cachingOptions", {}).get("enableCache") and self.backend.cache.get(key)
        driver = self.open(parent, f"{name}-driver(0)", "system-container-driver", "Pod", "Succeeded")
        driver["outputs"] = {"parameters": [{"name": "cached-decision", "value": "true" if hit else "false"}]}
        if hit:
            self.close(self.open(outer, "executor", "system-container-impl", "Retry", "Skipped"), "Skipped")
            self.close(outer, "Succeeded")
            return hit
        try:
            made = self.attempts(name, task, component, values, given, outer, iteration)
        except BaseException:
            self.close(outer, "Failed")
            raise
        self.close(outer, "Succeeded")
        if task.get("cachingOptions", {}).get("enableCache"):
            self.backend.cache[key] = made
        return made

    def loop(self, name, task, component, parameters, done, parent):
        iterator = task["parameterIterator"]
        inner = {n: self.value(g, parameters, done) for n, g in task["inputs"]["parameters"].items()}
        items = inner[iterator["items"]["inputParameter"]]
        outer = self.open(parent, name, "comp-for-loop", "Retry")
        results, failed = [], None
        for index, item in enumerate(json.loads(items) if isinstance(items, str) else items):
            one = self.open(outer, f"iteration-item({index}:{index})", "comp-for-loop", "DAG")
            try:
                results.append(self.dag(component["dag"], {**inner, iterator["itemInput"]: item}, {}, one, str(index)))
                self.close(one, "Succeeded")
            except Failed as error:  # the other branches go on
                failed = failed or error
                self.close(one, "Failed")
        self.close(outer, "Failed" if failed else "Succeeded")
        if failed:
            raise failed
        return {key: [r[0][key] for r in results] for key in results[0][0]}, {}

    def value(self, given, parameters, done):
        if "runtimeValue" in given:
            constant = given["runtimeValue"]["constant"]
            return self.id if constant == "{{$.pipeline_job_uuid}}" else constant
        if "componentInputParameter" in given:
            return parameters[given["componentInputParameter"]]
        chosen = given["taskOutputParameter"]
        return done[chosen["producerTask"]][0][chosen["outputParameterKey"]]

    def attempts(self, name, task, component, values, given, outer, iteration):
        """Run a component's pods: another one after one that was deleted, and after no other."""
        dag = self.open(outer, f"{name}(0)", "system-container-executor", "DAG")
        retry = self.open(dag, "executor", "retry-system-container-impl", "Retry")
        most = task.get("retryPolicy", {}).get("maxRetryCount", 0)
        for attempt in range(most + 1):
            pod = self.open(retry, f"executor({attempt})", "retry-system-container-impl", "Pod")
            try:
                made = self.pod(name, component, values, given, pod, iteration)
            except Failed as error:
                deleted = str(error) == "pod deleted"
                self.close(pod, "Error" if deleted else "Failed", str(error))
                if deleted and attempt < most:
                    continue
                for node in (retry, dag):
                    self.close(node, "Failed")
                raise
            for node in (pod, retry, dag):
                self.close(node, "Succeeded")
            return made
        raise AssertionError("unreachable")

    def pod(self, name, component, values, given, pod, iteration):
        """Be the launcher of one pod."""
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        declared = component.get("outputDefinitions", {})
        base = f"{ROOT}/{self.pipeline}/{self.id}/{name}/{uuid.uuid4()}"
        outputs = {
            n: {"artifacts": [{"name": n, "uri": f"{base}/{n}", "type": d["artifactType"], "metadata": {}}]}
            for n, d in declared.get("artifacts", {}).items()
        }
        local = self.backend.folder / pod["id"]
        told = {
            "inputs": {"parameterValues": values, "artifacts": {n: {"artifacts": [a]} for n, a in given.items()}},
            "outputs": {
                "parameters": {n: {"outputFile": str(local / "out" / n)} for n in declared.get("parameters", {})},
                "artifacts": outputs,
                "outputFile": str(local / "output.json"),
            },
        }
        command = ["/kfp-launcher/launch", "--executor_input", json.dumps(told), "--"]
        patch = {"containers": [{"name": "main", "image": container["image"], "command": command}]}
        patch["containers"][0]["args"] = [*container["command"], *container["args"]]
        pod["inputs"] = {"parameters": [{"name": "pod-spec-patch", "value": json.dumps(patch)}]}
        log = self.logs[f"{self.workflow}-{pod['templateName']}-{pod['id'].rpartition('-')[2]}"] = io.StringIO()
        self.happen([name, f"{name} {iteration}"], pod)
        pod["phase"] = "Running"
        with _POD, _mounted(local):
            for artifact in given.values():
                if storage.is_dir(artifact["uri"]):
                    storage.copy_folder(artifact["uri"], _path(local, artifact["uri"]))
                else:
                    storage.write(_path(local, artifact["uri"]), storage.read_bytes(artifact["uri"]))
            function = _function(container, local)
            with _printed_to(log):
                try:
                    executor.Executor(executor_input=told, function_to_execute=function).execute()
                except SystemExit as end:
                    raise self.fatal(log, f"failed to execute component: exit status {end.code}") from None
                except Exception:
                    traceback.print_exc(file=log)
                    raise self.fatal(log, "failed to execute component: exit status 1") from None
            written = json.loads((local / "output.json").read_text())
            made = {}
            for n, listed in outputs.items():
                artifact = {**listed["artifacts"][0], **written["artifacts"][n]["artifacts"][0]}
                self.upload(local, n, artifact, log)
                made[n] = artifact
        return written["parameterValues"], made

    def upload(self, local, name, artifact, log):
        prefix, uri = f"{ROOT}/", artifact["uri"]
        if uri.startswith(OURS) and not uri.startswith(prefix):
            wrong = f'URI "{uri}" does not have expected bucket prefix "{prefix}"'
            raise self.fatal(log, f'failed to upload output artifact "{name}": {wrong}')
        path = Path(_path(local, uri))
        if path.is_dir():
            storage.put_folder(path, uri)
        elif path.exists():
            storage.write(uri, path.read_bytes())

    def fatal(self, log, text):
        log.write(f"F1125 10:11:12.131415       1 main.go:74] {text}\n")
        return Failed("main: Error (exit code 1)")

    def happen(self, names, pod):
        if self.terminated:
            raise Terminated
        for name in names:
            events = self.backend.events.get(name)
            if not events:
                continue
            event = events.pop(0)
            if callable(event):
                event(pod)
            else:
                raise Failed(
                    {
                        "deleted": "pod deleted",
                        "killed": "main: OOMKilled (exit code 137)",
                        "evicted": "The node was low on resource: memory. Container main was using 4Gi.",
                    }[event]
                )


@contextlib.contextmanager
def _mounted(local):
    """Have KFP's paths of artifacts, such as /minio/bucket/key, below a folder of this machine."""
    names = [n for n in vars(artifact_types) if n.endswith("_LOCAL_MOUNT_PREFIX")]
    before = {n: getattr(artifact_types, n) for n in names}
    for n in names:
        setattr(artifact_types, n, f"{local}{before[n]}")
    try:
        yield
    finally:
        for n in names:
            setattr(artifact_types, n, before[n])


class ByThread(io.TextIOBase):
    """Standard output or error for a whole test: what a pod's thread prints goes to its log, all else on."""

    logs: ClassVar[dict[int, io.StringIO]] = {}

    def __init__(self, rest):
        self.rest = rest

    def write(self, text):
        return self.logs.get(threading.get_ident(), self.rest).write(text)


@contextlib.contextmanager
def _printed_to(log):
    ByThread.logs[threading.get_ident()] = log
    try:
        yield
    finally:
        del ByThread.logs[threading.get_ident()]


def _path(local, uri):
    scheme, _, rest = uri.partition("://")
    return f"{local}/{scheme}/{rest}"


def _function(container, local):
    """Return the function that a package has the source of."""
    source = local / "ephemeral_component.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(container["command"][-1])
    found = importlib.util.spec_from_file_location("ephemeral_component", source)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return getattr(module, container["args"][container["args"].index("--function_to_execute") + 1])


def _now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # of one look at the clock
