"""Values, addresses and files that no reader may fall over or wait for."""

import os

import pytest
from PIL import Image

from automl_images import storage
from automl_images.annotations import Boxes, Record, formats, read_records, record_file
from automl_images.annotations.imaging import digest_of, open_image
from automl_images.annotations.labels import KINDS
from automl_images.data.images import load_image
from automl_images.errors import StoreError, UserError
from automl_images.steps.convert import convert
from tests.conftest import jsonl_lines, save_images
from tests.helpers.annotated import coco, converted


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
