"""Kubeflow Pipelines' API, as far as a submission needs it: connect, upload, start, look, and ask why it failed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
from urllib3.exceptions import HTTPError

from automl_images import storage
from automl_images.environment import IMAGE
from automl_images.errors import UserError
from automl_images.pipelines.argo import Workflow, mended_by_another_run, reason

OLDEST = "2.17"
ENDED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}


@dataclass(frozen=True)
class Failure:
    """What failed first in a run.

    ``mends`` tells whether another run may do well: the pod was killed, evicted, or lost its node.
    """

    task: str  # as people call it, such as ``train (lane 2)``
    reason: str  # one line
    mends: bool


class Unavailable(UserError):
    """The API does not answer, or not well, for now."""


class _Client(kfp.Client):
    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """Ask once: kfp's own asks five times in half a minute, and writes a stack trace each time."""
        return self.healthzs.healthz_service_get_healthz()


class Kubeflow:
    """One installation of Kubeflow Pipelines.

    Args:
        host: the address of its API; None: found by kfp, from inside the cluster or by ``kubectl``'s configuration.
        namespace: the namespace of runs, where there are several users.
        token: a bearer token; it is in no message.

    Raises:
        UserError: it cannot be reached, refuses the token, or it or the kfp here is too old.
    """

    def __init__(self, host: str | None, namespace: str, token: str | None = None):
        self._token = token
        self.address = storage.redact(host or "the cluster")
        if _version(kfp.__version__) < _version(OLDEST):
            raise UserError(f"kfp {kfp.__version__} is installed here; at least {OLDEST} is needed")
        with self._calls("cannot be reached"):
            self._client = _Client(host=host, namespace=namespace, existing_token=token)
            answer = self._client.healthzs.healthz_service_get_healthz(_preload_content=False)
            health = json.loads(answer.data)
        self.namespace = namespace if health.get("multi_user") else None
        tag = str(health.get("tag_name") or "")
        if tag[:1].isdigit() and _version(tag) < _version(OLDEST):
            raise UserError(f"{self.address}: Kubeflow Pipelines {tag}; at least {OLDEST} is needed")

    def upload(self, package: Path, name: str) -> tuple[str, str]:
        """Upload a package as a version of the pipeline of that name, unless it is there; return both ids."""
        version = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
        with self._calls("does not take the pipeline"):
            listed = self._client.list_pipelines(filter=_named(name), namespace=self.namespace).pipelines
            if listed:
                pipeline = listed[0].pipeline_id
            else:
                made = kfp_server_api.V2beta1Pipeline(name=name, display_name=name, namespace=self.namespace)
                pipeline = self._client.pipelines.pipeline_service_create_pipeline(pipeline=made).pipeline_id
            versions = self._client.list_pipeline_versions(pipeline, filter=_named(version)).pipeline_versions
            if versions:
                return pipeline, versions[0].pipeline_version_id
            sent = self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline)
            return pipeline, sent.pipeline_version_id

    def start(
        self, uploaded: tuple[str, str], experiment: str, name: str, params: dict[str, Any], account: str | None
    ) -> str:
        """Create a run of an uploaded version in the experiment of that name; return the run's id."""
        pipeline, version = uploaded
        with self._calls("does not take the run"):
            group = self._client.create_experiment(experiment, namespace=self.namespace).experiment_id
            return self._client.run_pipeline(
                group, name, pipeline_id=pipeline, version_id=version, params=params, service_account=account
            ).run_id

    def run(self, run: str) -> Any:
        """Return the run as the API has it now (``kfp_server_api.V2beta1Run``)."""
        with self._calls("does not tell of the run"):
            return self._client.get_run(run)

    def active(self, experiment: str) -> list[str]:
        """Return the ids of the runs in the experiment of that name which have not ended, the newest first."""
        with self._calls("does not list the runs"):
            groups = self._client.list_experiments(filter=_named(experiment), namespace=self.namespace).experiments
            if not groups:
                return []
            group = groups[0].experiment_id
            runs = self._client.list_runs(page_size=100, sort_by="created_at desc", experiment_id=group).runs
        return [r.run_id for r in runs or [] if r.state not in ENDED]

    def parameters(self, run: str) -> dict[str, Any]:
        """Return a run's parameters: its own, and the package's defaults for the others."""
        found = self.run(run)
        version = found.pipeline_version_reference
        with self._calls("does not tell of the pipeline"):
            spec = self._client.get_pipeline_version(version.pipeline_id, version.pipeline_version_id).pipeline_spec
        spec = spec.get("pipeline_spec") or spec  # beside a platform_spec, where there is one
        declared = spec["root"]["inputDefinitions"]["parameters"]
        given = (found.runtime_config and found.runtime_config.parameters) or {}
        return {**{n: d.get("defaultValue") for n, d in declared.items()}, **given}

    def start_like(self, run: str, name: str) -> str:
        """Start again what a run was: its version of the pipeline, with its parameters; return the new run's id."""
        before = self.run(run)
        version = before.pipeline_version_reference
        with self._calls("does not take the run"):
            return self._client.run_pipeline(
                before.experiment_id,
                name,
                pipeline_id=version.pipeline_id,
                version_id=version.pipeline_version_id,
                params=(before.runtime_config and before.runtime_config.parameters) or {},
                service_account=before.service_account,
            ).run_id

    def terminate(self, run: str) -> None:
        """End a run; its pods are given the time to end that Kubernetes gives."""
        with self._calls("does not end the run"):
            self._client.terminate_run(run)

    def link(self, run: str) -> str:
        """Return where the run is to be seen."""
        return storage.redact(f"{self._client._get_url_prefix()}/#/runs/details/{run}")

    def failure(self, run: str) -> Failure | None:
        """Return what failed first in a run, by its workflow and the pod's log; None where that is not to be had."""
        with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
            workflow = self.workflow(run)
            first = workflow.failed()
            if first is None:
                return None
            message, log = str(first.get("message") or first["phase"]), ""
            with contextlib.suppress(UserError), self._calls("does not give the log"):
                log = self._get(f"/apis/v1alpha1/runs/{run}/nodes/{workflow.pod(first)}/log", "str")
            told = message if mended_by_another_run(message) else reason(log) or message
            return Failure(workflow.task(first), self._clean(told), mended_by_another_run(message, log))
        return None

    def workflow(self, run: str) -> Workflow:
        """Return the Argo workflow behind a run; Kubeflow keeps it as long as the run."""
        with self._calls("does not tell of the run"):
            found = self._get(f"/apis/v1beta1/runs/{run}", "object")
        return Workflow(json.loads((found.get("pipeline_runtime") or {}).get("workflow_manifest") or "{}"))

    def task(self, run: str, step: str, lane: int) -> dict[str, Any]:
        """Return what repeats a task of a run, from its workflow: ``command``, ``variables``, ``resources``.

        Raises:
            UserError: there is no such run, or the step (the lane, of ``train``) has not run in it.
        """
        for container in self.workflow(run).containers():
            kept = _command(container, step, lane)
            if kept:
                return kept
        raise UserError(f"{self.address}: the run {run} has no task {step}" + (f" of lane {lane}" if lane else ""))

    def _get(self, path: str, kind: str) -> Any:
        api = self._client.runs.api_client
        how = {"header_params": {"Accept": "application/json"}, "auth_settings": ["Bearer"]}
        return api.call_api(path, "GET", response_type=kind, _return_http_data_only=True, **how)

    @contextlib.contextmanager
    def _calls(self, trouble: str) -> Iterator[None]:
        """Keep kfp quiet, and make one line of whatever its transport raises."""
        disabled = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except kfp_server_api.ApiException as error:
            if error.status in (401, 403):
                raise UserError(
                    f"{self.address}: refuses the token ({error.status}); give one that is valid with --token"
                ) from None
            answer = self._clean(_message(error))
            kind = Unavailable if error.status == 429 or (error.status or 500) >= 500 else UserError
            raise kind(f"{self.address}: {trouble}: {answer}") from None
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"{self.address}: {trouble}: {self._clean(str(error) or type(error).__name__)}") from None
        finally:
            logging.disable(disabled)

    def _clean(self, text: str) -> str:
        line = " ".join(text.split())[:400]
        return storage.redact(line.replace(self._token, "***") if self._token else line)


def _command(container: dict[str, Any], step: str, lane: int) -> dict[str, Any] | None:
    """Return what repeats a pod: its command is a component's, its launcher's has the input that goes into it."""
    launcher, command = container["command"], list(container["args"])
    if "--function_to_execute" not in command or command[command.index("--function_to_execute") + 1] != step:
        return None
    inputs = json.loads(launcher[launcher.index("--executor_input") + 1])
    of = inputs["inputs"].get("parameterValues", {}).get("lane")
    if step == "train" and int(json.loads(of)["lane"] if of else 0) != lane:
        return None
    command[command.index("--executor_input") + 1] = json.dumps(inputs)
    limits = (container.get("resources") or {}).get("limits") or {}
    resources = {"cpu": limits.get("cpu"), "memory": limits.get("memory"), "shared_memory": "2Gi"}
    return {"command": command, "variables": {IMAGE: container["image"]}, "resources": resources}


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])


def _message(error: kfp_server_api.ApiException) -> str:
    """Return the API's own message of what it answered."""
    try:
        body = json.loads(error.body)
        return str(body.get("message") or body.get("error_message") or body.get("error") or error.reason)
    except (ValueError, TypeError, AttributeError):
        return f"{error.status} {error.reason}"
