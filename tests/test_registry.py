import json
import subprocess
import sys
import threading
import uuid

import pytest

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import Registry
from automl_images.steps.register import register_model

METRIC = "mean_average_precision"


def model_folder(path, content):
    path.mkdir(parents=True)
    (path / "model.pt").write_bytes(content.encode())
    (path / "settings.json").write_text('{"task": "image-object-detection"}')
    (path / "labels.json").write_text('["a"]')
    return str(path)


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    return Registry(str(tmp_path / "registry") if request.param == "local" else f"memory://registry-{uuid.uuid4().hex}")


def register(registry, tmp_path, content, value, name="cells"):
    folder = tmp_path / "models" / content
    folder = str(folder) if folder.exists() else model_folder(folder, content)
    return registry.register(name, folder, {METRIC: value}, {"trial": content}, METRIC)


def alias(registry, name, which):
    return storage.read_text(storage.join(registry.url, name, "aliases", which)).strip()


def test_a_model_gets_the_next_version_and_a_copy(registry, tmp_path):
    first = register(registry, tmp_path, "one", 0.5)
    second = register(registry, tmp_path, "two", 0.6)
    assert (first["version"], second["version"]) == (1, 2)
    assert second == {"name": "cells", "version": 2, "uri": second["uri"], "aliases": ["champion", "latest"]}
    assert second["uri"] == storage.join(registry.url, "cells", "2", "model")
    assert storage.read_bytes(storage.join(first["uri"], "model.pt")) == b"one"
    assert storage.read_text(storage.join(second["uri"], "labels.json")) == '["a"]'
    kept = json.loads(storage.read_text(storage.join(registry.url, "cells", "versions", "2.json")))
    assert set(kept) == {"name", "version", "uri", "digest", "metrics", "lineage", "created", "state"}
    assert (kept["state"], kept["metrics"], kept["lineage"]) == ("ready", {METRIC: 0.6}, {"trial": "two"})
    assert kept == registry.get("cells", "champion") == registry.get("cells") == registry.get("cells", "2")


def test_the_same_weights_keep_their_version(registry, tmp_path):
    first = register(registry, tmp_path, "one", 0.5)
    register(registry, tmp_path, "two", 0.4)
    assert register(registry, tmp_path, "one", 0.9) == {**first, "aliases": ["champion"]}
    assert [c["metrics"][METRIC] for c in registry.versions("cells")] == [0.5, 0.4]
    assert register(registry, tmp_path, "one", 0.5, name="other")["version"] == 1


def test_the_champion_only_moves_up(registry, tmp_path):
    values = [0.5, 0.4, None, float("nan"), 0.5, 0.7]
    moves = []
    for i, value in enumerate(values):
        register(registry, tmp_path, f"m{i}", value)
        moves.append((alias(registry, "cells", "latest"), alias(registry, "cells", "champion")))
    assert moves == [("1", "1"), ("2", "1"), ("3", "1"), ("4", "1"), ("5", "1"), ("6", "6")]


def test_a_registration_that_was_cut_short_is_finished_by_a_retry(registry, tmp_path, monkeypatch):
    register(registry, tmp_path, "one", 0.5)

    def fail(source, target):
        raise OSError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "copy_folder", fail)
        with pytest.raises(OSError):
            register(registry, tmp_path, "two", 0.6)
    assert [c["state"] for c in registry.versions("cells")] == ["ready", "pending"]
    assert registry.get("cells")["version"] == 1
    with pytest.raises(UserError, match="cells has no '2'"):
        registry.get("cells", 2)
    register(registry, tmp_path, "three", 0.4)
    again = register(registry, tmp_path, "two", 0.6)
    assert (again["version"], again["aliases"]) == (2, ["champion"])
    assert alias(registry, "cells", "latest") == "3"
    assert storage.read_bytes(storage.join(again["uri"], "model.pt")) == b"two"


