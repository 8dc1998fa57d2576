"""The tables of formats, of kinds of label and of flaws: nothing is in one without a sample here."""

import dataclasses
import importlib
import inspect
import io
import json
import pickle
import pkgutil
import posixpath
import struct
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from automl_images import storage
from automl_images.annotations import (
    Box,
    Boxes,
    Classes,
    Instance,
    Mask,
    OneClass,
    Polygons,
    Record,
    Rle,
    formats,
    labels,
    read_records,
    record_file,
)
from automl_images.annotations.checks import Checker, check_training_classes
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import Folder
from automl_images.annotations.labels import KINDS, Label, kind_of
from automl_images.annotations.source import Source
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from automl_images.tasks import TASKS
from tests.conftest import save_images

LABELS = {
    "class": OneClass("cat"),
    "classes": Classes(("cat", "dog")),
    "boxes": Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),)),
    "polygons": Polygons((Instance("cat", ((0.25, 0.5, 0.75, 0.5, 0.75, 1.0),)),)),
    "mask": Mask("a_mask.png", (("cat", 1), ("dog", 2)), (0, 255), ("cat", "dog")),
}
# by format and kind, where a format cannot hold that label
OTHERS = {
    ("masks", "polygons"): Polygons((Instance("cat", rle=Rle(8, 12, "0170`2")),)),
    ("voc", "polygons"): Polygons((Instance("cat", rle=Rle(8, 12, "0170`2")),)),
    ("voc", "mask"): Mask("a.png", (("emu", 0), ("cat", 1), ("dog", 2)), (255,), ("emu", "cat", "dog")),
}
# by format and kind, what its writer cannot hold of LABELS, and what is left
SUFFIXES = {"csv": ".csv"}
LOST = {
    ("masks", "polygons"): (
        {"outlines (pixels are kept)": 1},
        Polygons((Instance("cat", rle=Rle(8, 12, "T1171O001O1c0")),)),
    ),
    ("voc", "polygons"): (
        {"points of outlines (pixels are kept)": 1},
        Polygons((Instance("cat", rle=Rle(8, 12, "T1171O001O1c0")),)),
    ),
    ("voc", "mask"): (
        {"values of classes (indices are new)": 1},
        Mask("a.png", (("cat", 0), ("dog", 1)), (255,), ("cat", "dog")),
    ),
    # an outline's area is stated as its pixels'
    ("coco", "polygons"): ({}, Polygons((dataclasses.replace(LABELS["polygons"].instances[0], area=12.0),))),
    ("manifest", "mask"): ({"ignore": 1}, dataclasses.replace(LABELS["mask"], ignore=(255,))),
}
BOX = {"label": "cat", "topX": 0.25, "topY": 0.5, "bottomX": 0.75, "bottomY": 1.0}
POLYGON = {"label": "cat", "polygon": [[0.25, 0.5, 0.75, 0.5, 0.75, 1.0]]}
MASK = {"mask_url": "a_mask.png", "classes": {"cat": 1, "dog": 2}, "ignore": [0, 255]}


def coco(**annotation):
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 8}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 7, **annotation}],
            "categories": [{"id": 7, "name": "cat"}],
        }
    )


VOC = """<annotation><filename>a.png</filename><size><width>12</width><height>8</height></size><object><name>cat</name>
<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"""


