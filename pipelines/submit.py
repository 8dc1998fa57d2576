"""Send an experiment's pipeline to Kubeflow Pipelines, and follow it to its end."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from rich.console import Console

from automl_images import storage
from automl_images.annotations.labels import kind_of
from automl_images.errors import UserError
from automl_images.pipelines.experiment import Experiment, addresses, sets
from automl_images.pipelines.follow import Remote, RemoteView
from automl_images.pipelines.kubeflow import Failure, Kubeflow
from automl_images.pipelines.pipeline import compile_package, pipeline_name
from automl_images.pipelines.stage import source_digest, stage
from automl_images.tasks import get_task

EVERY = 5.0  # seconds between two looks at a run


class PodLostError(UserError):
    """A run failed because a pod of its was killed, evicted or lost its node; another run may do well."""


def submit(
    experiment: Experiment,
    kubeflow: Kubeflow,
    *,
    fresh: bool = False,
    take_over: bool = False,
    local_images: bool = False,
) -> str:
    """Copy what only this machine has, upload the pipeline's package and start a run of it; return the run's id.

    Submitted again, an experiment whose data and settings are the same has the same ledger, and goes on.

    Args:
        experiment, kubeflow: what is run where.
        fresh: start another ledger even if there is one of this experiment, and convert the data again.
        take_over: end a run of the same experiment that still goes; its trials go on in this one.
        local_images: the cluster's nodes have the images themselves, as those of kind do that were loaded; else each
            has to name its registry.

    Raises:
        UserError: an image names no registry, an address is a path of this machine and cannot be copied, the
            experiment is running already, or Kubeflow does not take the run.
    """
    if not local_images:
        _check_images(experiment)
    staged = stage(experiment)
    elsewhere = kind_of(get_task(staged.task).label).has_files  # which the listings of the sources may lack
    on_volume = any(map(storage.on_machine, (a for part in sets(staged.data) for a in addresses(part))))  # not here
    digest = None if fresh or elsewhere or on_volume else source_digest(staged.data)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    params = {"digest": digest or "", "fresh": f"{stamp}-{uuid.uuid4().hex[:6]}" if fresh else ""}
    for run in [] if fresh else _running(staged, kubeflow, params["digest"]):
        if not take_over:
            raise UserError(
                f"run {run} of this experiment still goes, and this one would take its trials over: "
                f"--follow {run} shows it, --take-over ends it and goes on with its trials"
            )
        kubeflow.terminate(run)
        print(f"ended run {run}; its trials go on in this one", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "pipeline.yaml")
        compile_package(staged, package, keyed=digest is not None)
        uploaded = kubeflow.upload(package, pipeline_name(experiment.name))
    return kubeflow.start(uploaded, experiment.name, _run_name(experiment), params, experiment.cluster.service_account)


def _check_images(experiment: Experiment) -> None:
    images = experiment.cluster.images.model_dump()
    for role in ("light", "gpu", *(["serve"] if experiment.serve else [])):
        host, slash, _ = images[role].partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            raise UserError(
                f"cluster.images.{role}: {images[role]} names no registry that the cluster pulls it from; make push "
                "REGISTRY=... prints names for cluster.images; --local-images: its nodes have the image, as kind's do"
            )


def _run_name(experiment: Experiment) -> str:
    return f"{experiment.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _running(staged: Experiment, kubeflow: Kubeflow, digest: str) -> list[str]:
    """Return the runs that have not ended and share this experiment's ledger: the same but for the budget."""
    found = []
    for run in kubeflow.active(staged.name):
        try:
            given = kubeflow.parameters(run)
            block = given.get("data_json") or given["data"]  # its name in packages of the version before
            if "data_json" in given and any(given.get(n) for n in ("data", "model", "epochs")):  # another experiment
                continue
            same_data = json.loads(block) == staged.data.model_dump() and (
                not digest or given.get("digest") in ("", None, digest)
            )
            if same_data and not given.get("fresh") and staged.trains_as(json.loads(given["experiment_json"])):
                found.append(run)
        except (LookupError, TypeError, ValueError):  # another program's run, or one of another version
            continue
    return found


def follow(experiment: Experiment, kubeflow: Kubeflow, run: str, resubmit: int = 0) -> None:
    """Show a run to its end; when a pod was lost, start it again, ``resubmit`` times at most, which keeps what is done.

    Raises:
        UserError: a run failed, was terminated or cancelled, or Kubeflow no longer tells of it.
    """
    for count in range(resubmit + 1):
        try:
            return _follow(experiment, kubeflow, run)
        except PodLostError as error:
            if count == resubmit:
                raise
            run = kubeflow.start_like(run, _run_name(experiment))
            print(
                f"{error}\nsubmitting again ({count + 1} of {resubmit}), what is finished is kept: "
                f"run {run}: {kubeflow.link(run)}",
                file=sys.stderr,
            )


def _follow(experiment: Experiment, kubeflow: Kubeflow, run: str) -> None:
    """Show a run on standard error until it ends: its steps, and its trials where the ledger is to be read from here.

    Raises:
        PodLostError: the run failed by what another run may mend.
        UserError: as :func:`follow`.
    """
    remote = Remote(kubeflow, run, experiment.name, experiment.storage, EVERY)
    view = RemoteView(remote, get_task(experiment.task).primary_metric, Console(stderr=True))
    try:
        view.follow(remote.running)
    except KeyboardInterrupt:
        print(f"no longer followed; the run goes on: {kubeflow.link(run)}", file=sys.stderr)
        raise
    if remote.state == "SUCCEEDED":
        return
    if remote.terminated or remote.state != "FAILED":
        how = "terminated" if remote.terminated else remote.state.lower()
        raise UserError(f"the run was {how}: {kubeflow.link(run)}")
    failure = kubeflow.failure(run)
    if failure is None:
        failed = min((t for t in remote.tasks if t.code), key=lambda t: t.ended or 0, default=None)
        failure = Failure(failed.step if failed else "the run", "failed; the reason is in its log", mends=False)
    kind = PodLostError if failure.mends else UserError
    raise kind(f"{failure.task}: {failure.reason}; see {kubeflow.link(run)}")
