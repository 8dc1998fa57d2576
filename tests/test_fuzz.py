"""The fuzzing of annotations: its counts, and that it would count."""

from pathlib import Path

import pytest

from automl_images.errors import UserError
from benchmarks import fuzz


def test_damaged_annotations_end_well_or_in_one_line():
    told = []
    assert fuzz.annotations(20 * len(fuzz.SOURCES), 7, told.append) == dict.fromkeys(fuzz.COUNTS, 0), told


def fault(*_, **__):
    raise KeyError("x")


def touched(source, out, *_, **__):
    Path(out).write_text("more")
    raise UserError("x")


def left(source, out, *_, **__):
    Path(out + ".part").touch()
    raise UserError("x")


def outside(source, out, *_, **__):
    Path(out).write_text('{"image_url": "/etc/passwd.png", "label": "cat"}\n')


def slow(*_, **__):
    raise TimeoutError


@pytest.mark.parametrize(
    ("convert", "counted"),
    [
        (fault, "tracebacks"),
        (touched, "partial_outputs"),
        (left, "partial_outputs"),
        (outside, "escapes"),
        (slow, "hangs"),
    ],
)
def test_what_goes_wrong_is_counted_and_told(monkeypatch, convert, counted):
    monkeypatch.setattr(fuzz, "SOURCES", {("jsonl", "class"): fuzz.SOURCES["jsonl", "class"]})
    monkeypatch.setattr(fuzz, "convert", convert)
    told = []
    found = fuzz.annotations(1, 0, told.append)
    assert found == {**dict.fromkeys(fuzz.COUNTS, 0), counted: 1} and "jsonl-class" in told[0]