def packed(*labels):
    """Return a RecordIO file of the sample image with a class id, or several labels."""
    image, file = Image.new("RGB", (12, 8)), io.BytesIO()
    image.save(file, "png")
    array = struct.pack(f"<{len(labels)}f", *labels) if len(labels) > 1 else b""
    content = struct.pack("<IfQQ", len(array) // 4, labels[0], 1, 0) + array + file.getvalue()
    return struct.pack("<II", 0xCED7230A, len(content)) + content + b"\0" * (-len(content) % 4)


def options(name, folder):
    """Return what a format needs beside the source."""
    return {"images": str(folder / "images")} if name == "recordio" else {}


def mask_of(*values):
    """Return a PNG of the sample image's size whose pixels have these values, and 0."""
    image, file = Image.new("L", (12, 8)), io.BytesIO()
    for i, value in enumerate(values):
        image.putpixel((i, 0), value)
    image.save(file, "png")
    return file.getvalue()


TRIANGLE = [[3, 4], [9, 4], [9, 8]]


def labelme(**more):
    return json.dumps({"flags": {}, "shapes": [], "imagePath": "a.png", "imageWidth": 12, "imageHeight": 8} | more)


def labelme_shape(shape, points):
    return {"label": "cat", "points": points, "shape_type": shape, "group_id": None}


def label_studio(type_, labels, value):
    size = {"original_width": 12, "original_height": 8}
    result = {"type": type_, "value": value | {type_: labels}, **size}
    return json.dumps([{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [result]}]}])


def cvat(inside):
    return f'<annotations><image id="0" name="a.png" width="12" height="8">{inside}</image></annotations>'


def via(shape):
    regions = [{"shape_attributes": shape, "region_attributes": {"kind": "cat"}}]
    return json.dumps({"_via_img_metadata": {"a.png123": {"filename": "a.png", "regions": regions}}})


