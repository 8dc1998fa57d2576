"""What is installed is enough: the wheel holds pipelines and components, each module has one name, extras are named."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from automl_images.errors import UserError
from automl_images.faults import explained
from automl_images.pipelines.experiment import load
from automl_images.steps import STEPS

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(p.name for p in (ROOT / "pipelines/experiments").glob("*.yaml"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    made_of = ("pyproject.toml", "README.md", "LICENSE", "automl_images", "components", "pipelines")
    subprocess.run(["cp", "-a", *(ROOT / name for name in made_of), tree], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, tree]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_pipelines_components_and_experiments(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"automl_images/components/{s}/{n}" for s in STEPS for n in ("component.py", "README.md", "metadata.yaml")
    }
    wanted |= {f"automl_images/pipelines/experiments/{name}" for name in SHIPPED}
    wanted |= {f"automl_images/pipelines/{p.name}" for p in (ROOT / "pipelines").glob("*.py")}
    assert SHIPPED and wanted <= names
    assert {n.partition("/")[0] for n in names if not n.partition("/")[0].endswith(".dist-info")} == {"automl_images"}


def test_no_module_is_imported_by_a_second_name():
    other = re.compile(r"^ *(?:from|import) (?:components|pipelines)\b", re.M)
    rooms = ("automl_images", "components", "pipelines", "tests", "benchmarks")
    spelt = [str(f) for room in rooms for f in (ROOT / room).rglob("*.py") if other.search(f.read_text())]
    assert not spelt, "write automl_images.components and automl_images.pipelines"


TWICE = """if True:
    import contextlib, pathlib, runpy, sys
    with contextlib.suppress(SystemExit):
        runpy.run_module("pipelines", run_name="__main__", alter_sys=True)
    names = {}
    ours = ("automl_images", "components", "pipelines")
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ours and name != "pipelines" and (file := getattr(module, "__file__", None)):
            names.setdefault(str(pathlib.Path(file).resolve()), set()).add(name)
    print("automl_images.pipelines.experiment" in sys.modules)
    print({f: n for f, n in names.items() if len(n) > 1})
"""


def test_the_alias_loads_no_module_twice():
    done = subprocess.run([sys.executable, "-c", TWICE, "schema"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-2:] == ["True", "{}"], done.stderr


WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from automl_images.cli import main; main()"
SMOKE = ROOT / "pipelines/experiments/smoke.yaml"


def test_without_an_extra_a_line_says_how_to_get_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT, "kfp", "run", SMOKE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and not done.stdout
    brings = "there is no kfp, which the extra pipelines brings: pip install 'automl-images[pipelines]'"
    assert done.stderr == f"error: {brings}\n"
    with pytest.raises(UserError, match="^there is no lightning, which the extra train brings"), explained():
        raise ModuleNotFoundError(name="lightning.pytorch")
    with pytest.raises(ModuleNotFoundError), explained():
        raise ModuleNotFoundError(name="automl_images.nothing")


def test_an_experiment_that_ships_goes_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [load(name.removesuffix(".yaml")).name for name in SHIPPED] == [n.removesuffix(".yaml") for n in SHIPPED]
    with pytest.raises(UserError, match="^quick: no such experiment; these ship .* quickstart, "):
        load("quick")
    (tmp_path / "quickstart").mkdir()
    with pytest.raises(UserError, match="^quickstart: no such experiment"):
        load("quickstart")
