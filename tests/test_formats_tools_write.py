"""What is written for labelling tools comes back, or is said to be lost: LabelMe, Label Studio, CVAT and VIA."""

import base64
import dataclasses
import io
import json
from collections import Counter
from itertools import chain
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from automl_images.annotations import (
    Box,
    Boxes,
    Classes,
    Instance,
    OneClass,
    Polygons,
    Record,
    formats,
    record_file,
)
from automl_images.annotations.formats.base import Written
from automl_images.annotations.labels import KINDS
from automl_images.annotations.shapes import decoded, encoded, mask_of
from automl_images.annotations.tracing import traced
from automl_images.errors import UserError
from automl_images.steps.export import export_records
from tests.conftest import save_images

WIDTH, HEIGHT = 13, 7
TOOLS = {"labelme": "", "label_studio": "x.json", "cvat": "x.xml", "via": "x.json"}
CLOSE = {"abs": 1e-14, "rel": 0}

names = st.sampled_from(["cat", "a b", "3", "日本", 'say "<&>"', "it's"])
fraction = st.floats(0, 1, allow_nan=False)
pixel = st.integers(0, 1000).map(lambda n: n / 1000)
spans = st.tuples(*[st.one_of(fraction, pixel)] * 2).map(sorted).filter(lambda span: span[1] - span[0] > 1e-6)
boxes = st.builds(lambda name, x, y: Box(name, x[0], y[0], x[1], y[1]), names, spans, spans)
parts = st.lists(st.tuples(fraction, pixel), min_size=3, max_size=6).map(lambda ps: tuple(v for p in ps for v in p))
outlines = st.builds(lambda name, parts: Instance(name, tuple(parts)), names, st.lists(parts, min_size=1, max_size=3))
pixels = st.binary(min_size=WIDTH * HEIGHT, max_size=WIDTH * HEIGHT).map(
    lambda data: np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH) > 200
)
masks = st.builds(lambda name, inside: Instance(name, rle=encoded(inside)), names, pixels.filter(np.any))
LABELS = {
    "class": st.builds(OneClass, names),
    "classes": st.lists(names, unique=True, max_size=3).map(lambda found: Classes(tuple(found))),
    "boxes": st.lists(boxes, max_size=3).map(lambda found: Boxes(tuple(found))),
    "polygons": st.lists(st.one_of(outlines, masks), max_size=3).map(lambda found: Polygons(tuple(found))),
}
PAIRS = [(name, kind.kind) for name in TOOLS for kind in formats.FORMATS[name].kinds]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    for name in TOOLS:
        (folder / name).mkdir()
        for i in (0, 1):
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name / f"{i} ü.png")
    return folder


def there_and_back(folder, name, kind, labels):
    """Return what is said to be lost of the labels of two images, and what is read of what is left."""
    images = [str(folder / name / f"{i} ü.png") for i in (0, 1)]
    out = str(folder / name / TOOLS[name]).rstrip("/")
    records = [Record(image, label, WIDTH, HEIGHT) for image, label in zip(images, labels, strict=True)]
    written = formats.FORMATS[name].write(records, out, KINDS[kind])
    assert written.images == 2
    found = list(formats.read(out, name, label=kind))
    assert [(record.image_url, record.width, record.height) for record in found] == [(i, WIDTH, HEIGHT) for i in images]
    return dict(written.lost), [record.label for record in found]


@pytest.mark.parametrize(("name", "kind"), PAIRS, ids=map("-".join, PAIRS))
def test_labels_come_back_as_they_were(folder, name, kind):
    @settings(max_examples=25, deadline=None)
    @given(st.tuples(LABELS[kind], LABELS[kind]))
    def check(labels):
        lost, found = there_and_back(folder, name, kind, labels)
        if kind in ("class", "classes"):
            assert lost == {} and found == list(labels)
        elif kind == "boxes":
            assert lost == {}
            for label, back in zip(labels, found, strict=True):
                assert back.names() == label.names()
                wanted, got = ([(b.topX, b.topY, b.bottomX, b.bottomY) for b in one.boxes] for one in (label, back))
                assert got == [pytest.approx(corners, **CLOSE) for corners in wanted]
                assert all(0 <= v <= 1 for corners in got for v in corners)
        else:
            check_polygons(name, labels, found, lost)

    check()


