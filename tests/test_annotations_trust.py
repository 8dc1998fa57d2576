"""Annotations that could be read wrongly without a word: read rightly, counted, said, or refused by name."""

import itertools
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from automl_images import storage
from automl_images.annotations import Box, Boxes, OneClass, Record, formats, read_records, record_file
from automl_images.annotations.imaging import digest_of, open_image
from automl_images.annotations.labels import KINDS
from automl_images.annotations.values import class_name
from automl_images.data.images import load_image
from automl_images.errors import StoreError, UserError
from automl_images.steps.convert import convert, convert_data
from automl_images.steps.split import split_data
from tests.conftest import jsonl_lines, save_images

BOX = {"topX": 0.25, "topY": 0.25, "bottomX": 0.5, "bottomY": 0.5}


def coco(folder, images, annotations=(), categories=((1, "cat"), (2, "dog")), name="instances.json", **more):
    """Write a COCO file of images (id, file name) of 12 x 8 and annotations (image id, category id, bbox)."""
    content = {
        "images": [{"id": i, "file_name": file, "width": 12, "height": 8} for i, file in images],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": bbox} for n, (i, c, bbox) in enumerate(annotations)
        ],
        "categories": [{"id": i, "name": class_} for i, class_ in categories],
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def converted(source, out, kind="boxes", **options):
    """Return the summary and, by the images' paths below the source, the names in each record."""
    summary = convert(str(source), str(out), KINDS[kind].task(), **options)
    root = source if Path(source).is_dir() else Path(source).parent
    return summary, {os.path.relpath(r.image_url, root): r.label.names() for r in read_records(str(out), kind)}


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


# split


def squares(folder, *names, same=()):
    """Write images of different bytes, but for those in ``same``."""
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (0 if name in same else i, 0, 0)).save(folder / name)


@pytest.mark.parametrize("digests", [True, False], ids=["as convert writes", "as of before"])
@pytest.mark.parametrize("seed", range(6))
def test_a_split_keeps_equal_addresses_and_equal_bytes_on_one_side(tmp_path, capsys, seed, digests):
    names = [f"{i}.png" for i in range(12)]
    squares(tmp_path, *names, same=names[8:])
    records = [Record(str(tmp_path / n), OneClass("cat")) for n in [*names, names[0]]]
    if digests:
        records = [Record(r.image_url, r.label, digest=digest_of(Path(r.image_url).read_bytes())) for r in records]
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    record_file.write(records, paths[0])
    split_data(paths[0], None, *paths[1:], ratio=0.3, seed=seed)
    training, validation = ({Path(r.image_url).read_bytes() for r in read_records(p)} for p in paths[1:])
    assert training and validation and not training & validation
    assert "split: 5 images are there again, by address or bytes" in capsys.readouterr().err


def test_images_that_given_sets_share_are_said(tmp_path, capsys):
    squares(tmp_path, "a.png", "b.png", "c.png", same=["a.png", "c.png"])
    paths = [str(tmp_path / n) for n in ("all", "given", "t", "v")]
    record_file.write([Record(str(tmp_path / n), OneClass("x")) for n in ("a.png", "b.png")], paths[0])
    record_file.write([Record(str(tmp_path / "c.png"), OneClass("x"))], paths[1])
    split_data(*paths)
    assert "split: 1 images that validate also train, by address or bytes" in capsys.readouterr().err


def test_images_that_a_set_to_score_on_shares_with_training_are_said(tmp_path, capsys):
    for part in ("training", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "dog").mkdir()
    squares(tmp_path, "training/cat/a.png", "training/dog/b.png", "test/cat/c.png", "test/dog/d.png")
    (tmp_path / "test/dog/d.png").write_bytes((tmp_path / "training/dog/b.png").read_bytes())
    data = {part: {"source": str(tmp_path / part)} for part in ("training", "test")}
    convert_data("image-classification", data, {part: str(tmp_path / f"{part}.out") for part in data})
    assert "test: 1 images also train, by their bytes" in capsys.readouterr().err.splitlines()


