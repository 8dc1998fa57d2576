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
from automl_images.annotations.checks import FLAWS, POLICIES, Checker, check_training_classes, flaw_table
from automl_images.annotations.formats.base import Format, Written
from automl_images.annotations.imageroot import Folder
from automl_images.annotations.labels import KINDS, Label, kind_of
from automl_images.annotations.source import Source
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
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
}
# by format and kind, what its writer cannot hold of LABELS, and what is left
LOST = {
    ("manifest", "mask"): ({"ignore": 1}, dataclasses.replace(LABELS["mask"], ignore=(255,))),
}
BOX = {"label": "cat", "topX": 0.25, "topY": 0.5, "bottomX": 0.75, "bottomY": 1.0}
POLYGON = {"label": "cat", "polygon": [[0.25, 0.5, 0.75, 0.5, 0.75, 1.0]]}
MASK = {"mask_url": "a_mask.png", "classes": {"cat": 1, "dog": 2}, "ignore": [0, 255]}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [3, 4, 6, 4]}],
    "categories": [{"id": 7, "name": "cat"}],
}
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
    ("coco", "boxes"): {"x.json": json.dumps(COCO)},
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
        save_images(folder, ["a.png"])
        (folder / "a_mask.png").write_bytes(mask_of(1, 2))
        record = Record(str(folder / "a.png"), LABELS[kind.kind], 12, 8, "png")
        out = str(folder / f"out_{kind.kind}") + ("" if format.folder else ".jsonl")
        lost, kept = LOST.get((name, kind.kind), ({}, record.label))
        assert format.write([record], out, kind) == Written(1, lost)
        (found,) = formats.read(out, name, label=kind.kind)
        assert (found.image_url, named(found.label)) == (record.image_url, kept)


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
    from components.convert.component import convert as component
    from pipelines.experiment import Experiment

    schema = json.dumps(Experiment.model_json_schema())
    for name in formats.NAMES:
        assert f'"{name}"' in schema and name in formats.description()
    assert formats.description() in schema
    assert formats.description() in component.component_spec.inputs["data"].description
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


# The flaw table, by doing what each row says.


def one(tmp_path, label, kind, policy, classes=("cat", "dog"), **changes):
    """Return what came of a record of a 12 x 8 image: refused, image left out, or (label, counts)."""
    save_images(tmp_path, ["a.png"])
    checker = Checker(policy, classes, label=kind)
    record = Record(str(tmp_path / "a.png"), label, **{"where": "x", "width": 12, "height": 8, **changes})
    try:
        kept = list(checker.check([record]))
    except UserError:
        return "refused"
    assert not kept or (kept[0].width, kept[0].height) == (12, 8)
    return (kept[0].label, checker.found) if kept else "image left out"


def box(*corners, left=1, name="cat", counted=None):
    """Return a check of one box, of which so many are left inside the image, and the flaw counted."""

    def outcome(tmp_path, policy):
        found = one(tmp_path, Boxes((Box(name, *corners),)), "boxes", policy)
        if isinstance(found, str):
            return found
        label, counts = found
        assert len(label.boxes) == left and (counted is None or counts[counted] == 1)
        assert all(0 <= v <= 1 for b in label.boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY))
        if not label.boxes:
            return "box dropped" if name == "emu" else "dropped"
        (after,) = label.boxes
        if counts["clipped_boxes"] or max(corners) > 1:
            return "clipped"
        assert (after.topX, after.bottomX) == (corners[2], corners[0])
        return "corners exchanged"

    return outcome


def other_size(kind):
    def outcome(tmp_path, policy):
        found = one(tmp_path, LABELS[kind], kind, policy, width=24, height=16)
        return found if isinstance(found, str) else {1: "its own taken"}[found[1]["fixed_sizes"]]

    return outcome


def unknown(kind, label, left=None):
    def outcome(tmp_path, policy):
        found = one(tmp_path, label, kind, policy)
        return found if isinstance(found, str) else {left: "class dropped"}[found[0]]

    return outcome


