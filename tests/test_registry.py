import hashlib
import json
import re
import subprocess
import sys
import threading

import pytest

from automl_images import storage
from automl_images.errors import UserError
from automl_images.registry import Registry, verify
from automl_images.registry.champion import is_better
from automl_images.steps.register import register_model
from tests.helpers.registries import METRIC, SET, model_folder, of_kind, register


@pytest.fixture(params=["local", "memory"])
def registry(request, tmp_path):
    return of_kind(request.param, tmp_path)


def alias(registry, name, which):
    return registry.aliases(name).get(which)


def test_a_model_gets_the_next_version_and_a_copy(registry, tmp_path):
    first = register(registry, tmp_path, "one", 0.5)
    second = register(registry, tmp_path, "two", 0.6)
    assert (first["version"], second["version"]) == (1, 2)
    promotion = f"{METRIC} 0.6000 is better than 0.5000 of the champion, version 1"
    told = {"name": "cells", "version": 2, "uri": second["uri"], "aliases": ["champion", "latest"]}
    assert second == {**told, "promotion": promotion}
    assert second["uri"] == storage.join(registry.url, "cells", "2", "model")
    assert storage.read_bytes(storage.join(first["uri"], "model.pt")) == b"one"
    assert storage.read_text(storage.join(second["uri"], "labels.json")) == '["a"]'
    kept = json.loads(storage.read_text(storage.join(registry.url, "cells", "versions", "2.json")))
    assert (kept["state"], kept["metrics"], kept["lineage"]["trial"]) == ("ready", {METRIC: 0.6}, "two")
    assert set(kept["files"]) == {"labels.json", "model.pt", "settings.json"}
    assert kept["files"]["model.pt"] == kept["digest"] == hashlib.sha256(b"two").hexdigest()
    assert kept == registry.get("cells", "champion") == registry.get("cells") == registry.get("cells", "2")


def test_the_same_folder_keeps_its_version(registry, tmp_path):
    first = register(registry, tmp_path, "one", 0.5)
    register(registry, tmp_path, "two", 0.4)
    again = {**first, "aliases": ["champion"], "promotion": "it was made champion before"}
    assert register(registry, tmp_path, "one", 0.9) == again
    assert [c["metrics"][METRIC] for c in registry.versions("cells")] == [0.5, 0.4]
    assert register(registry, tmp_path, "one", 0.5, name="other")["version"] == 1
    (tmp_path / "models" / "one" / "thresholds.json").write_text("{}")
    assert register(registry, tmp_path, "one", 0.5)["version"] == 3, "the same weights, which answer otherwise"


def test_the_champion_only_moves_up(registry, tmp_path):
    values = [0.5, 0.4, None, float("nan"), 0.5, 0.7]
    moves = []
    for i, value in enumerate(values):
        register(registry, tmp_path, f"m{i}", value)
        moves.append((alias(registry, "cells", "latest"), alias(registry, "cells", "champion")))
    assert moves == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 6)]
    assert [(m["number"], m["alias"], m["before"], m["version"]) for m in registry.moves("cells")] == [
        (1, "champion", None, 1),
        (2, "champion", 1, 6),
    ]
    assert all("@" in m["by"] and m["at"] and METRIC in m["note"] for m in registry.moves("cells"))


def test_a_registration_that_was_cut_short_is_finished_by_a_retry(registry, tmp_path, monkeypatch):
    register(registry, tmp_path, "one", 0.5)

    write = storage.write

    def fail(url, data):
        if url.endswith("2/model/model.pt"):
            raise OSError("the store is away")
        write(url, data)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "write", fail)
        with pytest.raises(OSError):
            register(registry, tmp_path, "two", 0.6)
    assert [c["state"] for c in registry.versions("cells")] == ["ready", "pending"]
    assert registry.get("cells")["version"] == 1 and registry.aliases("cells") == {"latest": 1, "champion": 1}
    with pytest.raises(UserError, match="cells has no '2'"):
        registry.get("cells", 2)
    register(registry, tmp_path, "three", 0.4)
    again = register(registry, tmp_path, "two", 0.6)
    assert (again["version"], again["aliases"]) == (2, ["champion"])
    assert alias(registry, "cells", "latest") == 3
    assert verify(registry.get("cells", 2)) == []


