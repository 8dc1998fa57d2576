"""kfp's Docker runner, with its limits mended as :mod:`.local` does those of all local runners.

- A task that fails fast is reported as a success: kfp has Docker remove a container that has ended, and takes one that
  is gone for one that did well. :meth:`Containers.execute` asks how it ended first.
- Only the pipeline's root is mounted: :mod:`.mounts` names the folders that the experiment's addresses are in.
- Limits of a task are not passed on, /dev/shm has 64 MiB: both are the experiment's ``resources`` here, for the steps
  that have them on a cluster.
- The images' entry point takes a step's name; kfp's commands are whole.
- Containers write as the user who started them, who also removes them if the run is stopped; those of a run that was
  killed the next run of its root removes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
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

from automl_images.environment import CREDENTIALS, IMAGE
from automl_images.errors import UserError, say
from automl_images.pipelines.local import Runner, Task, replaced
from automl_images.steps import HEAVY
from automl_images.steps.repeat import store_is_here
from automl_images.sweep.liveness import died_here, identity

# labels of a container: its run's folder, and the process that waits for it
RUN, PROCESS = "automl-images.run", "automl-images.process"


class Containers(Runner):
    """Runs a pipeline in containers of this machine's Docker engine; its arguments are those of :class:`Runner`.

    Raises:
        UserError: no engine answers.
    """

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._client = engine()
        self._remove_orphans()

    def _remove_orphans(self) -> None:
        """Remove what runs of the same root have left that were killed, and could end nothing.

        They would train on, for nobody, and on what the trials of this run need.
        """
        root, removed = self.folder.parents[1], Counter[str]()
        for container in self._client.containers.list(all=True, filters={"label": PROCESS}, ignore_removed=True):
            run = container.labels.get(RUN, "")
            if Path(run).is_relative_to(root) and died_here(container.labels[PROCESS]):
                with contextlib.suppress(APIError):
                    container.remove(force=True)
                    removed[run] += 1
        for run, count in removed.items():
            say(f"{run}: was killed; what it left running in Docker is removed ({count} containers)")

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
            "labels": {RUN: str(self.folder), PROCESS: identity(), "automl-images.step": step},
        }
        if step not in HEAVY:
            return options
        if gpus:
            options["device_requests"] = [DeviceRequest(device_ids=gpus, capabilities=[["gpu"]])]
        if self.resources.cpu:
            cores = min(float(parse_quantity(self.resources.cpu)), os.cpu_count() or 1)
            options["nano_cpus"] = int(cores * 1e9)
        for option, quantity in (("mem_limit", self.resources.memory), ("shm_size", self.resources.shared_memory)):
            if quantity:
                options[option] = int(parse_quantity(quantity))
        return options

    def _end(self, child: Any, number: signal.Signals) -> None:
        with contextlib.suppress(DockerException):
            child.kill(number.name)  # which the container's init passes on


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
            how = "make images, or docker pull it"
            raise UserError(f"--runner docker: there is no image {image} here; {how}") from None