def test_a_split_that_leaves_a_side_empty_is_refused(tmp_path):
    squares(tmp_path, "a.png", "b.png", same=["a.png", "b.png"])
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    for labels in (("cat", "dog"), ("cat", "cat")):  # each alone has its class; both are one image
        record_file.write(
            [Record(str(tmp_path / f"{n}.png"), OneClass(c)) for n, c in zip("ab", labels, strict=True)], paths[0]
        )
        with pytest.raises(UserError, match="no image can validate: .*give data.validation"):
            split_data(paths[0], None, *paths[1:])
        assert not Path(paths[1]).exists()


def test_an_image_repeated_more_often_than_may_validate_is_split_all_the_same(tmp_path):
    squares(tmp_path, "d.png", "e.png", "f.png")
    paths = [str(tmp_path / n) for n in ("all", "t", "v")]
    twice = [Record(str(tmp_path / f"{n}.png"), OneClass("x")) for n in "ddeeff"]
    record_file.write(twice, paths[0])
    assert split_data(paths[0], None, *paths[1:], ratio=0.1) == {"training": 4, "validation": 2}


def test_files_are_not_written_over_others_of_the_same_command(tmp_path):
    save_images(tmp_path, ["a.png", "b.png"])
    data = tmp_path / "data.jsonl"
    data.write_text(jsonl_lines(*({"image_url": f"{n}.png", "label": "x"} for n in "ab")))
    before = data.read_text()
    with pytest.raises(UserError, match="data.jsonl: is the source itself; name another file to write"):
        convert(str(data), str(data), "image-classification")
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(UserError, match="link: is the source itself"):
        convert(str(data), str(tmp_path / "link"), "image-classification")
    records = str(tmp_path / "r")
    convert(str(data), records, "image-classification")
    for outs in (("a", "a"), (records, "v"), ("t", records), ("a", f"{tmp_path}/x/../a")):
        with pytest.raises(UserError, match="is the file of .* and of .*; name another"):
            split_data(records, None, *(os.path.join(tmp_path, out) for out in outs))
    assert data.read_text() == before and len(list(read_records(records))) == 2


def test_a_source_without_a_usable_image_leaves_the_output_as_it_was(tmp_path):
    out = tmp_path / "written" / "out"
    out.parent.mkdir()
    out.write_text("before")
    (tmp_path / "x.csv").write_text("image,label\ngone.png,cat\n")
    with pytest.raises(UserError, match=r"has no image that can be used \(1 were left out\)"):
        convert(str(tmp_path / "x.csv"), str(out), "image-classification", on_error="skip")
    assert out.read_text() == "before" and list(out.parent.iterdir()) == [out]


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


# COCO


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


# CSV


def csv(tmp_path, header, *rows, kind="class"):
    """Return the names of each record of a CSV file."""
    save_images(tmp_path, [f"{c}.png" for c in "abcdef"])
    (tmp_path / "x.csv").write_text("\n".join([header, *rows]) + "\n")
    return [r.label.names() for r in formats.read(str(tmp_path / "x.csv"), label=kind)]


@pytest.mark.parametrize(
    ("rows", "expected", "what"),
    [
        (["cat dog", "dog", "cat"], [["cat", "dog"], ["dog"], ["cat"]], "separated by blanks, as there is no |"),
        (["cat;dog", "big cat"], [["cat", "dog"], ["big cat"]], "separated by a semicolon, as there is no |"),
        (['"cat,dog"', "emu"], [["cat", "dog"], ["emu"]], "separated by a comma, as there is no |"),
        (["traffic light", "car"], [["traffic light"], ["car"]], "'traffic light' is taken as one class"),
        (["cat|big dog", "emu"], [["cat", "big dog"], ["emu"]], None),
        (["\"['cat', 'big dog']\"", "[]", "emu"], [["cat", "big dog"], [], ["emu"]], None),
        (['"[""cat"", ""dog""]"', ""], [["cat", "dog"], []], None),
        (["1.0|2", "2.000", "3"], [["1", "2"], ["2"], ["3"]], None),
    ],
)
def test_the_separator_of_classes_is_found_and_said(tmp_path, capsys, rows, expected, what):
    found = csv(
        tmp_path, "image,labels", *(f"{c}.png,{row}" for c, row in zip("abcdef", rows, strict=False)), kind="classes"
    )
    assert found == expected
    said = capsys.readouterr().err
    assert what in said if what else said == ""