def check_polygons(name, labels, found, lost):
    wanted = Counter()
    for label, back in zip(labels, found, strict=True):
        rows = []  # of each object that is to be there: its class, its parts, and its pixels where it is a mask
        for one in label.instances:
            inside = mask_of(one, WIDTH, HEIGHT)
            if name == "via":
                shapes, holes = traced(one.rle) if one.rle else (one.polygon, 0)
                wanted.update({"holes": holes, "parts (each is an object)": len(shapes) - 1})
                rows += [(one.label, [part], None) for part in shapes]
            elif name == "label_studio" and len(one.polygon) > 1:
                wanted["outlines of several parts (pixels are kept)"] += 1
                wanted["objects without a pixel"] += not inside.any()
                rows += [(one.label, [], inside)] if inside.any() else []
            else:
                rows.append((one.label, one.polygon, inside if one.rle else None))
        assert [one.label for one in back.instances] == [label for label, *_ in rows]
        for one, (_, shapes, inside) in zip(back.instances, rows, strict=True):
            assert one.rle == (None if inside is None else encoded(inside))
            assert [len(part) for part in one.polygon] == [len(part) for part in shapes]
            assert [v for part in one.polygon for v in part] == pytest.approx(list(chain(*shapes)), **CLOSE)
    assert lost == +wanted


TRIANGLE = (0.1, 0.1, 0.9, 0.1, 0.9, 0.8)
RING = np.pad(np.zeros((1, 1), bool), 1, constant_values=True)
LOSSY = Polygons(
    (
        Instance("cat", (TRIANGLE, (0.1, 0.1, 0.2, 0.2)), isCrowd=True),
        Instance("cat", ((0.1, 0.1, 0.2, 0.2), ())),
        Instance("dog", rle=encoded(np.pad(RING, ((0, HEIGHT - 3), (2, WIDTH - 5)))), area=3.0),
        Instance("dog", rle=encoded(np.zeros((HEIGHT, WIDTH), bool))),
    )
)


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_cannot_hold_is_counted(folder, name):
    lost, found = there_and_back(folder, name, "polygons", (LOSSY, Polygons(())))
    assert lost == {
        "isCrowd": 1,
        "area": 1,
        "parts of fewer than three points": 3,
        "objects without outline": 1,
        "objects without a pixel": 1,
    } | ({"holes": 1} if name == "via" else {})
    assert [len(one.instances) for one in found] == [2, 0]
    box = Box("cat", 0.1, 0.1, 0.9, 0.8, isCrowd=True, area=3.0)
    lost, _ = there_and_back(folder, name, "boxes", (Boxes((box, Box("cat", 0, 0, 1, 1))), Boxes(())))
    assert lost == {"isCrowd": 1, "area": 1}


def exported(tmp_path, name, label, out, image="a b#.png"):
    """Export a label of one image, and return where its files are."""
    save_images(tmp_path / "out/images", [image])
    record_file.write([Record(str(tmp_path / "out/images" / image), label, 12, 8)], str(tmp_path / "r.jsonl"))
    assert export_records(str(tmp_path / "r.jsonl"), str(tmp_path / out), name)["images"] == 1
    return tmp_path / out


def test_labelme_has_a_file_beside_each_image(tmp_path):
    parts = (TRIANGLE, (0.25, 0.5, 0.75, 0.5, 0.75, 1.0))
    mask = Instance("dog", rle=encoded(np.pad(RING, ((4, 1), (2, 7)))))
    out = exported(tmp_path, "labelme", Polygons((Instance("cat", parts), mask)), "set")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == ["images/a_b_.json", "images/a_b_.png"]
    content = json.loads((out / "images/a_b_.json").read_text())
    assert content["imagePath"] == "a_b_.png" and content["imageData"] is None and content["flags"] == {}
    assert (content["imageWidth"], content["imageHeight"]) == (12, 8)
    first, second, third = content["shapes"]
    assert first["group_id"] == second["group_id"] == 1 and third["group_id"] is None
    assert second["points"] == [[3, 4], [9, 4], [9, 8]] and second["shape_type"] == "polygon"
    assert third["shape_type"] == "mask" and third["points"] == [[2, 4], [4, 6]]  # its last pixel
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(third["mask"])))) == RING * 255).all()


