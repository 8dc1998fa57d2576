"""Records written in other formats: what is kept, what is said to be lost, and that nothing is written half."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

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
    formats,
    read_records,
    record_file,
)
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.labels import KINDS
from automl_images.annotations.shapes import encoded
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from automl_images.steps.export import export_records, kind_in, summary_lines, taken
from tests.conftest import draw_squares, save_images

BOX, CROWD = Box("cat", 0.25, 0.5, 0.75, 1.0), Box("dog", 0, 0, 0.5, 0.5, isCrowd=True, area=7.0)


class Stand:
    """A format whose writer says what it was given; it fails after ``fails`` records."""

    def __init__(self, kinds=(Boxes,), folder=False, fails=None):
        self.fails, self.kind, self.out = fails, None, None
        self.format = Format("stand", "a stand-in", kinds, lambda source: [], lambda *_: iter(()), self.write, folder)

    def write(self, records, out, kind):
        self.kind, self.out = kind, out
        folder, lost, lines = Path(out), 0, []
        for record in records:
            lines.append(json.dumps([record.image_url, record.label.to_json()]))
            lost += any(box.isCrowd for box in getattr(record.label, "boxes", ()))
            if self.fails is not None and len(lines) > self.fails:
                raise UserError("the writer has had enough")
        if self.format.folder:
            folder.mkdir(exist_ok=True)
        (folder / "all.txt" if self.format.folder else folder).write_text("\n".join(lines))
        return Written(len(lines), {"isCrowd": lost})


@pytest.fixture
def stand(monkeypatch):
    def put(**how):
        made = Stand(**how)
        monkeypatch.setitem(formats.FORMATS, "stand", made.format)
        return made

    return put


def records_of(folder, *labels):
    names = [f"{i}.png" for i in range(len(labels))]
    save_images(folder / "images", names)
    records = [Record(str(folder / "images" / n), label, 12, 8, "png") for n, label in zip(names, labels, strict=True)]
    record_file.write(records, str(folder / "r.jsonl"))
    return str(folder / "r.jsonl")


def test_what_is_lost_is_said(tmp_path, stand):
    made = stand()
    records = records_of(tmp_path, Boxes((BOX,)), Boxes((CROWD,)))
    result = export_records(records, str(tmp_path / "out/x.txt"), "stand")
    assert result["images"] == 2 and result["kind"] == "boxes" and result["lost"] == {"isCrowd": 1}
    assert made.kind is Boxes
    assert summary_lines(result)[1] == "what stand cannot hold: 1 isCrowd"
    written = [json.loads(line) for line in (tmp_path / "out/x.txt").read_text().splitlines()]
    assert [Path(url).name for url, _ in written] == ["0.png", "1.png"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.txt"]


def test_metadata_are_lost_but_in_our_own_file(tmp_path, stand):
    stand()
    records = [Record(f"/{i}.png", Boxes((BOX,)), metadata={"who": i} if i else None) for i in range(3)]
    record_file.write(records, str(tmp_path / "r.jsonl"))
    assert export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "x.txt"), "stand")["lost"] == {"metadata": 2}
    assert export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "x.jsonl"), "jsonl")["lost"] == {}
    assert [record.metadata for record in record_file.read_records(str(tmp_path / "x.jsonl"))] == [
        record.metadata for record in records
    ]


def test_polygons_become_boxes_where_boxes_alone_are_held(tmp_path, stand):
    made = stand()
    inside = np.zeros((8, 12), bool)
    inside[4:8, 3:9] = True
    items = (
        Instance("cat", ((0.25, 0.5, 0.75, 0.5, 0.75, 1.0),), area=9.0),
        Instance("cat", rle=encoded(inside), isCrowd=True),
        Instance("cat", rle=encoded(np.zeros((8, 12), bool))),
    )
    result = export_records(records_of(tmp_path, Polygons(items)), str(tmp_path / "x.txt"), "stand")
    assert made.kind is Boxes and result["kind"] == "boxes"
    assert result["lost"] == {"outlines (boxes are kept)": 2, "objects without area": 1, "isCrowd": 1}
    (_, label), *_ = [json.loads(line) for line in (tmp_path / "x.txt").read_text().splitlines()]
    assert label == [replace(BOX, area=9.0).to_json(), replace(BOX, isCrowd=True).to_json()]


def test_polygons_stay_where_they_are_held(tmp_path, stand):
    made = stand(kinds=(Boxes, Polygons))
    label = Polygons((Instance("cat", ((0.25, 0.5, 0.75, 0.5, 0.75, 1.0),)),))
    result = export_records(records_of(tmp_path, label), str(tmp_path / "x.txt"), "stand")
    assert made.kind is Polygons and result["lost"] == {}


def test_one_class_is_written_as_a_list_of_it(tmp_path, stand):
    made = stand(kinds=(Classes,))
    export_records(records_of(tmp_path, OneClass("cat")), str(tmp_path / "x.txt"), "stand")
    assert made.kind is Classes and json.loads((tmp_path / "x.txt").read_text())[1] == ["cat"]


def test_a_format_that_cannot_hold_a_kind_names_those_that_can(stand):
    made = stand(kinds=(OneClass,))
    with pytest.raises(UserError, match="format: stand holds one class an image, and the records have boxes; .*jsonl"):
        taken(made.format, Boxes)


@pytest.mark.parametrize("images", ["link", "copy"])
def test_images_come_into_the_folder(tmp_path, stand, images):
    stand(folder=True)
    records = records_of(tmp_path, Boxes((BOX,)), Boxes(()))
    export_records(records, str(tmp_path / "out"), "stand", images=images)
    for name in ("0.png", "1.png"):
        image = tmp_path / "out/images" / name
        assert not image.is_symlink() and image.samefile(tmp_path / "images" / name) == (images == "link")
        assert image.read_bytes() == (tmp_path / "images" / name).read_bytes()
    urls = [json.loads(line)[0] for line in (tmp_path / "out/all.txt").read_text().splitlines()]
    assert [url.rpartition("/images/")[2] for url in urls] == ["0.png", "1.png"]


def test_images_stay_where_they_are_where_that_is_asked(tmp_path, stand):
    stand(folder=True)
    records = records_of(tmp_path, Boxes((BOX,)))
    export_records(records, str(tmp_path / "out"), "stand", images="none")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["all.txt"]
    assert json.loads((tmp_path / "out/all.txt").read_text())[0] == str(tmp_path / "images/0.png")


def test_images_of_one_name_get_two(tmp_path, stand):
    stand(folder=True)
    save_images(tmp_path, ["a/x.png", "b/x.png", "c/X.jpg", "d/x-2.png", "e/my cat.png"])
    files = sorted(str(p) for p in tmp_path.rglob("*.*g"))
    record_file.write([Record(file, Boxes((BOX,)), 12, 8) for file in files], str(tmp_path / "r.jsonl"))
    export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "out"), "stand", images="link")
    found = {p.name: next(f for f in files if p.samefile(f)) for p in (tmp_path / "out/images").iterdir()}
    assert sorted(found) == ["X-3.jpg", "my_cat.png", "x-2-2.png", "x-2.png", "x.png"]
    assert sorted(found.values()) == files


def test_between_file_systems_links_are_symbolic(tmp_path, stand, monkeypatch):
    def hardlink_to(self, target):
        raise OSError(18, "Invalid cross-device link")

    stand(folder=True)
    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    export_records(records_of(tmp_path, Boxes((BOX,))), str(tmp_path / "out"), "stand")
    link = tmp_path / "out/images/0.png"
    assert link.is_symlink() and link.resolve() == tmp_path / "images/0.png"


def test_an_image_to_link_that_is_gone_is_said(tmp_path, stand):
    stand(folder=True)
    records = records_of(tmp_path, Boxes((BOX,)))
    (tmp_path / "images/0.png").unlink()
    with pytest.raises(UserError, match=r"r.jsonl, line 1: the image .*0.png is not there"):
        export_records(records, str(tmp_path / "out"), "stand")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing(tmp_path, stand):
    records = records_of(tmp_path, *[Boxes((BOX,))] * 3)
    before = sorted(p.name for p in tmp_path.iterdir())
    (tmp_path / "x.txt").write_text("old")
    for folder, out in ((False, "x.txt"), (True, "folder")):
        stand(fails=1, folder=folder)
        with pytest.raises(UserError, match="had enough"):
            export_records(records, str(tmp_path / out), "stand")
    assert (tmp_path / "x.txt").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "x.txt"])


def test_a_folder_goes_to_a_store(tmp_path, stand):
    made = stand(folder=True)
    records = records_of(tmp_path, Boxes((BOX,)))
    export_records(records, "memory://exported/set", "stand", images="copy")
    assert storage.files_below("memory://exported/set") == ["all.txt", "images/0.png"]
    assert not Path(made.out).exists()
    stand()
    result = export_records(records, "memory://exported/x.txt", "stand")
    assert storage.read_text("memory://exported/x.txt") and result["out"] == "memory://exported/x.txt"


def test_images_of_a_store_are_copied_and_not_linked(tmp_path, stand):
    stand(folder=True)
    storage.write("memory://pictures/a.png", b"bytes")
    record_file.write([Record("memory://pictures/a.png", Boxes((BOX,)), 12, 8)], str(tmp_path / "r.jsonl"))
    with pytest.raises(UserError, match="r.jsonl, line 1: the image memory://pictures/a.png lies on a store, .*copy"):
        export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "out"), "stand")
    export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "out"), "stand", images="copy")
    assert (tmp_path / "out/images/a.png").read_bytes() == b"bytes"
    storage.remove("memory://pictures/a.png")
    with pytest.raises(UserError, match="line 1: the image memory://pictures/a.png is not there"):
        export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "other"), "stand", images="copy")
    assert not (tmp_path / "other").exists()


def refused(tmp_path, stand, case):
    """Return the arguments of a refused export, and a line's part."""
    stand(folder="folder" in case)
    records, out, format, how = records_of(tmp_path, Boxes((BOX,))), tmp_path / "out", "stand", {}
    if case == "full folder":
        save_images(out, ["a.png"])
    elif case == "file for a folder":
        out.write_text("x")
    elif case == "directory for a file":
        out.mkdir()
    elif case == "unknown":
        format = "cocoo"
    elif case == "only read":
        formats.FORMATS["stand"] = dataclasses.replace(formats.FORMATS["stand"], write=None)
    elif case == "images unknown":
        how = {"images": "hardlink"}
    elif case == "images beside one":
        how = {"images": "copy"}
    elif case == "links in a remote folder":
        out, how = "memory://exported/links", {"images": "link"}
    elif case == "itself":
        out = records
    elif case == "no records":
        records = str(tmp_path / "none.jsonl")
    elif case == "foreign":
        Path(records).write_text('{"image_url": "a.png"}\n')
    elif case == "another task":
        format, how = "jsonl", {"task": "image-classification"}
    elif case == "empty":
        Path(records).write_text("")
    elif case == "nothing labelled":
        record_file.write([Record("/a.png", Boxes(()))], records)
    return (records, str(out), format), how


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("full folder", "out: is not empty; name a folder"),
        ("file for a folder", "out: is a file; name another"),
        ("directory for a file", "out: is a folder; name another"),
        ("unknown", "format: 'cocoo' is unknown"),
        ("only read", "format: stand is read and not written; use .*jsonl"),
        ("images unknown", "images: 'hardlink' is no choice"),
        ("images beside one", "stand writes one file"),
        ("links in a remote folder", "there are no links on a store"),
        ("itself", "r.jsonl: is the file of records itself"),
        ("no records", "none.jsonl: no such file"),
        ("foreign", "r.jsonl, line 1: is not as"),
        ("another task", "r.jsonl, line 1: is not as `automl-images convert --task image-classification`"),
        ("empty", "no image has a label that tells the task; name it with --task"),
        ("nothing labelled", "no image has a label that tells the task"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path, stand, case, line):
    given, how = refused(tmp_path, stand, case)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=line) as error:
        export_records(*given, **how)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_with_nothing_on_it_takes_the_kind_of_the_others(tmp_path):
    assert kind_in(records_of(tmp_path, Boxes(()), Boxes((BOX,)))) == "boxes"
    records = records_of(tmp_path, Boxes(()))
    assert export_records(records, str(tmp_path / "x.jsonl"), "jsonl", task="image-object-detection")["images"] == 1


