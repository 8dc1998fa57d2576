"""What labelling tools export, as they write it: LabelMe, Label Studio, VIA and CVAT."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import formats, shapes
from automl_images.annotations.formats import label_studio
from automl_images.annotations.labels import KINDS
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images

WIDTH, HEIGHT = 12, 8


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def labelme(*drawn, **more):
    return json.dumps(
        {"version": "5.4.1", "flags": {}, "shapes": list(drawn), "imagePath": "a.png", "imageData": None}
        | {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        | more
    )


def drawn(label="cat", points=((3, 4), (9, 8)), shape_type="rectangle", **more):
    return {"label": label, "points": [list(p) for p in points], "group_id": None, "flags": {}} | {
        "shape_type": shape_type,
        **more,
    }


def studio(*results, data=None, **more):
    """Return an export of one task with one annotation."""
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    task = {"id": 3, "annotations": [annotation], "data": data or {"image": "a.png"}, "predictions": [], "project": 1}
    return json.dumps([task | more])


def result(type_="rectanglelabels", labels=("cat",), **value):
    value = value or {"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0}
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value | {type_: list(labels)},
        "id": "x1",
        "from_name": "label",
        "to_name": "image",
        "type": type_,
    }


def via(*regions, project=True, name="a.png"):
    images = {f"{name}123": {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}}}
    wrapped = {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {}}
    return json.dumps(wrapped if project else images)


def region(attributes, **shape):
    shape = shape or {"name": "rect", "x": 3, "y": 4, "width": 6, "height": 4}
    return {"shape_attributes": shape, "region_attributes": attributes}


def cvat(inside, image='id="0" name="a.png" width="12" height="8"'):
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task/></meta>'
        f"<image {image}>{inside}</image></annotations>"
    )


BOX = '<box label="cat" source="manual" occluded="0" xtl="3" ytl="4" xbr="9" ybr="8" z_order="0">{}</box>'


def read(tmp_path, name, text, label, **options):
    save_images(tmp_path, ["a.png"])
    (tmp_path / name).write_text(text)
    return list(formats.read(str(tmp_path), label=label, **options))


def boxes(record):
    return [
        (b.label, *(round(v, 6) for v in (b.topX * WIDTH, b.topY * HEIGHT, b.bottomX * WIDTH, b.bottomY * HEIGHT)))
        for b in record.label.boxes
    ]


def outline(record, i=0):
    """Return the points of an object's only part, in pixels."""
    (part,) = record.label.instances[i].polygon
    return [(round(x * WIDTH, 4), round(y * HEIGHT, 4)) for x, y in zip(part[::2], part[1::2], strict=True)]


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


MASKED = np.zeros((HEIGHT, WIDTH), bool)
MASKED[2:5, 3:7] = True
MASKED[3, 4] = False


