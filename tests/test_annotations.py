"""Annotations: formats, paths, checks, split."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from automl_images.annotations import Box, Boxes, Record, formats, read_records, record_file
from automl_images.annotations.checks import Checker
from automl_images.annotations.split import split_random
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
from automl_images.steps.split import split_data
from tests.conftest import draw_squares, write_coco, write_jsonl, write_voc

TASK = "image-object-detection"


@pytest.fixture
def drawn(tmp_path):
    return draw_squares(tmp_path / "JPEGImages", 6)


def same(found, expected):
    """Whether records have the same images and, to half a pixel, the same boxes."""
    found, expected = (sorted(r, key=lambda r: r.image_url) for r in (found, expected))
    assert [os.path.realpath(r.image_url) for r in found] == [os.path.realpath(r.image_url) for r in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.label.names() == b.label.names()
        corners = [[(x.topX, x.topY, x.bottomX, x.bottomY) for x in r.label.boxes] for r in (a, b)]
        for x, y in zip(*corners, strict=True):
            assert x == pytest.approx(y, abs=0.5 / 64)
    return True


@pytest.mark.parametrize("write", [write_voc, write_coco, write_jsonl], ids=["voc", "coco", "jsonl"])
def test_each_format_is_recognised_and_read(tmp_path, drawn, write):
    write(tmp_path, drawn)
    assert same(formats.read(str(tmp_path), label="boxes"), drawn)


@pytest.mark.parametrize("write", [write_voc, write_coco, write_jsonl], ids=["voc", "coco", "jsonl"])
def test_sources_on_another_store(tmp_path, drawn, write):
    import fsspec

    write(tmp_path, [Record(Path(r.image_url).name, r.label, r.width, r.height) for r in drawn])
    memory = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}-{write.__name__}"
    memory.put(f"{tmp_path}/", f"{root}/", recursive=True)
    out = f"memory:/{root}-out.jsonl"
    images = f"memory:/{root}/JPEGImages"
    assert convert(f"memory:/{root}", out, TASK, images=images)["images"] == 6
    assert all(r.image_url.startswith(images) for r in read_records(out))


def test_convert_writes_what_is_read_back(tmp_path, drawn):
    write_voc(tmp_path, drawn)
    summary = convert(str(tmp_path), str(tmp_path / "out.jsonl"), TASK)
    assert summary["images"] == 6
    assert summary["boxes"] == sum(len(r.label.boxes) for r in drawn)
    records = list(read_records(str(tmp_path / "out.jsonl")))
    assert same(records, drawn)
    assert {(r.width, r.height, r.format) for r in records} == {(64, 64, "png")}


def test_jsonl_is_read_leniently(tmp_path, drawn):
    line = (
        '{"image_url": "JPEGImages/000.png", "image_details": {"format": "PNG", "width": "64px", "height": 64,}, '
        '"extra": 1, "label": [{"label": "red", "topX": "0.1", "topY": 0, "bottomX": 0.5, "bottomY": 1, '
        '"isCrowd": "true"},]}\n\n'
    )
    (tmp_path / "a.jsonl").write_text("\ufeff" + line)
    (record,) = formats.read(str(tmp_path / "a.jsonl"), label="boxes")
    assert record.label == Boxes((Box("red", 0.1, 0, 0.5, 1, True),))
    assert (record.width, record.height) == (64, 64)


def test_difficult_objects_are_crowds(tmp_path, drawn):
    write_voc(tmp_path, drawn[:1])
    file = next((tmp_path / "Annotations").iterdir())
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    assert all(b.isCrowd for r in formats.read(str(tmp_path), label="boxes") for b in r.label.boxes)


def test_coco_images_without_annotations_are_kept(tmp_path, drawn):
    empty = Record(drawn[0].image_url, Boxes(()), 64, 64)
    write_coco(tmp_path, [empty, *drawn[1:]])
    assert convert(str(tmp_path), str(tmp_path / "o.jsonl"), TASK)["images"] == 6


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "a/../../outside.png",
        "simplecache::s3://b/k",
        "link/x.png",
    ],
)
def test_paths_cannot_leave_the_image_root(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "other/x.png")
    (root / "link").symlink_to(tmp_path / "other")
    (root / "a.jsonl").write_text(json.dumps({"image_url": name, "label": []}) + "\n")
    with pytest.raises(UserError, match="line 1"):
        list(formats.read(str(root / "a.jsonl"), label="boxes"))


def test_a_prefix_stands_for_the_image_root(tmp_path, drawn):
    line = {"image_url": "AmlDatastore://store/images/000.png", "label": []}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match="images: 'AmlDatastore://...=URL'"):
        list(formats.read(str(tmp_path / "a.jsonl"), label="boxes"))
    images = f"AmlDatastore://store/images/={tmp_path}/JPEGImages"
    (record,) = formats.read(str(tmp_path / "a.jsonl"), images=images, label="boxes")
    assert record.image_url == drawn[0].image_url


def test_entities_in_xml_are_refused(tmp_path, drawn):
    write_voc(tmp_path, drawn[:1])
    file = next((tmp_path / "Annotations").iterdir())
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]>' + file.read_text().replace("<name>", "<name>&x;", 1)
    file.write_text(bomb)
    with pytest.raises(UserError, match="entities or a DTD"):
        list(formats.read(str(tmp_path), label="boxes"))


def one(tmp_path, box=None, **changes):
    """Return a record of a 64 x 32 image with one box, changed."""
    path = tmp_path / "i.png"
    Image.new("RGB", (64, 32)).save(path)
    record = {"image_url": str(path), "label": Boxes((box or Box("a", 0.1, 0.1, 0.5, 0.5),)), "width": 64, "height": 32}
    return Record(**{**record, "where": "f.jsonl, line 3", **changes})


FLAWS = [
    # flaw, count under fail (None: refused), count under fix, boxes left under fix
    (Box("a", 0.5, 0.1, 0.5, 0.5), "dropped_boxes", "dropped_boxes", 0),
    (Box("a", 0.5, 0.1, 1 + 0.9 / 64, 0.5), "clipped_boxes", "clipped_boxes", 1),
    (Box("a", -0.9 / 64, 0.1, 0.4, 0.5), "clipped_boxes", "clipped_boxes", 1),
    (Box("a", 0.5, 0.1, 1 + 2 / 64, 0.5), None, "fixed_boxes", 1),
    (Box("a", 0.5, 0.1, 0.6, 1 + 2 / 32), None, "fixed_boxes", 1),
    (Box("a", 1.5, 0.1, 1.6, 0.5), None, "dropped_boxes", 0),
    (Box("a", 0.5, 0.1, 0.2, 0.5), None, "fixed_boxes", 1),
    (Box("b", 0.1, 0.1, 0.2, 0.5), None, "dropped_boxes", 0),
]
IDS = ["no area", "right by a pixel", "left by a pixel", "right", "below", "beside", "reversed", "unknown class"]


@pytest.mark.parametrize(("box", "fail", "fix", "left"), FLAWS, ids=IDS)
def test_each_flaw_has_its_policy(tmp_path, box, fail, fix, left):
    record = one(tmp_path, box)
    strict = Checker("fail", ["a"], label="boxes")
    if fail:
        list(strict.check([record]))
        assert strict.summary()[fail] == 1
    else:
        with pytest.raises(UserError, match="f.jsonl, line 3: box 1 "):
            list(strict.check([record]))
    lenient = Checker("fix", ["a"], label="boxes")
    (kept,) = lenient.check([record])
    assert lenient.summary()[fix] == 1
    assert len(kept.label.boxes) == left
    assert all(0 <= v <= 1 for b in kept.label.boxes for v in (b.topX, b.topY, b.bottomX, b.bottomY))
    skipping = Checker("skip", ["a"], label="boxes")
    assert len(list(skipping.check([record]))) == (1 if fail else 0)
    assert skipping.summary()["skipped_images"] == (0 if fail else 1)


def test_an_annotated_size_that_is_not_the_images(tmp_path):
    record = one(tmp_path, width=32, height=16)
    with pytest.raises(UserError, match="annotated as 32 x 16 pixels, and is 64 x 32"):
        list(Checker(label="boxes").check([record]))
    (kept,) = Checker("fix", label="boxes").check([record])
    assert (kept.width, kept.height) == (64, 32)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is not there"), (b"", "the file is empty"), (b"text", "no image that Pillow knows")]
)
def test_images_that_do_not_open(tmp_path, content, said):
    record = one(tmp_path)
    (tmp_path / "i.png").unlink()
    if content is not None:
        (tmp_path / "i.png").write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(Checker(label="boxes").check([record]))
    assert list(Checker("fix", label="boxes").check([record])) == []


def test_truncated_images_are_found(tmp_path):
    path = tmp_path / "i.jpg"
    Image.effect_noise((200, 200), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="does not open"):
        list(Checker(label="boxes").check([Record(str(path), Boxes(()), where="x")]))


def test_a_refused_flaw_leaves_the_output_as_it_was(tmp_path, drawn):
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    outside = Boxes((*drawn[5].label.boxes, Box("red", 0.5, 0.5, 2.5, 0.9)))
    write_jsonl(tmp_path, [*drawn[:5], dataclasses.replace(drawn[5], label=outside)])
    with pytest.raises(UserError):
        convert(str(tmp_path / "annotations.jsonl"), str(out), TASK)
    assert out.read_text() == "before"


def test_skip_keeps_the_good_records(tmp_path, drawn, capsys):
    write_voc(tmp_path, drawn)
    files = sorted((tmp_path / "Annotations").iterdir())
    files[0].write_text("not xml")
    summary = convert(str(tmp_path), str(tmp_path / "o.jsonl"), TASK, on_error="skip")
    assert (summary["images"], summary["skipped_images"]) == (5, 1)
    assert f"left out: {files[0]}: is not XML" in capsys.readouterr().err


def test_a_class_only_in_validation_is_refused(tmp_path, drawn):
    write_jsonl(tmp_path, drawn)
    other = tmp_path / "v"
    other.mkdir()
    write_jsonl(other, [Record(drawn[0].image_url, Boxes((Box("bleu", 0, 0, 0.5, 0.5),)), 64, 64)])
    data = {
        "training": {"source": str(tmp_path / "annotations.jsonl")},
        "validation": {"source": str(other / "annotations.jsonl"), "images": str(tmp_path)},
    }
    outs = {name: str(tmp_path / f"{name}.out") for name in ("training", "validation", "test")}
    with pytest.raises(UserError, match=r"data.validation: .*line 1: box 1 has the class 'bleu'.*'blue'"):
        convert_data(TASK, data, outs)


def records_of(labels):
    return [
        Record(f"/{i}.png", Boxes(tuple(Box(name, 0, 0, 1, 1) for name in names))) for i, names in enumerate(labels)
    ]


def test_a_split_is_fixed_for_all_machines():
    training, validation = split_random(records_of(["a"] * 20), 0.2, seed=0)
    assert [r.image_url for r in validation] == ["/4.png", "/7.png", "/15.png", "/18.png"]
    assert len(training) == 16
    assert split_random(records_of(["a"] * 20), 0.2, seed=1)[1] != validation


def test_a_class_that_one_image_has_trains():
    for seed in range(10):
        _, validation = split_random(records_of(["a"] * 9 + ["ab"]), 0.3, seed)
        assert len(validation) == 3
        assert all(b.label == "a" for r in validation for b in r.label.boxes)


def test_given_validation_is_not_split(tmp_path):
    paths = [str(tmp_path / f"{i}.jsonl") for i in range(4)]
    record_file.write(records_of(["a", "b"]), paths[0])
    record_file.write(records_of(["a"]), paths[1])
    assert split_data(*paths) == {"training": 2, "validation": 1}
    assert len(list(read_records(paths[2]))) == 2


def test_one_image_is_too_few_to_split(tmp_path):
    record_file.write(records_of(["a"]), str(tmp_path / "a"))
    with pytest.raises(UserError, match="too few to split"):
        split_data(str(tmp_path / "a"), None, str(tmp_path / "t"), str(tmp_path / "v"))