def none(kind):
    """Return a check of an image without a class: not to be read as one class, an empty list of several."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        (tmp_path / "x.csv").write_text("image,label\na.png,\n")
        checker = Checker(policy, label=kind)
        try:
            found = list(checker.check(formats.read(str(tmp_path / "x.csv"), broken=checker.broken, label=kind)))
        except UserError:
            return "refused"
        assert checker.found["unlabelled_images"] == len(found)
        return "kept" if found else "image left out"

    return outcome


def twice(kind, *given, expected=None):
    """Return a check of several records of one image, of which ``expected`` is left."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        checker = Checker(policy, label=kind)
        try:
            found = list(checker.check([Record(str(tmp_path / "a.png"), label, where=str(i)) for i, label in given]))
        except UserError:
            return "refused"
        left = [record.label for record in checker.settled(lambda: iter(found))]
        assert checker.images == len(left)
        if not left:
            return "image left out"
        assert left == [expected] and checker.found["repeated_images" if len(given) > 1 else "repeated_boxes"] == 1
        assert checker.labels.total() == len(expected.names())
        return "joined" if len(given) > 1 and kind == "boxes" else "counted once"

    given = list(enumerate(given))
    return outcome


def contradicted(kind, first, second):
    """Return a check of two images of equal bytes."""

    def outcome(tmp_path, policy):
        save_images(tmp_path, ["a.png"])
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
        checker = Checker(policy, label=kind)
        records = [Record(str(tmp_path / f"{n}.png"), label) for n, label in (("a", first), ("b", second))]
        return {(2, 1): "kept"}[len(list(checker.check(records))), checker.summary()["contradicted_images"]]

    return outcome


def training(kind, classes):
    def outcome(tmp_path, policy):
        try:
            check_training_classes(classes, kind)
        except UserError:
            return "refused"
        return "said"

    return outcome


def missing(kind):
    """Return a check of a validation set without an image of a class."""

    def outcome(tmp_path, policy, capsys):
        save_images(tmp_path, ["a.png", "b.png"])
        for name, text in (("t", "image,label\na.png,cat\nb.png,dog\n"), ("v", "image,label\na.png,cat\n")):
            (tmp_path / f"{name}.csv").write_text(text)
        data = {n: {"source": str(tmp_path / f"{n[0]}.csv")} for n in ("training", "validation")}
        outs = {name: str(tmp_path / f"{name}.out") for name in data}
        convert_data(KINDS[kind].task(), {**data, "on_error": policy}, outs)
        return "said" if "validation: no image has the class dog" in capsys.readouterr().err else "nothing"

    return outcome


def unopened(content):
    def outcome(tmp_path, policy):
        checker = Checker(policy, label="class")
        path = tmp_path / "broken.png"
        if content == "half":
            Image.effect_noise((60, 60), 90).save(path)
            path.write_bytes(path.read_bytes()[:2000])
        elif content is not None:
            path.write_bytes(content)
        try:
            return {0: "image left out"}[len(list(checker.check([Record(str(path), OneClass("cat"))])))]
        except UserError:
            return "refused"

    return outcome


def unread(tmp_path, policy):
    save_images(tmp_path, ["a.png"])
    (tmp_path / "x.jsonl").write_text('{"image_url": "a.png", "label": "cat"}\n{\n')
    checker = Checker(policy, label="class")
    try:
        found = list(formats.read(str(tmp_path / "x.jsonl"), broken=checker.broken, label="class"))
    except UserError:
        return "refused"
    return {1: "image left out"}[len(found)]