def test_blanks_that_may_separate_or_not_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"x.csv: the label 'traffic light' may be one class or several; separate clas"):
        csv(tmp_path, "image,label", "a.png,traffic light", "b.png,traffic sign", kind="classes")


@pytest.mark.parametrize(("end", "word"), [(";", "a semicolon"), ("\t", "a tab")])
def test_what_ends_a_field_is_found_and_said(tmp_path, capsys, end, word):
    assert csv(tmp_path, f"image{end}label", f"a.png{end}cat, big") == [["cat, big"]]
    assert f"its fields are taken to end at {word}" in capsys.readouterr().err
    assert len(list(formats.read(str(tmp_path), label="class"))) == 1, "in a folder too"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1.0", "1", "1.000000", "0"], ["1", "1", "1", "0"]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["1.0", "v2"], ["1.0", "v2"]),
        (["01", "1"], ["01", "1"]),
        ([' "big, cat"', ' "dog"'], ["big, cat", "dog"]),
        (["['cat']", "dog"], ["cat", "dog"]),
    ],
)
def test_what_is_one_class_is_one_class(tmp_path, rows, expected):
    found = csv(tmp_path, "image,label", *(f"{c}.png,{row}" for c, row in zip("abcdef", rows, strict=False)))
    assert [name for (name,) in found] == expected


def test_a_list_is_not_one_class(tmp_path):
    with pytest.raises(UserError, match=r"'\['cat', 'dog'\]' is several classes, .*-multilabel"):
        csv(tmp_path, "image,label", "a.png,\"['cat', 'dog']\"")


# where images are


@pytest.mark.parametrize(
    ("written", "there", "said"),
    [
        ("a%20b%3Ac.png", "a b:c.png", False),
        ("caf\u00e9.png", "cafe\u0301.png", False),
        ("cafe\u0301.png", "caf\u00e9.png", False),
        ("A.PNG", "a.png", True),
        ("images\\1/a.png", "images/a.png", True),
        ("1/A.Png", "deep/down/1/a.png", True),
        ("a.png", "deep/down/a.png", False),
        ("a", "deep/a.webp", False),
        ("100%.png", "100%.png", False),
    ],
)
def test_an_image_is_found_by_a_name_that_is_like_the_one_written(tmp_path, capsys, written, there, said):
    save_images(tmp_path, ["other.png", there])
    (tmp_path / "x.csv").write_text(f"image,label\n{written},cat\n")
    (record,) = formats.read(str(tmp_path / "x.csv"), label="class")
    assert record.image_url == str(tmp_path / there)
    assert ("images are found by names that are like those written" in capsys.readouterr().err) is said


def test_a_name_that_is_like_several_is_refused(tmp_path):
    save_images(tmp_path, ["x/a.png", "y/a.png"])
    (tmp_path / "x.csv").write_text("image,label\nz/a.png,cat\n")
    with pytest.raises(UserError, match=r"line 2: the image 'z/a.png' may be x/a.png or y/a.png below"):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))
    (tmp_path / "y/a.png").unlink()
    (tmp_path / "x.csv").write_text("image,label\nz/a.png,cat\nw/a.png,dog\n")
    with pytest.raises(
        UserError, match=r"line 3: the image 'w/a.png' may be x/a.png by its name, and so may 'z/a.png'"
    ):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))