# by format and kind: files that give the one image a.png the label in LABELS
SAMPLES = {
    ("folder", "class"): {"cat/a.png": None},
    ("jsonl", "class"): {"x.jsonl": json.dumps({"image_url": "a.png", "label": "cat"})},
    ("jsonl", "classes"): {"x.jsonl": json.dumps({"image_url": "a.png", "label": ["cat", "dog"]})},
    ("jsonl", "boxes"): {"x.jsonl": json.dumps({"image_url": "a.png", "label": [BOX]})},
    ("jsonl", "polygons"): {"x.jsonl": json.dumps({"image_url": "a.png", "label": [POLYGON]})},
    ("jsonl", "mask"): {
        "x.jsonl": json.dumps({"image_url": "a.png", "label": MASK}),
        "a_mask.png": mask_of(1, 2),
    },
    ("coco", "boxes"): {"x.json": coco(bbox=[3, 4, 6, 4])},
    ("coco", "polygons"): {"x.json": coco(segmentation=[[3, 4, 9, 4, 9, 8]])},
    ("voc", "boxes"): {"x.xml": VOC},
    ("manifest", "class"): {"x.manifest": json.dumps({"source-ref": "a.png", "animal": "cat"})},
    ("manifest", "classes"): {"x.manifest": json.dumps({"source-ref": "a.png", "animal": ["cat", "dog"]})},
    ("manifest", "boxes"): {
        "x.manifest": json.dumps(
            {
                "source-ref": "a.png",
                "box": {
                    "image_size": [{"width": 12, "height": 8, "depth": 3}],
                    "annotations": [{"class_id": 0, "left": 3, "top": 4, "width": 6, "height": 4}],
                },
                "box-metadata": {"class-map": {"0": "cat"}, "type": "groundtruth/object-detection"},
            }
        )
    },
    ("manifest", "mask"): {
        "x.manifest": json.dumps({"source-ref": "a.png", "animal-ref": "a_mask.png"}),
        "a_mask.png": mask_of(1, 2),
        "label_map.json": json.dumps({"classes": MASK["classes"], "ignore": [0, 255]}),
    },
    ("lst", "class"): {"x.lst": "0\t1\ta.png\n", "classes.txt": "emu\ncat\n"},
    ("lst", "classes"): {"x.lst": "0\t0\t1\t1\ta.png\n", "classes.txt": "emu\ncat\ndog\n"},
    ("recordio", "class"): {"x.rec": packed(1), "classes.txt": "emu\ncat\n"},
    ("recordio", "classes"): {
        "x.rec": packed(0, 1, 1),
        "x.lst": "0\t0\t1\t1\ta.png\n",
        "classes.txt": "emu\ncat\ndog\n",
    },
    ("recordio", "boxes"): {"x.rec": packed(2, 5, 1, 0.25, 0.5, 0.75, 1.0), "classes.txt": "emu\ncat\n"},
    ("masks", "mask"): {
        "images/a.png": None,
        "masks/a_mask.png": mask_of(1, 2),
        "label_map.json": json.dumps({"classes": MASK["classes"], "ignore": [0, 255]}),
    },
    ("masks", "polygons"): {"images/a.png": None, "masks/a/1.png": mask_of(255, 255), "classes.txt": "cat\n"},
    ("csv", "class"): {"x.csv": "image,label\na.png,cat\n"},
    ("csv", "classes"): {"x.csv": "image,label\na.png,cat|dog\n"},
    ("voc", "polygons"): {"a.xml": VOC, "SegmentationObject/a.png": mask_of(1, 1)},
    ("voc", "mask"): {"SegmentationClass/a.png": mask_of(1, 2), "classes.txt": "emu\ncat\ndog\n"},
    ("csv", "boxes"): {
        "x.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,12,8,cat,3,4,9,8\n",
    },
    ("yolo", "boxes"): {"a.txt": "1 0.5 0.75 0.5 0.5\n", "classes.txt": "emu\ncat\n"},
    ("yolo", "polygons"): {"a.txt": "1 0.25 0.5 0.75 0.5 0.75 1.0\n", "classes.txt": "emu\ncat\n"},
    ("labelme", "class"): {"a.json": labelme(flags={"cat": True, "dog": False})},
    ("labelme", "classes"): {"a.json": labelme(flags={"cat": True, "dog": True})},
    ("labelme", "boxes"): {"a.json": labelme(shapes=[labelme_shape("rectangle", [[3, 4], [9, 8]])])},
    ("labelme", "polygons"): {"a.json": labelme(shapes=[labelme_shape("polygon", TRIANGLE)])},
    ("label_studio", "class"): {"x.json": label_studio("choices", ["cat"], {})},
    ("label_studio", "classes"): {"x.json": label_studio("choices", ["cat", "dog"], {})},
    ("label_studio", "boxes"): {
        "x.json": label_studio("rectanglelabels", ["cat"], {"x": 25, "y": 50, "width": 50, "height": 50})
    },
    ("label_studio", "polygons"): {
        "x.json": label_studio("polygonlabels", ["cat"], {"points": [[25, 50], [75, 50], [75, 100]]})
    },
    ("cvat", "class"): {"x.xml": cvat('<tag label="cat"/>')},
    ("cvat", "classes"): {"x.xml": cvat('<tag label="cat"/><tag label="dog"/>')},
    ("cvat", "boxes"): {"x.xml": cvat('<box label="cat" xtl="3" ytl="4" xbr="9" ybr="8"/>')},
    ("cvat", "polygons"): {"x.xml": cvat('<polygon label="cat" points="3,4;9,4;9,8"/>')},
    ("via", "boxes"): {"x.json": via({"name": "rect", "x": 3, "y": 4, "width": 6, "height": 4})},
    ("via", "polygons"): {"x.json": via({"name": "polygon", "all_points_x": [3, 9, 9], "all_points_y": [4, 4, 8]})},
}


def lay(folder, files):
    """Write a sample's files, and its image where it is said to lie, or beside them."""
    save_images(folder, [file for file, text in files.items() if text is None] or ["a.png"])
    for file, text in files.items():
        if text is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())


def named(label):
    """Return a label, of a mask the name of its file alone, and the classes that occur as those that may."""
    if not isinstance(label, Mask):
        return label
    present = tuple(name for name, _ in label.classes)
    return dataclasses.replace(label, mask_url=posixpath.basename(label.mask_url), present=present)


PAIRS = [(name, kind.kind) for name, format in formats.FORMATS.items() for kind in format.kinds]


