import json
import ssl
import sys

import pytest

from automl_images.errors import UserError
from automl_images.registry import open_registry, pull, resolve
from tests.helpers.command import call_step
from tests.helpers.fake_model_registry import model_registry
from tests.helpers.registries import METRIC, SET, model_folder, register


@pytest.fixture
def service(monkeypatch):
    # the client reads all certificates for each request, which are not needed here
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *a, **k: None)
    pytest.importorskip("model_registry", reason="the extra 'registry' is not installed")
    with model_registry() as (held, url):
        if url.endswith("443"):
            pytest.skip("a port that stands for HTTPS")
        yield held, open_registry(url)


def test_the_verbs_are_those_of_a_folder(service, tmp_path):
    held, registry = service
    first = register(registry, tmp_path, "one", 0.5)
    promotion = f"the first with {METRIC} 0.5000"
    uri = str(tmp_path / "models" / "one")
    told = {"name": "cells", "version": 1, "uri": uri, "aliases": ["champion", "latest"], "promotion": promotion}
    assert first == told
    assert register(registry, tmp_path, "two", 0.4)["aliases"] == ["latest"]
    assert registry.models() == ["cells"]
    assert [(v["version"], v["metrics"], v["state"]) for v in registry.versions("cells")] == [
        (1, {METRIC: 0.5}, "ready"),
        (2, {METRIC: 0.4}, "ready"),
    ]
    assert registry.get("cells", "champion")["lineage"] == {"evaluated": SET, "trial": "one"}
    assert registry.promote("cells", 2, "champion", "smaller")["before"] == 1
    assert registry.aliases("cells") == {"champion": 2, "latest": 2}
    assert [(m["number"], m["version"], m["note"]) for m in registry.moves("cells")] == [
        (1, 1, promotion),
        (2, 2, "smaller"),
    ]
    assert resolve(f"{registry.url}/cells@champion") == registry.get("cells", 2)["uri"]
    assert pull(registry.get("cells", 1), str(tmp_path / "pulled"))["files"] == 3
    assert (tmp_path / "pulled" / "model.pt").read_bytes() == b"one"
    for version in ("best", 7):
        with pytest.raises(UserError, match=f"cells has no '{version}'"):
            registry.get("cells", version)
    with pytest.raises(UserError, match="has no model moles"):
        registry.get("moles")
    assert {a["uri"] for a in held.artifacts.values()} == {uri, str(tmp_path / "models" / "two")}


def test_a_folder_that_is_there_is_not_registered_again(service, tmp_path):
    held, registry = service
    register(registry, tmp_path, "one", 0.5)
    register(registry, tmp_path, "two", 0.6)
    asked = len(held.requests)
    again = register(registry, tmp_path, "one", 0.9)
    assert (again["version"], again["promotion"]) == (1, "it was made champion before")
    assert {method for method, _ in held.requests[asked:]} == {"GET"}
    assert len(held.versions) == 2 and len(held.artifacts) == 2


def test_what_is_not_kept_is_named(service, tmp_path):
    _, registry = service
    folder = model_folder(tmp_path / "one", "one")
    metrics = {METRIC: 0.5, "per_label_metrics": {"a": {}}, "task": "t"}
    registry.register("cells", folder, metrics, {"run": "r", "experiment": {"sweep": {}}}, METRIC)
    kept = registry.get("cells")
    assert kept["left_out"] == ["metrics.per_label_metrics", "metrics.task", "lineage.experiment"]
    assert (kept["lineage"], kept["metric"]) == ({"run": "r"}, METRIC)


def test_a_registration_that_was_cut_short_is_not_seen_and_finished(service, tmp_path):
    held, registry = service
    held.refuse = lambda method, path: 500 if method == "POST" and path.endswith("/artifacts") else None
    with pytest.raises(UserError, match="gives no answer that can be used"):
        register(registry, tmp_path, "one", 0.5)
    held.refuse = lambda method, path: None
    assert registry.models() == [] and [v["state"] for v in registry.versions("cells")] == ["pending"]
    assert register(registry, tmp_path, "one", 0.5)["aliases"] == ["champion", "latest"]
    assert len(held.versions) == len(held.artifacts) == 1


def test_a_number_that_another_took_is_passed_over(service, tmp_path):
    held, registry = service
    register(registry, tmp_path, "one", 0.5)
    late = []

    def taken(method, path):
        if method == "POST" and path.endswith("/model_versions") and not late:
            late.append(path)
            register(registry, tmp_path, "fast", 0.6)
            return 409
        return None

    held.refuse = taken
    assert register(registry, tmp_path, "slow", 0.4)["version"] == 3
    assert [v["name"] for v in held.versions.values()] == ["1", "2", "3"]


def test_versions_of_others_are_left_alone(service, tmp_path):
    held, registry = service
    register(registry, tmp_path, "one", 0.5)
    held.versions["9"] = {"id": "9", "name": "v2-beta", "registeredModelId": "1", "state": "LIVE"}
    held.versions["10"] = {"id": "10", "name": "7", "registeredModelId": "1", "state": "LIVE"}
    assert [v["version"] for v in registry.versions("cells")] == [1]
    assert register(registry, tmp_path, "two", 0.5)["version"] == 8


@pytest.mark.parametrize(
    ("status", "line"), [(401, "check the credentials"), (403, "check the credentials"), (500, "")]
)
def test_what_the_service_refuses_is_a_line(service, status, line):
    held, registry = service
    held.refuse = lambda method, path: status
    with pytest.raises(UserError, match=f"^{registry.url}: .*{line}"):
        registry.models()


@pytest.mark.parametrize("url", ["kubeflow://", "kubeflow://host:port", "kubeflow://host/path", "kubeflow://u:p@host"])
def test_an_address_that_is_none_is_refused(service, url):
    with pytest.raises(UserError, match="write kubeflow://HOST"):
        open_registry(url).models()


def test_a_service_that_is_not_there_is_a_line(service):
    with pytest.raises(UserError, match="^kubeflow://127.0.0.1:9: "):
        open_registry("kubeflow://127.0.0.1:9").models()


def test_the_commands_take_it(service, tmp_path, monkeypatch, capsys):
    _, registry = service
    folder = model_folder(tmp_path / "one", "one")
    (tmp_path / "metrics.json").write_text(json.dumps({METRIC: 0.5}))
    options = ["--registry", registry.url, "--metrics", tmp_path / "metrics.json"]
    assert call_step(monkeypatch, capsys, "register", folder, "cells", *options)[0] == 0
    code, out, _ = call_step(monkeypatch, capsys, "models", "list", registry.url, "--json")
    assert (code, json.loads(out)[0]["champion"]) == (0, 1)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "model_registry", None)
    monkeypatch.setitem(sys.modules, "model_registry.exceptions", None)
    with pytest.raises(UserError, match=r"needs the extra 'registry': pip install 'automl-images\[registry\]'"):
        open_registry("kubeflow://host:8080").models()
