"""SageMaker's lists and augmented manifests, read and written."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from automl_images import storage
from automl_images.annotations import Box, Boxes, Classes, Mask, OneClass, Record, formats, record_file
from automl_images.annotations.formats.base import Written
from automl_images.annotations.labels import KINDS
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from automl_images.steps.export import export_records
from tests.conftest import jsonl_lines, save_images
from tests.helpers.sagemaker import UNIQUE, write


def mask_bytes(values, colours=None, size=(12, 8)):
    pixels = np.zeros(size[::-1], dtype=np.uint8)
    pixels.flat[: len(values)] = values
    file = io.BytesIO()
    Image.fromarray(np.array(colours, np.uint8)[pixels] if colours else pixels).save(file, "png")
    return file.getvalue()


def line_of_boxes(*annotations, image="a.png", size=None, names=None):
    box = {"image_size": [{"width": 12, "height": 8, "depth": 3}] if size is None else size, "annotations": annotations}
    names = {"0": "cat", "1": "dog"} if names is None else names
    metadata = {"objects": [], "class-map": names, "type": "groundtruth/object-detection", "job-name": "labeling-job/x"}
    return {"source-ref": image, "bounding-box": box, "bounding-box-metadata": metadata}


def a_box(i=0, left=3, top=4, width=6, height=4):
    return {"class_id": i, "left": left, "top": top, "width": width, "height": height}


def read(tmp_path, text, label, name="x.manifest", **options):
    save_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / name).write_text(text)
    return list(formats.read(str(tmp_path / name), label=label, **options))


# Augmented manifests.


def test_boxes_of_a_manifest(tmp_path):
    text = jsonl_lines(line_of_boxes(a_box(), a_box(1, 0, 0, 12, 8)), line_of_boxes(image="b.png"))
    first, second = read(tmp_path, text, "boxes")
    assert first.label.boxes == (Box("cat", 0.25, 0.5, 0.75, 1.0), Box("dog", 0, 0, 1, 1))
    assert (first.width, first.height) == (12, 8) and second.label.boxes == ()


def test_boxes_without_a_size_are_of_their_images(tmp_path):
    (found,) = read(tmp_path, jsonl_lines(line_of_boxes(a_box(), size={})), "boxes")
    assert found.label.boxes == (Box("cat", 0.25, 0.5, 0.75, 1.0),) and (found.width, found.height) == (12, 8)


def test_a_file_whose_format_is_named_may_have_any_suffix(tmp_path):
    text = jsonl_lines(line_of_boxes(a_box()))
    assert read(tmp_path, text, "boxes", "output", format="manifest")[0].label.names() == ["cat"]
    text = jsonl_lines({"image_url": "a.png", "label": "cat"})
    assert read(tmp_path, text, "class", "records.txt", format="jsonl")[0].label == OneClass("cat")


def test_several_jobs_of_a_manifest_are_told_by_their_type(tmp_path):
    line = {**line_of_boxes(a_box()), "animal": 0, "animal-metadata": {"class-name": "pet"}}
    line["animal-metadata"]["type"] = "groundtruth/image-classification"
    line |= {"sky-ref": "m.png", "sky-ref-metadata": {"internal-color-map": {"0": {"class-name": "sky"}}}}
    text = jsonl_lines(line)
    write(tmp_path, {"m.png": mask_bytes([1])})
    assert read(tmp_path, text, "boxes")[0].label.names() == ["cat"]
    assert read(tmp_path, text, "class")[0].label == OneClass("pet")
    assert read(tmp_path, text, "mask")[0].label.classes == (("sky", 0),)


COLOURS = {
    "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.9},
    "1": {"class-name": "dog", "hex-color": "#2ca02c", "confidence": 0.9},
}


def line_of_mask(mask="m.png", image="a.png", colours=COLOURS):
    metadata = {"internal-color-map": colours, "type": "groundtruth/semantic-segmentation", "human-annotated": "yes"}
    return {"source-ref": image, "pets-ref": mask, "pets-ref-metadata": metadata}


@pytest.mark.parametrize("coloured", [False, True])
def test_masks_of_a_manifest_are_named_by_their_map(tmp_path, coloured):
    colours = [[255, 255, 255], [0x2C, 0xA0, 0x2C]] if coloured else None
    write(tmp_path, {"m.png": mask_bytes([0, 1], colours), "n.png": mask_bytes([0], colours)})
    text = jsonl_lines(line_of_mask(), line_of_mask("n.png", "b.png", {"0": COLOURS["0"]}))
    first, second = read(tmp_path, text, "mask")
    values = ("#ffffff", "#2ca02c") if coloured else (0, 1)
    assert first.label.classes == tuple(zip(("BACKGROUND", "dog"), values, strict=True)) == second.label.classes
    assert first.label.ignore == (() if coloured else (255,))
    found = convert(str(tmp_path / "x.manifest"), str(tmp_path / "out"), "image-semantic-segmentation")
    assert found["classes"] == {"BACKGROUND": 2, "dog": 1}


def test_masks_without_a_map_are_named_by_the_one_beside(tmp_path):
    write(tmp_path, {"m.png": mask_bytes([0, 1]), "label_map.json": '{"map": {"0": 1, "1": 0}}'})
    (found,) = read(tmp_path, jsonl_lines({"source-ref": "a.png", "pets-ref": "m.png"}), "mask")
    assert found.label.classes == (("0", 1), ("1", 0))


BAD = {
    "boxes: none": ("boxes", [{"source-ref": "a.png"}], 1, "has no box attribute"),
    "boxes: classes": ("boxes", [{"source-ref": "a.png", "animal": 3}], 1, "'animal' is 3, and .* annotations"),
    "boxes: size": ("boxes", [line_of_boxes(a_box(), size="12 x 8")], 1, "image_size of 'bounding-box' is \"12 x 8\""),
    "boxes: sizes": ("boxes", [line_of_boxes(a_box(), size=[{}, {}])], 1, "image_size of 'bounding-box' is"),
    "boxes: width": ("boxes", [line_of_boxes(size=[{"width": -1, "height": 8}])], 1, "image_size.width is -1"),
    "boxes: list": ("boxes", [line_of_boxes([3, 4, 6, 4])], 1, r"annotation 1: is \[3, 4, 6, 4\], not an object"),
    "boxes: left": ("boxes", [line_of_boxes(a_box(), a_box(left="x"))], 1, "annotation 2: left is 'x', which is not"),
    "boxes: none of a side": ("boxes", [line_of_boxes({"class_id": 0})], 1, "annotation 1: left is missing"),
    "boxes: id": ("boxes", [line_of_boxes(a_box(7))], 1, "annotation 1: .*class id 7 has no name in the metadata"),
    "boxes: names": (
        "boxes",
        [line_of_boxes(a_box()), line_of_boxes(a_box(), names={"0": "dog"})],
        2,
        "the class id 0 is 'dog' here, and 'cat' in a line before",
    ),
    "boxes for classes": ("class", [line_of_boxes(a_box())], 1, "holds boxes; use task image-object-detection"),
    "mask: none": ("mask", [{"source-ref": "a.png", "animal": 3}], 1, "has no attribute that ends with -ref"),
    "mask: two": (
        "mask",
        [{"source-ref": "a", "a-ref": "m", "b-ref": "m"}],
        1,
        "'a-ref' and 'b-ref' may hold the mask",
    ),
    "mask: no text": ("mask", [line_of_mask(3)], 1, "has no pets-ref"),
    "mask: leaves the root": ("mask", [line_of_mask("../../m.png")], 1, "leaves the image root"),
    "mask: map": ("mask", [line_of_mask(colours=["a"])], 1, "internal-color-map is .*, not an object of objects"),
    "mask: name": ("mask", [line_of_mask(colours={"0": {}})], 1, "class-name of 0 is missing"),
    "mask: value": ("mask", [line_of_mask(colours={"x": COLOURS["0"]})], 1, 'the pixel value "x" is neither'),
    "mask: colour": (
        "mask",
        [line_of_mask(colours={"0": {"class-name": "a", "hex-color": "red"}})],
        1,
        "pixel value .red",
    ),
    "mask: two colours": (
        "mask",
        [line_of_mask(), line_of_mask(colours={"0": {**COLOURS["0"], "hex-color": "#000000"}})],
        2,
        "hex-color of 0 is #000000 here, and another in a line before",
    ),
}


@pytest.mark.parametrize(("kind", "items", "line", "message"), BAD.values(), ids=BAD)
def test_a_malformed_manifest_is_one_line_with_the_place(tmp_path, kind, items, line, message):
    write(tmp_path, {"m.png": mask_bytes([0])})
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, jsonl_lines(*items), kind)
    assert f"x.manifest, line {line}: " in str(error.value) and "\n" not in str(error.value)


def test_masks_in_colours_whose_map_has_none_are_refused(tmp_path):
    write(tmp_path, {"m.png": mask_bytes([0], [[0, 0, 0]])})
    with pytest.raises(UserError, match="line 1: the mask is in colours, and the class 'sky' has no hex-color"):
        read(tmp_path, jsonl_lines(line_of_mask(colours={"0": {"class-name": "sky"}})), "mask")


# What is written is read back.


def back(tmp_path, name, records, kind):
    """Return what of records a format says is lost, and what it reads of what it has written."""
    out = tmp_path / f"set.{name}"
    for file in ("classes.txt", out.name):
        (tmp_path / file).unlink(missing_ok=True)
    written = formats.FORMATS[name].write(records, str(out), KINDS[kind])
    assert written.images == len(records)
    return written.lost, list(formats.read(str(out), name, label=kind))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    save_images(path, [f"p/{i}.png" for i in range(6)])
    write(path, {f"m{i}.png": mask_bytes([0]) for i in range(6)})
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data(), names=UNIQUE, name=st.sampled_from(["lst", "manifest"]))
def test_classes_are_read_back_whole(folder, data, names, name):
    one = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=6))
    records = [Record(str(folder / f"p/{i}.png"), OneClass(label)) for i, label in enumerate(one)]
    assert back(folder, name, records, "class") == ({}, records)
    several = data.draw(st.lists(st.lists(st.sampled_from(names), unique=True), min_size=1, max_size=6))
    records = [Record(str(folder / f"p/{i}.png"), Classes(tuple(labels))) for i, labels in enumerate(several)]
    if name == "lst" and len({label for labels in several for label in labels}) < 2:
        with pytest.raises(UserError, match="one column would be read as class ids"):
            back(folder, name, records, "classes")
        return
    lost, found = back(folder, name, records, "classes")
    assert lost == {} and [r.image_url for r in found] == [r.image_url for r in records]
    ordered = (lambda labels: tuple(sorted(labels))) if name == "lst" else tuple  # columns have an order of their own
    assert [ordered(r.label.classes) for r in found] == [ordered(r.label.classes) for r in records]


SIDE = st.integers(0, 4000)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), names=UNIQUE)
def test_boxes_are_read_back_but_for_what_is_said_to_be_lost(folder, data, names):
    width, height = data.draw(st.integers(1, 4000)), data.draw(st.integers(1, 4000))
    area = st.none() | st.floats(1, 1e6)
    corners = data.draw(st.lists(st.tuples(st.sampled_from(names), SIDE, SIDE, SIDE, SIDE, st.booleans(), area)))
    boxes = [Box(n, x / width, y / height, r / width, b / height, c, a) for n, x, y, r, b, c, a in corners]
    lost, (found,) = back(
        folder, "manifest", [Record(str(folder / "p/0.png"), Boxes(tuple(boxes)), width, height)], "boxes"
    )
    expected = {"isCrowd": sum(b.isCrowd for b in boxes), "area": sum(b.area is not None for b in boxes)}
    assert lost == {what: count for what, count in expected.items() if count}
    assert (found.width, found.height) == (width, height) and found.label.names() == [b.label for b in boxes]
    for after, before in zip(found.label.boxes, boxes, strict=True):
        pixels = [
            v * s
            for b in (after, before)
            for v, s in zip((b.topX, b.topY, b.bottomX, b.bottomY), (width, height) * 2, strict=True)
        ]
        assert pixels[:4] == pytest.approx(pixels[4:], abs=1e-6)
        assert not after.isCrowd and after.area is None


@settings(max_examples=40, deadline=None)
@given(data=st.data(), names=UNIQUE, ignore=st.sampled_from([(255,), (0, 255), ()]))
def test_masks_are_read_back_but_for_what_is_ignored(folder, data, names, ignore):
    values = data.draw(st.permutations(range(len(names))))
    label = Mask(str(folder / "m0.png"), tuple(zip(names, values, strict=True)), ignore)
    lost, (found,) = back(folder, "manifest", [Record(str(folder / "p/0.png"), label)], "mask")
    assert lost == ({} if ignore == (255,) else {"ignore": 1})
    assert found.label.classes == label.classes and found.label.mask_url == label.mask_url
    assert found.label.ignore == (255,)


def test_masks_in_colours_are_read_back(folder):
    write(folder, {"colours.png": mask_bytes([1], [[0, 0, 0], [1, 2, 3]])})
    label = Mask(str(folder / "colours.png"), (("sky", "#000000"), ("cat", "#010203")), ())
    records = [Record(str(folder / "p/0.png"), label)]
    assert back(folder, "manifest", records, "mask") == ({}, records)


def test_a_list_takes_the_ids_that_are_beside_it(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    records = [Record(str(tmp_path / "a.png"), OneClass("dog"), where="here")]
    lst = formats.FORMATS["lst"]
    assert lst.write(
        [*records, Record(str(tmp_path / "b.png"), OneClass("cat"))], str(tmp_path / "train.lst"), OneClass
    ) == Written(2)
    assert (tmp_path / "train.lst").read_text() == "0\t1\ta.png\n1\t0\tb.png\n"
    lst.write(records, str(tmp_path / "val.lst"), OneClass)
    assert (tmp_path / "val.lst").read_text() == "0\t1\ta.png\n" and (
        tmp_path / "classes.txt"
    ).read_text() == "cat\ndog\n"
    with pytest.raises(UserError, match=r"here: the class 'emu' is not in .*classes.txt; write to another folder"):
        lst.write([Record(str(tmp_path / "a.png"), OneClass("emu"), where="here")], str(tmp_path / "x.lst"), OneClass)
    with pytest.raises(UserError, match="cannot stand in a list: it has tabs"):
        lst.write([Record(str(tmp_path / "a\tb.png"), OneClass("cat"))], str(tmp_path / "x.lst"), OneClass)
    assert not (tmp_path / "x.lst").exists()


@pytest.mark.parametrize("out", ["memory://lists/{}", "{}"])
def test_lists_of_one_folder_have_one_list_of_names_wherever_they_are_written(tmp_path, out):
    out = out.format(tmp_path / "lists")
    save_images(tmp_path, ["a.png"])
    for name, labels in (("train", ["cat", "dog"]), ("val", ["dog"])):
        records = [Record(str(tmp_path / "a.png"), OneClass(label)) for label in labels]
        record_file.write(records, str(tmp_path / "r"))
        export_records(str(tmp_path / "r"), f"{out}/{name}.lst", "lst", task="image-classification")
        found = formats.read(f"{out}/{name}.lst", images=str(tmp_path), label="class")
        assert [record.label for record in found] == [OneClass(label) for label in labels]
    assert storage.read_text(f"{out}/classes.txt") == "cat\ndog\n"
    assert storage.read_text(f"{out}/val.lst").split("\t")[1] == "1"


def test_boxes_of_an_image_without_a_size_are_not_written(tmp_path):
    with pytest.raises(UserError, match="^here: has no size, which boxes in pixels need"):
        formats.FORMATS["manifest"].write(
            [Record("/a.png", Boxes((Box("a", 0, 0, 1, 1),)), where="here")], str(tmp_path / "x.manifest"), Boxes
        )
    assert not list(tmp_path.iterdir())


def test_manifests_are_json(folder):
    formats.FORMATS["manifest"].write(
        [Record(str(folder / "p/0.png"), OneClass("cat"))], str(folder / "y.manifest"), OneClass
    )
    item = json.loads((folder / "y.manifest").read_text())
    assert item == {
        "source-ref": "p/0.png",
        "label": 0,
        "label-metadata": {"class-name": "cat", "type": "groundtruth/image-classification"},
    }
