"""RecordIO files of images: what is written where, labels, damage, and what is read back."""

import posixpath
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_images.annotations import Box, Boxes, Classes, OneClass, Record, formats
from automl_images.annotations.labels import KINDS
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.helpers.sagemaker import UNIQUE, image_bytes, write
from tests.test_formats import SAMPLES

MAGIC = 0xCED7230A


def part(content, state=0, magic=MAGIC):
    return struct.pack("<II", magic, state << 29 | len(content)) + content + b"\0" * (-len(content) % 4)


def packed(labels, image, count=None):
    """Return what a record holds: a number as label, or a list of them."""
    array = struct.pack(f"<{len(labels)}f", *labels) if isinstance(labels, list) else b""
    head = struct.pack("<IfQQ", len(array) // 4 if count is None else count, 0 if array else labels, 7, 0)
    return head + array + image


def records_of(tmp_path, content, label, broken=None, **files):
    write(tmp_path, {"x.rec": content, **files})
    more = {} if broken is None else {"broken": broken}
    return list(formats.read(str(tmp_path), images=str(tmp_path / "out/images"), label=label, **more))


def test_images_of_a_recordio_file_are_written_where_images_says(tmp_path):
    images = [image_bytes("png", 1), image_bytes("jpeg", 2)]
    content = b"".join(part(packed(float(i), image)) for i, image in enumerate(images))
    found = records_of(
        tmp_path, content, "class", **{"x.idx": "0\t0\n", "x.lst": "0\t0\ta.png\n", "classes.txt": "cat\ndog"}
    )
    assert [r.label.name for r in found] == ["cat", "dog"]
    assert [r.where.rpartition(", ")[2] for r in found] == ["record 1", "record 2"]
    assert [posixpath.splitext(r.image_url)[1] for r in found] == [".png", ".jpg"]
    for record, image in zip(found, images, strict=True):
        path = tmp_path / "out/images" / posixpath.basename(record.image_url)
        assert str(path) == record.image_url and path.read_bytes() == image
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out/images").iterdir())]
    assert records_of(tmp_path, content, "class") == found
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out/images").iterdir())] == stamps
    found = convert(str(tmp_path), str(tmp_path / "o"), "image-classification", images="memory://recordio/images")
    assert found["classes"] == {"cat": 1, "dog": 1}


def test_labels_of_records(tmp_path):
    image = image_bytes()
    assert records_of(tmp_path, part(packed([1.0], image)), "class")[0].label == OneClass("1")
    found = records_of(tmp_path, part(packed([1.0, 0.0, 1.0], image)) + part(packed([0.0, 0.0, 0.0], image)), "classes")
    assert [r.label.classes for r in found] == [("0", "2"), ()]
    (found,) = records_of(tmp_path, part(packed([4.0, 6.0, 12, 8, 1, 0.25, 0.5, 0.75, 1, 0], image)), "boxes")
    assert found.label.boxes == (Box("1", 0.25, 0.5, 0.75, 1.0),)
    assert records_of(tmp_path, part(packed([2.0, 5.0], image)), "boxes")[0].label.boxes == ()


def test_a_record_that_holds_the_magic_number_is_in_parts(tmp_path):
    image = image_bytes() + struct.pack("<I", MAGIC) + b"end!"  # what follows a PNG's end is passed over
    first, last = packed(0.0, image).split(struct.pack("<I", MAGIC))
    (found,) = records_of(tmp_path, part(first, 1) + part(last, 3), "class")
    assert Path(found.image_url).read_bytes() == image


DAMAGED = {
    "no RecordIO": (b"PK\3\4" + b"\0" * 20, "part 1 from byte 0: is not RecordIO: a record begins with 0xced7230a"),
    "cut in its head": (part(packed(0.0, b"x"))[:6], "part 1 from byte 0: the file ends within a record"),
    "cut": (part(packed(0.0, image_bytes()))[:-20], "part 1 from byte 0: the file ends within a record"),
    "second": (part(b"x" * 40) + part(b"y", magic=7), "part 2 from byte 48: is not RecordIO.*with 0x7"),
    "end first": (part(b"x", 3), "part 1 from byte 0: is out of order"),
    "no end": (part(b"x", 1) + part(b"y"), "part 2 from byte 12: is out of order"),
    "unknown part": (part(b"x", 5), "is out of order"),
    "begun": (part(b"x", 1), "part 2 from byte 12: the file ends within a record"),
}


@pytest.mark.parametrize(("content", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_under_any_policy(tmp_path, content, said):
    with pytest.raises(UserError, match=said) as error:
        records_of(tmp_path, content, "class", broken=lambda error: None)
    assert "\n" not in str(error.value) and str(tmp_path / "x.rec") in str(error.value)


WRONG = {
    "short": ("class", b"x" * 10, "record 1: has 10 bytes, fewer than its header"),
    "no image": ("class", packed(0.0, b""), "record 1: has no image after its labels"),
    "protobuf": (
        "class",
        packed(0.0, b"\x0a\x0bvalues"),
        "record 1: has no image after its labels, or one that is neither",
    ),
    "labels": ("class", packed(0.0, b"xx", count=9), "has 2 bytes after its header, fewer than its 9 labels take"),
    "half": ("class", packed(0.5, image_bytes()), "'0.5', which is not a whole number from 0"),
    "nan": ("class", packed(float("nan"), image_bytes()), "the class id is nan, which is not a finite number"),
    "several for one": ("class", packed([0.0, 1.0], image_bytes()), "use task image-classification-multilabel"),
    "one for several": ("classes", packed(3.0, image_bytes()), "use task image-classification$"),
    "not hot": ("classes", packed([0.0, 2.0], image_bytes()), "column of class 1 is '2'; write 0 or 1"),
    "no boxes": ("boxes", packed(3.0, image_bytes()), "has the labels 3; detection has the width of its header"),
    "ragged boxes": (
        "boxes",
        packed([2.0, 5.0, 0, 0, 0, 1], image_bytes()),
        "has the labels 2, 5, 0, 0, 0, 1; detection",
    ),
    "endless boxes": ("boxes", packed([2.0, 0.0, 0, 0], image_bytes()), "has the labels 2, 0, 0, 0; detection"),
    "box": ("boxes", packed([2.0, 5.0, 0, 0, 0, 1, float("inf")], image_bytes()), "box 1: bottom is inf"),
    "class of a box": ("boxes", packed([2.0, 5.0, -1, 0, 0, 1, 1], image_bytes()), "box 1: the class id is '-1'"),
}


@pytest.mark.parametrize(("kind", "content", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_record_is_one_line_and_alone_left_out(tmp_path, kind, content, said):
    good = {"class": 0.0, "classes": [0.0, 1.0], "boxes": [2.0, 5.0]}[kind]
    with pytest.raises(UserError, match=said) as error:
        records_of(tmp_path, part(content), kind)
    assert "\n" not in str(error.value) and "x.rec, record 1: " in str(error.value)
    errors = []
    assert len(records_of(tmp_path, part(content) + part(packed(good, image_bytes())), kind, errors.append)) == 1
    assert len(errors) == 1


def test_a_recordio_file_without_a_folder_for_its_images_is_refused(tmp_path):
    write(tmp_path, {"x.rec": part(packed(0.0, image_bytes()))})
    for images in (None, f"s3://bucket/={tmp_path}"):
        with pytest.raises(UserError, match="x.rec: holds its images itself.*images: FOLDER"):
            list(formats.read(str(tmp_path / "x.rec"), images=images, label="class"))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), names=UNIQUE, kind=st.sampled_from(["class", "classes", "boxes"]))
def test_recordio_is_read_back_but_for_what_is_said_to_be_lost(tmp_path_factory, data, names, kind):
    folder = tmp_path_factory.mktemp("recordio")
    side = st.floats(0, 1)
    box = st.builds(Box, st.sampled_from(names), side, side, side, side, st.booleans(), st.none() | st.just(2.0))
    label = {
        "class": st.builds(OneClass, st.sampled_from(names)),
        "classes": st.builds(lambda found: Classes(tuple(found)), st.lists(st.sampled_from(names), unique=True)),
        "boxes": st.builds(lambda found: Boxes(tuple(found)), st.lists(box, max_size=4)),
    }[kind]
    labels = data.draw(st.lists(label, min_size=1, max_size=5))
    records = []
    for i, one in enumerate(labels):
        magic = data.draw(st.lists(st.sampled_from([b"x", struct.pack("<I", MAGIC)]), max_size=6))
        (folder / f"{i}.png").write_bytes(image_bytes(colour=i) + b"".join(magic))
        records.append(Record(str(folder / f"{i}.png"), one))
    used = {name for one in labels for name in one.names()}
    if kind == "classes" and len(used) < 2:
        with pytest.raises(UserError, match="one column would be read as class ids"):
            formats.FORMATS["recordio"].write(records, str(folder / "x.rec"), Classes)
        return
    written = formats.FORMATS["recordio"].write(records, str(folder / "x.rec"), KINDS[kind])
    found = list(formats.read(str(folder / "x.rec"), "recordio", images=str(folder / "out"), label=kind))
    assert written.images == len(found) == len(records)
    for after, before in zip(found, records, strict=True):
        assert Path(after.image_url).read_bytes() == Path(before.image_url).read_bytes()
    if kind != "boxes":
        assert written.lost == {}
        assert [set(r.label.names()) for r in found] == [set(one.names()) for one in labels]
        return
    boxes, kept = ([b for one in group for b in one.boxes] for group in (labels, [r.label for r in found]))
    single = [tuple(map(float, np.float32((b.topX, b.topY, b.bottomX, b.bottomY)))) for b in boxes]
    assert [(b.label, (b.topX, b.topY, b.bottomX, b.bottomY)) for b in kept] == list(
        zip([b.label for b in boxes], single, strict=True)
    )
    expected = {
        "isCrowd": sum(b.isCrowd for b in boxes),
        "area": sum(b.area is not None for b in boxes),
        "digits of corners (32 bits are kept)": sum(
            (b.topX, b.topY, b.bottomX, b.bottomY) != s for b, s in zip(boxes, single, strict=True)
        ),
    }
    assert written.lost == {what: count for what, count in expected.items() if count}


def test_an_image_that_recordio_does_not_take_is_refused(tmp_path):
    write(tmp_path, {"a.bmp": image_bytes("bmp")})
    for name, said in (("a.bmp", "is neither JPEG nor PNG"), ("none.png", "is not there")):
        with pytest.raises(UserError, match=f"^here: the image .*{name} {said}"):
            records = [Record(str(tmp_path / name), OneClass("cat"), where="here")]
            formats.FORMATS["recordio"].write(records, str(tmp_path / "x.rec"), OneClass)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bmp"]


def test_nothing_is_unpacked_into_the_root_of_the_machine(tmp_path):
    (tmp_path / "x.rec").write_bytes(SAMPLES["recordio", "boxes"]["x.rec"])
    with pytest.raises(UserError, match="name a folder to write them to"):
        list(formats.read(str(tmp_path / "x.rec"), images="/", label="boxes"))


@pytest.mark.parametrize("name", ["masks", "yolo"])
def test_the_whole_machine_is_not_searched(tmp_path, name):
    for file, text in SAMPLES[name, "polygons"].items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else (text or "").encode())
    with pytest.raises(UserError, match="/: is the whole machine, which is not searched"):
        list(formats.read(str(tmp_path), name, images="/", label="polygons"))
