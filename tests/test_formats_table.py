"""The table of formats in the documentation says what the formats say of themselves."""

import sys

import pytest

from automl_images.annotations import formats
from automl_images.reports import formats_table


def test_the_table_of_formats_is_current():
    page = formats_table.PAGE.read_text()
    assert page == formats_table.page_of(page), "run python -m automl_images.reports.formats_table"
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines() if line.startswith("| ")}
    for name, one in formats.FORMATS.items():
        assert rows[name].split(" | ")[2] == (("a folder" if one.folder else "a file") if one.write else "")


def test_the_table_of_formats_is_mended_and_keeps_what_is_said(tmp_path, monkeypatch, capsys):
    page = tmp_path / "annotations.md"
    rows = ["| format | labels | |", "| --- | --- | --- |", r"| coco | x | `a\|b` ids |", "| gone | y | z |"]
    page.write_text("\n".join(["# Formats", "", *rows, "", "End", ""]))
    monkeypatch.setattr(formats_table, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["formats_table", "--check"])
    assert formats_table.main() == 1 and "is stale" in capsys.readouterr().err and "gone" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["formats_table"])
    assert formats_table.main() == 0
    text = page.read_text()
    assert r"`a\|b` ids |" in text and "gone" not in text
    assert text.startswith("# Formats\n\n| format") and text.endswith("|\n\nEnd\n")
    assert all(f"\n| {name} | " in text for name in formats.NAMES) and "| A folder per class: `SOURCE/" in text
    monkeypatch.setattr(sys, "argv", ["formats_table", "--check"])
    assert formats_table.main() == 0
    with pytest.raises(ValueError, match="no table"):
        formats_table.page_of("# Formats\n")
