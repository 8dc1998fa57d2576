"""What README and docs say can be done: every block of code is run, or at least read as its program would read it.

A block that cannot be run here says why in a comment before it: ``<!-- not run: needs a cluster -->``. Its commands are
looked up all the same: a command, an option, a setting, a target of make or a module that is renamed fails a test.
"""

import ast
import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from automl_images.architectures import ARCHITECTURES
from automl_images.cli import app
from automl_images.experiment_file import override_with
from automl_images.hyperparameters import described
from automl_images.pipelines.experiment import SHIPPED, Experiment, load
from automl_images.plain import read_yaml
from automl_images.steps.plan import check_experiment
from tests.helpers.pages import LANGUAGES, PAGES, ROOT, commands, page
from tests.helpers.workshop import furnish, run_block

BLOCKS = [block for path in PAGES for block in page(path).blocks]
COMMAND = typer.main.get_command(app)
OTHERS = {".", "docker", "export", "kubectl", "pip", ".light/bin/pip", "sh"}  # programs that are not ours to check
PYTHON = {"python", "python3", ".venv/bin/python", ".light/bin/python"}
BASE = {"name": "a", "task": "image-object-detection", "data": {"training": {"source": "images"}}}


def of(*languages):
    chosen = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=str)


def test_every_block_is_fenced_and_names_its_language():
    assert len(BLOCKS) > 40
    unknown = [f"{block}: '{block.language}'" for block in BLOCKS if block.language not in LANGUAGES]
    assert not unknown, f"write ```{' or ```'.join(LANGUAGES)}"


def parsed(words, whole=True):
    """Return the name and the values of a command of automl-images; without ``whole`` arguments may be missing."""
    command, name, (first, *rest) = COMMAND, "automl-images", words
    while True:
        assert first in command.commands, f"{name} has no command {first}"
        command, name = command.commands[first], f"{name} {first}"
        if not hasattr(command, "commands"):
            break
        first, *rest = rest or [""]
    if whole:
        return name, command.make_context(name, rest).params  # refuses what the command would refuse
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in options(command), f"{name} has no option {word}"
    return name, {}


def options(command):
    return {word for p in command.params for word in [*p.opts, *p.secondary_opts]} | {"--help"}


def check_cli(words):
    name, values = parsed(words)
    if "experiment" in values and "overrides" in values:
        given, overrides = str(values["experiment"]), values["overrides"]
        if (SHIPPED / f"{given}.yaml").exists():
            load(given, overrides)
        else:
            content = {**BASE}
            for override in overrides:
                override_with(content, override)
            Experiment.read(content)
    for setting in values.get("settings") or ():
        assert setting.partition("=")[0] in settings(), f"{name}: {setting}"


@functools.cache
def settings():
    return {"model_name", *(row for name in ARCHITECTURES for row in described(name))}


@functools.cache
def makefile():
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([\w-]+):", text, re.M)), set(re.findall(r"\$\((\w+)\)|^(\w+) \?=", text, re.M))


def check_make(words):
    targets, variables = makefile()
    for word in words:
        name, value, _ = word.partition("=")
        known = {v for pair in variables for v in pair} | {"LANE", "KEEP", "PYTHON"} if value else targets
        assert name in known, f"make has no {name}"


def check_python(words):
    if words[0] == "-m":
        spec = importlib.util.find_spec(words[1])
        assert spec and spec.origin, f"there is no module {words[1]}"
        source = Path(spec.origin).read_text()
        if words[1].partition(".")[0] in ("automl_images", "benchmarks"):
            for word in words[2:]:
                assert not word.startswith("--") or word.strip("-") in source or word in KSERVES, f"{words[1]} {word}"
        elif words[1] == "pytest":
            for word in words[2:]:
                assert not word.startswith("tests/") or (ROOT / word).exists(), word


KSERVES = {"--model_name"}  # of KServe's own parser


