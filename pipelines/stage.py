"""What only this machine has, copied to where pods reach it, before a run is submitted."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from automl_images import __version__, storage, store
from automl_images.annotations import sets
from automl_images.annotations.checks import check_training_classes
from automl_images.annotations.labels import kind_of
from automl_images.annotations.reachable import put
from automl_images.errors import UserError
from automl_images.experiment import Data, Source
from automl_images.pipelines.experiment import Experiment, addresses
from automl_images.pipelines.experiment import sets as sets_of
from automl_images.steps.convert import convert, summary_line
from automl_images.tasks import get_task

_STAMPS = (
    "etag",
    "md5hash",
    "content_md5",
    "generation",
    "mtime",
    "lastmodified",
    "last_modified",
    "updated",
    "created",
)


def stage(experiment: Experiment) -> Experiment:
    """Return the experiment with addresses that pods reach; local data and weights are copied into its storage.

    Local data is converted here: its images go to ``<storage>/images``, its records to ``<storage>/data``, each under a
    digest of its content, so that what is there already is not sent again, and what earlier runs use never changes.

    Raises:
        UserError: the data has a flaw; or an address is this machine's and cannot be copied: the line says why.
    """
    registry = experiment.register_.registry if experiment.register_ else None
    named = [("storage", experiment.storage), ("register.registry", registry)]
    named += [(f"settings.{n}", experiment.settings.get(n)) for n in ("checkpoint_run_id", "checkpoint_dataset_id")]
    for place, address in named:
        if address and storage.is_local(str(address)):
            mend = "its model in weights.source" if place.startswith("settings.") else "a store, such as s3://bucket"
            raise UserError(f"{place}: pods do not reach '{address}' on this machine; name {mend}")
    volume = experiment.cluster.data_volume

    def only_here(address: str) -> bool:
        return storage.on_machine(address) and not (volume and volume.holds(address))

    data, known = _filled(experiment) if only_here(experiment.data.training.source) else experiment.data, None
    for name in ("training", "validation", "test"):
        part: Source | None = getattr(data, name)
        address = next(filter(only_here, addresses(part)), None) if part else None
        if part and address:
            root = _root(experiment, f"data.{name}", address)
            try:
                part, classes = _data(experiment, part, root, known)
            except UserError as error:
                raise UserError(f"data.{name}: {error}") from None
            data = data.model_copy(update={name: part})
            known = classes if name == "training" else known
    weights = experiment.weights
    if weights.source and only_here(weights.source):
        source = _weights(weights.source, _root(experiment, "weights.source", weights.source))
        weights = weights.model_copy(update={"source": source})
    return experiment.model_copy(update={"data": data, "weights": weights})


def _filled(experiment: Experiment) -> Data:
    """Return the data with the sets that a local folder of training holds."""
    kind = kind_of(get_task(experiment.task).label)
    return Data.model_validate(sets.filled(experiment.data.model_dump(), kind, say=True))


def _root(experiment: Experiment, place: str, address: str) -> str:
    if not experiment.storage:
        lacks = f"pods do not reach '{address}' on this machine, and there is no store to copy it to"
        raise UserError(f"{place}: {lacks}; name one in storage, such as s3://bucket/folder")
    return experiment.storage.rstrip("/")


def _data(experiment: Experiment, part: Source, root: str, known: list[str] | None) -> tuple[Source, list[str]]:
    print(f"copying {part.source} to {storage.redact(root)}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, f"{experiment.name}.jsonl")
        how = {"format": part.format, "images": part.images, "on_error": experiment.data.on_error}
        summary = convert(part.source, str(out), experiment.task, **how, classes=known, copy_to=f"{root}/images")
        print(f"{part.source}: {summary_line(summary)}", file=sys.stderr)
        if known is None:
            check_training_classes(summary["classes"], get_task(experiment.task).label)
        address, _ = put(str(out), f"{root}/data")
    return Source(source=address, format="jsonl"), list(summary["classes"])


def _weights(source: str, root: str) -> str:
    """Copy a state_dict, or what trainings read of a model folder; return its address."""
    path = storage.local_path(source)
    file = path / "model.pt" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"weights.source: {file}: no such file")
    labels = file.with_name("labels.json")  # a classifier's last layer is kept if they are the same
    digest = hashlib.sha256(file.read_bytes())
    digest.update(labels.read_bytes() if labels.is_file() else b"")
    folder = f"{root}/weights/{digest.hexdigest()[:32]}"
    for each in (file, labels):
        target = f"{folder}/{each.name}"
        if each.is_file() and not storage.exists(target):
            print(f"copying {each} to {storage.redact(target)}", file=sys.stderr)
            storage.write(target, each.read_bytes())
    return f"{folder}/{file.name}"


def source_digest(data: Data) -> str | None:
    """Return a digest of what the sources hold, by their listings: names, sizes, and the store's stamps of content.

    It is None where that cannot be told: a source is not to be read from here, its store has no stamps, or flawed
    records are left out of a file of annotations, which may name images that the listing does not have.
    """
    digest = hashlib.sha256(f"{__version__} {data.model_dump_json()}".encode())
    for part in sets_of(data):
        try:
            if not part.images and data.on_error != "fail" and not storage.is_dir(part.source):
                return None
            for line in (line for address in addresses(part) for line in _listing(address)):
                digest.update(line.encode() + b"\0")
        except Exception:  # a store's driver raises whatever it meets; the run then reads the sources itself
            return None
    return digest.hexdigest()


def _listing(address: str) -> list[str]:
    files, path = store.filesystem(address)
    single = files.info(path)
    found: dict[str, Any] = {path: single} if single["type"] == "file" else files.find(path, detail=True)
    lines = []
    for name, info in found.items():
        known = {key.lower(): value for key, value in info.items()}
        stamps = [str(known[key]) for key in _STAMPS if known.get(key)]
        if not stamps:
            raise LookupError(name)
        lines.append(json.dumps([name, info.get("size"), stamps[0]]))
    if not lines:
        raise FileNotFoundError(address)
    return sorted(lines)
