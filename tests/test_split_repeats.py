"""Images that are there several times are on one side of a split, and in one set."""

import os
from pathlib import Path

import pytest
from PIL import Image

from automl_images.annotations import OneClass, Record, read_records, record_file
from automl_images.annotations.imaging import digest_of
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
from automl_images.steps.split import split_data
from tests.conftest import jsonl_lines, save_images


def squares(folder, *names, same=()):
    """Write images of different bytes, but for those in ``same``."""
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (0 if name in same else i, 0, 0)).save(folder / name)


@pytest.mark.parametrize("digests", [True, False], ids=["as convert writes", "as of before"])
@pytest.mark.parametrize("seed", range(6))
def test_a_split_keeps_equal_addresses_and_equal_bytes_on_one_side(tmp_path, capsys, seed, digests):
    names = [f"{i}.png" for i in range(12)]
    squares(tmp_path, *names, same=names[8:])
    records = [Record(str(tmp_path / n), OneClass("cat")) for n in [*names, names[0]]]
    if digests:
        records = [Record(r.image_url, r.label, digest=digest_of(Path(r.image_url).read_bytes())) for r in records]
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    record_file.write(records, paths[0])
    split_data(paths[0], None, *paths[1:], ratio=0.3, seed=seed)
    training, validation = ({Path(r.image_url).read_bytes() for r in read_records(p)} for p in paths[1:])
    assert training and validation and not training & validation
    assert "split: 5 images are there again, by address or bytes" in capsys.readouterr().err


def test_images_that_given_sets_share_are_said(tmp_path, capsys):
    squares(tmp_path, "a.png", "b.png", "c.png", same=["a.png", "c.png"])
    paths = [str(tmp_path / n) for n in ("all", "given", "t", "v")]
    record_file.write([Record(str(tmp_path / n), OneClass("x")) for n in ("a.png", "b.png")], paths[0])
    record_file.write([Record(str(tmp_path / "c.png"), OneClass("x"))], paths[1])
    split_data(*paths)
    assert "split: 1 images that validate also train, by address or bytes" in capsys.readouterr().err


def test_images_that_a_set_to_score_on_shares_with_training_are_said(tmp_path, capsys):
    for part in ("training", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "dog").mkdir()
    squares(tmp_path, "training/cat/a.png", "training/dog/b.png", "test/cat/c.png", "test/dog/d.png")
    (tmp_path / "test/dog/d.png").write_bytes((tmp_path / "training/dog/b.png").read_bytes())
    data = {part: {"source": str(tmp_path / part)} for part in ("training", "test")}
    convert_data("image-classification", data, {part: str(tmp_path / f"{part}.out") for part in data})
    assert "test: 1 images also train, by their bytes" in capsys.readouterr().err.splitlines()


def test_a_split_that_leaves_a_side_empty_is_refused(tmp_path):
    squares(tmp_path, "a.png", "b.png", same=["a.png", "b.png"])
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    for labels in (("cat", "dog"), ("cat", "cat")):  # each alone has its class; both are one image
        record_file.write(
            [Record(str(tmp_path / f"{n}.png"), OneClass(c)) for n, c in zip("ab", labels, strict=True)], paths[0]
        )
        with pytest.raises(UserError, match="no image can validate: .*give data.validation"):
            split_data(paths[0], None, *paths[1:])
        assert not Path(paths[1]).exists()


def test_an_image_repeated_more_often_than_may_validate_is_split_all_the_same(tmp_path):
    squares(tmp_path, "d.png", "e.png", "f.png")
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    twice = [Record(str(tmp_path / f"{n}.png"), OneClass("x")) for n in "ddeeff"]
    record_file.write(twice, paths[0])
    assert split_data(paths[0], None, *paths[1:], ratio=0.1) == {"training": 4, "validation": 2}


def test_files_are_not_written_over_others_of_the_same_command(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    data = tmp_path / "data.jsonl"
    data.write_text(jsonl_lines(*({"image_url": f"{n}.png", "label": "x"} for n in "ab")))
    before = data.read_text()
    with pytest.raises(UserError, match="data.jsonl: is the source itself; name another file to write"):
        convert(str(data), str(data), "image-classification")
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(UserError, match="link: is the source itself"):
        convert(str(data), str(tmp_path / "link"), "image-classification")
    records = str(tmp_path / "r")
    convert(str(data), records, "image-classification")
    for outs in (("a", "a"), (records, "v"), ("t", records), ("a", f"{tmp_path}/x/../a")):
        with pytest.raises(UserError, match="is the file of .* and of .*; name another"):
            split_data(records, None, *(os.path.join(tmp_path, out) for out in outs))
    assert data.read_text() == before and len(list(read_records(records))) == 2


def test_a_source_without_a_usable_image_leaves_the_output_as_it_was(tmp_path):
    out = tmp_path / "written" / "out"
    out.parent.mkdir()
    out.write_text("before")
    (tmp_path / "x.csv").write_text("image,label\ngone.png,cat\n")
    with pytest.raises(UserError, match=r"has no image that can be used \(1 were left out\)"):
        convert(str(tmp_path / "x.csv"), str(out), "image-classification", on_error="skip")
    assert out.read_text() == "before" and list(out.parent.iterdir()) == [out]