@pytest.mark.parametrize(("name", "kind"), PAIRS, ids=map("-".join, PAIRS))
def test_each_format_of_the_table_is_found_and_read(tmp_path, name, kind):
    lay(tmp_path, SAMPLES[name, kind])
    assert formats.detect(Source(str(tmp_path)), KINDS[kind]).name == name
    for format in (name, "auto"):
        (record,) = formats.read(str(tmp_path), format, label=kind, **options(name, tmp_path))
        assert named(record.label) == OTHERS.get((name, kind), LABELS[kind])
        assert record.image_url.endswith(".png" if name == "recordio" else "/a.png") and record.where
    out = str(tmp_path / "out")
    assert convert(str(tmp_path), out, KINDS[kind].task(), format=name, **options(name, tmp_path))["images"] == 1
    (record,) = read_records(out, kind)
    assert named(record.label) == OTHERS.get((name, kind), LABELS[kind])


@pytest.mark.parametrize(("name", "kind"), PAIRS, ids=map("-".join, PAIRS))
def test_a_folder_is_listed_once(tmp_path, monkeypatch, name, kind):
    lay(tmp_path, SAMPLES[name, kind])
    listed = []
    files_below = storage.files_below
    monkeypatch.setattr(storage, "files_below", lambda url: listed.append(url) or files_below(url))
    assert len(list(formats.read(str(tmp_path), label=kind, **options(name, tmp_path)))) == 1
    assert listed == [str(tmp_path)]


@pytest.mark.parametrize("name", [name for name, format in formats.FORMATS.items() if format.write])
def test_what_a_format_writes_it_reads_back(tmp_path, name):
    format = formats.FORMATS[name]
    for kind in format.kinds:
        folder = tmp_path / kind.kind
        out = str(folder / f"out_{kind.kind}") + ("" if format.folder else SUFFIXES.get(name, ".jsonl"))
        images = Path(out, "images") if format.folder else folder
        save_images(images, ["a.png"])
        if kind is Mask:
            (folder / "a_mask.png").write_bytes(mask_of(1, 2))
        label = LABELS[kind.kind].placed(lambda mask, folder=folder: str(folder / mask))
        record = Record(str(images / "a.png"), label, 12, 8, "png")
        lost, kept = LOST.get((name, kind.kind), ({}, record.label))
        assert format.write([record], out, kind) == Written(1, lost)
        (found,) = formats.read(out, name, label=kind.kind, **options(name, folder))
        place = f"{out}/cat/a.png" if name == "folder" else record.image_url
        assert name == "recordio" or found.image_url == place
        kept_image = found.image_url if name == "folder" else str(images / "a.png")  # which is moved there
        assert Path(kept_image).read_bytes() == storage.read_bytes(found.image_url)
        assert named(found.label) == named(kept)


def test_a_file_is_one_row_of_the_table_and_bears_its_name():
    files = {m.name for m in pkgutil.iter_modules(formats.__path__)} - {"base"}
    assert files == set(formats.NAMES)
    for name in files:
        module = importlib.import_module(f"automl_images.annotations.formats.{name}")
        assert isinstance(module.FORMAT, Format) and module.FORMAT is formats.FORMATS[name]
    found = {
        value
        for m in pkgutil.iter_modules(labels.__path__)
        for value in vars(importlib.import_module(f"{labels.__name__}.{m.name}")).values()
        if inspect.isclass(value) and issubclass(value, Label) and not inspect.isabstract(value)
    }
    assert found == set(KINDS.values()) and all(KINDS[kind.kind] is kind for kind in found)


def test_what_lists_the_formats_has_them_from_the_table(monkeypatch):
    from automl_images.components.convert.component import convert as component
    from automl_images.pipelines.experiment import Experiment

    schema = json.dumps(Experiment.model_json_schema())
    for name in formats.NAMES:
        assert f'"{name}"' in schema and name in formats.description()
    assert formats.description() in schema
    assert formats.description() in component.component_spec.inputs["format"].description
    monkeypatch.setenv("COLUMNS", "1000")
    assert formats.description() in CliRunner().invoke(app, ["convert", "--help"], terminal_width=1000).output


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_label_is_written_and_read_back(tmp_path, kind):
    label = LABELS[kind]
    assert type(label) is KINDS[kind] and kind in {task.label for task in TASKS.values()}
    assert type(label).of_json(json.loads(json.dumps(label.to_json()))) == label
    assert type(label).restored(json.loads(json.dumps(label.to_json()))) == label == labels.restored(label.to_json())
    assert pickle.loads(pickle.dumps(Record("/a.png", label))).label == label
    assert not hasattr(label, "__dict__"), "records are many"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(label, dataclasses.fields(label)[0].name, "other")
    assert "cat" in label.names()
    record_file.write([Record("/a.png", label)], str(tmp_path / "r"))
    for other in KINDS:
        if other != kind:
            with pytest.raises(UserError, match=r"line 1: is not as `automl-images convert --task .*; convert first"):
                list(read_records(str(tmp_path / "r"), other))


