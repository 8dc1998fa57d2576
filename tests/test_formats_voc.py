"""Pascal VOC: its lists, its masks, what is written, and what is wrong."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from automl_images.annotations import Box, Boxes, Instance, Mask, Polygons, Record, formats, shapes
from automl_images.annotations.formats import voc
from automl_images.annotations.labels import KINDS
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.conftest import save_images

WIDTH, HEIGHT = 12, 8


def xml(*names, file="a.png", difficult=0):
    """Return an annotation of these objects, all in one place."""
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    objects = "".join(f"<object><name>{n}</name><difficult>{difficult}</difficult>{box}</object>" for n in names)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    return f"<annotation><filename>{file}</filename>{size}{objects}</annotation>"


def png(pixels, mode=None):
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8), mode).save(file, "png")
    return file.getvalue()


def devkit(folder, names=("a", "b", "c"), **files):
    """Write a folder as VOC's development kit is laid, with one object an image."""
    save_images(folder, [f"JPEGImages/{name}.png" for name in names])
    lay(folder, {f"Annotations/{name}.xml": xml("cat", file=f"{name}.png") for name in names} | files)


def lay(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(source, label="boxes", **options):
    return list(formats.read(str(source), label=label, **options))


def names(records):
    return [record.image_url.rpartition("/")[2] for record in records]


def test_a_list_chooses_the_images_in_its_order(tmp_path):
    devkit(tmp_path, **{"ImageSets/Main/train.txt": "c\na.png\n"})
    found = read(tmp_path / "ImageSets/Main/train.txt")
    assert names(found) == ["c.png", "a.png"]
    assert {record.label for record in found} == {Boxes((Box("cat", 0.25, 0.5, 0.75, 1.0),))}
    assert formats.detect(Source(str(tmp_path / "ImageSets/Main/train.txt")), KINDS["boxes"]).name == "voc"


BAD_LISTS = {
    "a name without an annotation": ("a\nz\n", r"train\.txt, line 2: there is no annotation z\.xml"),
    "the images of one class": ("a 1\nb -1\n", r"train\.txt, line 1: has '1' after the name"),
    "a name with a NUL": ("a\0\n", r"train\.txt, line 1"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_wrong_list_is_said_with_its_place(tmp_path, name):
    text, said = BAD_LISTS[name]
    devkit(tmp_path, **{"ImageSets/Main/train.txt": text})
    with pytest.raises(UserError, match=said):
        read(tmp_path / "ImageSets/Main/train.txt")


def test_objects_of_a_mask_have_the_classes_of_the_annotation_in_its_order(tmp_path, capsys):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[:3, :4], pixels[5:, 2:6], pixels[3] = 2, 7, 255
    devkit(tmp_path, ["a", "b"], **{"SegmentationObject/a.png": png(pixels)})
    lay(tmp_path, {"Annotations/a.xml": xml("dog", "cat", difficult=1)})
    (record,) = read(tmp_path, "polygons")
    assert [(i.label, i.isCrowd) for i in record.label.instances] == [("dog", True), ("cat", True)]
    for instance, value in zip(record.label.instances, (2, 7), strict=True):
        assert (shapes.decoded(instance.rle) == (pixels == value)).all()
    assert "1 annotated images have no mask in SegmentationObject: they are left out" in capsys.readouterr().err
    lay(tmp_path, {"Annotations/a.xml": xml("dog")})
    with pytest.raises(UserError, match="has 2 objects, and there is 1 objects in its annotation and no label map"):
        read(tmp_path, "polygons")


def test_objects_have_the_classes_of_their_pixels_where_a_label_map_names_them(tmp_path):
    """As CVAT exports masks: both in colours, without annotations."""
    objects, classes = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    for place, colour, of_class in (
        (np.s_[:3, :4], (9, 0, 0), (250, 50, 83)),
        (np.s_[5:, 2:6], (0, 9, 0), (0, 0, 200)),
    ):
        objects[place], classes[place] = colour, of_class
    save_images(tmp_path, ["JPEGImages/a.png"])
    labels = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:0,0,200::\n"
    lay(
        tmp_path,
        {"SegmentationObject/a.png": png(objects), "SegmentationClass/a.png": png(classes), "labelmap.txt": labels},
    )
    (record,) = read(tmp_path, "polygons")
    assert sorted((i.label, shapes.decoded(i.rle).sum()) for i in record.label.instances) == [("cat", 12), ("dog", 12)]
    (record,) = read(tmp_path, "mask")
    assert dict(record.label.classes) == {"background": "#000000", "cat": "#fa3253", "dog": "#0000c8"}
    found = convert(str(tmp_path), str(tmp_path / "out"), "image-semantic-segmentation")
    assert set(found["classes"]) == {"background", "cat", "dog"}


@pytest.mark.parametrize(
    ("objects", "classes", "said"),
    [
        (("cat", "dog"), (("background", 0), ("aeroplane", 1)), ""),
        (("cat", "lynx"), (), "nothing names the classes of its masks"),
        ((), (), "nothing names the classes of its masks"),
    ],
)
def test_masks_have_the_names_of_voc_where_its_annotations_have_no_others(tmp_path, capsys, objects, classes, said):
    devkit(tmp_path, ["a"], **{"SegmentationClass/a.png": png(np.full((HEIGHT, WIDTH), 8))})
    lay(tmp_path, {"Annotations/a.xml": xml(*objects)})
    (record,) = read(tmp_path, "mask", format="voc")
    assert record.label.classes[:2] == classes and record.label.ignore == (255,)
    assert said in capsys.readouterr().err
    found = convert(str(tmp_path), str(tmp_path / "out"), "image-semantic-segmentation", format="voc")
    assert list(found["classes"]) == ["cat" if classes else "8"]


BAD = {
    "nothing": ("boxes", {}, "holds no XML file"),
    "no masks of classes": ("mask", {"a.xml": xml("cat")}, "holds no mask in SegmentationClass"),
    "no masks of objects": ("polygons", {"a.xml": xml("cat")}, "holds no mask in SegmentationObject"),
    "cut": ("boxes", {"a.xml": xml("cat")[:-20]}, "a.xml: is not XML: "),
    "another element": ("boxes", {"a.xml": "<a/>"}, "its first element is <a>, not <annotation>"),
    "entities": ("boxes", {"a.xml": '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'}, "entities or a DTD"),
    "no corner": ("boxes", {"a.xml": xml("cat").replace("<xmin>3</xmin>", "")}, "object 1: xmin is missing"),
    "a corner of text": ("boxes", {"a.xml": xml("cat").replace("<xmin>3", "<xmin>x")}, "object 1: xmin is 'x'"),
    "no name": ("boxes", {"a.xml": xml("")}, "object 1: name is missing"),
    "no box": ("boxes", {"a.xml": xml("cat").replace("bndbox", "box")}, "object 1: has no bndbox"),
    "a name twice": ("boxes", {"a.xml": xml("cat</name><name>dog")}, "object 1: has <name> twice"),
    "fractions": (
        "boxes",
        {
            "a.xml": xml("cat")
            .replace("3", "0.3")
            .replace("4", "0.4")
            .replace("9", "0.9")
            .replace("<ymax>8", "<ymax>0.8")
        },
        "fractions of the image, where VOC has pixels",
    ),
    "a mask that is cut": ("polygons", {"a.xml": xml("cat"), "SegmentationObject/a.png": b"x"}, "a.png does not open"),
    "masks of two sizes": (
        "polygons",
        {
            "SegmentationObject/a.png": png([[1, 1]]),
            "SegmentationClass/a.png": png([[1]]),
            "classes.txt": "emu\ncat\n",
        },
        "its masks of objects and of classes have other sizes",
    ),
    "an object of no class": (
        "polygons",
        {
            "SegmentationObject/a.png": png([[1, 1]]),
            "SegmentationClass/a.png": png([[9, 9]]),
            "classes.txt": "emu\ncat\n",
        },
        "pixels of the value 9, which is of no class",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name):
    kind, files, said = BAD[name]
    save_images(tmp_path, ["a.png"])
    lay(tmp_path, files)
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, kind, format="voc")
    assert str(raised.value).startswith(str(tmp_path)) and "\n" not in str(raised.value)


start, end = st.floats(0, 0.4), st.floats(0.5, 1)
named = st.sampled_from(["cat", "a & b", "<x>", "日本"])
boxes = st.builds(Box, named, start, start, end, end, st.booleans())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(boxes, max_size=3), min_size=1, max_size=3))
def test_boxes_come_back_as_they_were_written(tmp_path_factory, found):
    out = tmp_path_factory.mktemp("voc")
    files = [f"{i}.png" for i in range(len(found))]
    save_images(out / "images", files)
    records = [
        Record(str(out / "images" / file), Boxes(tuple(label)), 640, 480)
        for file, label in zip(files, found, strict=True)
    ]
    assert voc.write(records, str(out), Boxes).lost == {}
    read_back = read(out, format="voc")
    assert names(read_back) == files
    for record, label in zip(read_back, found, strict=True):
        assert [(b.label, b.isCrowd) for b in record.label.boxes] == [(b.label, b.isCrowd) for b in label]
        corners, wanted = (
            [v for b in some for v in (b.topX, b.topY, b.bottomX, b.bottomY)] for some in (record.label.boxes, label)
        )
        assert wanted == pytest.approx(corners, abs=1e-12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_masks_of_objects_come_back_but_for_what_overlaps(tmp_path_factory, seed, count):
    random = np.random.default_rng(seed)
    out = tmp_path_factory.mktemp("voc")
    save_images(out / "images", ["a.png"])
    owner = random.integers(0, count + 1, (HEIGHT, WIDTH))  # none overlap
    owner.flat[: count + 1] = np.arange(count + 1)
    instances = tuple(
        Instance(random.choice(["cat", "emu"]).item(), rle=shapes.encoded(owner == i + 1)) for i in range(count)
    )
    record = Record(str(out / "images/a.png"), Polygons(instances), WIDTH, HEIGHT)
    assert voc.write([record], str(out), Polygons).lost == {}
    (found,) = read(out, "polygons", format="voc")
    assert found.label == record.label and (found.width, found.height) == (WIDTH, HEIGHT)


def test_what_masks_cannot_hold_is_counted_or_refused(tmp_path):
    square = Instance("cat", ((0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5),), area=3.0)
    half = Instance("emu", ((0, 0, 0.25, 0, 0.25, 0.5, 0, 0.5),))
    record = Record("/a.png", Polygons((square, half)), WIDTH, HEIGHT)
    assert voc.write([record], str(tmp_path / "out"), Polygons).lost == {
        "area": 1,
        "pixels of two objects": 12,
        "points of outlines (pixels are kept)": 2,
    }
    with pytest.raises(UserError, match="an object has no pixel of its own"):
        voc.write([Record("/a.png", Polygons((half, square)), WIDTH, HEIGHT)], str(tmp_path / "two"), Polygons)
    with pytest.raises(UserError, match="has no size"):
        voc.write([Record("/a.png", Boxes(()))], str(tmp_path / "three"), Boxes)
    with pytest.raises(UserError, match="two images are called a"):
        voc.write([Record(f"/{i}/a.png", Boxes(()), 1, 1) for i in "xy"], str(tmp_path / "four"), Boxes)


def test_masks_of_classes_come_back(tmp_path):
    out = tmp_path / "out"
    save_images(out / "images", ["a.png"])
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:2], pixels[2:4] = (255, 0, 0), (0, 255, 0)
    lay(tmp_path, {"m.png": png(pixels)})
    label = Mask(str(tmp_path / "m.png"), (("sky", "#000000"), ("cat", "#ff0000")), ("#00ff00",))
    voc.write([Record(str(out / "images/a.png"), label, WIDTH, HEIGHT)], str(out), Mask)
    (found,) = read(out, "mask", format="voc")
    assert found.label.classes == (("sky", 0), ("cat", 1)) and found.label.ignore == (255,)
    with Image.open(found.label.mask_url) as image:
        values = np.asarray(image)
    assert (values[:2] == 1).all() and (values[2:4] == 255).all() and (values[4:] == 0).all()
