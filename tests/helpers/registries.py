"""Small model folders to register."""

import uuid

from automl_images.registry import Registry

METRIC = "mean_average_precision"
SET = {"digest": "5e7"}


def model_folder(path, content):
    path.mkdir(parents=True)
    (path / "model.pt").write_bytes(content.encode())
    (path / "settings.json").write_text('{"task": "image-object-detection"}')
    (path / "labels.json").write_text('["a"]')
    return str(path)


def register(registry, tmp_path, content, value, name="cells"):
    folder = tmp_path / "models" / content
    folder = str(folder) if folder.exists() else model_folder(folder, content)
    return registry.register(name, folder, {METRIC: value}, {"trial": content, "evaluated": SET}, METRIC)


def of_kind(kind, tmp_path):
    """Return an empty registry on a ``local`` folder or in ``memory``."""
    return Registry(str(tmp_path / "registry") if kind == "local" else f"memory://registry-{uuid.uuid4().hex}")
