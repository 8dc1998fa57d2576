"""Annotations of classification: each format read, folders of classes, where images are."""

import os
from pathlib import Path

import pytest

from automl_images.annotations import OneClass, formats, read_records
from automl_images.annotations.checks import Checker
from automl_images.annotations.labels import KINDS
from automl_images.annotations.source import Source
from automl_images.errors import UserError
from automl_images.steps.convert import convert, summary_line
from tests.conftest import azure, jsonl_lines, lay, ref, save_images

ONE, SEVERAL = "image-classification", "image-classification-multilabel"
TASKS = {"class": ONE, "classes": SEVERAL}
# format, kind, files beside a.png, b.png and c.png, the labels by image
GOOD = {
    "jsonl: one": ("jsonl", "class", {"x.jsonl": azure("cat", 3, " dog ")}, ["cat", "3", "dog"]),
    "jsonl: numbers": ("jsonl", "class", {"x.jsonl": azure(3.0, 3, 2.5)}, ["3", "3", "2.5"]),
    "jsonl: list": ("jsonl", "classes", {"x.jsonl": azure(["b", "a", "b"], [], [1])}, [["b", "a"], [], ["1"]]),
    "lst: id": ("lst", "class", {"x.lst": "5\t1\ta.png\n6\t0\tb.png\n\n7\t1.000000\tc.png\n"}, ["1", "0", "1"]),
    "lst: named": (
        "lst",
        "class",
        {"x.lst": "5\t1\ta.png\r\n6\t0\tb.png\r\n", "classes.txt": "cat\r\nbig dog\r\n"},
        ["big dog", "cat"],
    ),
    "lst: multi-hot": (
        "lst",
        "classes",
        {"x.lst": "0\t1\t0\t1\ta.png\n1\t0\t0\t0\tb.png\n"},
        [["0", "2"], []],
    ),
    "lst: multi-hot, named": (
        "lst",
        "classes",
        {"x.lst": "0\t1\t0\t1\ta.png\n", "classes.txt": "cat\ndog\nemu\n"},
        [["cat", "emu"]],
    ),
    "csv: one": (
        "csv",
        "class",
        {"x.csv": 'ID,Filename, LABEL \n1,a.png,"cat, big"\n\n2,b.png,7\n'},
        ["cat, big", "7"],
    ),
    "csv: several": (
        "csv",
        "classes",
        {"x.csv": "\ufeffpath,labels\r\na.png,cat| dog|cat\r\nb.png,\r\n"},
        [["cat", "dog"], []],
    ),
    "csv: others beside": (
        "csv",
        "class",
        {"x.csv": "image,label\na.png,cat\n", "licences.csv": "image,licence\na.png,BY\n"},
        ["cat"],
    ),
    "manifest: id": ("manifest", "class", {"x.manifest": jsonl_lines(ref("0"), ref(1, image="b.png"))}, ["0", "1"]),
    "manifest: class-name": (
        "manifest",
        "class",
        {
            "x.manifest": jsonl_lines(
                ref(0, {"class-name": "dog", "type": "groundtruth/image-classification"}),
                ref(1, {"class-name": "cat"}, "b.png"),
                ref(0, {"confidence": 0.5}, "c.png"),
            )
        },
        ["dog", "cat", "dog"],
    ),
    "manifest: text": ("manifest", "class", {"x.jsonl": jsonl_lines(ref("dog"))}, ["dog"]),
    "manifest: class ids by class-map": (
        "manifest",
        "classes",
        {
            "x.manifest": jsonl_lines(
                ref([1, 0], {"class-map": {"0": "dog", "1": "cat"}}), ref([], {"class-map": {}}, "b.png")
            )
        },
        [["cat", "dog"], []],
    ),
    "manifest: class ids, as no multi-hot has a 2": (
        "manifest",
        "classes",
        {"x.manifest": jsonl_lines(ref("[0, 2]"), ref("[1]", image="b.png"))},
        [["0", "2"], ["1"]],
    ),
    "manifest: class ids, as lengths differ": (
        "manifest",
        "classes",
        {"x.manifest": jsonl_lines(ref([0, 1]), ref([1], image="b.png"))},
        [["0", "1"], ["1"]],
    ),
    "manifest: multi-hot as text": (
        "manifest",
        "classes",
        {"x.manifest": jsonl_lines(ref("[1, 0, 1]"), ref("[0, 0, 0]", image="b.png"))},
        [["0", "2"], []],
    ),
    "manifest: multi-hot with a map": (
        "manifest",
        "classes",
        {
            "x.manifest": jsonl_lines(
                ref([1, 0, 1], {"class-map": {"0": "dog", "1": "cat", "2": "emu"}}), ref([0, 1, 0], {}, "b.png")
            )
        },
        [["dog", "emu"], ["cat"]],
    ),
    "manifest: names": ("manifest", "classes", {"x.manifest": jsonl_lines(ref(["dog", "cat"]))}, [["dog", "cat"]]),
    "manifest: of several attributes the one of the type": (
        "manifest",
        "class",
        {
            "x.manifest": jsonl_lines(
                ref(
                    0,
                    {"class-name": "dog", "type": "groundtruth/image-classification"},
                    box={},
                    **{"box-metadata": {"type": "groundtruth/object-detection"}},
                )
            )
        },
        ["dog"],
    ),
}


