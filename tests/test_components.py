"""The components' contracts: documented, thin, light to import."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.readme import FOLDER, STEPS, readme


@pytest.mark.parametrize("step", STEPS)
def test_a_component_is_documented_and_thin(step):
    folder = FOLDER / step
    assert (folder / "README.md").read_text() == readme(step)  # raises KeyError for a parameter without description
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["name"] == step
    assert metadata["dependencies"]["kubeflow"][0]["name"] == "Pipelines"
    source = (folder / "component.py").read_text()
    assert len(source.splitlines()) < 70
    body = source[source.index('"""', source.index("def ")) :]
    assert "components" not in body
    assert "pipelines" not in body


def test_a_stale_readme_is_found(tmp_path, monkeypatch):
    import components.readme as module

    path = tmp_path / "README.md"
    monkeypatch.setattr(module, "_path", lambda step: path)
    monkeypatch.setattr(module, "STEPS", ("split",))
    monkeypatch.setattr(sys, "argv", ["readme", "--check"])
    assert module.main() == 1
    path.write_text(readme("split"))
    assert module.main() == 0


def test_importing_components_is_light():
    heavy = "{'torch', 'pandas'} & set(sys.modules)"
    code = f"import sys; from components import {', '.join(STEPS)}; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_step_is_a_folder():
    folders = {p.name for p in Path(FOLDER).iterdir() if (p / "component.py").exists()}
    assert folders == set(STEPS)
