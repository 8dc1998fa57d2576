"""What the pod of each step is given in the compiled package."""

from __future__ import annotations

from collections.abc import Mapping

from kfp import dsl, kubernetes
from kubernetes.utils.quantity import parse_quantity

from automl_images.environment import SHARED
from automl_images.errors import UserError
from automl_images.experiment import Resources
from automl_images.pipelines.cluster import CA_VARIABLES, CACHE, CERTIFICATES, KEYS, REGION_VARIABLES, Amounts, Cluster
from automl_images.steps import HEAVY

RETRIES = 2  # of a pod that was deleted; Kubeflow's controller retries no container that ended by itself or was killed
USER = 10001  # the images' own; a namespace of the restricted level takes no pod that does not name one
LEAST = {"cpu": "100m", "memory": "256Mi"}  # what a light step's pod asks for
OBJECT_STORE = "http://seaweedfs.kubeflow:9000"  # what Kubeflow Pipelines 2.17 installs, for every namespace


def equip(task: dsl.PipelineTask, cluster: Cluster) -> None:
    """Give a task what it needs on a cluster: a user, retries, and what the experiment's ``cluster`` names."""
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    task.set_retry(num_retries=RETRIES, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.image_pull_secrets)
    if cluster.secret:
        kubernetes.use_secret_as_env(task, cluster.secret, KEYS, optional=True)
    if store := cluster.object_store or (OBJECT_STORE if cluster.secret else None):
        task.set_env_variable("AWS_ENDPOINT_URL", store)
    for name in REGION_VARIABLES if cluster.region else ():
        task.set_env_variable(name, cluster.region)
    if cluster.cache_volume:
        kubernetes.mount_pvc(task, cluster.cache_volume, CACHE)
        task.set_env_variable("TORCH_HOME", f"{CACHE}/torch")
    if volume := cluster.data_volume:
        kubernetes.mount_pvc(task, volume.claim, volume.path, volume.sub_path)
        task.set_env_variable(SHARED, volume.path)
    for name, value in cluster.labels.items():
        kubernetes.add_pod_label(task, name, value)
    for name, value in cluster.annotations.items():
        kubernetes.add_pod_annotation(task, name, value)
    _environment(task, cluster)


def _environment(task: dsl.PipelineTask, cluster: Cluster) -> None:
    for name, value in cluster.environment.items():
        task.set_env_variable(name, value)
    for held in cluster.environment_from:
        if held.secret:
            kubernetes.use_secret_as_env(task, held.secret, held.keys)
        else:
            kubernetes.use_config_map_as_env(task, held.config_map, held.keys)
    if bundle := cluster.ca_bundle:
        if bundle.secret:
            kubernetes.use_secret_as_volume(task, bundle.secret, CERTIFICATES)
        else:
            kubernetes.use_config_map_as_volume(task, bundle.config_map, CERTIFICATES)
        for name in CA_VARIABLES:
            task.set_env_variable(name, f"{CERTIFICATES}/{bundle.key}")


def limit(task: dsl.PipelineTask, resources: Resources, cluster: Cluster) -> None:
    """Give a task's pod its requests and limits, and what trains its accelerators, shared memory and nodes.

    All are constants: inside a loop, limits that are parameters lose their wiring.

    Raises:
        UserError: a step asks for more than its limit.
    """
    requests, limits = _amounts(task.name, resources, cluster)
    for what, set_request, set_limit in (
        ("cpu", task.set_cpu_request, task.set_cpu_limit),
        ("memory", task.set_memory_request, task.set_memory_limit),
    ):
        if requests[what]:
            set_request(requests[what])
        if limits[what]:
            set_limit(limits[what])
    if task.name not in HEAVY:
        return
    if resources.count:
        task.set_accelerator_type(resources.accelerator).set_accelerator_limit(resources.count)
    if resources.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=resources.shared_memory)  # noqa: S108
    for key, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in resources.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))


def _amounts(
    step: str, resources: Resources, cluster: Cluster
) -> tuple[Mapping[str, str | None], Mapping[str, str | None]]:
    """Return a step's requests and limits; a light step asks for little, a heavy one for as much as it may use.

    A namespace with a quota takes no pod without them.
    """
    pod, common = cluster.steps.get(step), resources if step in HEAVY else resources.light
    asked, allowed = (pod.requests, pod.limits) if pod else (Amounts(), Amounts())
    limits = {what: getattr(allowed, what) or getattr(common, what) for what in LEAST}
    requests = {what: getattr(asked, what) for what in LEAST}
    for what, least in LEAST.items():
        most = limits[what]
        if requests[what] and most and parse_quantity(requests[what]) > parse_quantity(most):
            raise UserError(f"cluster.steps.{step}.requests.{what}: {requests[what]} is more than its limit, {most}")
        if not requests[what] and step not in HEAVY:
            requests[what] = min(least, most or least, key=parse_quantity)
    return requests, limits
