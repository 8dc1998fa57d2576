"""YOLO's text files: as Ultralytics, Roboflow and others lay them, and what is wrong in them."""

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Instance, Polygons, Record, Rle, formats
from automl_images.annotations.formats import yolo
from automl_images.annotations.shapes import encoded
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
from tests.conftest import save_images

DETECTION = "image-object-detection"


def lay(folder, **files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def data(folder, names=("emu", "cat"), file="data.yaml", **more):
    lay(folder, **{file: yaml.safe_dump({"names": names if isinstance(names, dict) else list(names), **more})})


def read(source, label="boxes", **options):
    return list(formats.read(str(source), label=label, **options))


BOX = "1 0.5 0.75 0.5 0.5\n"
CAT = Box("cat", 0.25, 0.5, 0.75, 1.0)


def test_an_image_without_a_file_or_with_an_empty_one_has_nothing_on_it(tmp_path, capsys):
    save_images(tmp_path, ["images/a.png", "images/b.png", "images/c.png"])
    lay(tmp_path, **{"labels/a.txt": BOX, "labels/b.txt": "\n"})
    data(tmp_path)
    assert [record.label.boxes for record in read(tmp_path)] == [(CAT,), (), ()]
    assert "1 images have no file of labels: they have nothing on them" in capsys.readouterr().err


NAMED = {
    "a list": {"data.yaml": "names: [emu, cat]\n"},
    "a mapping with gaps": {"coco.yaml": "names:\n  1: cat\n  7: emu\n"},
    "nc": {"data.yml": "nc: 2\nnames: [emu, cat]\n"},
    "classes.txt": {"classes.txt": "emu\ncat\n\n"},
    "obj.names": {"obj.names": "emu\ncat\n"},
    "roboflow's darknet": {"_darknet.labels": "emu\ncat"},
}


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize("above", ["", "set/", "a/b/"])
def test_names_lie_in_the_folder_or_above_it(tmp_path, how, above):
    save_images(tmp_path, [f"{above}images/a.png"])
    lay(tmp_path, **{f"{above}labels/a.txt": BOX}, **NAMED[how])
    (record,) = read(tmp_path / above)
    assert record.label == Boxes((CAT,))


def test_classes_that_nothing_names_are_called_by_their_ids(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    lay(tmp_path, **{"a.txt": BOX})
    (record,) = read(tmp_path)
    assert record.label.names() == ["1"] and "1 objects have classes that nothing names" in capsys.readouterr().err


def test_a_polygon_serves_as_a_box_and_a_box_as_no_polygon(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    data(tmp_path)
    lay(tmp_path, **{"a.txt": "1 0.25 0.5 0.75 0.5 0.5 1\n" + BOX})
    assert read(tmp_path)[0].label == Boxes((CAT, CAT))
    assert "1 polygons are read as the boxes around them" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"a\.txt: line 2: is a box, and image-instance-segmentation needs polygons"):
        read(tmp_path, "polygons")


def test_key_points_are_passed_over_and_said(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    data(tmp_path, kpt_shape=[2, 3])
    lay(tmp_path, **{"a.txt": BOX.strip() + " 0.5 0.5 2 0.6 0.6 1\n"})
    assert read(tmp_path)[0].label == Boxes((CAT,))
    assert "1 objects have key points, which are passed over" in capsys.readouterr().err


ROBOFLOW = ["train/images/a.png", "valid/images/b.png", "test/images/c.png"]
ULTRALYTICS = ["images/train/a.png", "images/val/b.png", "images/test/c.png"]
LAYOUTS = {
    "roboflow": (ROBOFLOW, {"train": "../train/images", "val": "../valid/images", "test": "../test/images"}),
    "ultralytics": (ULTRALYTICS, {"path": ".", "train": "images/train", "val": "images/val", "test": "images/test"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("whole", ["folder", "data.yaml"])
def test_a_set_of_sets_fills_them(tmp_path, capsys, layout, whole):
    images, sets = LAYOUTS[layout]
    save_images(tmp_path, images)
    lay(tmp_path, **{image.replace("images", "labels").replace(".png", ".txt"): BOX for image in images})
    data(tmp_path, **sets)
    source = str(tmp_path if whole == "folder" else tmp_path / "data.yaml")
    outs = {name: str(tmp_path / f"out/{name}") for name in ("training", "validation", "test")}
    found = convert_data(DETECTION, {"training": {"source": source}}, outs)
    assert {name: (one["images"], one["classes"]) for name, one in found.items()} == dict.fromkeys(
        outs, (1, {"cat": 1})
    )
    assert [(tmp_path / f"out/{name}").read_text().count(image) for name, image in zip(outs, images, strict=True)] == [
        1,
        1,
        1,
    ]
    with pytest.raises(UserError, match="name one of them"):
        read(source)


def test_a_list_of_images_is_a_source(tmp_path):
    save_images(tmp_path, ["images/a.png", "images/b.png"])
    lay(tmp_path, **{"labels/a.txt": BOX, "labels/b.txt": "", "train.txt": "./images/a.png\n"})
    data(tmp_path)
    (record,) = read(tmp_path / "train.txt")
    assert record.label == Boxes((CAT,)) and record.image_url == str(tmp_path / "images/a.png")


BAD = {
    "an id without a name": ("7 0.5 0.5 0.1 0.1", "line 1: the class id 7 has no name; known are 0, 1"),
    "an id that is no number": ("cat 0.5 0.5 0.1 0.1", 'line 1: the class id is "cat"'),
    "an id of a fraction": ("0.5 0.5 0.5 0.1 0.1", 'line 1: the class id is "0.5"'),
    "too few": ("1 0.5 0.5", "line 1: has 2 numbers after the class"),
    "predictions": ("1 0.5 0.5 0.1 0.1 0.9", "line 1: has 5 numbers .*these are predictions"),
    "an odd polygon": ("1 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "line 1: has 7 numbers"),
    "pixels": ("1 320 200 50 60", "line 1: has the coordinate 320: .*not pixels"),
    "text": ("1 0.5 x 0.1 0.1", "line 1: a coordinate is 'x'"),
    "nan": ("1 0.5 nan 0.1 0.1", "line 1: a coordinate is nan"),
    "the second line": ("1 0.5 0.5 0.1 0.1\n\n1 0.5", "line 3: has 1 numbers"),
    "bytes": (b"1 0.5 \xff", "is not UTF-8 text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_line_is_said_with_its_place(tmp_path, name):
    text, said = BAD[name]
    save_images(tmp_path, ["a.png", "b.png"])
    data(tmp_path)
    lay(tmp_path, **{"a.txt": "0 0.5 0.5 0.1 0.1\n"})
    (tmp_path / "b.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, format="yolo")
    assert str(raised.value).startswith(f"{tmp_path}/b.txt: ") and "\n" not in str(raised.value)
    found = convert(str(tmp_path), str(tmp_path / "out"), DETECTION, format="yolo", on_error="skip")
    assert (found["images"], found["skipped_images"]) == (1, 1)


BAD_YAML = {
    "names is text": ("names: cat\ntrain: x\n", "data.yaml: names is"),
    "nc is another": ("nc: 3\nnames: [emu, cat]\n", "nc is 3, and there are 2 names"),
    "twice": ("names: [cat, cat]\n", "two classes are called 'cat'"),
    "no yaml": ("names: [emu, cat\n", "data.yaml: is not YAML"),
    "a key twice": ("names: [emu, cat]\nnames: [a, b]\n", "the key 'names' is given twice"),
    "an empty name": ("names: [emu, '']\n", "the name of class 1 is empty"),
}


@pytest.mark.parametrize("name", BAD_YAML)
def test_a_wrong_data_yaml_is_said(tmp_path, name):
    text, said = BAD_YAML[name]
    save_images(tmp_path, ["a.png"])
    lay(tmp_path, **{"a.txt": BOX, "data.yaml": text})
    with pytest.raises(UserError, match=said):
        read(tmp_path)


def test_two_files_of_names_are_refused(tmp_path):
    save_images(tmp_path, ["a.png"])
    lay(tmp_path, **{"a.txt": BOX})
    data(tmp_path)
    data(tmp_path, file="other.yaml")
    with pytest.raises(UserError, match=r"data\.yaml and .*other\.yaml name the classes; keep one"):
        read(tmp_path)


def test_a_path_in_a_list_does_not_leave_the_folder(tmp_path):
    save_images(tmp_path, ["in/images/a.png", "b.png"])
    lay(tmp_path, **{"in/train.txt": "../b.png\n"})
    with pytest.raises(UserError, match=r"\.\./b\.png"):
        read(tmp_path / "in/train.txt")


fraction = st.floats(0, 1, allow_nan=False, width=32)
names = st.sampled_from(["cat", "emu", "a b", "3", "日本"])
boxes = st.builds(
    lambda n, x, y, w, h: Box(n, x - w / 2, y - h / 2, x + w / 2, y + h / 2), names, *[st.floats(0.25, 0.5)] * 4
)
parts = st.lists(st.tuples(fraction, fraction), min_size=3, max_size=6).map(lambda ps: tuple(v for p in ps for v in p))
instances = st.builds(lambda n, part: Instance(n, (part,)), names, parts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(boxes, max_size=3), min_size=1, max_size=3))
def test_boxes_come_back_as_they_were_written(tmp_path_factory, found):
    check_round_trip(tmp_path_factory, [Boxes(tuple(one)) for one in found], Boxes)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(instances, max_size=3), min_size=1, max_size=3))
def test_polygons_come_back_as_they_were_written(tmp_path_factory, found):
    check_round_trip(tmp_path_factory, [Polygons(tuple(one)) for one in found], Polygons)


def check_round_trip(tmp_path_factory, labels, kind):
    out = tmp_path_factory.mktemp("yolo")
    files = [f"{i}.png" for i in range(len(labels))]
    save_images(out / "images", files)
    records = [Record(str(out / "images" / f), label) for f, label in zip(files, labels, strict=True)]
    assert yolo.write(records, str(out), kind) == formats.base.Written(len(labels))
    read_back = list(formats.read(str(out), "yolo", label=kind.kind))
    assert [record.image_url for record in read_back] == [record.image_url for record in records]
    for one, label in zip(read_back, labels, strict=True):
        assert one.label.names() == label.names()
        if kind is Polygons:
            assert one.label == label
        else:
            numbers = [(b.topX, b.topY, b.bottomX, b.bottomY) for b in one.label.boxes]
            wanted = [(b.topX, b.topY, b.bottomX, b.bottomY) for b in label.boxes]
            assert [pytest.approx(w, abs=1e-12) for w in wanted] == numbers


def test_what_yolo_cannot_hold_is_counted(tmp_path):
    triangle = (0.1, 0.1, 0.2, 0.1, 0.2, 0.2)
    label = Polygons(
        (
            Instance("cat", (triangle, triangle), isCrowd=True),
            Instance("emu", rle=Rle(1, 4, "04"), area=3.0),
            Instance("emu", rle=encoded(np.pad(np.zeros((1, 1), bool), 1, constant_values=True))),
            Instance("emu", rle=encoded(np.zeros((3, 3), bool))),
        )
    )
    written = yolo.write([Record("s3://b/a.png", label)], str(tmp_path / "out"), Polygons)
    assert written.lost == {
        "places of images": 1,
        "isCrowd": 1,
        "area": 1,
        "parts (each is an object)": 1,
        "holes": 1,
        "objects without a pixel": 1,
    }
    lines = (tmp_path / "out/labels/a.txt").read_text().splitlines()
    corners = [float(v) for v in lines[2].split()[1:]]
    assert len(lines) == 4 and sorted(zip(corners[::2], corners[1::2], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    with pytest.raises(UserError, match="two images are called a"):
        yolo.write([Record(f"s3://{b}/a.png", label) for b in "bc"], str(tmp_path / "two"), Polygons)
