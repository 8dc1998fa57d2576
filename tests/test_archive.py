"""What lies in a .zip, read in place, and what is refused of one."""

import concurrent.futures
import io
import json
import multiprocessing
import struct
import zipfile
import zlib

import pytest

from automl_images import contents, storage
from automl_images.annotations import formats, read_records
from automl_images.annotations.imageroot import ImageRoot
from automl_images.annotations.source import Source
from automl_images.data.images import load_image
from automl_images.errors import UserError
from automl_images.steps.convert import convert, convert_data
from tests.conftest import save_images
from tests.test_formats import SAMPLES, named
from tests.test_formats import lay as lay_sample
from tests.test_sets import CLASSES

TASK = "image-classification"


def zipped(folder, target, top=""):
    """Write a folder's files into an archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(folder)}")
    return str(target)


def pets(tmp_path, name="x.zip", top=""):
    save_images(tmp_path / "pets", ["cat/a.png", "cat/b.png", "dog/c.png"])
    return zipped(tmp_path / "pets", tmp_path / name, top)


READ = [(name, kind) for name, kind in SAMPLES if name not in ("recordio",)]


@pytest.mark.parametrize(("name", "kind"), READ, ids=map("-".join, READ))
def test_each_format_is_read_in_an_archive(tmp_path, name, kind):
    lay_sample(tmp_path / "x", SAMPLES[name, kind])
    source = zipped(tmp_path / "x", tmp_path / "x.zip")
    (plain,) = formats.read(str(tmp_path / "x"), label=kind)
    (record,) = formats.read(source, label=kind)
    assert record.image_url == f"zip://{source}/{plain.image_url.removeprefix(f'{tmp_path}/x/')}"
    assert named(record.label) == named(plain.label)
    assert storage.read_bytes(record.image_url) == storage.read_bytes(plain.image_url)


@pytest.mark.parametrize("top", ["", "pets/", "a/b/"])
def test_records_of_an_archive_are_read_by_later_steps(tmp_path, top):
    source = pets(tmp_path, top=top)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("__MACOSX/._a.png", b"x")
    assert convert(source, str(tmp_path / "out"), TASK)["classes"] == {"cat": 2, "dog": 1}
    urls = [record.image_url for record in read_records(str(tmp_path / "out"))]
    assert urls[0] == f"zip://{source}/{top}cat/a.png"
    assert {load_image(url).shape for url in urls} == {(8, 12, 3)}
    assert len(contents.digest(urls)) == 64


def test_a_folder_in_an_archive_is_a_source_of_its_own(tmp_path):
    source = pets(tmp_path)
    assert [r.label.name for r in formats.read(f"zip://{source}", label="class")] == ["cat", "cat", "dog"]
    (tmp_path / "pets/x.csv").write_text("image,label\ncat/a.png,cat\n")
    source = zipped(tmp_path / "pets", tmp_path / "y.ZIP", "top/")
    assert len(list(formats.read(f"zip://{source}/top/x.csv", label="class"))) == 1
    assert Source(source).url == f"zip://{source}/top"
    with pytest.raises(UserError, match="none: no such file or folder"):
        list(formats.read(f"zip://{source}/none", label="class"))


def test_the_sets_of_an_archive(tmp_path):
    save_images(tmp_path / "pets", CLASSES)
    source = zipped(tmp_path / "pets", tmp_path / "x.zip")
    outs = {name: str(tmp_path / name) for name in ("training", "validation", "test")}
    found = convert_data(TASK, {"training": {"source": source}}, outs)
    assert {name: summary["images"] for name, summary in found.items()} == dict.fromkeys(outs, 4)


def test_images_in_an_archive_and_annotations_beside_it(tmp_path):
    source = pets(tmp_path)
    (tmp_path / "x.jsonl").write_text(json.dumps({"image_url": "cat/a.png", "label": "cat"}) + "\n")
    (found,) = formats.read(str(tmp_path / "x.jsonl"), images=source, label="class")
    assert found.image_url == f"zip://{source}/cat/a.png"
    (tmp_path / "x.jsonl").write_text(json.dumps({"image_url": "s3://b/cat/a.png", "label": "cat"}) + "\n")
    (found,) = formats.read(str(tmp_path / "x.jsonl"), images=f"s3://b/={source}", label="class")
    assert found.image_url == f"zip://{source}/cat/a.png"


def test_images_in_an_archive_of_this_machine_are_copied(tmp_path):
    source = pets(tmp_path)
    found = convert(source, str(tmp_path / "out"), TASK, copy_to="memory://archive/images")
    assert found["copied_images"] == 3
    assert all(r.image_url.startswith("memory://archive/images/") for r in read_records(str(tmp_path / "out")))


def test_an_archive_on_a_store(tmp_path):
    storage.write("memory://archive/x.zip", storage.read_bytes(pets(tmp_path, top="pets/")))
    assert convert("memory://archive/x.zip", str(tmp_path / "out"), TASK)["images"] == 3
    urls = [record.image_url for record in read_records(str(tmp_path / "out"))]
    assert urls[0] == "zip://memory://archive/x.zip/pets/cat/a.png" and load_image(urls[0]).shape == (8, 12, 3)
    assert not storage.on_machine(urls[0]) and storage.on_machine(f"zip://{tmp_path}/x.zip")


def test_an_archive_that_has_changed_is_opened_anew(tmp_path):
    source = pets(tmp_path)
    first = storage.files_below(f"zip://{source}")
    save_images(tmp_path / "pets", ["emu/e.png"])
    assert storage.files_below(f"zip://{pets(tmp_path)}") == [*first, "emu/e.png"]


def shapes(urls):
    return [load_image(url).shape for url in urls]


def test_threads_and_processes_read_one_archive(tmp_path):
    save_images(tmp_path / "pets", [f"cat/{i}.png" for i in range(60)])
    source = zipped(tmp_path / "pets", tmp_path / "x.zip")
    urls = [f"zip://{source}/cat/{i}.png" for i in range(60)]
    expected = [load_image(url).tolist() for url in urls]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [image.tolist() for image in pool.map(load_image, urls * 3)] == expected * 3
    with concurrent.futures.ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(shapes, urls) for _ in range(6)]
        assert shapes(urls) == [(8, 12, 3)] * 60
        assert all(future.result() == [(8, 12, 3)] * 60 for future in futures)


# What is refused.


def archive(*entries, **flags):
    """Return an archive of (name, content); ``flags`` are set in each entry's head."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(zipfile.ZipInfo(name), content)
    data = file.getvalue()
    for at in [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]:
        for offset, value in flags.items():
            place = at + int(offset[1:])
            data = data[:place] + value + data[place + len(value) :]
    return data


