"""CSV of boxes, what CSV and a folder per class write, and formats that are not read."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Classes, OneClass, Record, formats
from automl_images.annotations.formats import csv, folder
from automl_images.annotations.formats.base import Written
from automl_images.annotations.lookalikes import OTHERS
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images

DETECTION = "image-object-detection"
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
CAT = Box("cat", 0.25, 0.5, 0.75, 1.0)


def read(tmp_path, text, label="boxes", **options):
    save_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "x.csv").write_text(text)
    return list(formats.read(str(tmp_path / "x.csv"), label=label, **options))


FORMS = {
    "tensorflow": HEADER + "a.png,12,8,cat,3,4,9,8\n",
    "without sizes": "image_path,label,xmin,ymin,xmax,ymax\na.png,cat,3,4,9,8\n",
    "another order and case": "XMin,YMin,XMax,YMax,Image,Class_Name\n3,4,9,8,a.png,cat\n",
    "semicolons": "filename;class;x1;y1;x2;y2\na.png;cat;3;4;9;8\n",
    "fractions": "filename,class,xmin,ymin,xmax,ymax\na.png,cat,0.25,0.5,0.75,1\n",
    "keras-retinanet": "a.png,3,4,9,8,cat\nb.png,,,,,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_boxes_of_a_csv(tmp_path, capsys, form):
    first, *rest = read(tmp_path, FORMS[form])
    assert first.label == Boxes((CAT,)) and first.image_url == str(tmp_path / "a.png")
    assert [record.label for record in rest] == ([Boxes(())] if "retinanet" in form else [])
    assert ("read as fractions" in capsys.readouterr().err) == (form == "fractions")
    found = convert(str(tmp_path), str(tmp_path / "out"), DETECTION)
    assert found["classes"] == {"cat": 1} and found["repeated_images"] == 0


def test_rows_of_one_image_are_joined_and_an_empty_one_has_nothing_on_it(tmp_path):
    rows = "a.png,12,8,cat,3,4,9,8\nb.png,12,8,,,,,\na.png,12,8,dog,0,0,3,4\n"
    first, second = read(tmp_path, HEADER + rows)
    assert first.label.names() == ["cat", "dog"] and second.label == Boxes(())


BAD = {
    "a corner of text": ("a.png,12,8,cat,x,4,9,8\n", "line 2: line 2: xmin is 'x'"),
    "a corner that is missing": ("a.png,12,8,cat,,4,9,8\n", "line 2: line 2: xmin is missing"),
    "no class": ("a.png,12,8,,3,4,9,8\n", "line 2: line 2: class is missing"),
    "too few fields": ("a.png,12,8,cat\n", "line 2: has 4 fields, and the first line has 8"),
    "two sizes": ("a.png,12,8,cat,3,4,9,8\na.png,13,8,cat,3,4,9,8\n", "line 2: its rows give it several sizes"),
    "no image of the name": ("z.png,12,8,cat,3,4,9,8\n", "line 2: the image 'z.png' is not there"),
    "a quote that is not closed": ('a.png,12,8,"cat,3,4,9,8\n', "x.csv: is no CSV in UTF-8"),
    "a width of text": ("a.png,wide,8,cat,3,4,9,8\n", "line 2: width is 'wide'"),
    "an infinite corner": ("a.png,12,8,cat,inf,4,9,8\n", "xmin is inf"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_row_is_said_with_its_place(tmp_path, name):
    rows, said = BAD[name]
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, HEADER + rows)
    assert "x.csv" in str(raised.value) and "\n" not in str(raised.value)


def test_columns_that_compete_or_lack_are_said(tmp_path):
    with pytest.raises(UserError, match=r"x\.csv, line 1: the columns 'class' and 'label' compete"):
        read(tmp_path, "filename,class,label,xmin,ymin,xmax,ymax\n")
    with pytest.raises(UserError, match="has no boxes; they need the columns filename, class, xmin"):
        read(tmp_path, "image,label\na.png,cat\n")
    with pytest.raises(UserError, match="has a box a row; use task image-object-detection"):
        read(tmp_path, HEADER, "class")


def usable(name):
    try:
        return csv.class_name(name) == name
    except UserError:
        return False


names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8).filter(usable)
words = st.one_of(
    names.filter(lambda n: not csv._ID.fullmatch(n)), st.sampled_from(["polar bear", "a|b", "['x']", "a;b"])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(words, min_size=1, max_size=2), st.lists(st.lists(words, max_size=3, unique=True), min_size=2, max_size=2)
)
def test_classes_come_back_as_they_were_written(tmp_path_factory, ones, several):
    out = tmp_path_factory.mktemp("csv")
    save_images(out, ["a.png", "b.png"])
    for kind, labels in ((OneClass, [OneClass(n) for n in ones]), (Classes, [Classes(tuple(n)) for n in several])):
        records = [Record(str(out / f), label) for f, label in zip(["a.png", "b.png"], labels, strict=False)]
        assert csv.write(records, str(out / "x.csv"), kind) == Written(len(records))
        assert list(formats.read(str(out / "x.csv"), "csv", label=kind.kind)) == records


fraction = st.floats(0, 1)
boxes = st.builds(Box, st.sampled_from(["cat", "a, b", '"x"']), *[fraction] * 4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(boxes, max_size=3))
def test_boxes_come_back_as_they_were_written(tmp_path_factory, found):
    out = tmp_path_factory.mktemp("csv")
    save_images(out, ["a.png"])
    big = Box("emu", 0, 0, 1, 1)  # so that they are not all fractions
    record = Record(str(out / "a.png"), Boxes((*found, big)), 640, 480)
    assert csv.write([record], str(out / "x.csv"), Boxes) == Written(1)
    (one,) = formats.read(str(out / "x.csv"), "csv", label="boxes")
    assert one.label.names() == record.label.names() and (one.width, one.height) == (640, 480)
    for b, wanted in zip(one.label.boxes, record.label.boxes, strict=True):
        numbers = (wanted.topX, wanted.topY, wanted.bottomX, wanted.bottomY)
        assert (b.topX, b.topY, b.bottomX, b.bottomY) == pytest.approx(numbers, abs=1e-12)


def test_what_csv_cannot_hold_is_counted(tmp_path):
    label = Boxes((Box("cat", 0, 0, 1, 1, True, 4.0), Box("cat", 0, 0, 1, 1, True)))
    written = csv.write([Record("/a.png", label, 12, 8)], str(tmp_path / "x.csv"), Boxes)
    assert written == Written(1, {"isCrowd": 2, "area": 1})
    with pytest.raises(UserError, match="has no size, which boxes in pixels need"):
        csv.write([Record("/a.png", label, where="x, line 1")], str(tmp_path / "y.csv"), Boxes)


def test_a_folder_per_class_needs_its_images_and_plain_names(tmp_path):
    save_images(tmp_path / "images", ["a.png"])
    inside = str(tmp_path / "images/a.png")
    for label in ("a/b", ".x", "train"):
        with pytest.raises(UserError, match=f"the class '{label}' cannot name a folder"):
            folder.write([Record(inside, OneClass(label))], str(tmp_path), OneClass)
    with pytest.raises(UserError, match="its image is not in the folder to write"):
        folder.write([Record("/b.png", OneClass("cat"))], str(tmp_path), OneClass)


@pytest.mark.parametrize("pair", [("train", "trainannot"), ("images", "masks"), ("frames", "frames_annotation")])
def test_folders_of_masks_are_no_classes(tmp_path, pair):
    save_images(tmp_path, [f"{name}/a.png" for name in pair])
    with pytest.raises(
        UserError, match=f"its folders {pair[0]} and {pair[1]} hold images and what labels their pixels"
    ):
        list(formats.read(str(tmp_path), label="class"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("createml", "it is not read: Apple's Create ML"),
        ("TFRecord", "it is not read: TensorFlow's records"),
        ("pascal-voc", "it is called voc here"),
        ("yolov8", "it is called yolo here"),
        ("roboflow", "name coco, voc, yolo, csv or folder"),
        ("cocoo", "did you mean 'coco'"),
    ],
)
def test_a_format_that_there_is_not_is_refused_with_what_to_do(tmp_path, name, said):
    with pytest.raises(UserError, match=f"format: '{name}' is unknown; .*{said}|format: '{name}' is unknown; {said}"):
        read(tmp_path, HEADER, format=name)


LIKE = {
    "createml": ("x.json", json.dumps([{"image": "a.png", "annotations": [{"label": "cat", "coordinates": {}}]}])),
    "tfrecord": ("train.tfrecord", "x"),
    "parquet": ("x.parquet", "PAR1"),
    "supervisely": ("a.png.json", json.dumps({"size": {}, "objects": [{"classTitle": "cat"}]})),
    "datumaro": ("default.json", json.dumps({"dm_format_version": "1.0", "infos": {}, "categories": {}, "items": []})),
    "openimages": ("x.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"),
    "label_studio_min": ("x.json", json.dumps([{"image": "a.png", "annotator": 1, "l": [{"original_width": 1}]}])),
}


@pytest.mark.parametrize("name", LIKE)
def test_a_source_in_no_format_is_said_to_look_like_another(tmp_path, name):
    file, text = LIKE[name]
    save_images(tmp_path, ["a.png"])
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError) as raised:
        list(formats.read(str(tmp_path), label="boxes"))
    assert f"{file} looks like {OTHERS[name]}" in str(raised.value)


def test_a_file_of_any_suffix_is_read_where_the_format_is_named(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "labels.txt").write_text("image,label\na.png,cat\n")
    (record,) = formats.read(str(tmp_path / "labels.txt"), "csv", label="class")
    assert record.label == OneClass("cat")


def test_the_other_columns_of_classes_are_metadata(tmp_path):
    text = "patient,image,label, side ,\n7,a.png,cat,left,x\n ,b.png,dog,,\n"
    assert [record.metadata for record in read(tmp_path, text, "class")] == [{"patient": "7", "side": "left"}, None]
    text = "who,image,label,who\n7,a.png,cat,8\n"
    assert [record.metadata for record in read(tmp_path, text, "class")] == [None], "which of the two is not told"
