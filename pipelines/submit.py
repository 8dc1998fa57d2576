"""Send an experiment's pipeline to Kubeflow Pipelines, and follow it to its end."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from automl_images.errors import UserError
from automl_images.tasks import get_task
from pipelines.experiment import Experiment
from pipelines.follow import Remote, RemoteView
from pipelines.kubeflow import Kubeflow
from pipelines.pipeline import compile_package, pipeline_name
from pipelines.stage import source_digest, stage

EVERY = 5.0  # seconds between two looks at a run


def submit(
    experiment: Experiment, *, host: str | None = None, token: str | None = None, fresh: bool = False
) -> tuple[Kubeflow, str]:
    """Copy what only this machine has, upload the pipeline's package and start a run of it.

    Submitted again, an experiment whose data and settings are the same has the same ledger, and goes on.

    Args:
        experiment: the experiment.
        host: the address of the Kubeflow Pipelines API; None: the experiment's ``cluster.endpoint``.
        token: a bearer token.
        fresh: start another ledger even if there is one of this experiment, and convert the data again.

    Returns:
        The installation, and the run's id.

    Raises:
        UserError: an address is a path of this machine and cannot be copied, or Kubeflow does not take the run.
    """
    cluster = experiment.cluster
    kubeflow = Kubeflow(host or cluster.endpoint, cluster.namespace, token)  # first: copying data may take long
    staged = stage(experiment)
    digest = None if fresh else source_digest(staged.data)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "pipeline.yaml")
        compile_package(staged, package, keyed=digest is not None)
        uploaded = kubeflow.upload(package, pipeline_name(experiment.name))
    name = f"{experiment.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    params = {"digest": digest or "", "fresh": fresh}
    return kubeflow, kubeflow.start(uploaded, experiment.name, name, params, cluster.service_account)


def follow(experiment: Experiment, kubeflow: Kubeflow, run: str) -> None:
    """Show a run on standard error until it ends: its steps, and its trials where the ledger is to be read from here.

    Raises:
        UserError: the run failed or was cancelled, or Kubeflow no longer tells of it.
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
    if remote.state != "FAILED":
        raise UserError(f"the run was {remote.state.lower()}: {kubeflow.link(run)}")
    failed = min((t for t in remote.tasks if t.code), key=lambda t: t.ended or 0, default=None)
    step, reason = kubeflow.failure(run) or (failed.step if failed else "the run", "failed; the reason is in its log")
    raise UserError(f"{step}: {reason}; see {kubeflow.link(run)}")