@pytest.mark.parametrize(("format", "kind", "files", "expected"), GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("how", ["folder", "file"])
def test_each_format_is_recognised_and_read(tmp_path, format, kind, files, expected, how):
    lay(tmp_path, files)
    source = str(tmp_path if how == "folder" else tmp_path / next(iter(files)))
    assert formats.detect(Source(source), KINDS[kind]).name == format
    records = list(formats.read(source, label=kind))
    assert [r.label.to_json() for r in records] == expected
    assert [Path(r.image_url).stem for r in records] == list("abc")[: len(expected)]
    out = str(tmp_path / "out")
    summary = convert(source, out, TASKS[kind], format=format)
    assert [r.label.to_json() for r in read_records(out, kind)] == expected
    flat = [name for label in expected for name in ([label] if kind == "class" else label)]
    assert (summary["images"], summary["labels"]) == (len(expected), len(flat))
    assert summary["classes"] == {name: flat.count(name) for name in sorted(flat)}


TREE = ["cat/1.png", "cat/more/2.PNG", "big dog/1.jpg", ".hidden/3.png", "cat/.4.png"]


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    save_images(folder, TREE)
    (folder / "README.md").write_text("about")
    (folder / "cat/Thumbs.db").write_text("no image")
    return folder


def test_a_folder_per_class(tree, tmp_path):
    assert formats.detect(Source(str(tree)), OneClass).name == "folder"
    summary = convert(str(tree), str(tmp_path / "o"), ONE)
    assert summary["classes"] == {"big dog": 1, "cat": 2}
    found = [(os.path.relpath(r.image_url, tree), r.label.name, r.format) for r in read_records(str(tmp_path / "o"))]
    assert found == [("big dog/1.jpg", "big dog", "jpg"), ("cat/1.png", "cat", "png"), ("cat/more/2.PNG", "cat", "png")]
    assert summary_line(summary) == "3 images, 2 classes"


def test_a_folder_per_class_on_another_store(tree, tmp_path):
    import fsspec

    url = f"/{tmp_path.name}-tree"
    fsspec.filesystem("memory").put(f"{tree}/", f"{url}/", recursive=True)
    summary = convert(f"memory:/{url}", f"memory:/{url}-out.jsonl", ONE)
    assert summary["classes"] == {"big dog": 1, "cat": 2}
    assert next(read_records(f"memory:/{url}-out.jsonl", "class")).image_url == f"memory:/{url}/big dog/1.jpg"


def test_an_image_beside_the_classes_is_refused_or_left_out(tree):
    save_images(tree, ["loose.png"])
    with pytest.raises(UserError, match="loose.png: lies in no class's folder; move it to .*/CLASS/"):
        list(formats.read(str(tree), label="class"))
    checker = Checker("skip", label="class")
    assert len(list(formats.read(str(tree), broken=checker.broken, label="class"))) == 3
    assert checker.found["skipped_images"] == 1


def test_a_folder_without_images_is_no_class_and_that_is_said(tree, capsys):
    (tree / "emu").mkdir()
    (tree / "linked").symlink_to(tree / "cat")
    assert {r.label.name for r in formats.read(str(tree), label="class")} == {"cat", "big dog"}
    assert "links to folders are not followed): 'emu', 'linked'" in capsys.readouterr().err


def test_links_that_leave_the_folder_are_refused(tree, tmp_path):
    save_images(tmp_path, ["outside.png"])
    (tree / "cat/link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(UserError, match="leaves the image root .* through a link"):
        list(formats.read(str(tree), label="class"))


def test_folders_of_sets_are_no_classes(tmp_path):
    save_images(tmp_path, ["train/cat/1.png", "Valid/cat/1.png"])
    with pytest.raises(UserError, match="holds the sets train and Valid; name one of them"):
        list(formats.read(str(tmp_path), label="class"))
    assert [r.label.to_json() for r in formats.read(str(tmp_path / "train"), label="class")] == ["cat"]


def test_images_are_not_looked_for_elsewhere_than_in_their_classes_folders(tree):
    with pytest.raises(UserError, match="images: .*a folder per class holds its images itself; leave it out"):
        formats.read(str(tree), "folder", str(tree), label="class")


def test_a_file_of_labels_goes_before_folders_and_that_is_said(tree, capsys):
    (tree / "x.lst").write_text("0\t4\tcat/1.png\n")
    (record,) = formats.read(str(tree), label="class")
    assert record.label.name == "4"
    assert (
        f"the labels are those of {tree}/x.lst; for those of a folder per class set format: folder"
        in capsys.readouterr().err
    )
    assert len(list(formats.read(str(tree), "folder", label="class"))) == 3


def test_folders_cannot_label_several_classes(tree):
    with pytest.raises(
        UserError, match="is a folder per class, which holds one .*; use task image-classification, or JSONL"
    ):
        formats.read(str(tree), label="classes")


@pytest.mark.parametrize("name", ["x.lst", "x.csv", "x.manifest"])
def test_images_below_another_root(tmp_path, name):
    save_images(tmp_path / "pictures", ["cat/1.png"])
    texts = {
        "x.lst": "0\t4\tcat/1.png\n",
        "x.csv": "image,label\ncat/1.png,4\n",
        "x.manifest": jsonl_lines({"source-ref": "cat/1.png", "animal": 4}),
    }
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / name).write_text(texts[name])
    (record,) = formats.read(str(tmp_path / "labels" / name), images=str(tmp_path / "pictures"), label="class")
    assert (record.image_url, record.label.name) == (f"{tmp_path}/pictures/cat/1.png", "4")


def test_images_in_a_folder_of_that_name_and_anywhere(tmp_path):
    save_images(tmp_path, ["images/1.png", "deep/down/2.png"])
    (tmp_path / "x.csv").write_text("image,label\n1.png,a\n2.png,b\n")
    found = [os.path.relpath(r.image_url, tmp_path) for r in formats.read(str(tmp_path), label="class")]
    assert found == ["images/1.png", "deep/down/2.png"]


def test_a_manifests_addresses_are_mapped(tmp_path):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.manifest").write_text(jsonl_lines(ref(0, image="s3://bucket/data/a.png")))
    (record,) = formats.read(str(tmp_path), images=f"s3://bucket/data/={tmp_path}", label="class")
    assert record.image_url == f"{tmp_path}/a.png"
    (record,) = formats.read(str(tmp_path), label="class")
    assert record.image_url == "s3://bucket/data/a.png"


@pytest.mark.parametrize(
    ("metadata", "expected", "what"),
    [
        (None, [["0"], ["1"]], "read as multi-hot, as there is no class-map"),
        ({"class-map": {"0": "dog", "1": "cat"}}, [["dog", "cat"], ["dog", "cat"]], "read as class ids, as there is a"),
    ],
    ids=["without a map", "with a map"],
)
def test_lists_that_may_be_either_are_decided_by_the_class_map_and_it_is_said(
    tmp_path, capsys, metadata, expected, what
):
    lay(tmp_path, {"x.manifest": jsonl_lines(ref([1, 0], metadata), ref([0, 1], metadata))})
    found = [r.label.to_json() for r in formats.read(str(tmp_path / "x.manifest"), label="classes")]
    assert [sorted(label, reverse=True) for label in found] == expected
    assert what in capsys.readouterr().err
