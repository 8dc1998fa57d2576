"""Several models side by side: which is best, by which figure, and what is refused."""

import json
import re

import pytest

from automl_images.errors import UserError
from automl_images.reports.compare import best, comparison, comparison_lines, write_comparison
from automl_images.steps import compare as step

TASK, METRIC = "image-object-detection", "mean_average_precision"


def cell(value, miss, classes=80, folder="/e/data-1-model-1"):
    scalars = {METRIC: value, "precision": None, "log_average_miss_rate": miss, "best_f1_threshold": 0.3}
    labels = {f"class <{c}>": {"average_precision": None if c == 1 else value} for c in range(classes)}
    whole = {METRIC: value, "scalars": scalars, "per_label_metrics": labels, "baseline": {METRIC: 0.1}}
    return whole | {"images": 20, "seconds": 0.5, "report": f"{folder}/report.html"}


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        (METRIC, [0.5, None, 0.7, 0.7], [2, 3]),
        ("log_loss", [0.5, 0.4], [1]),
        ("best_f1_threshold", [0.5, 0.4], []),
        (METRIC, [0.5, 0.5], []),
        (METRIC, [0.5, None], []),
    ],
)
def test_the_best_is_the_highest_or_the_lowest_or_none(name, values, found):
    assert best(name, values) == found


def test_a_comparison_is_told_on_the_terminal_and_on_a_page(tmp_path):
    rows = [[cell(0.4, 0.2), cell(0.6, 0.3, 2)], [cell(0.3, None), cell(None, None)]]
    found = comparison(TASK, ["a", "b<i>"], ["one", "two"], rows)
    assert json.loads(json.dumps(found)) == found
    assert [data["best"] for data in found["data"]] == [[1], []] and found["data"][0]["milliseconds"] == [25, 25]
    assert found["data"][0]["classes"]["class <79>"] == [0.4, None]  # the second does not know it
    lines = comparison_lines(found)
    assert lines[0] == "one: 20 images; baseline 0.1000" and [line[2] for line in lines[2:4]] == [" ", "*"]
    assert lines[3].split()[:4] == ["*", "b<i>", "0.6000", "0.3000"] and " precision " not in lines[1]
    assert lines[-2].split()[:2] == ["b<i>", "-"]
    write_comparison(f"{tmp_path}/c.html", found, "T")
    text = (tmp_path / "c.html").read_text()
    assert "b<i>" not in text and "class <0>" not in text and text.count("+0.2000") == 2  # the metric and class 0
    assert text.count('class="number top"') == 4  # the metric twice, the miss rate, class 0


def folder_of(path, task):
    path.mkdir()
    (path / "settings.json").write_text(json.dumps({"task": task}))
    return str(path)


def test_each_set_is_read_once_and_each_model_evaluated_on_it(tmp_path, monkeypatch):
    asked, told = [], []
    monkeypatch.setattr(step, "convert", lambda source, out, task, **_: asked.append((source, task)) or {"images": 20})

    def evaluated(folder, records, output, title):
        asked.append((folder, records, output))
        made = cell(0.4 if folder.endswith("a") else 0.6, 0.1, folder=output)
        made["thresholds"] = {"overall": {"f1": 0.5, "threshold": 0.3}}
        return (
            made
            | {"coco": {}, "voc": {"map": 0.4}, "voc_2007": {"map": 0.4}, "log_average_miss_rate": 0.1}
            | dict.fromkeys(("mean_average_precision_above_threshold", "precision", "recall"))
        )

    monkeypatch.setattr(step, "evaluate_model", evaluated)
    models = {name: folder_of(tmp_path / name, TASK) for name in "ab"}
    out = str(tmp_path / "out")
    found = step.compare_models(models, ["x", "y"], out, tell=told.append)
    assert [a[0] for a in asked] == ["x", *models.values(), "y", *models.values()]
    assert len({a[2] for a in asked if len(a) == 3}) == 4 and told[1] == f"b on x: {METRIC} 0.6000, 20 images"
    assert json.loads((tmp_path / "out/compare.json").read_text()) == found
    links = re.findall('href="([^#"]+)"', (tmp_path / "out/compare.html").read_text())
    assert links[:2] == ["data-1-model-1/report.html", "data-2-model-1/report.html"]


def test_what_does_not_compare_is_refused_by_name(tmp_path):
    a, b = folder_of(tmp_path / "a", TASK), folder_of(tmp_path / "b", "image-classification")
    for models, data, words in (
        ({"a": a, "b": b}, ["x"], "b: is for image-classification, and a for image-object-detection"),
        ({"a": a, "c": f"{a}/"}, ["x"], "same model folder"),
        ({"a": a}, ["x", "x"], "x: is there twice"),
        ({"a": str(tmp_path / "none")}, ["x"], "none: has no settings.json"),
    ):
        with pytest.raises(UserError, match=words):
            step.compare_models(models, data, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
