"""kfp's Docker runner, with its limits mended as :mod:`pipelines.local` does those of all local runners.

- A task that fails fast is reported as a success: kfp has Docker remove a container that has ended, and takes one that
  is gone for one that did well. :meth:`Containers.execute` asks how it ended first.
- Only the pipeline's root is mounted: :func:`mounts` names the folders that the experiment's addresses are in.
- Limits of a task are not passed on, /dev/shm has 64 MiB: both are the experiment's ``resources`` here, for the steps
  that have them on a cluster.
- The images' entry point takes a step's name; kfp's commands are whole.
- Containers write as the user who started them, who also removes them if the run is stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import docker
import kfp.local
from docker.errors import APIError, DockerException, NotFound
from docker.types import DeviceRequest
from kfp.local import docker_task_handler
from kubernetes.utils.quantity import parse_quantity

from automl_images import storage
from automl_images.annotations import formats
from automl_images.errors import UserError
from automl_images.steps.entry import CREDENTIALS, IMAGE, store_is_here
from automl_images.tasks import get_task
from pipelines.experiment import Experiment, Source
from pipelines.local import Runner, Task, replaced

HEAVY = ("train", "evaluate")


class Containers(Runner):
    """Runs a pipeline in containers of this machine's Docker engine.

    Args:
        folder, parallelism, resources, gpus, mounts: as for :class:`Runner`.

    Raises:
        UserError: no engine answers.
    """

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._client = engine()

    def _kfp(self) -> Any:
        return kfp.local.DockerRunner()

    def _hooked(self) -> AbstractContextManager[None]:
        def execute(image: str, command: list[str], environment: dict[str, str] | None = None, **_: Any) -> int:
            return self.execute(command, {**(environment or {}), IMAGE: image})

        return replaced(docker_task_handler, "run_docker_container", execute)

    def _launch(self, task: Task, command: list[str], variables: dict[str, str], gpus: list[str], log: Any) -> int:
        container = None
        try:
            with self._lock:
                if self._stopped:
                    return 1
                self.tasks.append(task)
                options = self._options(task.step, variables, gpus)
                container = self._client.containers.create(variables[IMAGE], command, **options)
                container.start()
                self._running.add(container)
            for chunk in container.logs(stream=True, follow=True):
                log.write(chunk)
                log.flush()
            return int(container.wait()["StatusCode"])
        except APIError as error:  # such as GPUs without NVIDIA's container toolkit
            log.write(f"error: Docker does not run the container: {error.explanation}\n".encode())
            return 2
        finally:
            with self._lock:
                self._running.discard(container)
            if container is not None:
                with contextlib.suppress(APIError):
                    container.remove(force=True)

    def _options(self, step: str, variables: dict[str, str], gpus: list[str]) -> dict[str, Any]:
        environment = {**{k: os.environ[k] for k in CREDENTIALS if k in os.environ}, **variables}
        options: dict[str, Any] = {
            "entrypoint": [],
            "environment": environment,
            "volumes": self.mounts,
            "working_dir": os.getcwd(),  # noqa: PTH109
            "user": f"{os.getuid()}:{os.getgid()}",
            "group_add": [str(g) for g in os.getgroups()],
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # passes signals on, and ends what a trial leaves behind
            "network_mode": "host" if store_is_here() else None,
            "labels": {"automl-images.run": str(self.folder), "automl-images.step": step},
        }
        if step not in HEAVY:
            return options
        if gpus:
            options["device_requests"] = [DeviceRequest(device_ids=gpus, capabilities=[["gpu"]])]
        if self.resources.cpu:
            cores = min(float(parse_quantity(self.resources.cpu)), os.cpu_count() or 1)
            options["nano_cpus"] = int(cores * 1e9)
        if self.resources.memory:
            options["mem_limit"] = int(parse_quantity(self.resources.memory))
        if self.resources.shared_memory:
            options["shm_size"] = int(parse_quantity(self.resources.shared_memory))
        return options

    def _end(self, child: Any) -> None:
        with contextlib.suppress(DockerException):
            child.kill()


def engine() -> Any:
    """Return a client of this machine's Docker engine.

    Raises:
        UserError: none answers.
    """
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--runner docker: no Docker engine answers: {reason}; start it, or join its group") from None
    return client


def check_images(images: Iterable[str]) -> None:
    """Check that images are on this machine; none is pulled.

    Raises:
        UserError: one is not.
    """
    client = engine()
    for image in images:
        try:
            client.images.get(image)
        except NotFound:
            raise UserError(
                f"--runner docker: there is no image {image} here; make images, or docker pull it"
            ) from None


def mounts(experiment: Experiment, root: str) -> list[str]:
    """Return the local folders that an experiment's steps read or write, as ``docker run -v`` takes them.

    What is read is mounted read-only: the sources, their images, weights. What is written is made if it is not there,
    or Docker would make it as root: ``root``, the storage, the registry.
    """
    registry = experiment.register_.registry if experiment.register_ else None
    written = [storage.local_path(a) for a in (root, experiment.storage, registry) if a and storage.is_local(a)]
    for folder in written:
        with contextlib.suppress(FileExistsError, NotADirectoryError):  # the step that writes there says so
            folder.mkdir(parents=True, exist_ok=True)
    parts = [p for p in (experiment.data.training, experiment.data.validation, experiment.data.test) if p]
    read = [a for part in parts for a in (part.source, part.images and part.images.rpartition("=")[2])]
    settings = experiment.settings
    read += [experiment.weights.source, settings.get("checkpoint_run_id"), settings.get("checkpoint_dataset_id")]
    folders = {_folder(a) for a in read if a and storage.is_local(str(a))}
    folders |= {f for part in parts for f in _beside(part, get_task(experiment.task).label)}
    key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")  # a file
    keys = [f"{key}:{key}:ro"] if key and Path(key).is_file() else []
    inside = {f for f in folders if f.is_dir() and not any(f.is_relative_to(o) for o in [*written, *(folders - {f})])}
    return [f"{f}:{f}" for f in sorted(set(written))] + keys + [f"{f}:{f}:ro" for f in sorted(inside)]


def _folder(address: str) -> Path:
    path = storage.local_path(address)
    return path if path.is_dir() else path.parent


def _beside(part: Source, label: str) -> list[Path]:
    """Return the folder of the first image: of VOC's Annotations it is the one beside them."""
    if part.images or not storage.is_local(part.source):
        return []
    try:
        record = next(formats.read(part.source, part.format, None, lambda *_: None, label=label), None)
    except UserError:  # convert says what is wrong with it
        return []
    return [storage.local_path(record.image_url).parent] if record and storage.is_local(record.image_url) else []