def test_labelme_names_images_that_lie_elsewhere_by_their_addresses(tmp_path):
    record = Record("s3://pictures/b/a.png", Boxes((Box("cat", 0, 0, 1, 1),)), 12, 8)
    write = formats.FORMATS["labelme"].write
    assert write([record], str(tmp_path / "out"), Boxes) == Written(1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.json"]
    (found,) = formats.read(str(tmp_path / "out"), "labelme", label="boxes")
    assert found.image_url == record.image_url and found.label == record.label
    other = dataclasses.replace(record, image_url="s3://pictures/c/a.jpg", where="r.jsonl, line 2")
    with pytest.raises(UserError, match=r"^r.jsonl, line 2: two images are called a, .*links or copies"):
        write([record, other], str(tmp_path / "two"), Boxes)


def test_label_studio_gets_images_as_its_local_storage_serves_them(tmp_path):
    out = exported(tmp_path, "label_studio", Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),)), "out/x.json")
    (task,) = json.loads(out.read_text())
    assert task["data"] == {"image": "/data/local-files/?d=images/a%20b%23.png"} and task["id"] == 1
    (annotation,) = task["annotations"]
    (result,) = annotation["result"]
    assert result["value"] == {
        **{"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0},
        "rectanglelabels": ["cat"],
    }
    assert (result["type"], result["original_width"], result["original_height"]) == ("rectanglelabels", 12, 8)
    (found,) = formats.read(str(out), label="boxes")
    assert found.image_url == str(tmp_path / "out/images/a b#.png")


@pytest.mark.parametrize("url", ["s3://pictures/a.png", "s3://pictures/photo", "s3://pictures/a?x=1#b.png"])
def test_label_studio_names_images_of_a_store_as_they_are(tmp_path, url):
    record = Record(url, OneClass("cat"), 12, 8)
    formats.FORMATS["label_studio"].write([record], str(tmp_path / "x.json"), OneClass)
    (found,) = formats.read(str(tmp_path / "x.json"), label="class")
    assert found.image_url == url and found.label == record.label


def test_long_strokes_are_packed(tmp_path):
    inside = np.zeros((150, 200), bool)
    inside[20:, 50:] = inside[120:, :] = True
    save_images(tmp_path, ["a.png"])
    record = Record(str(tmp_path / "a.png"), Polygons((Instance("cat", rle=encoded(inside)),)), 200, 150)
    formats.FORMATS["label_studio"].write([record], str(tmp_path / "x.json"), Polygons)
    (found,) = formats.read(str(tmp_path / "x.json"), label="polygons")
    assert (decoded(found.label.instances[0].rle) == inside).all()


def test_cvat_gets_labels_groups_and_masks(tmp_path):
    two = Instance("cat", (TRIANGLE, (0.25, 0.5, 0.75, 0.5, 0.75, 1.0)))
    mask = Instance("dog", rle=encoded(np.pad(RING, ((4, 1), (2, 7)))))
    out = exported(tmp_path, "cvat", Polygons((two, two, mask)), "out/x.xml")
    tree = ElementTree.fromstring(out.read_bytes())
    assert [one.text for one in tree.iterfind("meta/task/labels/label/name")] == ["cat", "dog"]
    (image,) = tree.iterfind("image")
    assert image.attrib == {"id": "0", "name": "images/a b#.png", "width": "12", "height": "8"}
    assert [shape.get("group_id") for shape in image] == ["1", "1", "2", "2", None]
    assert image[1].get("points") == "3.0,4.0;9.0,4.0;9.0,8.0"
    wanted = {"rle": "0, 4, 1, 4", "left": "2", "top": "4", "width": "3", "height": "3"}
    assert wanted.items() <= image[4].attrib.items()


def test_shapes_of_a_group_of_cvat_that_are_no_polygons_stay_objects(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    box = '<box label="cat" xtl="{}" ytl="1" xbr="9" ybr="8" group_id="1"/>'
    polygon = '<polygon label="{}" points="{},1;5,1;5,5" group_id="1"/>'
    shapes = [
        box.format(3),
        box.format(4),
        polygon.format("cat", 1),
        polygon.format("cat", 2),
        polygon.format("dog", 3),
    ]
    image = f'<image id="0" name="a.png" width="12" height="8">{"".join(shapes)}</image>'
    (tmp_path / "x.xml").write_text(f"<annotations>{image}</annotations>")
    (found,) = formats.read(str(tmp_path), label="polygons")
    assert [(one.label, len(one.polygon)) for one in found.label.instances] == [
        ("cat", 1),
        ("cat", 1),
        ("cat", 2),
        ("dog", 1),
    ]
    assert "polygons of one group and class are taken as one object, other shapes not" in capsys.readouterr().err


def test_what_no_xml_holds_is_refused(tmp_path):
    record = Record("s3://pictures/a\x07.png", OneClass("cat"), 12, 8, where="r.jsonl, line 1")
    with pytest.raises(UserError, match=r"^r.jsonl, line 1: has the character '\\x07', which no XML holds"):
        formats.FORMATS["cvat"].write([record], str(tmp_path / "x.xml"), OneClass)
    assert not list(tmp_path.iterdir())


def test_via_has_an_image_once(tmp_path):
    record = Record("s3://pictures/a.png", Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),)), 12, 8, where="r.jsonl, line 2")
    with pytest.raises(UserError, match='^r.jsonl, line 2: the image "s3://pictures/a.png" is in another record too'):
        formats.FORMATS["via"].write([record] * 2, str(tmp_path / "x.json"), Boxes)
    formats.FORMATS["via"].write([record], str(tmp_path / "x.json"), Boxes)
    project = json.loads((tmp_path / "x.json").read_text())
    assert project["_via_attributes"]["region"]["label"]["options"] == {"cat": ""}
    (image,) = project["_via_img_metadata"].values()
    shape = {"name": "rect", "x": 3, "y": 4, "width": 6, "height": 4}
    assert image["regions"] == [{"shape_attributes": shape, "region_attributes": {"label": "cat"}}]
