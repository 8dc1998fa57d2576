"""CSV of classes: what separates classes, and what ends a field."""

import pytest

from automl_images.annotations import formats
from automl_images.errors import UserError
from tests.conftest import save_images


def csv(tmp_path, header, *rows, kind="class"):
    """Return the names of each record of a CSV file."""
    save_images(tmp_path, [f"{c}.png" for c in "abcdef"])
    (tmp_path / "x.csv").write_text("\n".join([header, *rows]) + "\n")
    return [r.label.names() for r in formats.read(str(tmp_path / "x.csv"), label=kind)]


@pytest.mark.parametrize(
    ("rows", "expected", "what"),
    [
        (["cat dog", "dog", "cat"], [["cat", "dog"], ["dog"], ["cat"]], "separated by blanks, as there is no |"),
        (["cat;dog", "big cat"], [["cat", "dog"], ["big cat"]], "separated by a semicolon, as there is no |"),
        (['"cat,dog"', "emu"], [["cat", "dog"], ["emu"]], "separated by a comma, as there is no |"),
        (["traffic light", "car"], [["traffic light"], ["car"]], "'traffic light' is taken as one class"),
        (["cat|big dog", "emu"], [["cat", "big dog"], ["emu"]], None),
        (["\"['cat', 'big dog']\"", "[]", "emu"], [["cat", "big dog"], [], ["emu"]], None),
        (['"[""cat"", ""dog""]"', ""], [["cat", "dog"], []], None),
        (["1.0|2", "2.000", "3"], [["1", "2"], ["2"], ["3"]], None),
    ],
)
def test_the_separator_of_classes_is_found_and_said(tmp_path, capsys, rows, expected, what):
    found = csv(
        tmp_path, "image,labels", *(f"{c}.png,{row}" for c, row in zip("abcdef", rows, strict=False)), kind="classes"
    )
    assert found == expected
    said = capsys.readouterr().err
    assert what in said if what else said == ""


def test_blanks_that_may_separate_or_not_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"x.csv: the label 'traffic light' may be one class or several; separate clas"):
        csv(tmp_path, "image,label", "a.png,traffic light", "b.png,traffic sign", kind="classes")


@pytest.mark.parametrize(("end", "word"), [(";", "a semicolon"), ("\t", "a tab")])
def test_what_ends_a_field_is_found_and_said(tmp_path, capsys, end, word):
    assert csv(tmp_path, f"image{end}label", f"a.png{end}cat, big") == [["cat, big"]]
    assert f"its fields are taken to end at {word}" in capsys.readouterr().err
    assert len(list(formats.read(str(tmp_path), label="class"))) == 1, "in a folder too"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1.0", "1", "1.000000", "0"], ["1", "1", "1", "0"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["1.0", "v2"], ["1.0", "v2"]),
        (["01", "1"], ["01", "1"]),
        ([' "big, cat"', ' "dog"'], ["big, cat", "dog"]),
        (["['cat']", "dog"], ["cat", "dog"]),
    ],
)
def test_what_is_one_class_is_one_class(tmp_path, rows, expected):
    found = csv(tmp_path, "image,label", *(f"{c}.png,{row}" for c, row in zip("abcdef", rows, strict=False)))
    assert [name for (name,) in found] == expected


def test_a_list_is_not_one_class(tmp_path):
    with pytest.raises(UserError, match=r"'\['cat', 'dog'\]' is several classes, .*-multilabel"):
        csv(tmp_path, "image,label", "a.png,\"['cat', 'dog']\"")
