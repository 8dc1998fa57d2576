"""What is installed is enough: the wheel holds pipelines and components, each module has one name, extras are named."""

import json
import os
import re
import subprocess
import sys
import sysconfig
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


def test_a_checkout_takes_pytorch_from_the_cpu_index_that_is_named(tmp_path):
    def make(*arguments):
        command = ["make", "setup", f"VENV={tmp_path}/venv", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr

    code, planned, _ = make("--dry-run", "TORCH=cpu", "TORCH_INDEX=file:///simple")
    installs = [line for line in planned.splitlines() if " pip install " in line]
    assert code == 0 and installs[0].endswith(
        "--no-deps -c constraints.txt --index-url file:///simple torch torchvision"
    )
    assert "-e '.[train" in installs[1] and "index-url" not in installs[1]
    assert "index-url" not in make("--dry-run")[1]
    for wrong in ("TORCH=cpu", "TORCH=cuda"):
        code, _, told = make(wrong)
        assert code == 2 and told.startswith("name PyTorch's CPU index: make setup TORCH=cpu TORCH_INDEX=...\n")
    assert not (tmp_path / "venv").exists()


WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from automl_images.cli import main; main()"
SMOKE = ROOT / "pipelines/experiments/smoke.yaml"


def test_without_an_extra_a_line_says_how_to_get_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT, "kfp", "run", SMOKE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and not done.stdout
    brings = "there is no kfp, which the extra pipelines brings: pip install 'automl-images[pipelines]'"
    assert done.stderr == f"error: {brings}\n"
    command[3] = "google.protobuf"  # of kfp without its dependencies, as the light image has it
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: kfp is there without what it needs (") and done.stderr.count("\n") == 1
    assert done.stderr.endswith(
        "google.protobuf halted; None in sys.modules): pip install 'automl-images[pipelines]' brings it\n"
    )
    with pytest.raises(UserError, match="^there is no lightning, which the extra train brings"), explained():
        raise ModuleNotFoundError(name="lightning.pytorch")
    package = tmp_path / "cv2/__init__.py"
    package.parent.mkdir()
    package.write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    command = [sys.executable, "-c", "from automl_images.faults import explained\nwith explained(): import cv2"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    )
    assert (
        "cv2 does not load here: libGL.so.1: cannot open shared object file; pip uninstall opencv-python" in done.stderr
    )
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


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the folder of commands of an environment that has the wheel, and for the rest the packages of this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files do not count
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    return folder / "bin"


FROM_PYTHON = """
import automl_images
from automl_images import Experiment, load_model
print(automl_images.__file__)
run = Experiment.load("smoke", ["settings.number_of_epochs=1", "settings.evaluation_frequency=1"]).run()
print(run.register("cells")["version"], len(run.trials), run.best.state, run.report)
found = load_model("runs/registry/cells@champion").predict("sample/JPEGImages/000000.jpg")
print(len(found.to_coco()), len(found._repr_png_()))
"""


@pytest.mark.full
def test_the_wheel_is_enough(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    command = installed / "automl-images"
    said(command, "sample-data", "sample", "--images", "20")
    first, registered, drawn = said(installed / "python", "-c", FROM_PYTHON).splitlines()
    assert Path(first).is_relative_to(installed.parent)
    assert registered.startswith("1 2 completed ") and int(drawn.split()[1]) > 1000
    small = ("--set", "settings.number_of_epochs=1", "--set", "settings.evaluation_frequency=1")
    told = said(command, "run", "smoke", *small, "--json")  # the trials are kept
    assert json.loads(told)["registered"]["name"] == "smoke"
    assert (tmp_path / said(command, "compile", "smoke").strip()).is_file()
    assert json.loads(said(command, "schema"))["title"] == "Experiment"
    assert "sample" in said(command, "predict", "runs/registry/cells@champion", "sample/JPEGImages/000001.jpg")
