import json

import pytest

from automl_images import storage
from automl_images.registry import Registry
from tests.helpers.command import call_step
from tests.helpers.registries import METRIC, of_kind, register


@pytest.fixture
def registry(tmp_path):
    """A registry with two models, of which one has three versions."""
    made = of_kind("local", tmp_path)
    for content, value in {"one": 0.5, "two": 0.9, "three": None}.items():
        register(made, tmp_path, content, value, name="blood-cells-of-the-northern-laboratory")
    register(made, tmp_path, "one", 0.25, name="moles")
    return made


@pytest.fixture
def models(monkeypatch, capsys):
    """Run ``automl-images models`` on a terminal of so many columns; return its output, or the error's line."""

    def run(*arguments, columns=80, code=0):
        monkeypatch.setenv("COLUMNS", str(columns))
        ended, out, err = call_step(monkeypatch, capsys, "models", *arguments)
        assert ended == code, err
        return err if code else out

    return run


@pytest.mark.parametrize("columns", [80, 140])
def test_models_are_listed_and_nothing_is_cut_off(registry, models, columns):
    registry.promote("moles", 1, "production")
    out = models("list", registry.url, columns=columns)
    assert max(map(len, out.splitlines())) <= columns
    rows = [line.split() for line in out.splitlines()]
    assert any(row[-1] == "production" for row in rows)
    assert {"0.9000", "0.2500"} <= {cell for row in rows for cell in row}
    assert METRIC in "".join(out.split()) or columns == 80
    (first, second) = json.loads(models("list", registry.url, "--json"))
    assert (first["versions"], first["latest"], first["champion"], first["value"]) == (3, 3, 2, 0.9)
    assert (second["name"], second["aliases"], second["metric"]) == ("moles", {"production": 1}, METRIC)


def test_a_registry_without_models_says_so(models, tmp_path):
    assert models("list", tmp_path / "none") == f"{tmp_path}/none: has no model\n"
    assert json.loads(models("list", tmp_path / "none", "--json")) == []
    assert "has no model cells" in models("show", tmp_path / "none" / "cells", code=2)


def test_a_model_is_shown_with_who_moved_its_aliases(registry, models):
    address = f"{registry.url}/blood-cells-of-the-northern-laboratory"
    assert models("promote", address, "1", "--to", "champion", "--note", "version 2 is slow") == (
        "blood-cells-of-the-northern-laboratory: champion is version 1, before version 2\n"
    )
    out = models("show", address, columns=140)
    assert "champion: none -> 1 by " in out and "champion: 1 -> 2 by " in out and ": version 2 is slow\n" in out
    told = json.loads(models("show", address, "--json"))
    assert (told["aliases"], told["unfinished"]) == ({"champion": 1, "latest": 3}, 0)
    assert [v["version"] for v in told["versions"]] == [1, 2, 3] and len(told["moves"]) == 3
    storage.write(f"{address}/versions/4.json", json.dumps({**told["versions"][0], "version": 4, "state": "pending"}))
    assert "1 more not whole" in models("show", address)
    assert "give REGISTRY/NAME, and the version" in models("promote", f"{address}:2", "1", "--to", "a", code=2)
    assert "has no '9'" in models("promote", address, "9", "--to", "champion", code=2)


def test_a_version_is_shown_and_what_differs_from_what_was_registered(registry, models):
    address = f"{registry.url}/moles@champion"
    out = models("show", address)
    assert "moles 1, registered" in out and "0.2500" in out and "5e7" in out and "lineage trial" in out
    assert json.loads(models("show", address, "--json"))["differs"] == []
    storage.write(storage.join(registry.get("moles")["uri"], "labels.json"), "[]")
    assert json.loads(models("show", address, "--json"))["differs"] == ["labels.json: its SHA-256 differs"]


def test_a_model_is_pulled(registry, models, tmp_path):
    folder = tmp_path / "here"
    out = models("pull", f"{registry.url}/moles", folder)
    assert out == f"moles version 1: {folder}; 3 of 3 files verified\n"
    assert (folder / "model.pt").read_bytes() == b"one"
    assert "is there and not empty" in models("pull", f"{registry.url}/moles:1", folder, code=2)
    told = json.loads(models("pull", f"{registry.url}/moles@champion", tmp_path / "there", "--json"))
    assert (told["version"], told["files"], told["unverified"]) == (1, 3, [])


def test_a_registered_model_is_served_by_its_alias(registry, monkeypatch, capsys, tmp_path):
    command = ["serve", f"{registry.url}/moles@champion", "moles", tmp_path / "manifest"]
    code, out, _ = call_step(monkeypatch, capsys, *command)
    assert code == 0
    written = storage.read_text(json.loads(out)["manifest"])
    assert f"value: {Registry(registry.url).get('moles')['uri']}\n" in written
    for name, rest in {"predict": ["a.png"], "evaluate": ["records.jsonl", tmp_path / "evaluation"]}.items():
        code, _, err = call_step(monkeypatch, capsys, name, f"{registry.url}/moles@best", *rest)
        assert (code, "moles has no 'best'" in err) == (2, True)
