"""The folders of this machine that an experiment's steps need, for containers and for the lines that repeat a step."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from automl_images import storage
from automl_images.annotations import formats
from automl_images.annotations.reachable import addresses as reachable
from automl_images.errors import UserError
from automl_images.experiment import Source
from automl_images.pipelines.experiment import Experiment, addresses, sets
from automl_images.tasks import get_task


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
    parts, settings = sets(experiment.data), experiment.settings
    read: list[Any] = [address for part in parts for address in addresses(part)]
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
    """Return the folder of the first image, which of VOC's Annotations is the one beside them, and that of its mask.

    Of a mask that is not in the source it is the folder that holds both: a label map may be beside them.
    """
    if part.images or not storage.is_local(part.source):
        return []
    try:
        record = next(formats.read(part.source, part.format, None, lambda *_: None, label=label), None)
    except UserError:  # convert says what is wrong with it
        return []
    files = [storage.local_path(url) for url in (reachable(record) if record else []) if storage.is_local(url)]
    source = storage.local_path(part.source)
    both = [Path(os.path.commonpath([source, file])) for file in files[1:] if source.is_dir()]
    return [*(file.parent for file in files), *(folder for folder in both if folder.parent != folder)]