def check(words):
    program, *rest = words
    if program == "automl-images":
        check_cli(rest)
    elif program == "make":
        check_make(rest)
    elif program in PYTHON:
        check_python(rest)
    else:
        assert program in OTHERS, f"{program}: is no program that the pages use; if it is meant, name it in OTHERS"
        image = [i for i, word in enumerate(rest) if word.startswith("automl-images/")]
        if program == "docker" and image:
            inside = rest[image[0] + 1 :]
            check_python(inside) if "--entrypoint" in rest else check_cli(inside)


@of("bash")
def test_commands_are_as_their_programs_take_them(block):
    for words in commands(block.text):
        try:
            check(words)
        except Exception as fault:
            pytest.fail(f"{block}: {' '.join(words)}: {fault}", pytrace=False)


@of("yaml")
def test_a_piece_of_an_experiment_fits_the_schema(block):
    content = read_yaml(block.text, str(block))
    experiment = Experiment.read(content if "task" in content else {**BASE, **content})
    if "task" in content:
        check_experiment(experiment)


@of("python")
def test_python_compiles_and_its_names_are_there(block, tmp_path):
    if block.reason and "test_extend" in block.reason:
        return
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.ImportFrom):
            there = defined(node.module)
            assert all(alias.name in there for alias in node.names), ast.unparse(node)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F8", "-"]
    done = subprocess.run(ruff, input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def defined(module):
    """Return the names that a module defines or says in ``__all__``; it is not imported."""
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text())
    said = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    return {n.name for n in tree.body if hasattr(n, "name")} | {name for n in said for name in ast.literal_eval(n)}


OWN = re.compile(r"(?:automl_images|benchmarks|components|docs|examples|images|notebooks|pipelines|tests)/[\w./*-]+")
THEIRS = ("docs/moving-from-", "SECURITY.md")  # pages that name the options of others


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_what_stands_between_backticks_is_there(path):
    shown = page(path)
    ours = {word for command in walk(COMMAND) for word in options(command)}
    for span in shown.spans:
        if span.startswith("automl-images "):
            parsed(span.split()[1:], whole=False)
        elif span.startswith("make "):
            check_make([w for w in span.split()[1:] if "..." not in w])
        elif re.fullmatch(r"--[a-z-]+", span) and not shown.name.startswith(THEIRS):
            assert span in ours, f"{shown.name}: no command has {span}"
        elif OWN.fullmatch(span):
            assert list(ROOT.glob(span)) or span.startswith("images/"), f"{shown.name}: {span} is not there"


def walk(command):
    for each in getattr(command, "commands", {}).values():
        yield each
        yield from walk(each)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for link in page(path).links:
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        assert target.exists(), f"{path.name}: {link} is not there"
        assert not anchor or anchor in page(target.resolve()).anchors, f"{path.name}: {link} has no such heading"


SMALLER = {
    "iterations=10": 'iterations=1, settings={"model_size": "small", "img_size": 64, "number_of_epochs": 1, '
    '"training_batch_size": 4}, weights={"pretrained": False}'
}
RUN = {p: [b for b in page(p).blocks if b.reason is None and b.language in ("bash", "python")] for p in PAGES}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return a folder with all that the pages take for there."""
    folder = tmp_path_factory.mktemp("workshop")
    furnish(folder)
    return folder


@pytest.mark.full
@pytest.mark.timeout(1800)  # a page has up to five trainings
@pytest.mark.parametrize("path", [p for p in PAGES if RUN[p]], ids=lambda p: p.stem)
def test_what_a_page_says_runs(path, workshop, tmp_path):
    """In a copy of the workshop, one block after the other; trainings are short, see tests/helpers/small.py."""
    folder = tmp_path / "workshop"
    shutil.copytree(workshop, folder, symlinks=True)
    for block in RUN[path]:
        text = block.text
        for piece, instead in SMALLER.items() if block.language == "python" else ():
            assert text.count(piece) == 1, piece
            text = text.replace(piece, instead)
        run_block(folder, text, block.language)