def test_the_command_writes_and_says_so(tmp_path):
    records = records_of(tmp_path, Boxes((BOX, CROWD)))
    words = [sys.executable, "-m", "automl_images.cli", "export", records, str(tmp_path / "x.jsonl")]
    done = subprocess.run([*words, "--format", "jsonl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1 images written to {tmp_path}/x.jsonl (jsonl)\n"
    assert list(read_records(str(tmp_path / "x.jsonl"))) == list(read_records(records))
    done = subprocess.run([*words, "--format", "jsonl", "--json"], capture_output=True, text=True)
    assert json.loads(done.stdout)["lost"] == {}


def test_squares_go_out_and_come_back(tmp_path):
    record_file.write(draw_squares(tmp_path / "images", 5), str(tmp_path / "r.jsonl"))
    export_records(str(tmp_path / "r.jsonl"), str(tmp_path / "x.jsonl"), "jsonl")
    back = list(formats.read(str(tmp_path / "x.jsonl"), label="boxes"))
    assert back == list(read_records(str(tmp_path / "r.jsonl")))


SQUARE = ((0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75),)
LABELLED = {
    "class": [OneClass("cat"), OneClass("dog"), OneClass("cat")],
    "classes": [Classes(("cat", "dog")), Classes(("dog",)), Classes(("cat",))],
    "boxes": [Boxes((BOX, replace(BOX, label="dog", topX=0.0))), Boxes(()), Boxes((BOX,))],
    "polygons": [Polygons((Instance("cat", SQUARE),)), Polygons(()), Polygons((Instance("dog", SQUARE),))],
}
WRITTEN = [(name, kind.kind) for name, one in formats.FORMATS.items() if one.write for kind in one.kinds]
SUFFIXES = {"coco": ".json", "recordio": ".rec"}
HOLDS_IMAGES = ("recordio",)  # which are written anew where they are read


@pytest.mark.parametrize(("name", "kind"), WRITTEN)
def test_what_every_format_is_given_comes_back(tmp_path, name, kind):
    one = formats.FORMATS[name]
    if kind == "mask":
        Image.fromarray(np.tile(np.array([0, 1, 255], np.uint8), (8, 4))).save(tmp_path / "m.png")
        labels = [Mask(str(tmp_path / "m.png"), (("cat", 0), ("dog", 1)), (255,), ("cat", "dog"))]
    else:
        labels = LABELLED[kind]
    records = records_of(tmp_path, *labels)
    out = tmp_path / ("out" if one.folder else f"x{SUFFIXES.get(name, f'.{name}')}")
    result = export_records(records, str(out), name)
    assert result["images"] == len(labels) and result["kind"] == kind
    back = str(tmp_path / "back.jsonl")
    unpacked = str(tmp_path / "unpacked") if name in HOLDS_IMAGES else None
    convert(str(out), back, KINDS[kind].task(), format=name, images=unpacked)
    found = [(Path(r.image_url).stem, sorted(r.label.names())) for r in read_records(back, kind)]
    wanted = [(str(i), sorted(label.names())) for i, label in enumerate(labels)]
    if unpacked:
        found, wanted = ([names for _, names in rows] for rows in (found, wanted))
    assert sorted(found) == sorted(wanted)
    assert all(storage.exists(r.image_url) for r in read_records(back, kind))
    if one.folder:
        texts = [p.read_text() for p in out.rglob("*") if p.suffix in (".yaml", ".xml", ".txt")]
        assert str(tmp_path) not in "".join(texts), "the folder may be moved"
