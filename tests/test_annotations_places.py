"""Where images are looked for: names like the one written, paths of another machine."""

from pathlib import Path

import pytest

from automl_images.annotations import formats
from automl_images.errors import UserError
from tests.conftest import save_images


@pytest.mark.parametrize(
    ("written", "there", "said"),
    [
        ("a%20b%3Ac.png", "a b:c.png", False),
        ("caf\u00e9.png", "cafe\u0301.png", False),
        ("cafe\u0301.png", "caf\u00e9.png", False),
        ("A.PNG", "a.png", True),
        ("images\\1/a.png", "images/a.png", True),
        ("1/A.Png", "deep/down/1/a.png", True),
        ("a.png", "deep/down/a.png", False),
        ("a", "deep/a.webp", False),
        ("100%.png", "100%.png", False),
    ],
)
def test_an_image_is_found_by_a_name_that_is_like_the_one_written(tmp_path, capsys, written, there, said):
    save_images(tmp_path, ["other.png", there])
    (tmp_path / "x.csv").write_text(f"image,label\n{written},cat\n")
    (record,) = formats.read(str(tmp_path / "x.csv"), label="class")
    assert record.image_url == str(tmp_path / there)
    assert ("images are found by names that are like those written" in capsys.readouterr().err) is said


def test_a_name_that_is_like_several_is_refused(tmp_path):
    save_images(tmp_path, ["x/a.png", "y/a.png"])
    (tmp_path / "x.csv").write_text("image,label\nz/a.png,cat\n")
    with pytest.raises(UserError, match=r"line 2: the image 'z/a.png' may be x/a.png or y/a.png below"):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))
    (tmp_path / "y/a.png").unlink()
    (tmp_path / "x.csv").write_text("image,label\nz/a.png,cat\nw/a.png,dog\n")
    with pytest.raises(
        UserError, match=r"line 3: the image 'w/a.png' may be x/a.png by its name, and so may 'z/a.png'"
    ):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))


def test_what_is_not_there_says_how_it_was_looked_for(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.csv").write_text("image,label\nb.png,cat\n")
    with pytest.raises(UserError, match="line 2: the image 'b.png' is not there: .*percent-decoded.*PREFIX=FOLDER"):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))


@pytest.mark.parametrize(
    ("written", "images"),
    [
        ("..\\..\\label-studio\\media\\4\\a.png", "pictures"),
        ("..\\..\\label-studio\\media\\4\\a.png", "../../label-studio/media/4=pictures"),
        ("/data/upload/4/a.png", "pictures"),
        ("/data/upload/4/a.png", "/data/upload=pictures"),
        ("/data/upload/4/a.png", "/data/upload/4/=pictures/deep"),
        ("a.png", "b=c"),
    ],
)
def test_paths_of_another_machine_are_mapped_or_found_below_a_root_that_is_given(
    tmp_path, monkeypatch, written, images
):
    monkeypatch.chdir(tmp_path)
    file = {"/data/upload=pictures": "pictures/4/a.png", "/data/upload/4/=pictures/deep": "pictures/deep/a.png"}
    save_images(tmp_path, [file.get(images, f"{'b=c' if images == 'b=c' else 'pictures'}/a.png")])
    (tmp_path / "x.csv").write_text(f"image,label\n{written},cat\n")
    (record,) = formats.read("x.csv", images=images, label="class")
    assert Path(record.image_url).is_file()
    if written != "a.png":
        with pytest.raises(UserError, match=r"line 2: the .* (leaves|lies outside) .*"):
            list(formats.read("x.csv", label="class"))