def test_what_is_not_there_says_how_it_was_looked_for(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.csv").write_text("image,label\nb.png,cat\n")
    with pytest.raises(UserError, match="line 2: the image 'b.png' is not there: .*percent-decoded.*PREFIX=FOLDER"):
        list(formats.read(str(tmp_path / "x.csv"), label="class"))


@pytest.mark.parametrize(
    ("written", "images"),
    [
        ("..\\..\\label-studio\\media\\4\\a.png", "pictures"),
        ("..\\..\\label-studio\\media\\4\\a.png", "../../label-studio/media/4=pictures"),
        ("/data/upload/4/a.png", "pictures"),
        ("/data/upload/4/a.png", "/data/upload=pictures"),
        ("/data/upload/4/a.png", "/data/upload/4/=pictures/deep"),
        ("a.png", "b=c"),
    ],
)
def test_paths_of_another_machine_are_mapped_or_found_below_a_root_that_is_given(
    tmp_path, monkeypatch, written, images
):
    monkeypatch.chdir(tmp_path)
    file = {"/data/upload=pictures": "pictures/4/a.png", "/data/upload/4/=pictures/deep": "pictures/deep/a.png"}
    save_images(tmp_path, [file.get(images, f"{'b=c' if images == 'b=c' else 'pictures'}/a.png")])
    (tmp_path / "x.csv").write_text(f"image,label\n{written},cat\n")
    (record,) = formats.read("x.csv", images=images, label="class")
    assert Path(record.image_url).is_file()
    if written != "a.png":
        with pytest.raises(UserError, match=r"line 2: the .* (leaves|lies outside) .*"):
            list(formats.read("x.csv", label="class"))


# values that no reader may fall over


@pytest.mark.parametrize(
    "path",
    ["a\0.png", "\ud800.png", "x" * 5000, "loop/b.png", "loop", "http://[", "hf://", "memory://[", "a.png/b"],
    ids=ascii,
)
def test_addresses_that_are_none_are_refused_in_one_line(tmp_path, path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for key, kind, file in (("image_url", "class", "x.jsonl"), ("source-ref", "class", "x.manifest")):
        (tmp_path / file).write_text(jsonl_lines({key: path, "label": "cat"}))
        with pytest.raises(UserError) as raised:
            convert(str(tmp_path / file), str(tmp_path / "o"), KINDS[kind].task())
        assert len(str(raised.value).splitlines()) == 1 and not (tmp_path / "o").exists()
    coco(tmp_path, [(1, path)])
    with pytest.raises(UserError):
        convert(str(tmp_path / "instances.json"), str(tmp_path / "o"), "image-object-detection")


def test_link_loops_beside_classes_are_passed_over(tmp_path):
    save_images(tmp_path, ["cat/a.png", "dog/b.png"])
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "cat/loop.png").symlink_to(tmp_path / "cat/loop.png")
    summary, found = converted(tmp_path, tmp_path / "o", "class", on_error="skip")
    assert found == {"cat/a.png": ["cat"], "dog/b.png": ["dog"]} and summary["skipped_images"] <= 1


@pytest.mark.parametrize("source", ["http://[", "x" * 5000, "hf://", "/dev/null/x", "a\0b", "memory://["], ids=ascii)
def test_sources_that_are_none_are_refused_in_one_line(tmp_path, source):
    with pytest.raises(UserError) as raised:
        convert(source, str(tmp_path / "o"), "image-classification")
    assert len(str(raised.value).splitlines()) == 1
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.csv").write_text("image,label\na.png,cat\n")
    with pytest.raises(UserError):
        convert(str(tmp_path / "x.csv"), str(tmp_path / "o"), "image-classification", images=source)


DEEP = "[" * 900 + "]" * 900
VALUES = ["1" * 400, "1" * 5000, DEEP, "[" * 100_000, f'{{"a": {DEEP}}}', "1e400", "NaN", "-0", '"\\ud800"', "{}"]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{v[:12]} {len(v)}")
def test_values_that_are_none_are_refused_in_one_line(tmp_path, value):
    save_images(tmp_path, ["a.png"])
    texts = {
        ("jsonl", "class"): f'{{"image_url": "a.png", "label": {value}}}',
        ("jsonl", "classes"): f'{{"image_url": "a.png", "label": [{value}]}}',
        ("jsonl", "boxes"): f'{{"image_url": "a.png", "label": [{{"label": "x", "topX": {value}}}]}}',
        ("manifest", "class"): f'{{"source-ref": "a.png", "animal": {value}}}',
        ("manifest", "classes"): f'{{"source-ref": "a.png", "animal": [[{value}]]}}',
        ("coco", "boxes"): f'{{"images": [{{"id": 1, "file_name": "a.png", "width": {value}}}], "categories": 1}}',
    }
    for (format, kind), text in texts.items():
        (tmp_path / "x.txt").write_text(text)
        with pytest.raises(UserError) as raised:
            label = list(formats.read(str(write_as(tmp_path, format, text)), format, label=kind))
            if value == "-0" or len(value) == 400:
                raise UserError(f"a number may be a class: {label}")
        assert len(str(raised.value).splitlines()) == 1


def write_as(folder, format, text):
    """Write a file with the format's suffix."""
    path = folder / f"x.{'json' if format == 'coco' else format}"
    path.write_text(text)
    return path


def test_a_line_that_an_annotation_forges_stays_one_line(tmp_path, capsys):
    save_images(tmp_path, ["a.png"])
    coco(tmp_path, [(1, "a.png"), (2, "b.png\nerror: all is well")])
    summary, _ = converted(tmp_path / "instances.json", tmp_path / "o", on_error="skip")
    assert summary["skipped_images"] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("left out: ") and "\\nerror: all is well" in line


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_a_store_that_gives_no_answer_is_no_flaw_of_a_record(tmp_path, monkeypatch, policy):
    def away(url):
        raise StoreError(f"{url}: the store gives no answer")

    (tmp_path / "x.jsonl").write_text(jsonl_lines({"image_url": "s3://bucket/a.png", "label": "cat"}))
    monkeypatch.setattr(storage, "read_bytes", away)
    with pytest.raises(StoreError):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "o"), "image-classification", on_error=policy)
    with pytest.raises(StoreError, match="^the place: "):
        load_image("s3://bucket/a.png", "the place")


