"""The scripts of the folder examples: one a task, each run; that of detection is run where a run is repeated, too."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automl_images.sample_data import make_sample
from automl_images.tasks import TASKS
from tests.helpers.examples import ROOT, run_example

EXAMPLES = {p.stem: p for p in sorted((ROOT / "examples").glob("*.py"))}


def test_each_task_has_one_example():
    tasks = []
    for path in EXAMPLES.values():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.keyword) and n.arg == "task"]
        tasks += [ast.literal_eval(call.value) for call in calls]
    assert sorted(tasks) == sorted(TASKS)


@pytest.mark.full
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_says(name, tmp_path):
    make_sample(tmp_path / "sample", images=24)
    out = run_example(name, tmp_path, {})
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    assert f"<run {summary.parent}: " in out and (tmp_path / "prediction.png").stat().st_size > 1000
    assert Path(out.splitlines()[-1]) == summary.with_name("report.html")


NOTEBOOK = ROOT / "notebooks/first-run.ipynb"
CELLS = """if True:
    import ast, json, pathlib, sys
    names = {}
    for source in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        *first, last = ast.parse(source).body
        value = isinstance(last, ast.Expr)
        exec(compile(ast.Module([*first, *([] if value else [last])], []), "cell", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if value else None
        for name in ("_repr_html_", "_repr_png_"):
            if shown is not None and hasattr(shown, name):
                print("CELL", type(shown).__name__, name, len(getattr(shown, name)()))
"""


@pytest.mark.full
def test_the_notebook_runs_and_shows_a_table_pages_and_pictures(tmp_path):
    """Without Jupyter: its cells in turn, and of what the last line of each is, what a notebook would show."""
    make_sample(tmp_path / "sample", images=24)
    notebook = json.loads(NOTEBOOK.read_text())
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "cells.json").write_text(json.dumps(sources))
    command = [sys.executable, "-c", CELLS, "cells.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    shown = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("CELL ")]
    table, page, picture, pictures, evaluation = shown
    assert table == ["Run", "_repr_html_"] and page == ["Report", "_repr_html_"]
    assert picture == ["Prediction", "_repr_png_"] and pictures == ["Predictions", "_repr_html_"]
    assert evaluation == ["Evaluation", "_repr_html_"]
