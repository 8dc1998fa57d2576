"""What labelling tools export, as they write it: LabelMe, Label Studio, VIA and CVAT."""

import json
import math

import numpy as np
import pytest

from automl_images.annotations import formats, shapes
from automl_images.annotations.formats import label_studio
from automl_images.annotations.labels import KINDS
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images
from tests.helpers.tools import (
    BOX,
    HEIGHT,
    MASKED,
    WIDTH,
    boxes,
    cvat,
    drawn,
    labelme,
    outline,
    packed,
    png,
    read,
    region,
    result,
    studio,
    via,
)

EXPECTED = ("cat", 3, 4, 9, 8)
SQUARE = [(3, 4), (9, 4), (9, 8), (3, 8)]
EXPORTS = {
    "labelme rectangle": ("a.json", labelme(drawn())),
    "labelme rectangle drawn from its end": ("a.json", labelme(drawn(points=((9, 8), (3, 4))))),
    "labelme polygon": ("a.json", labelme(drawn(points=SQUARE, shape_type="polygon"))),
    "label studio rectangle": ("x.json", studio(result())),
    "label studio polygon": (
        "x.json",
        studio(result("polygonlabels", points=[[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in SQUARE], closed=True)),
    ),
    "via rect": ("via.json", via(region({"type": "cat"}))),
    "via exported annotations": ("via.json", via(region({"type": "cat"}), project=False)),
    "via polygon": (
        "via.json",
        via(region({"x": "cat"}, name="polygon", all_points_x=[3, 9, 9, 3], all_points_y=[4, 4, 8, 8])),
    ),
    "via checkbox": ("via.json", via(region({"type": {"cat": True}}))),
    "via the attribute named label": ("via.json", via(region({"label": "cat", "quality": "good"}))),
    "via csv": (
        "via.csv",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        'a.png,123,"{}",1,0,"{""name"":""rect"",""x"":3,""y"":4,""width"":6,""height"":4}","{""type"":""cat""}"\n',
    ),
    "cvat box": ("annotations.xml", cvat(BOX.format('<attribute name="colour">red</attribute>'))),
    "cvat polygon": ("x.xml", cvat('<polygon label="cat" points="3.00,4.00;9.00,4.00;9.00,8.00;3.00,8.00"/>')),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_known_and_read_as_drawn(tmp_path, name):
    file, text = EXPORTS[name]
    (record,) = read(tmp_path, file, text, "boxes")
    assert boxes(record) == [EXPECTED] and record.image_url.endswith("/a.png")
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    (record,) = read(tmp_path, file, text, "polygons")
    assert sorted(outline(record)) == sorted(SQUARE)
    known = "label_studio" if name.startswith("label studio") else name.split(" ")[0]
    assert formats.detect(Source(str(tmp_path)), KINDS["boxes"]).name == known
    assert convert(str(tmp_path), str(tmp_path / "out"), "image-object-detection")["classes"] == {"cat": 1}


NOTHING = {"labelme": labelme(), "studio": studio(), "via": via(), "cvat": cvat("")}


@pytest.mark.parametrize("name", NOTHING)
def test_an_image_without_anything_drawn_has_nothing_on_it(tmp_path, name):
    file = "x.xml" if name == "cvat" else "a.json"
    (record,) = read(tmp_path, file, NOTHING[name], "boxes")
    assert record.label.boxes == ()


def runs(mask):
    values, counts, at = mask.reshape(-1).tolist(), [], 0
    for inside in (False, True) * len(values):
        start = at
        while at < len(values) and values[at] is inside:
            at += 1
        counts.append(at - start)
        if at == len(values):
            return ", ".join(map(str, counts))


MASKS = {
    "labelme": ("a.json", labelme(drawn(points=((3, 2), (6, 4)), shape_type="mask", mask=png(MASKED[2:5, 3:7] * 255)))),
    "label studio": ("x.json", studio(result("brushlabels", format="rle", rle=packed(MASKED)))),
    "cvat": (
        "x.xml",
        cvat(f'<mask label="cat" rle="{runs(MASKED[2:5, 3:7])}" left="3" top="2" width="4" height="3" z_order="0"/>'),
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_keeps_each_pixel(tmp_path, name):
    (record,) = read(tmp_path, *MASKS[name], "polygons")
    (instance,) = record.label.instances
    assert instance.label == "cat" and (shapes.decoded(instance.rle) == MASKED).all()
    (record,) = read(tmp_path, *MASKS[name], "boxes")
    assert boxes(record) == [("cat", 3, 2, 7, 5)]


@pytest.mark.parametrize("seed", range(20))
def test_brush_strokes_of_any_form_are_unpacked(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 40, 2)
    mask = random.random((height, width)) < random.random()
    assert (label_studio._brush(packed(mask), int(width), int(height)) == mask).all()


ROUND = {
    "labelme circle": ("a.json", labelme(drawn(points=((6, 4), (8, 4)), shape_type="circle"))),
    "label studio ellipse": (
        "x.json",
        studio(result("ellipselabels", x=50, y=50, radiusX=200 / WIDTH, radiusY=200 / HEIGHT, rotation=30)),
    ),
    "via circle": ("via.json", via(region({"a": "cat"}, name="circle", cx=6, cy=4, r=2))),
    "via ellipse": ("via.json", via(region({"a": "cat"}, name="ellipse", cx=6, cy=4, rx=2, ry=2, theta=0.5))),
    "cvat ellipse": ("x.xml", cvat('<ellipse label="cat" cx="6" cy="4" rx="2" ry="2" rotation="20"/>')),
}


@pytest.mark.parametrize("name", ROUND)
def test_a_circle_is_round(tmp_path, name):
    (record,) = read(tmp_path, *ROUND[name], "polygons")
    assert all(math.isclose(math.dist(point, (6, 4)), 2, abs_tol=1e-3) for point in outline(record))
    (record,) = read(tmp_path, *ROUND[name], "boxes")
    (_, left, top, right, bottom) = boxes(record)[0]
    assert np.allclose((left, top, right, bottom), (4, 2, 8, 6), atol=0.01)


def test_a_turned_rectangle_is_turned_as_its_tool_does(tmp_path):
    # Label Studio turns about the first corner, CVAT about the centre; both clockwise
    value = {"x": 50, "y": 25, "width": 25, "height": 12.5, "rotation": 90}  # 3 x 1 pixels at (6, 2)
    (record,) = read(tmp_path, "x.json", studio(result(**value)), "boxes")
    assert boxes(record) == [("cat", 5, 2, 6, 5)]
    (tmp_path / "x.json").unlink()
    turned = '<box label="cat" xtl="4" ytl="3" xbr="8" ybr="5" rotation="90"/>'
    (record,) = read(tmp_path, "x.xml", cvat(turned), "boxes")
    assert boxes(record) == [("cat", 5, 2, 7, 6)]


CLASSES = {
    "labelme": ("a.json", lambda names: labelme(flags={"emu": False} | dict.fromkeys(names, True))),
    "studio": ("x.json", lambda names: studio(result("choices", names, x=0))),
    "cvat": ("x.xml", lambda names: cvat("".join(f'<tag label="{name}"/>' for name in names))),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_of_an_image(tmp_path, name):
    file, make = CLASSES[name]
    (record,) = read(tmp_path, file, make(["cat"]), "class")
    assert record.label.name == "cat"
    with pytest.raises(UserError, match="has the classes cat, dog; image-classification takes one"):
        read(tmp_path, file, make(["cat", "dog"]), "class")
    with pytest.raises(UserError, match="has no class; image-classification takes one"):
        read(tmp_path, file, make([]) if name != "studio" else studio(), "class")
    (record,) = read(tmp_path, file, make(["cat", "dog"]), "classes")
    assert record.label.names() == ["cat", "dog"]


def test_parts_of_one_group_are_one_object(tmp_path):
    parts = [drawn(points=[(x, 1), (x + 2, 1), (x, 3)], shape_type="polygon", group_id=5) for x in (1, 6)]
    other = drawn("dog", points=[(1, 5), (3, 5), (1, 7)], shape_type="polygon", group_id=5)
    (record,) = read(tmp_path, "a.json", labelme(*parts, other), "polygons")
    assert [(i.label, len(i.polygon)) for i in record.label.instances] == [("cat", 2), ("dog", 1)]


PASSED = {
    "labelme": ("a.json", labelme(drawn(), drawn(points=[(1, 1)], shape_type="point"))),
    "studio": ("x.json", studio(result(), result("keypointlabels", x=1, y=1, width=1))),
    "via": ("via.json", via(region({"a": "cat"}), region({"a": "cat"}, name="point", cx=1, cy=1))),
    "cvat": ("x.xml", cvat(BOX + '<points label="cat" points="1,1"/>')),
}


@pytest.mark.parametrize("name", PASSED)
def test_what_is_no_area_is_counted(tmp_path, capsys, name):
    (record,) = read(tmp_path, *PASSED[name], "boxes")
    assert boxes(record) == [EXPECTED]
    assert "passed over, as no area or class of an image: 1 " in capsys.readouterr().err


def test_label_studio_finds_images_where_it_serves_them(tmp_path):
    names = ["1a2b3c4d-a.png", "b.png", "deep/c.png", "d e.png"]
    save_images(tmp_path, names)
    served = [
        "/data/upload/3/1a2b3c4d-a.png",
        "/data/upload/3/99999999-b.png",
        "/data/local-files/?d=deep/c.png",
        "/data/upload/d%20e.png",
    ]
    tasks = [json.loads(studio(result(), data={"image": url, "note": "x"}, id=i))[0] for i, url in enumerate(served)]
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    found = list(formats.read(str(tmp_path), label="boxes"))
    assert [record.image_url for record in found] == [str(tmp_path / name) for name in names]


def test_tasks_of_label_studio_that_nobody_annotated_are_left_out(tmp_path, capsys):
    cancelled = {"id": 1, "was_cancelled": True, "result": [result()]}
    tasks = [json.loads(studio(result()))[0], json.loads(studio(annotations=[]))[0]]
    tasks.append(json.loads(studio(annotations=[cancelled]))[0])
    assert len(read(tmp_path, "x.json", json.dumps(tasks), "boxes")) == 1
    assert "2 tasks have no annotation that counts: they are left out" in capsys.readouterr().err


def test_regions_of_via_without_an_attribute_have_one_class(tmp_path, capsys):
    (record,) = read(tmp_path, "via.json", via(region({})), "boxes")
    assert boxes(record) == [("object", 3, 4, 9, 8)]
    assert "each is of the class 'object'" in capsys.readouterr().err
