"""COCO as people have it: ids, annotations and images that are there twice, fractions, images in the usual folders."""

import json

import pytest
from PIL import Image

from automl_images.annotations import Box, formats
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import jsonl_lines, save_images
from tests.helpers.annotated import coco, converted


def test_a_category_id_that_is_two_classes_is_refused(tmp_path):
    save_images(tmp_path, ["a.png"])
    coco(tmp_path, [(1, "a.png")], [(1, 1, [1, 1, 4, 4])], [(1, "cat"), (1, "dog")])
    with pytest.raises(UserError, match="the category id 1 is 'cat' and 'dog'; give each its own"):
        list(formats.read(str(tmp_path), label="boxes"))
    coco(tmp_path, [(1, "a.png")], [(1, 1, [1, 1, 4, 4])], [(1, "cat"), (1, "cat ")])
    assert [r.label.names() for r in formats.read(str(tmp_path), label="boxes")] == [["cat"]]


def test_no_image_of_an_id_that_several_have_is_kept(tmp_path):
    save_images(tmp_path, ["a.png", "b.png", "c.png"])
    coco(tmp_path, [(1, "a.png"), (1, "b.png"), (2, "c.png")], [(1, 1, [1, 1, 4, 4]), (2, 2, [1, 1, 4, 4])])
    with pytest.raises(UserError, match=r"image 1 \(a.png\): other images have the same id: a.png, b.png"):
        list(formats.read(str(tmp_path), label="boxes"))
    summary, found = converted(tmp_path, tmp_path / "o", on_error="skip")
    assert found == {"c.png": ["dog"]} and summary["skipped_images"] == 2


def test_an_annotation_repeated_counts_once(tmp_path):
    save_images(tmp_path, ["a.png"])
    coco(tmp_path, [(1, "a.png")], [(1, 1, [1, 1, 4, 4]), (1, 1, [1, 1, 4, 4]), (1, 2, [1, 1, 4, 4])])
    summary, found = converted(tmp_path, tmp_path / "o")
    assert found == {"a.png": ["cat", "dog"]} and summary["repeated_boxes"] == 1


def test_an_image_with_an_annotation_of_no_category_is_left_out_whole(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    coco(tmp_path, [(1, "a.png"), (2, "b.png")], [(1, 1, [1, 1, 4, 4]), (1, 9, [1, 1, 4, 4]), (2, 2, [1, 1, 4, 4])])
    with pytest.raises(UserError, match=r"image 1 \(a.png\): annotation 1: its category_id 9 is that of no category"):
        list(formats.read(str(tmp_path), label="boxes"))
    assert converted(tmp_path, tmp_path / "o", on_error="skip")[1] == {"b.png": ["dog"]}


@pytest.mark.parametrize("ids", [(1, "1", "1"), ("1", 1, 1.0), (1.0, 1, "1")], ids=str)
def test_ids_are_one_whether_numbers_or_text(tmp_path, ids):
    save_images(tmp_path, ["a.png"])
    image, of_annotation, category = ids
    coco(tmp_path, [(image, "a.png")], [(of_annotation, category, [1, 1, 4, 4])], [(1, "cat")])
    (record,) = formats.read(str(tmp_path), label="boxes")
    assert record.label.names() == ["cat"]


def test_boxes_as_fractions_are_known_by_the_whole_file(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    coco(tmp_path, [(1, "a.png")], [(1, 1, [0.25, 0.5, 0.5, 0.25]), (1, 2, [0, 0, 1, 1])])
    (record,) = formats.read(str(tmp_path), label="boxes")
    assert record.label.boxes == (Box("cat", 0.25, 0.5, 0.75, 0.75), Box("dog", 0, 0, 1, 1))
    assert "no number of its boxes is above 1: they are read as fractions" in capsys.readouterr().err
    for pixels in ([[0, 0, 1, 1]], [[0.25, 0.5, 0.5, 0.25], [2, 2, 4, 4]]):
        coco(tmp_path, [(1, "a.png")], [(1, 1, bbox) for bbox in pixels])
        (record,) = formats.read(str(tmp_path), label="boxes")
        assert record.label.boxes[0].bottomX < 0.1, "pixels"
        assert capsys.readouterr().err == ""
    corners = "<xmin>0.1</xmin><ymin>0.1</ymin><xmax>0.5</xmax><ymax>0.9</ymax>"
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/a.xml").write_text(
        f"<annotation><filename>a.png</filename><object><name>x</name><bndbox>{corners}</bndbox></object></annotation>"
    )
    with pytest.raises(UserError, match="object 1: its bndbox has no number above 1: fractions of the image"):
        list(formats.read(str(tmp_path / "voc"), images=str(tmp_path), label="boxes"))


def test_coco_may_begin_with_any_key(tmp_path):
    save_images(tmp_path, ["a.png"])
    path = coco(tmp_path, [(1, "a.png")], [(1, 1, [1, 1, 4, 4])])
    path.write_text(json.dumps({"type": "instances", "note": "x" * 5000, **json.loads(path.read_text())}))
    for source in (tmp_path, path):
        assert len(list(formats.read(str(source), label="boxes"))) == 1
    (tmp_path / "package.json").write_text('{"name": "x", "files": ["images"]}')
    assert len(list(formats.read(str(tmp_path), label="boxes"))) == 1


@pytest.mark.parametrize("place", ["train2017", "images/train2017", "images"])
@pytest.mark.parametrize("how", ["file", "root", "folder"])
def test_coco_finds_images_in_the_usual_folders(tmp_path, place, how):
    save_images(tmp_path, [f"{place}/1.png"])
    path = coco(tmp_path / "annotations", [(1, "1.png")], [(1, 1, [1, 1, 4, 4])], name="instances_train2017.json")
    source = {"file": path, "root": tmp_path, "folder": path.parent}[how]
    (record,) = formats.read(str(source), label="boxes")
    assert record.image_url == str(tmp_path / place / "1.png")


def test_a_size_exchanged_without_exif_is_not_said_to_be_turned(tmp_path):
    image, exif = Image.new("RGB", (12, 8)), Image.Exif()
    image.save(tmp_path / "a.png")
    line = {"image_url": "a.png", "image_details": {"width": 8, "height": 12}, "label": []}
    (tmp_path / "x.jsonl").write_text(jsonl_lines(line))
    with pytest.raises(UserError, match="annotated as 8 x 12 pixels, and is 12 x 8"):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "o"), "image-object-detection")
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "x.jsonl").write_text(jsonl_lines({**line, "image_details": {"width": 8, "height": 12}}))
    with pytest.raises(UserError, match="8 x 12 pixels before its EXIF orientation turns it, and is 12 x 8"):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "o"), "image-object-detection")