def test_an_alias_that_was_not_moved_is_moved_by_a_retry(registry, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(registry, "_crown", lambda *a: "")
        assert register(registry, tmp_path, "one", 0.5)["aliases"] == ["latest"]
    assert register(registry, tmp_path, "one", 0.5)["aliases"] == ["champion", "latest"]


def test_a_champion_chosen_by_hand_stays_until_something_better_comes(registry, tmp_path):
    for i, value in enumerate([0.5, 0.9]):
        register(registry, tmp_path, f"m{i}", value)
    move = registry.promote("cells", 1, "champion", "the other one is slow")
    assert (move["before"], move["version"], move["note"]) == (2, 1, "the other one is slow")
    register(registry, tmp_path, "m2", 0.3)
    register(registry, tmp_path, "m1", 0.9)  # a retry, whose move was made and undone
    assert registry.get("cells", "champion")["version"] == 1
    assert registry.promote("cells", "champion", "champion", "again") == move and len(registry.moves("cells")) == 3
    assert register(registry, tmp_path, "m3", 0.6)["aliases"] == ["champion", "latest"]


def test_an_alias_of_any_name_is_moved_by_hand(registry, tmp_path):
    register(registry, tmp_path, "one", 0.5)
    register(registry, tmp_path, "two", 0.4)
    registry.promote("cells", "champion", "production")
    assert registry.aliases("cells") == {"champion": 1, "production": 1, "latest": 2}
    for bad, line in {
        "latest": "always the newest",
        "7": "not a number alone",
        "a/b": "use letters",
        "": "use",
    }.items():
        with pytest.raises(UserError, match=line):
            registry.promote("cells", 1, bad)
    with pytest.raises(UserError, match="its aliases: champion, latest, production"):
        registry.promote("cells", "staging", "production")


@pytest.mark.parametrize(
    ("mine", "theirs", "line"),
    [
        ((0.6, SET), (0.5, {"digest": "0ther"}), "another test set or otherwise: 0ther, this one: 5e7"),
        ((0.6, {**SET, "iou_threshold": 0.3}), (0.5, {**SET, "iou_threshold": 0.5}), r"5e7 \(iou_threshold 0.5\)"),
        ((0.6, None), (0.5, SET), "the test set that it was evaluated on is not known"),
        ((0.6, SET), (0.5, None), "the test set that the champion, version 1 was evaluated on is not known"),
        ((0.5, SET), (0.5, SET), "0.5000 is no better than 0.5000 of the champion, version 1"),
        ((None, SET), (0.5, SET), f"its {METRIC} is not known"),
        ((True, SET), (0.5, SET), f"its {METRIC} is not known"),
        ((0.6, SET), (None, SET), f"the champion, version 1, has no {METRIC} to compare with"),
    ],
)
def test_only_a_better_figure_of_the_same_test_set_makes_a_champion(mine, theirs, line):
    def version(number, value, told):
        return {"version": number, "metrics": {METRIC: value}, "lineage": {"evaluated": told} if told else {}}

    better, why = is_better(version(2, *mine), version(1, *theirs), METRIC)
    assert not better
    assert re.search(line, why), why


def test_promote_says_when_a_registration_makes_a_champion(registry, tmp_path):
    def asked(content, promote):
        folder = model_folder(tmp_path / content, content)
        return registry.register("cells", folder, {METRIC: 0.1}, {"evaluated": SET}, METRIC, promote)["aliases"]

    assert asked("one", "never") == ["latest"]
    assert asked("two", "if_better") == asked("three", "always") == ["champion", "latest"]
    assert asked("four", "if_better") == ["latest"]
    with pytest.raises(UserError, match="promote: is 'maybe'; use one of if_better, always, never"):
        asked("five", "maybe")


@pytest.mark.parametrize("distinct", [True, False], ids=["eight-models", "one-model-eight-times"])
def test_simultaneous_registrations_leave_neither_gaps_nor_doubles(tmp_path, distinct):
    registry = Registry(str(tmp_path / "registry"))
    folders = [model_folder(tmp_path / f"m{i}", f"weights {i if distinct else 0}") for i in range(8)]
    start, results = threading.Barrier(8), []

    def race(i):
        start.wait()
        told = {"i": i, "evaluated": SET}
        results.append(registry.register("cells", folders[i], {METRIC: (i * 3 % 8) / 10}, told, METRIC))

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
    assert alias(registry, "cells", "latest") == wanted[-1]
    best = max(whole, key=lambda c: c["metrics"][METRIC])
    assert alias(registry, "cells", "champion") == best["version"]
    for content in whole:
        copied = storage.read_bytes(storage.join(content["uri"], "model.pt")).decode()
        assert copied == f"weights {content['lineage']['i'] if distinct else 0}"


def test_who_moves_an_alias_second_decides_on_what_the_first_wrote(tmp_path, monkeypatch):
    registry, create = Registry(str(tmp_path / "registry")), storage.create
    interrupted = []

    def slow(url, data):
        if "/moves/" in url and not interrupted:
            interrupted.append(url)
            register(registry, tmp_path, "fast", 0.9)  # a whole registration between this one's look and its write
        return create(url, data)

    monkeypatch.setattr(storage, "create", slow)
    assert "is no better than 0.9000" in register(registry, tmp_path, "slow", 0.1)["promotion"]
    assert interrupted
    assert registry.aliases("cells") == {"latest": 2, "champion": 2}


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
    assert Registry(str(tmp_path / "registry")).get("cells")["lineage"] == {
        "run": "r1",
        "settings": {"task": "image-object-detection"},
    }
    said = capsys.readouterr().err
    assert "registered cells version 1 (champion, latest)" in said and "champion: the first with" in said
    metrics = {METRIC: 0.5, "data_digest": "5e7", "images": 4, "iou_threshold": 0.5}
    other = model_folder(tmp_path / "other", "two")
    assert register_model(other, "cells", str(tmp_path / "registry"), metrics, {})["aliases"] == ["latest"]
    assert "not champion: the test set that the champion, version 1 was" in capsys.readouterr().err
    evaluated = {"digest": "5e7", "images": 4, "iou_threshold": 0.5}
    assert Registry(str(tmp_path / "registry")).get("cells")["lineage"]["evaluated"] == evaluated


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