PNG = b"\x89PNG"
HUGE = struct.pack("<I", (1 << 31) - 1)
BAD = {
    "no archive": (b"text", "x.zip: is no .zip that can be read: File is not a zip file"),
    "empty": (b"", "x.zip: is no .zip that can be read"),
    "cut": (archive(("a.png", PNG))[:-30], "x.zip: is no .zip that can be read"),
    "climbs": (archive(("../a.png", PNG)), r"x.zip: its entry '../a.png' is no path below it; unpack it"),
    "climbs later": (archive(("cat/../../a.png", PNG)), "is no path below it"),
    "absolute": (archive(("/etc/a.png", PNG)), "its entry '/etc/a.png' is no path below it"),
    "backslashes": (archive(("cat\\a.png", PNG)), "is no path below it"),
    "twice": (archive(("a.png", PNG), ("a.png", PNG)), "its entry 'a.png' is there twice"),
    "encrypted": (archive(("a.png", PNG), p8=b"\1"), "its entry 'a.png' is encrypted"),
    "a bomb": (archive(("a.png", PNG), p24=HUGE), "x.zip: unpacks to 2,147,483,647 bytes, .* times its size"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_an_archive_that_is_not_to_be_trusted_is_one_line(tmp_path, content, said):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        list(formats.read(str(tmp_path / "x.zip"), label="class"))
    assert "\n" not in str(error.value) and str(tmp_path / "x.zip") in str(error.value)


def test_an_image_that_is_damaged_in_its_archive_alone_is_left_out(tmp_path):
    source = pets(tmp_path)
    data = (tmp_path / "x.zip").read_bytes()
    whole = zlib.compress(b"")
    with zipfile.ZipFile(source) as made:
        start = made.getinfo("cat/b.png").header_offset
    (tmp_path / "x.zip").write_bytes(data[: start + 45] + whole * 2 + data[start + 45 + 2 * len(whole) :])
    with pytest.raises(UserError, match=r"zip://.*x.zip/cat/b.png: .*x.zip: cat/b.png cannot be unpacked"):
        convert(source, str(tmp_path / "out"), TASK)
    found = convert(source, str(tmp_path / "out"), TASK, on_error="skip")
    assert (found["images"], found["skipped_images"]) == (2, 1)


def test_no_path_leaves_an_archive(tmp_path):
    save_images(tmp_path, ["secret.png"])
    other = zipped(tmp_path, tmp_path / "other.zip")
    source = zipped(tmp_path, tmp_path / "x.zip")
    root = ImageRoot(f"zip://{source}")
    for path in (
        "../secret.png",
        "/etc/passwd",
        f"{tmp_path}/secret.png",
        f"zip://{other}/secret.png",
        "file:///etc/a.png",
    ):
        with pytest.raises(UserError, match="leaves the image root|lies outside"):
            root.resolve(path)
    assert root.resolve(f"zip://{source}/secret.png") == f"zip://{source}/secret.png"
    below = ImageRoot(str(tmp_path / "data"))
    for path in (f"zip://{other}/secret.png", f"zip://{tmp_path}/data/../other.zip/secret.png"):
        with pytest.raises(UserError, match="lies outside"):
            below.resolve(path)
    assert ImageRoot(str(tmp_path)).resolve(f"zip://{other}/secret.png") == f"zip://{other}/secret.png"


def test_nothing_is_written_into_an_archive(tmp_path):
    source = pets(tmp_path)
    for write in (
        lambda: storage.write(f"zip://{source}/new.png", b"x"),
        lambda: storage.open_text(f"zip://{source}/new.txt", "w"),
    ):
        with pytest.raises(UserError, match="nothing is written into an archive"):
            write()
    assert len(storage.files_below(f"zip://{source}")) == 3
    assert not storage.exists(f"zip://{tmp_path}/pets/cat/a.png"), "which is in no archive"
