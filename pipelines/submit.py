"""Send an experiment's pipeline to Kubeflow Pipelines."""

from __future__ import annotations

from typing import Any

from automl_images import storage
from automl_images.errors import UserError
from pipelines.experiment import Experiment
from pipelines.pipeline import build


def submit(experiment: Experiment, *, fresh: bool = False, client: Any = None) -> str:
    """Create a run of the pipeline and return where it is to be seen.

    Args:
        experiment: the experiment; its sources and storage must be addresses that pods reach.
        fresh: start another ledger even if there is one of this experiment.
        client: a ``kfp.Client``; None: one for the experiment's ``cluster``.

    Raises:
        UserError: an address is a path of this machine, or Kubeflow cannot be reached.
    """
    check_reachable(experiment)
    cluster = experiment.cluster
    try:
        if client is None:
            from kfp import Client

            client = Client(host=cluster.endpoint, namespace=cluster.namespace)
        run = client.create_run_from_pipeline_func(
            build(experiment),
            arguments={"fresh": fresh},
            experiment_name=experiment.name,
            namespace=cluster.namespace,
            service_account=cluster.service_account,
            enable_caching=False,
        )
    except Exception as error:  # kfp's client raises whatever its transport does
        first = str(error).strip().splitlines()
        said = storage.redact(first[0] if first else type(error).__name__)
        raise UserError(f"cluster.endpoint: Kubeflow Pipelines does not take the run: {said}") from error
    return f"run {run.run_id}"


def check_reachable(experiment: Experiment) -> None:
    """Refuse addresses that only this machine has.

    Raises:
        UserError: the line says which.
    """
    data = experiment.data
    sets = {"training": data.training, "validation": data.validation, "test": data.test}
    places: dict[str, str | None] = {}
    for name, part in sets.items():
        if part:
            places[f"data.{name}.source"] = part.source
            places[f"data.{name}.images"] = part.images and part.images.rpartition("=")[2]
    places |= {"storage": experiment.storage, "weights.source": experiment.weights.source}
    places["register.registry"] = experiment.register_.registry if experiment.register_ else None
    for place, address in places.items():
        if address and storage.is_local(address):
            raise UserError(f"{place}: pods do not reach '{address}' on this machine; copy it to a store and name that")
