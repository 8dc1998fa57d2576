"""Annotations that could be read wrongly without a word: read rightly, counted, said, or refused by name."""

import itertools

import pytest

from automl_images.annotations import formats
from automl_images.annotations.values import class_name
from automl_images.errors import UserError
from tests.conftest import jsonl_lines, save_images
from tests.helpers.annotated import coco, converted

BOX = {"topX": 0.25, "topY": 0.25, "bottomX": 0.5, "bottomY": 0.5}


# one image in several records


def in_coco(folder):
    coco(folder, [(1, "a.png"), (2, "./a.png"), (3, "b.png")], [(1, 1, [1, 1, 4, 4]), (2, 2, [2, 2, 4, 4])])


def in_jsonl(folder):
    lines = [{"image_url": "a.png", "label": [{"label": name, **BOX}]} for name in ("cat", "dog")]
    (folder / "x.jsonl").write_text(jsonl_lines(*lines, {"image_url": "b.png", "label": []}))


def in_voc(folder):
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
    for file, image, name in (("1", "a.png", "cat"), ("2", "a.png", "dog")):
        (folder / f"{file}.xml").write_text(
            f"<annotation><filename>{image}</filename><object><name>{name}</name><bndbox>{corners}</bndbox></object>"
            "</annotation>"
        )
    (folder / "3.xml").write_text("<annotation><filename>b.png</filename></annotation>")


@pytest.mark.parametrize("write", [in_coco, in_jsonl, in_voc])
def test_the_boxes_of_one_image_join_in_one_record(tmp_path, write):
    save_images(tmp_path, ["a.png", "b.png"])
    write(tmp_path)
    summary, found = converted(tmp_path, tmp_path / "o")
    assert found == {"a.png": ["cat", "dog"], "b.png": []}
    assert (summary["images"], summary["boxes"], summary["repeated_images"]) == (2, 2, 1)


def test_an_image_one_of_whose_records_is_left_out_is_left_out(tmp_path):
    """What the record left out has labelled would count as background in the other."""
    save_images(tmp_path, ["a.png", "b.png"])
    outside, unread = {"label": "dog", **BOX, "bottomX": 3}, {"label": "dog", **BOX, "bottomX": "x"}
    for order, other in itertools.product((1, -1), (outside, unread)):
        lines = [{"image_url": "a.png", "label": [{"label": "cat", **BOX}]}, {"image_url": "a.png", "label": [other]}]
        (tmp_path / "x.jsonl").write_text(jsonl_lines(*lines[::order], {"image_url": "b.png", "label": []}))
        summary, found = converted(tmp_path, tmp_path / "o", on_error="skip")
        assert found == {"b.png": []}
        assert (summary["images"], summary["classes"], summary["skipped_images"]) == (1, {}, 2)


@pytest.mark.parametrize("kind", ["class", "classes"])
def test_equal_rows_count_once_and_contradictions_name_both_places(tmp_path, kind):
    save_images(tmp_path, ["a.png", "b.png"])
    file = tmp_path / "x.csv"
    file.write_text("image,label\na.png,cat\nb.png,dog\na.png,cat\n")
    summary, found = converted(file, tmp_path / "o", kind)
    assert found == {"a.png": ["cat"], "b.png": ["dog"]} and summary["repeated_images"] == 1
    file.write_text("image,label\na.png,cat\nb.png,dog\na.png,dog\n")
    with pytest.raises(UserError, match=r"x.csv, line 4: the image has other classes in .*x.csv, line 2: .*a.png"):
        converted(file, tmp_path / "o", kind)
    summary, found = converted(file, tmp_path / "o", kind, on_error="skip")
    assert found == {"b.png": ["dog"]} and summary["skipped_images"] == 2


# names of classes

