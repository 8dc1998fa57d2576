"""What is said of a data set: its figures, the pictures of its labels, the findings; on a terminal and as a page."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from automl_images.annotations import (
    Box,
    Boxes,
    Classes,
    Record,
    record_file,
)
from automl_images.annotations.checks import SHARED
from automl_images.annotations.findings import Findings
from automl_images.annotations.labels import KINDS
from automl_images.annotations.overview import Overview
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.reports.data import PICTURES, DataSet, write_page
from automl_images.steps.convert import convert_data
from automl_images.steps.inspect import guessed_task, inspect_source, write_data_report
from tests.conftest import draw_squares, save_images, write_coco, write_jsonl, write_voc


def inspect(*arguments, columns=80):
    words = [sys.executable, "-m", "automl_images.cli", "inspect", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "COLUMNS": str(columns)})


def grey(path, size=(120, 80)):
    Image.new("RGB", size, (90, 90, 90)).save(path)
    return str(path)


# The page


def page(tmp_path, *sets):
    write_page(str(tmp_path / "x.html"), "Data <b>", "image-object-detection", sets, {"source": "s3://b & c"})
    return (tmp_path / "x.html").read_text()


def boxed(tmp_path, count=30, name="cat"):
    records = draw_squares(tmp_path / "images", count)
    overview = Overview(records)
    return DataSet(name, overview.figures(), {}, overview.examples(PICTURES))


def test_the_page_stands_alone_and_is_bounded(tmp_path):
    text = page(tmp_path, boxed(tmp_path))
    assert text.count("data:image/jpeg;base64,") == PICTURES
    assert "<script" not in text and not re.search(r'(src|href)="(?!data:)', text) and "@import" not in text
    assert "Data &lt;b&gt;" in text and "s3://b &amp; c" in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 2_000_000
    both = page(tmp_path, boxed(tmp_path, name="training"), boxed(tmp_path, name="validation"))
    assert both.count("data:image/jpeg;base64,") == PICTURES
    assert ">training</h2>" in both and ">validation</h2>" in both


def test_the_page_has_the_findings_the_worst_first(tmp_path):
    table = {"images <missing>": ("refused", "image left out"), "flat": ("dropped",) * 2, "repeated": ("kept",) * 2}
    found = Findings(table)
    for flaw, count in (("repeated", 9), ("flat", 2), ("images <missing>", 12)):
        for i in range(count):
            found.add(flaw, f"{flaw[:4]}.xml, box {i}")
    part = boxed(tmp_path)
    text = page(tmp_path, DataSet("data", part.figures, found.to_json(), ()))
    places = [text.index(what) for what in ("12 x images &lt;missing&gt;", "2 x flat", "9 x repeated")]
    assert places == sorted(places)
    assert "imag.xml, box 9<" in text and "imag.xml, box 10" not in text and "the first 10" in text
    assert "(image left out)" in text and "No image could be drawn" in text


def test_an_image_that_has_gone_is_counted_on_the_page(tmp_path):
    part = boxed(tmp_path, 4)
    (tmp_path / "images/001.png").unlink()
    text = page(tmp_path, part)
    assert text.count("data:image/jpeg") == 3 and "1 images could not be read for it" in text


def test_many_classes_are_counted_where_they_are_not_listed(tmp_path):
    grey(tmp_path / "a.png")
    records = [Record(str(tmp_path / "a.png"), Classes((f"class{i:03d}", f"class{i:03d}x"))) for i in range(150)]
    overview = Overview(records)
    text = page(tmp_path, DataSet("data", overview.figures(), {}, overview.examples(PICTURES)))
    assert "And 100 more classes" in text and "classes are on none of them" in text


def test_the_page_has_names_of_any_script(tmp_path):
    grey(tmp_path / "a.png")
    overview = Overview([Record(str(tmp_path / "a.png"), Boxes((Box("кошка 猫", 0, 0, 0.5, 0.5),)), 120, 80)])
    text = page(tmp_path, DataSet("data", overview.figures(), {}, overview.examples(1)))
    assert "кошка 猫" in text and text.count("data:image/jpeg") == 1


# inspect


def test_a_person_sees_tables_without_being_on_a_terminal(tmp_path):
    records = draw_squares(tmp_path / "JPEGImages", 6)
    write_voc(tmp_path, records)
    broken = tmp_path / "JPEGImages/000.png"
    broken.write_bytes(b"\x89PNG\r\n")
    done = inspect(tmp_path, "--html", tmp_path / "x.html")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("image-object-detection, voc") or lines[1].endswith("image-object-detection, voc")
    assert all(len(line) <= 80 for line in lines)
    text = " ".join(done.stdout.split())
    assert "images 5" in text and "Findings error 1 x " in text and "image width, pixels 64 64 64 64" in text
    assert "data:image/jpeg" in (tmp_path / "x.html").read_text()
    assert not list(tmp_path.glob("*.jsonl")), "nothing else is written"
    wide = inspect(tmp_path, columns=140).stdout.splitlines()
    assert max(map(len, wide)) <= 140


def test_a_program_gets_json(tmp_path):
    path = write_jsonl(tmp_path, draw_squares(tmp_path, 4))
    done = inspect(path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["task"] == "image-object-detection" and set(found["sets"]) == {"data"}
    one = found["sets"]["data"]
    assert (one["format"], one["images"]) == ("jsonl", 4) and set(one["classes"]) == {"blue", "red"}
    assert list(one["findings"]) == ["a class with fewer than 10 examples"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none"], "none: no such file or folder"),
        (["."], r"is or holds no annotations"),
        (["x.csv"], "fit image-classification, image-classification-multilabel; name one with --task"),
        (["x.csv", "--task", "image-classify"], "no task is called 'image-classify'"),
        (["x.csv", "--format", "cvs"], "format: 'cvs' is unknown; did you mean 'csv'"),
        (["x.csv", "--task", "image-classification", "--format", "voc"], "voc holds boxes"),
        (["gone.csv", "--task", "image-classification"], "has no image that can be used"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    if arguments[0].endswith(".csv"):
        save_images(tmp_path, ["a.png", "b.png"])
        (tmp_path / "x.csv").write_text("image,label\na.png,cat\nb.png,dog\n")
        (tmp_path / "gone.csv").write_text("image,label\nc.png,cat\n")
    with pytest.raises(UserError, match=line):
        task, format = (
            arguments[arguments.index(name) + 1] if name in arguments else default
            for name, default in (("--task", None), ("--format", "auto"))
        )
        inspect_source(arguments[0], task, format=format)


def test_the_command_ends_with_2_where_the_source_is_missing(tmp_path):
    done = inspect(tmp_path / "none")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "no such file or folder" in done.stderr


LABELS = {
    "class": "cat",
    "classes": ["cat", "dog"],
    "boxes": [{"label": "cat", "topX": 0, "topY": 0, "bottomX": 1, "bottomY": 1}],
    "polygons": [{"label": "cat", "polygon": [[0, 0, 1, 0, 1, 1]]}],
    "mask": {"mask_url": "m.png"},
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_task_is_told_from_the_first_records(tmp_path, kind, capsys):
    save_images(tmp_path, ["a.png", "m.png"])
    (tmp_path / "x.jsonl").write_text(json.dumps({"image_url": "a.png", "label": LABELS[kind]}) + "\n")
    assert guessed_task(Source(str(tmp_path / "x.jsonl"))) == KINDS[kind].task()
    assert capsys.readouterr().err == ""


def test_folders_that_sort_images_do_not_make_a_task(tmp_path):
    records = draw_squares(tmp_path / "JPEGImages", 2)
    write_voc(tmp_path, records)
    assert guessed_task(Source(str(tmp_path))) == "image-object-detection"
    save_images(tmp_path / "objects", ["a/images/a.png", "a/masks/1.png", "b/images/b.png", "b/masks/1.png"])
    assert guessed_task(Source(str(tmp_path / "objects"))) == "image-instance-segmentation"
    save_images(tmp_path / "classes", ["cat/a.png", "dog/b.png"])
    assert guessed_task(Source(str(tmp_path / "classes"))) == "image-classification"


def test_a_source_of_several_formats_is_not_guessed(tmp_path):
    records = draw_squares(tmp_path, 2)
    write_coco(tmp_path, records)
    write_jsonl(tmp_path, records)
    with pytest.raises(UserError, match="could be jsonl or coco; set format"):
        guessed_task(Source(str(tmp_path)))


def test_a_fault_that_no_task_is_without_is_said(tmp_path):
    save_images(tmp_path, ["a.png", "root/b.png"])
    (tmp_path / "root/x.jsonl").write_text('{"image_url": "/outside/a.png", "label": "cat"}\n')
    with pytest.raises(UserError, match=r"x.jsonl, line 1: .*/outside/a.png"):
        guessed_task(Source(str(tmp_path / "root/x.jsonl")))


def test_an_experiments_sets_are_on_one_page(tmp_path):
    data, outs = {}, {}
    for name, count in (("training", 8), ("test", 4)):
        write_voc(tmp_path / name, draw_squares(tmp_path / name / "JPEGImages", count, seed=count))
        data[name], outs[name] = {"source": str(tmp_path / name)}, str(tmp_path / f"{name}.jsonl")
    outs["validation"] = str(tmp_path / "validation.jsonl")
    task = "image-object-detection"
    summaries = convert_data(task, data, outs)
    write_data_report(str(tmp_path / "x.html"), "squares: data", task, outs, summaries)
    text = (tmp_path / "x.html").read_text()
    assert "squares: data" in text and ">test</h2>" in text and ">validation</h2>" not in text
    assert text.count("data:image/jpeg") == 12


def test_inspecting_is_light():
    heavy = "{'torch', 'torchvision', 'lightning', 'matplotlib', 'pandas'} & set(sys.modules)"
    code = f"import sys, automl_images.steps.inspect, automl_images.steps.export; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_records_of_convert_are_inspected_too(tmp_path):
    record_file.write(draw_squares(tmp_path, 3), str(tmp_path / "r.jsonl"))
    result, (shown,) = inspect_source(str(tmp_path / "r.jsonl"))
    assert result["sets"]["data"]["images"] == shown.figures["images"] == 3


def test_a_folder_of_sets_is_shown_set_by_set(tmp_path):
    for name, count in (("train", 6), ("valid", 4)):
        write_coco(tmp_path / name, draw_squares(tmp_path / name, count, seed=count))
        (tmp_path / name / "instances.json").rename(tmp_path / name / "_annotations.coco.json")
    shutil.copy(tmp_path / "train/000.png", tmp_path / "valid/000.png")
    result, shown = inspect_source(str(tmp_path), html=str(tmp_path / "x.html"))
    assert result["task"] == "image-object-detection"
    assert [(p.name, p.figures["images"]) for p in shown] == [("training", 6), ("validation", 4)]
    assert result["sets"]["training"]["format"] == "coco" and SHARED not in result["sets"]["training"]["findings"]
    shared = result["sets"]["validation"]["findings"][SHARED]
    assert shared["count"] == 1 and "000.png" in shared["first"][0]
    text = (tmp_path / "x.html").read_text()
    assert text.count("data:image/jpeg") == 10 and ">validation</h2>" in text and f"1 x {SHARED}" in text