A_BOX, ANOTHER = Box("cat", 0.25, 0.5, 0.75, 1.0), Box("dog", 0, 0, 0.5, 0.5)
SIZE, CLASS = "an image of another size than annotated", "a class that training does not have"
CHECKS = {
    ("any", "an image that is missing or does not open"): [unopened(None), unopened(b""), unopened(b"text")],
    ("any", "a truncated image"): [unopened("half")],
    ("any", "a record that cannot be read"): [unread],
    ("class", SIZE): [other_size("class")],
    ("class", "an image without a class"): [none("class")],
    ("class", CLASS): [unknown("class", OneClass("emu"))],
    ("class", "an image once more, with the same class"): [
        twice("class", OneClass("cat"), OneClass("cat"), expected=OneClass("cat"))
    ],
    ("class", "an image once more, with another class"): [twice("class", OneClass("cat"), OneClass("dog"))],
    ("class", "the bytes of another image, with another class"): [
        contradicted("class", OneClass("cat"), OneClass("dog"))
    ],
    ("class", "training with fewer than two classes"): [training("class", ["a"]), training("class", [])],
    ("class", "a class without an image to score on"): [missing("class")],
    ("classes", SIZE): [other_size("classes")],
    ("classes", "an image without a class"): [none("classes")],
    ("classes", CLASS): [
        unknown("classes", Classes(("cat", "emu")), Classes(("cat",))),
        unknown("classes", Classes(("emu",)), Classes(())),
    ],
    ("classes", "an image once more, with the same classes"): [
        twice("classes", Classes(("cat", "dog")), Classes(("dog", "cat")), expected=Classes(("cat", "dog")))
    ],
    ("classes", "an image once more, with other classes"): [
        twice("classes", Classes(("cat", "dog")), Classes(("cat",))),
        twice("classes", Classes(()), Classes(("cat",))),
    ],
    ("classes", "the bytes of another image, with other classes"): [
        contradicted("classes", Classes(("cat", "dog")), Classes(("cat",)))
    ],
    ("classes", "training with one class alone"): [training("classes", ["a"])],
    ("classes", "training without a class"): [training("classes", [])],
    ("classes", "a class without an image to score on"): [missing("classes")],
    ("boxes", "a box without area"): [box(0.5, 0.1, 0.5, 0.5, left=0, counted="dropped_boxes")],
    ("boxes", "a box outside the image by at most a pixel"): [
        box(0.5, 0.1, 1 + 0.9 / 12, 0.5, counted="clipped_boxes"),
        box(-0.9 / 12, 0.1, 0.4, 0.5, counted="clipped_boxes"),
    ],
    ("boxes", "a box further outside"): [
        box(0.5, 0.1, 1 + 2 / 12, 0.5, counted="fixed_boxes"),
        box(0.5, 0.1, 0.6, 1 + 2 / 8, counted="fixed_boxes"),
    ],
    ("boxes", "a box that ends before it begins"): [box(0.5, 0.1, 0.2, 0.5, counted="fixed_boxes")],
    ("boxes", "a box that stands twice"): [twice("boxes", Boxes((A_BOX, A_BOX)), expected=Boxes((A_BOX,)))],
    ("boxes", "an image in several records"): [
        twice("boxes", Boxes((A_BOX,)), Boxes((ANOTHER, A_BOX)), expected=Boxes((A_BOX, ANOTHER))),
        twice("boxes", Boxes(()), Boxes((A_BOX,)), expected=Boxes((A_BOX,))),
    ],
    ("boxes", SIZE): [other_size("boxes")],
    ("boxes", CLASS): [box(0.1, 0.1, 0.2, 0.5, left=0, name="emu", counted="dropped_boxes")],
}
TABLES = {"any": FLAWS, **{name: kind.flaws for name, kind in KINDS.items()}}
ROWS = {(name, flaw): tuple(outcomes) for name, flaws in TABLES.items() for flaw, *outcomes in flaws}


def test_the_flaw_table_is_documented_as_it_is():
    from automl_images.annotations import checks

    assert flaw_table() in checks.__doc__
    lines = [tuple(line.strip("| ").split(" | ")) for line in flaw_table().splitlines()]
    assert lines[2:] == [(*row, *outcomes) for row, outcomes in ROWS.items()]
    assert lines[0][2:] == POLICIES
    assert set(CHECKS) == set(ROWS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_each_row_of_the_flaw_table_is_what_happens(tmp_path, capsys, row, policy):
    expected = ROWS[row][POLICIES.index(policy)]
    for check in CHECKS[row]:
        more = (capsys,) if "capsys" in inspect.signature(check).parameters else ()
        assert check(tmp_path, policy, *more) == expected


def test_the_page_on_annotations_has_every_format():
    from pathlib import Path

    page = (Path(__file__).parents[1] / "docs/annotations.md").read_text()
    assert [line.split(" ")[1] for line in page.splitlines() if line.startswith("| ")][2:] == list(formats.NAMES)