# images' own dangers


@pytest.mark.parametrize("size", [(1, 65535), (2, 8000), (8000, 2)])
def test_an_image_of_no_pictures_shape_is_refused_by_its_header(tmp_path, size):
    Image.new("1", size).save(tmp_path / "a.png")
    for open_it in (open_image, load_image):
        with pytest.raises(UserError, match=rf"a.png does not open: its {size[0]} x {size[1]} pixels are no picture's"):
            open_it(str(tmp_path / "a.png"))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "x.jsonl").write_text(jsonl_lines({"image_url": "a.png", "label": "cat"}))
    with pytest.raises(UserError, match="line 1: the image .*a.png(' is not there| is no regular file)"):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "o"), "image-classification")
    with pytest.raises(UserError, match="a.png is no regular file"):
        open_image(str(tmp_path / "a.png"))


def test_a_bomb_is_refused_by_its_header(tmp_path):
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    for open_it in (open_image, load_image):
        with pytest.raises(UserError, match="a.png does not open: it has more than 178,956,970 pixels"):
            open_it(str(tmp_path / "a.png"))


def test_the_digest_of_an_image_is_in_its_record(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.csv").write_text("image,label\na.png,cat\n")
    convert(str(tmp_path / "x.csv"), str(tmp_path / "o"), "image-classification")
    (record,) = read_records(str(tmp_path / "o"))
    assert record.digest == digest_of((tmp_path / "a.png").read_bytes())
    record_file.write([Record("/a.png", Boxes(()), 12, 8, "png")], str(tmp_path / "before"))
    assert next(read_records(str(tmp_path / "before"))).digest is None


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "xml", "manifest", "lst", "rec", "txt", "yaml", "zip"])
@pytest.mark.parametrize("whole", [True, False], ids=["file", "folder"])
@pytest.mark.timeout(60)
def test_a_named_pipe_is_not_waited_for(tmp_path, suffix, whole):
    os.mkfifo(tmp_path / f"x.{suffix}")
    source = tmp_path / f"x.{suffix}" if whole else tmp_path
    for name in ("auto", *formats.NAMES):
        for kind in ("class", "boxes", "polygons", "mask"):
            with pytest.raises(UserError):
                list(formats.read(str(source), name, label=kind))