def packed(mask):
    """Return a mask as thi.ng's rle-pack has it: runs of one byte, and now and then bytes as they are."""
    data = np.repeat(np.where(mask, 255, 0).reshape(-1).astype(np.uint8), 4)
    lengths = (3, 4, 8, 16)
    bits = [f"{len(data):032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in lengths)]
    i = 0
    while i < len(data):
        same = 1
        while i + same < len(data) and data[i + same] == data[i] and same < 60_000:
            same += 1
        if same > 4:
            which = next(k for k, n in enumerate(lengths) if same - 1 < 1 << n)
            bits.append(f"1{which:02b}{same - 1:0{lengths[which]}b}{data[i]:08b}")
        else:
            bits.append(f"000{same - 1:03b}" + "".join(f"{v:08b}" for v in data[i : i + same]))
        i += same
    text = "".join(bits)
    return [int(text[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(text), 8)]


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


BAD = {
    "labelme without shapes": ("a.json", labelme(shapes=None), "it needs the list 'shapes'"),
    "labelme is no JSON": ("a.json", labelme(drawn())[:-3], "a.json: is not JSON"),
    "labelme with two points": ("a.json", labelme(drawn(shape_type="polygon")), "shape 1: its polygon has 2 points"),
    "labelme of another shape": ("a.json", labelme(drawn(shape_type="star")), 'shape 1: its shape_type is "star"'),
    "labelme's rectangle of a point": (
        "a.json",
        labelme(drawn(points=[(1, 1)])),
        "shape 1: a rectangle has two points",
    ),
    "labelme without class": ("a.json", labelme(drawn(label=None)), "shape 1: label is missing"),
    "labelme with text as a point": ("a.json", labelme(drawn(points=[("x", 1), (2, 2)])), "shape 1: points is 'x'"),
    "labelme with a shape that is none": ("a.json", labelme(7), "shape 1: is 7, not an object"),
    "labelme's mask of no PNG": ("a.json", labelme(drawn(shape_type="mask", mask="eA==")), "its mask is no PNG"),
    "labelme's mask outside": (
        "a.json",
        labelme(drawn(points=[(50, 1), (52, 3)], shape_type="mask", mask=png([[1]]))),
        "outside its image",
    ),
    "labelme's flags are a list": ("a.json", labelme(drawn(), flags=["x"]), "flags is "),
    "labelme outside its root": ("a.json", labelme(drawn(), imagePath="../../b.png"), "../../b.png"),
    "studio with two annotations": (
        "x.json",
        studio(annotations=[{"result": []}, {"result": []}]),
        "task 3: has 2 annotations, and whose counts is not told",
    ),
    "studio without an image": ("x.json", studio(result(), data={"text": "x"}), "task 3: names no image"),
    "studio with two images": (
        "x.json",
        studio(result(), data={"a": "a.png", "b": "b.png"}),
        "a and b may be its image",
    ),
    "studio with two classes": ("x.json", studio(result(labels=["cat", "dog"])), "result 1: has the classes cat, dog"),
    "studio without a class": ("x.json", studio(result(labels=[])), "result 1: has no rectanglelabels"),
    "studio without numbers": ("x.json", studio(result(x=1, y=None, width=3)), "result 1: y is missing"),
    "studio turned": ("x.json", studio(result() | {"image_rotation": 90}), "result 1: its image was turned"),
    "studio's stroke is cut": ("x.json", studio(result("brushlabels", rle=packed(MASKED)[:9])), "rle ends too early"),
    "studio's stroke of another size": (
        "x.json",
        studio(result("brushlabels", rle=packed(MASKED[1:]))),
        "its rle is of",
    ),
    "studio's stroke is text": ("x.json", studio(result("brushlabels", rle="x")), "its rle is not a list of bytes"),
    "studio with a result that is none": ("x.json", studio(7), "task 3: its annotation has no list of results"),
    "via with two attributes": ("via.json", via(region({"a": "x", "b": "y"})), "its regions have the attributes a, b"),
    "via without its attribute": ("via.json", via(region({"a": "cat"}), region({})), "region 2: its attribute 'a'"),
    "via with another shape": ("via.json", via(region({"a": "x"}, name="star")), 'region 1: its shape is "star"'),
    "via of unequal lists": (
        "via.json",
        via(region({"a": "x"}, name="polygon", all_points_x=[1, 2, 3], all_points_y=[1])),
        "region 1: its all_points_x and all_points_y",
    ),
    "via with several boxes ticked": ("via.json", via(region({"a": {"x": True, "y": True}})), "has 2 classes"),
    "via csv cut": ("via.csv", "filename,region_shape_attributes,region_attributes\na.png,{}\n", "row 2: lacks one"),
    "via csv of no JSON": (
        "via.csv",
        "filename,region_shape_attributes,region_attributes\na.png,{x,{}\n",
        "row 2: is not JSON",
    ),
    "cvat of a video": ("x.xml", "<annotations><track/></annotations>", "export it as 'CVAT for images'"),
    "cvat is cut": ("x.xml", cvat(BOX)[:-9], "x.xml: is not XML"),
    "cvat with entities": (
        "x.xml",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
        "entities or a DTD, which are refused",
    ),
    "cvat without name": ("x.xml", cvat(BOX, 'id="0" width="12" height="8"'), "image 0 .*: has no name"),
    "cvat without corner": ("x.xml", cvat('<box label="cat" xtl="1"/>'), "box at position 1: ytl is missing"),
    "cvat of two points": (
        "x.xml",
        cvat('<polygon label="cat" points="1,2;3,4"/>'),
        "polygon at position 1: points has 2",
    ),
    "cvat's points are text": ("x.xml", cvat('<polygon label="cat" points="a,b;c,d;e,f"/>'), "points is 'a'"),
    "cvat's mask leaves": (
        "x.xml",
        cvat('<mask label="cat" rle="1" left="12" top="0" width="1" height="1"/>'),
        "mask at position 1: its rectangle",
    ),
    "cvat's runs are too few": (
        "x.xml",
        cvat('<mask label="cat" rle="0, 3" left="0" top="0" width="2" height="2"/>'),
        "the runs of its rle do not fill 2 x 2 pixels",
    ),
    "cvat's mask is huge": (
        "x.xml",
        cvat(
            '<mask label="cat" rle="0,1" left="0" top="0" width="1" height="1"/>',
            'name="a.png" width="1000000" height="1000000"',
        ),
        "more pixels than an image may have",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name):
    file, text, said = BAD[name]
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, file, text, "boxes")
    assert file in str(raised.value) and "\n" not in str(raised.value)
