"""What is installed is enough: the wheel holds pipelines and components, each module has one name, extras are named."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


LOADED = """if True:
    import contextlib, pathlib, runpy, sys
    with contextlib.suppress(SystemExit):
        runpy.run_module("pipelines", run_name="__main__", alter_sys=True)
    names = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or "site-packages"
        if "site-packages" not in file and name not in ("__main__", "pipelines"):
            names.setdefault(str(pathlib.Path(file).resolve()), set()).add(name)
    print("automl_images.pipelines.pipeline" in sys.modules, {f: n for f, n in names.items() if len(n) > 1})
"""


def test_no_module_is_loaded_twice_by_the_alias(tmp_path):
    command = [sys.executable, "-c", LOADED, "compile", "pipelines/experiments/smoke.yaml", "-o", tmp_path / "p.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (tmp_path / "p.yaml").exists(), done.stderr
    told, twice = done.stdout.splitlines()[-1].split(" ", 1)
    assert told == "True" and str(ROOT) not in twice


WITHOUT = "import sys; sys.modules['kfp'] = None; from automl_images.cli import main; main()"


@pytest.mark.parametrize("words", [("run",), ("submit", "--no-wait")])
def test_without_the_extra_a_line_says_how_to_get_it(words):
    command = [sys.executable, "-c", WITHOUT, *words, ROOT / "pipelines/experiments/smoke.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    needed = "error: pipelines need the extra 'pipelines': pip install 'automl-images[pipelines]'"
    assert done.stderr.startswith(needed) and done.stderr.count("\n") == 1
