"""What docs/extend.md says to add is added to a copy of the package, and works there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EDIT = re.compile(
    r"<!-- (?P<verb>edit|file|replace) (?P<file>\S+)(?: (?P<where>after|before) (?P<mark>.*?)(?: up (?P<up>\d+))?"
    r'| "(?P<old>.*?)" "(?P<new>.*?)")? -->(?:\n```python\n(?P<code>.*?)```)?',
    re.DOTALL,
)

MODEL = """
from automl_images.hyperparameters import resolve
from automl_images.models.catalogue import build
from automl_images.models.freeze import freeze
import torch
settings = resolve("image-classification", {"model_name": "resnext50_32x4d", "train_crop_size": 64,
                                            "valid_crop_size": 64, "valid_resize_size": 64})
model = build("image-classification", settings, ["a", "b", "c"])
frozen = freeze(model, "resnext50_32x4d", 5)
print(len(frozen), list(model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape), settings["learning_rate"])
"""
RULE = """
from automl_images.sweep.score import Score
from automl_images.sweep.termination import RULE
rule = RULE.validate_python({"policy": "patience", "evaluations": 2})
peers = {1: Score(2, 2, 0.5, 0.5, 0.5), 2: Score(2, 2, 0.4, 0.4, 0.4)}
print(rule.stop(Score(1, 1, 0.1, 0.1, 0.1), peers), rule.stop(Score(2, 2, 0.1, 0.1, 0.1), peers))
"""
SAMPLER = """
from automl_images.sweep.sampling import SAMPLING
from automl_images.sweep.space import parse_space
space = parse_space({"learning_rate": {"uniform": [0.1, 0.2]}, "momentum": {"choice": [0.5, 0.9]}})
halton = SAMPLING.validate_python("halton")
drawn = [halton.propose(space, 3, i) for i in range(8)]
assert drawn == [halton.propose(space, 3, i) for i in range(8)]
assert all(0.1 <= d["learning_rate"] <= 0.2 and d["momentum"] in (0.5, 0.9) for d in drawn)
print(len({d["learning_rate"] for d in drawn}), len({d["momentum"] for d in drawn}))
"""
SETTING = """
from types import SimpleNamespace
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve
from automl_images.training.fit import _trainer
from automl_images.training.job import Compute
from automl_images.training.machine import Machine
task = "image-classification"
try:
    resolve(task, {"gradient_clip_norm": 0})
except UserError as error:
    print(error)
for given in ({}, {"gradient_clip_norm": "1e-1"}):
    settings = resolve(task, given)
    module = SimpleNamespace(model=SimpleNamespace(gradient_clip=7.0))
    prepared = SimpleNamespace(module=module, validation=None, compute=Compute(dtype="float32"))
    print(_trainer(settings, [], prepared, Machine(False, 1, 0)).gradient_clip_val)
"""


def edited(text, edit):
    if edit["verb"] == "replace":
        assert text.count(edit["old"]) == 1, f"{edit['old']!r} is there {text.count(edit['old'])} times"
        return text.replace(edit["old"], edit["new"])
    lines = text.splitlines(keepends=True)
    found = [i for i, line in enumerate(lines) if edit["mark"] in line]
    assert len(found) == 1, f"{edit['mark']!r} is in {len(found)} lines"
    at = found[0] + (edit["where"] == "after") - int(edit["up"] or 0)
    return "".join([*lines[:at], edit["code"], *lines[at:]])


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Return a folder with the package, extended as the page says."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "automl_images", folder / "automl_images", ignore=shutil.ignore_patterns("__pycache__"))
    edits = list(EDIT.finditer((ROOT / "docs/extend.md").read_text()))
    assert len(edits) == 11, "an edit of the page is not understood"
    for edit in edits:
        file = folder / edit["file"]
        file.write_text(edit["code"] if edit["verb"] == "file" else edited(file.read_text(), edit))
    return folder


@pytest.fixture(scope="module")
def python(extended):
    """Return a function that runs code, or a command, on the extended package, and returns what it prints."""

    def run(*words):
        words = words if len(words) > 1 else ("-c", words[0])
        environment = {**os.environ, "PYTHONPATH": str(extended)}
        done = subprocess.run([sys.executable, *words], cwd=extended, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def printed(python):
    """Return what each of these prints, run one after the other in one process, which imports torch once."""
    codes = {"model": MODEL, "rule": RULE, "sampler": SAMPLER, "setting": SETTING}
    lines = python("".join(f"print('== {name}')\n{code}" for name, code in codes.items())).splitlines()
    starts = [lines.index(f"== {name}") for name in codes] + [len(lines)]
    return {name: lines[a + 1 : b] for name, a, b in zip(codes, starts, starts[1:], strict=False)}


def test_a_model_is_built_from_its_row(printed):
    assert printed["model"][-1] == "5 [2, 3] 0.01"


def test_a_format_is_read_named_and_found(python, tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "x.tsv").write_text("a.png\tcat\nb.png\tdog\n")
    cli = "-m", "automl_images.cli", "convert"
    out = python(*cli, str(tmp_path), str(tmp_path / "out.jsonl"), "--task", "image-classification")
    assert json.loads(out)["classes"] == {"cat": 1, "dog": 1}
    assert "tsv" in python(*cli, "--help")
    schema = python("from automl_images.experiment import Experiment; print(Experiment.model_json_schema())")
    assert "'tsv'" in schema and "'patience'" in schema and "'halton'" in schema


def test_a_rule_acts(printed):
    assert printed["rule"] == ["None patience: at evaluation 2 its best 0.1 is below all others', 0.4"]


def test_a_sampler_proposes_within_the_space_and_the_same_each_time(printed):
    assert printed["sampler"] == ["8 2"]


def test_a_setting_is_checked_and_acts(printed):
    first, *clipped = printed["setting"][-3:]
    assert first.startswith("gradient_clip_norm: 0 is out of range; allowed: ") and clipped == ["7.0", "0.1"]
