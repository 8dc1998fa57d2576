"""The components' contracts: documented, thin, light to import."""

import ast
import datetime
import inspect
import subprocess
import sys
import textwrap
import zipfile

import kfp
import pytest
import yaml
from kfp import dsl

import automl_images.components.readme as module
from automl_images.components.package import write_package
from automl_images.components.readme import FOLDER, STEPS, component, readme


def test_every_component_is_a_step():
    assert {p.parent.name for p in FOLDER.glob("*/component.py")} == set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_the_readme_is_fresh(step):
    text = (FOLDER / step / "README.md").read_text()
    assert text == readme(step)
    spec = component(step).component_spec
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}`" for name in (*(spec.inputs or {}), *(spec.outputs or {}))]


@pytest.mark.parametrize("step", STEPS)
def test_the_metadata_describes_the_component(step):
    metadata = yaml.safe_load((FOLDER / step / "metadata.yaml").read_text())
    assert set(metadata) == {"name", "stability", "dependencies", "tags", "lastVerified"}
    assert metadata["name"] == step == component(step).name
    assert metadata["stability"] == "alpha"
    assert metadata["dependencies"] == {"kubeflow": [{"name": "Pipelines", "version": ">=2.17.0"}]}
    assert metadata["tags"] and all(isinstance(tag, str) for tag in metadata["tags"])
    assert isinstance(metadata["lastVerified"], datetime.datetime)
    owners = yaml.safe_load((FOLDER / step / "OWNERS").read_text())
    assert owners["approvers"] and owners["reviewers"]


@pytest.mark.parametrize("step", STEPS)
def test_a_component_is_thin_and_stands_alone(step):
    assert len((FOLDER / step / "component.py").read_text().splitlines()) < 70
    tree = ast.parse(textwrap.dedent(inspect.getsource(component(step).python_func)))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in imports if isinstance(n, ast.Import) for a in n.names}
    names |= {"." * n.level + (n.module or "") for n in imports if isinstance(n, ast.ImportFrom)}
    assert "automl_images.steps.repeat" in names
    # KFP sends the function's source alone: in the container there is neither of the two.
    assert not {name for name in names if name.partition(".")[0] in ("components", "pipelines", "")}


def test_the_package_has_components_that_load_and_equal_sources_give_equal_bytes(tmp_path):
    for name in ("a/first.zip", "second.zip"):
        write_package(tmp_path / name)
    first = (tmp_path / "a/first.zip").read_bytes()
    assert first == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "second.zip") as package:
        package.extractall(tmp_path)
        assert len(package.namelist()) == 4 * len(STEPS)
    for step in STEPS:
        loaded = kfp.components.load_component_from_file(str(tmp_path / step / "component.yaml"))
        ours = component(step).component_spec
        assert loaded.name == step and set(loaded.component_spec.inputs or {}) == set(ours.inputs or {})
        assert loaded.component_spec.implementation.container.image == ours.implementation.container.image
        assert (tmp_path / step / "README.md").read_bytes() == (FOLDER / step / "README.md").read_bytes()


def test_importing_components_is_light():
    heavy = "{'torch', 'torchvision', 'lightning', 'matplotlib', 'pandas'} & set(sys.modules)"
    code = f"import sys, {', '.join(f'automl_images.components.{s}.component' for s in STEPS)}; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def documented(folder, monkeypatch, function):
    """Make a component of a function and its metadata the step ``odd`` in a folder of its own."""
    (folder / "odd").mkdir()
    (folder / "odd" / "metadata.yaml").write_text("stability: beta")
    odd = type(sys)("automl_images.components.odd.component")
    odd.odd = dsl.component(base_image="some/image:1", install_kfp_package=False)(function)
    monkeypatch.setitem(sys.modules, "automl_images.components.odd.component", odd)
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "STEPS", ("odd",))


def test_a_readme_shows_defaults_and_stays_a_table(tmp_path, monkeypatch):
    def odd(a: str, b: int = 3, c: str = "") -> str:
        """Do it.

        Args:
            a: one | other,
                on two lines.
            b: how many.
            c: a name.

        Returns:
            What came of it.
        """
        return a * b + c

    documented(tmp_path, monkeypatch, odd)
    text = readme("odd")
    assert "Do it." in text and "Stability: beta. Image: `some/image:1`." in text
    assert "| `a` | String | required | one \\| other, on two lines. |" in text
    assert "| `b` | Integer | `3` | how many. |" in text
    assert '| `c` | String | `""` | a name. |' in text
    assert "| `Output` | String | What came of it. |" in text
    assert "automl-images odd --help" in text


def test_what_is_not_described_is_refused(tmp_path, monkeypatch):
    def odd(a: str, b: str) -> str:
        """Do it.

        Args:
            a: described.
        """
        return a + b

    documented(tmp_path, monkeypatch, odd)
    with pytest.raises(ValueError, match=r"components/odd/component.py: the docstring does not describe b, Output$"):
        readme("odd")


def test_a_stale_readme_is_named_and_mended(tmp_path, monkeypatch, capsys):
    paths = {step: tmp_path / f"{step}.md" for step in ("split", "train")}
    monkeypatch.setattr(module, "_path", paths.get)
    monkeypatch.setattr(module, "STEPS", tuple(paths))
    paths["train"].write_text(readme("train"))
    paths["split"].write_text("old")
    monkeypatch.setattr(sys, "argv", ["readme", "--check"])
    assert module.main() == 1
    said = capsys.readouterr().err
    assert str(paths["split"]) in said and str(paths["train"]) not in said
    assert paths["split"].read_text() == "old"
    monkeypatch.setattr(sys, "argv", ["readme"])
    assert module.main() == 0
    assert paths["split"].read_text() == readme("split")