def test_a_kind_that_there_is_not_is_refused_by_name(tmp_path):
    (tmp_path / "x.jsonl").write_text(SAMPLES["jsonl", "boxes"]["x.jsonl"])
    record_file.write([Record("/a.png", LABELS["boxes"])], str(tmp_path / "r"))
    for refused in (
        lambda: kind_of("keys"),
        lambda: list(formats.read(str(tmp_path / "x.jsonl"), "jsonl", label="keys")),
        lambda: list(read_records(str(tmp_path / "r"), "keys")),
        lambda: Checker(label="keys"),
        lambda: check_training_classes(["a", "b"], "keys"),
    ):
        with pytest.raises(UserError, match=r"^label: 'keys' is no kind of label in this version; .*boxes"):
            refused()


@pytest.mark.parametrize("number", [10**400, "x", None, True, "nan"], ids=["huge", "text", "none", "truth", "nan"])
def test_a_corner_that_is_no_number_is_refused(number):
    with pytest.raises(UserError, match="^box 2: topX is "):
        Boxes.of_json([BOX, {**BOX, "topX": number}])


def test_records_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "r").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="r: is not UTF-8 text"):
        list(read_records(str(tmp_path / "r")))


def test_a_link_out_of_a_folder_whose_other_images_are_taken_is_refused(tmp_path):
    save_images(tmp_path, ["outside.png", "root/ok/a.png"])
    (tmp_path / "root/ok/b.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root/ok/c.png").symlink_to(tmp_path / "root/ok/a.png")
    (tmp_path / "root/out").symlink_to(tmp_path)
    below = Folder(str(tmp_path / "root"))
    assert below.join("ok/a.png").endswith("/root/ok/a.png") and below.join("ok/c.png").endswith("/root/ok/c.png")
    for path in ("ok/b.png", "out/outside.png", "ok/../out/outside.png"):
        with pytest.raises(UserError, match="leaves the image root .* through a link"):
            below.join(path)


def test_the_page_on_annotations_has_every_format():
    page = (Path(__file__).parents[1] / "docs/annotations.md").read_text()
    assert [line.split(" ")[1] for line in page.splitlines() if line.startswith("| ")][2:] == list(formats.NAMES)


def test_a_file_of_another_kind_beside_the_annotations_does_not_compete(tmp_path):
    lay(tmp_path, {"a.xml": VOC, "labels.csv": "image,labels\na.png,cat\n"})
    source = Source(str(tmp_path))
    assert formats.detect(source, Boxes).name == "voc" and formats.detect(source, Classes).name == "csv"
    (tmp_path / "labels.csv").write_text(SAMPLES["csv", "boxes"]["x.csv"])
    with pytest.raises(UserError, match="could be voc or csv; set format"):
        formats.detect(Source(str(tmp_path)), Boxes)


@pytest.mark.parametrize("width", [10**400, 2**40, True, 0.5, "x", -1])
def test_a_width_beyond_any_image_is_refused_or_read_exactly(tmp_path, width):
    content = json.loads(SAMPLES["coco", "boxes"]["x.json"])
    content["images"][0]["width"] = width
    lay(tmp_path, {"x.json": json.dumps(content)})
    try:
        (record,) = formats.read(str(tmp_path / "x.json"), label="boxes")
    except UserError as error:
        assert "width" in str(error)
    else:
        assert width == 2**40 == record.width