def test_an_alias_that_was_not_moved_is_moved_by_a_retry(registry, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(registry, "_move", lambda *a: None)
        assert register(registry, tmp_path, "one", 0.5)["aliases"] == []
    assert register(registry, tmp_path, "one", 0.5)["aliases"] == ["champion", "latest"]


def test_a_champion_chosen_by_hand_stays_until_something_better_comes(registry, tmp_path):
    for i, value in enumerate([0.5, 0.9]):
        register(registry, tmp_path, f"m{i}", value)
    storage.write(storage.join(registry.url, "cells", "aliases", "champion"), "1\n")
    register(registry, tmp_path, "m2", 0.3)
    assert registry.get("cells", "champion")["version"] == 1


@pytest.mark.parametrize("distinct", [True, False], ids=["eight-models", "one-model-eight-times"])
def test_simultaneous_registrations_leave_neither_gaps_nor_doubles(tmp_path, distinct):
    registry = Registry(str(tmp_path / "registry"))
    folders = [model_folder(tmp_path / f"m{i}", f"weights {i if distinct else 0}") for i in range(8)]
    start, results = threading.Barrier(8), []

    def race(i):
        start.wait()
        results.append(registry.register("cells", folders[i], {METRIC: (i * 3 % 8) / 10}, {"i": i}, METRIC))

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = list(range(1, 9)) if distinct else [1]
    assert sorted({r["version"] for r in results}) == wanted
    assert len(results) == 8
    whole = registry.versions("cells")
    assert [(c["version"], c["state"]) for c in whole] == [(v, "ready") for v in wanted]
    assert len({c["digest"] for c in whole}) == len(wanted)
    assert alias(registry, "cells", "latest") == str(wanted[-1])
    best = max(whole, key=lambda c: c["metrics"][METRIC])
    assert alias(registry, "cells", "champion") == str(best["version"])
    for content in whole:
        copied = storage.read_bytes(storage.join(content["uri"], "model.pt")).decode()
        assert copied == f"weights {content['lineage']['i'] if distinct else 0}"


def test_an_alias_that_a_slower_writer_set_back_is_put_right_by_it(tmp_path, monkeypatch):
    registry, write = Registry(str(tmp_path / "registry")), storage.write
    interrupted = []

    def slow(url, data):
        if url.endswith("aliases/latest") and not interrupted:
            interrupted.append(url)
            register(registry, tmp_path, "fast", 0.9)  # a whole registration between this one's look and its write
        write(url, data)

    monkeypatch.setattr(storage, "write", slow)
    assert register(registry, tmp_path, "slow", 0.1)["version"] == 1
    assert interrupted
    assert (alias(registry, "cells", "latest"), alias(registry, "cells", "champion")) == ("2", "2")


@pytest.mark.parametrize("name", ["", "a/b", "..", "../up", ".hidden", "a b", "ä", "a\n"], ids=repr)
def test_a_name_that_is_no_name_is_refused(registry, tmp_path, name):
    with pytest.raises(UserError, match="the model name"):
        register(registry, tmp_path, "one", 0.5, name=name)
    assert storage.files_below(registry.url) == []


@pytest.mark.parametrize("version", [7, "best", "../../x"], ids=repr)
def test_what_is_not_registered_is_said(registry, tmp_path, version):
    with pytest.raises(UserError, match="has no model cells"):
        registry.get("cells")
    register(registry, tmp_path, "one", 0.5)
    with pytest.raises(UserError, match="cells has no '.*'; its versions: \\[1\\]"):
        registry.get("cells", version)


@pytest.mark.parametrize("missing", ["model.pt", "settings.json", "labels.json"])
def test_only_a_model_folder_is_registered(tmp_path, missing):
    folder = model_folder(tmp_path / "model", "one")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(UserError, match=f"has no {missing}; is it a model folder"):
        register_model(folder, "cells", str(tmp_path / "registry"), {}, {})
    assert not (tmp_path / "registry").exists()


def test_the_step_registers_and_says_so(tmp_path, capsys):
    folder = model_folder(tmp_path / "model", "one")
    result = register_model(folder, "cells", str(tmp_path / "registry"), {METRIC: 0.5}, {"run": "r1"})
    assert result["version"] == 1
    assert Registry(str(tmp_path / "registry")).get("cells")["lineage"] == {"run": "r1"}
    assert "registered cells version 1 (champion, latest)" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["register", "serve"])
def test_the_step_needs_neither_torch_nor_matplotlib(step):
    code = f"import sys, automl_images.steps.{step}; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("metrics", "minimum", "line"),
    [
        ({METRIC: 0.4}, 0.5, f"register.minimum: {METRIC} is 0.4000, less than 0.5"),
        ({METRIC: float("nan")}, 0.5, "is nan, less than 0.5"),
        ({METRIC: None}, 0.5, "is not known, less than 0.5"),
        ({}, 0.0, "is not known, less than 0"),
        ({METRIC: 0.5}, 0.5, None),
        ({METRIC: 0.0}, None, None),
    ],
)
def test_a_model_below_the_minimum_is_refused(tmp_path, metrics, minimum, line):
    folder, registry = model_folder(tmp_path / "model", "one"), tmp_path / "registry"
    if line is None:
        assert register_model(folder, "cells", str(registry), metrics, {}, minimum)["version"] == 1
        return
    with pytest.raises(UserError, match=line):
        register_model(folder, "cells", str(registry), metrics, {}, minimum)
    assert not registry.exists()