BAD_NAMES = [
    None,
    "",
    " ",
    "\u200b",
    "cat\u200b",
    "ca\u200dt",
    "cat\nerror: x",
    "cat\x7f",
    "\ufeffcat",
    "ca\u2028t",
    "\u202etac",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_no_reader_takes_a_class_that_is_empty_or_not_seen(tmp_path, name):
    save_images(tmp_path, ["a.png"])
    coco(tmp_path, [(1, "a.png")], [(1, 1, [1, 1, 4, 4])], [(1, name)])
    (tmp_path / "x.jsonl").write_text(jsonl_lines({"image_url": "a.png", "label": [{"label": name, **BOX}]}))
    (tmp_path / "y.jsonl").write_text(jsonl_lines({"image_url": "a.png", "label": name}))
    (tmp_path / "x.manifest").write_text(jsonl_lines({"source-ref": "a.png", "animal": [name]}))
    written = f"<name>{name or ''}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/a.xml").write_text(
        f"<annotation><filename>../a.png</filename><object>{written}</object></annotation>", encoding="utf-8"
    )
    sources = {
        "instances.json": "boxes",
        "x.jsonl": "boxes",
        "y.jsonl": "class",
        "x.manifest": "classes",
        "voc": "boxes",
    }
    for file, kind in sources.items():
        with pytest.raises(UserError) as raised:
            list(formats.read(str(tmp_path / file), images=str(tmp_path), label=kind))
        assert len(str(raised.value).splitlines()) == 1 and str(raised.value).isprintable(), file


def test_names_that_look_equal_are_one_class():
    names = ["caf\u00e9", "cafe\u0301", " caf\u00e9\u00a0", "caf\u00e9\u3000"]
    assert {class_name(name) for name in names} == {"caf\u00e9"}
    assert class_name("traffic\u00a0light") == "traffic light"
    for name in (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469",
        "\u72ac",
        "cr\u00e8me",
    ):
        assert class_name(name) == name, "joiners belong to some scripts"


# several in one, twice in one


def test_every_bndbox_of_an_object_is_a_box(tmp_path):
    save_images(tmp_path, ["a.png"])
    corners = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    text = "".join(corners.format(i) for i in (1, 2, 3))
    found = f"<annotation><filename>a.png</filename><object><name>cat</name>{text}</object></annotation>"
    (tmp_path / "a.xml").write_text(found)
    assert [r.label.names() for r in formats.read(str(tmp_path), label="boxes")] == [["cat"] * 3]
    (tmp_path / "a.xml").write_text(found.replace("</name>", "</name><name>dog</name>"))
    with pytest.raises(UserError, match="object 1: has <name> twice, with other texts"):
        list(formats.read(str(tmp_path), label="boxes"))


@pytest.mark.parametrize("file", ["x.jsonl", "x.json", "x.manifest"])
def test_a_key_given_twice_is_refused(tmp_path, file):
    save_images(tmp_path, ["a.png"])
    twice = '"label": "cat", "label": "dog"'
    texts = {
        "x.jsonl": f'{{"image_url": "a.png", {twice}}}\n',
        "x.json": '{"images": [], "categories": [{"id": 1, "name": "cat", "name": "dog"}]}',
        "x.manifest": f'{{"source-ref": "a.png", {twice}}}\n',
    }
    (tmp_path / file).write_text(texts[file])
    with pytest.raises(UserError, match=f"{file}.*: the key '(label|name)' stands twice in one object"):
        list(formats.read(str(tmp_path / file), label="boxes" if file == "x.json" else "class"))


def test_files_that_are_no_images_by_their_suffix_are_named_and_counted(tmp_path, capsys):
    save_images(tmp_path, ["cat/a.png", "dog/b.png"])
    for name in ("cat/1.PSD", "cat/2.psd", "dog/3.jp2", "dog/4.svg", "README"):
        (tmp_path / name).write_bytes(b"x")
    assert len(list(formats.read(str(tmp_path), label="class"))) == 2
    said = capsys.readouterr().err
    assert "passed over, as their suffixes are no images': 1 .jp2, 2 .psd, 1 .svg, 1 without a suffix" in said


def test_a_manifest_of_boxes_is_said_to_hold_boxes(tmp_path):
    save_images(tmp_path, ["a.png"])
    boxes = {"image_size": [], "annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 5, "height": 5}]}
    (tmp_path / "x.manifest").write_text(jsonl_lines({"source-ref": "a.png", "j": boxes, "j-metadata": {}}))
    for kind in ("class", "classes"):
        with pytest.raises(UserError, match="'j' holds boxes; use task image-object-detection"):
            list(formats.read(str(tmp_path / "x.manifest"), label=kind))
