import hashlib
import json
import subprocess
import sys
import uuid
from pathlib import Path

import fsspec
import pytest

from automl_images import storage
from automl_images.annotations import OneClass, Record
from automl_images.annotations.identity import set_digest
from automl_images.errors import UserError
from automl_images.registry import Registry, parse_address, pull, resolve, verify
from tests.helpers.registries import METRIC, model_folder, of_kind, register


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    return of_kind(request.param, tmp_path)


def test_a_registry_of_an_earlier_version_is_read(registry, tmp_path):
    for number, (text, value) in enumerate({"one": 0.5, "two": 0.4, "cut": 0.9}.items(), 1):
        uri = storage.join(registry.url, "cells", str(number), "model")
        digest = hashlib.sha256(text.encode()).hexdigest()
        content = {"name": "cells", "version": number, "uri": uri, "digest": digest, "metrics": {METRIC: value}}
        content |= {"state": "pending" if text == "cut" else "ready", "lineage": {}, "created": "2026"}
        storage.write(storage.join(registry.url, "cells", "versions", f"{number}.json"), json.dumps(content))
        if text != "cut":
            storage.write(storage.join(uri, "model.pt"), text)
    for name, version in {"latest": 2, "champion": 1}.items():
        storage.write(storage.join(registry.url, "cells", "aliases", name), f"{version}\n")
    assert registry.aliases("cells") == {"latest": 2, "champion": 1} and registry.models() == ["cells"]
    assert verify(registry.get("cells", "champion")) == []
    told = pull(registry.get("cells", 1), str(tmp_path / "pulled"))
    assert told["unverified"] == [] and (tmp_path / "pulled" / "model.pt").read_text() == "one"
    assert register(registry, tmp_path, "two", 0.4)["version"] == 2
    assert "is not known" in register(registry, tmp_path, "cut", 0.9)["promotion"]
    assert registry.promote("cells", 3, "champion")["before"] == 1
    assert registry.aliases("cells") == {"latest": 3, "champion": 3}


def test_a_model_that_changes_while_it_is_registered_is_refused(registry, tmp_path, monkeypatch):
    read, folder = storage.read_bytes, tmp_path / "models" / "one"

    def changing(url, most=None):
        data = read(url, most)
        return b"another" if url == f"{folder}/model.pt" else data

    monkeypatch.setattr(storage, "read_bytes", changing)
    with pytest.raises(UserError, match="model.pt has changed while it was registered"):
        register(registry, tmp_path, "one", 0.5)
    assert registry.models() == []


def test_a_pulled_model_is_whole_or_not_there(registry, tmp_path):
    uri = register(registry, tmp_path, "one", 0.5)["uri"]
    folder = tmp_path / "some" / "folder"
    assert pull(registry.get("cells"), str(folder)) == {"folder": str(folder), "files": 3, "unverified": []}
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "models" / "one").iterdir()
    }
    with pytest.raises(UserError, match="is there and not empty"):
        pull(registry.get("cells"), str(folder))
    with pytest.raises(UserError, match="to a folder on this machine"):
        pull(registry.get("cells"), "memory://elsewhere")
    storage.write(storage.join(uri, "settings.json"), "{}")
    storage.remove(storage.join(uri, "labels.json"))
    assert verify(registry.get("cells")) == ["labels.json: is gone", "settings.json: its SHA-256 differs"]
    empty = tmp_path / "empty"
    empty.mkdir()
    for line in ("labels.json is gone", "settings.json is not what was registered: its SHA-256 differs"):
        with pytest.raises(UserError, match=line):
            pull(registry.get("cells"), str(empty))
        storage.write(storage.join(uri, "labels.json"), '["a"]')
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == [] and not [*empty.iterdir()]


def test_a_store_that_cannot_keep_two_writers_apart_takes_one(tmp_path, monkeypatch):
    registry = Registry(f"memory://plain-{uuid.uuid4().hex}")
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", fsspec.AbstractFileSystem.pipe_file)
    assert register(registry, tmp_path, "one", 0.5)["version"] == 1
    assert storage.names(storage.join(registry.url, "cells", "writers")) == []
    other = storage.join(registry.url, "cells", "writers", "0ther")
    storage.write(other, "{}")
    for write in (lambda: register(registry, tmp_path, "two", 0.6), lambda: registry.promote("cells", 1, "production")):
        with pytest.raises(UserError, match="this store cannot keep two apart.*if it is dead, remove .*/writers/0ther"):
            write()
    assert [v["version"] for v in registry.versions("cells")] == [1] and len(registry.moves("cells")) == 1
    storage.remove(other)
    assert register(registry, tmp_path, "two", 0.6)["version"] == 2


def test_a_set_is_the_same_wherever_it_lies_and_in_any_order():
    def made(folder, label="a", digest=True):
        labels = ("b", label)
        return [Record(f"{folder}/{i}.png", OneClass(labels[i]), digest=str(i) if digest else None) for i in (0, 1)]

    assert set_digest(made("/here")) == set_digest(reversed(made("s3://there")))
    others = [made("/here", "c"), made("/here")[:1], made("/here", digest=False), made("/there", digest=False)]
    assert len({set_digest(records) for records in [made("/here"), *others]}) == 5


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("runs/registry/cells", ("runs/registry", "cells", None)),
        ("/r/cells@champion/", ("/r", "cells", "champion")),
        ("s3://bucket/r/cells:12", ("s3://bucket/r", "cells", "12")),
        ("cells", None),
        ("/r/cells@", None),
        ("/r/a b", None),
        ("/r/cells:one", None),
    ],
)
def test_an_address_names_a_model_in_a_registry(address, parts):
    if parts:
        assert parse_address(address) == parts
        return
    with pytest.raises(UserError, match="write REGISTRY/NAME"):
        parse_address(address)


def test_an_address_is_resolved_to_a_model_folder(registry, tmp_path):
    uri = register(registry, tmp_path, "one", 0.5)["uri"]
    assert resolve(f"{registry.url}/cells@champion") == resolve(f"{registry.url}/cells:1") == uri
    assert resolve(uri) == uri and resolve("runs/model") == "runs/model"
    for missing in ("cells@best", "cells:2", "other@latest"):
        with pytest.raises(UserError, match="has no"):
            resolve(f"{registry.url}/{missing}")
    folder = model_folder(tmp_path / "folder@home", "one")
    assert resolve(folder) == folder


def test_processes_that_race_and_that_are_killed_leave_whole_versions_alone():
    command = [
        sys.executable,
        "-m",
        "benchmarks.registry_race",
        "--processes",
        "8",
        "--killed",
        "5",
        "--stores",
        "local",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert figures.pop("local_seconds") > 0
    assert figures == {
        "local_versions": 8,
        "local_lost": 0,
        "local_champion": 1,
        "local_differing": 0,
        "local_killed": 5,
        "local_half_seen": 0,
        "local_unfinished": 0,
    }
