"""The scripts of the folder examples: one a task, each run; that of detection is run where a run is repeated, too."""

import ast
from base64 import b64decode
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


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_shows_a_live_table_pages_and_pictures(tmp_path, monkeypatch):
    """In a kernel, as Jupyter runs it; the images are fewer."""
    import nbformat
    from nbclient import NotebookClient

    make_sample(tmp_path / "sample", images=24)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, 4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [_shown(cell) for cell in ran if cell.outputs]
    live, table, page, registered, picture, pictures, evaluation = shown
    told = "".join(output.get("data", {}).get("text/plain", "") for output in ran[1].outputs)
    assert "application/vnd.jupyter.widget-view+json" in live and "2 completed; best: trial" in told
    assert "epoch 1/" not in told and "epoch 1 of" not in told, "which the live table has"
    assert "<table" in table["text/html"] and "<iframe" in page["text/html"]
    assert "<model yolov5" in registered["text/plain"]
    assert b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert pictures["text/html"].count("<figure") == 10 and "<iframe" in evaluation["text/html"]


def _shown(cell):
    """Return what a cell shows, by kind: the last of each."""
    return {kind: value for output in cell.outputs for kind, value in output.get("data", {}).items()}
