"""Images' sizes by their headers alone, and what such a check gives up."""

import io

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl_images import storage
from automl_images.annotations import read_records
from automl_images.annotations.headers import header_of
from automl_images.annotations.imageroot import is_image
from automl_images.annotations.imaging import open_image
from automl_images.cli import app
from automl_images.errors import UserError
from automl_images.steps.convert import convert

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "MPO", "HEIF"]


def saved(path, format, size=(31, 17), orientation=None, **options):
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    image = Image.effect_noise(size, 60).convert("RGB")
    if orientation:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    if format == "MPO":
        options |= {"save_all": True, "append_images": [image.copy()]}
    image.save(path, format, **options)
    return str(path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_a_header_says_what_the_whole_image_does(tmp_path, format, orientation):
    path = saved(tmp_path / "a", format, orientation=orientation)
    full, header = open_image(path), open_image(path, decode=False)
    assert header._replace(digest=None) == full._replace(digest=None)
    storage.write("memory://headers/a", (tmp_path / "a").read_bytes())
    assert open_image("memory://headers/a", decode=False)._replace(digest=None) == full._replace(digest=None)


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"quality": 20, "icc_profile": bytes(90_000)},
        {"comment": b"\xff\xc0" * 900},
        {"xmp": XMP},
        {"xmp": XMP, "orientation": 3},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0"},
        {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"},
        {"exif": b"Exif\0\0nothing of the kind"},
    ],
    ids=range(9),
)
def test_segments_on_the_way_to_the_size(tmp_path, options):
    path = saved(tmp_path / "a.jpg", "JPEG", **options)
    assert open_image(path, decode=False).shown == open_image(path).shown


def test_common_files_are_read_without_pillow(tmp_path):
    paths = {format: saved(tmp_path / format, format) for format in ("JPEG", "PNG", "GIF", "BMP")}
    assert {format: header_of(path)[:3] for format, path in paths.items()} == dict.fromkeys(paths, (31, 17, 1))
    assert header_of(saved(tmp_path / "turned", "JPEG", orientation=6)) == (31, 17, 6, "jpg")


def test_broken_headers_are_left_to_pillow(tmp_path):
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "GIF", "BMP"):
        whole = (tmp_path / saved(tmp_path / format, format)).read_bytes()
        for _ in range(300):
            broken = bytearray(whole[: rng.integers(0, len(whole))])
            for at in rng.integers(0, max(1, min(len(broken), 60)), 3):
                if broken:
                    broken[at] = rng.integers(256)
            (tmp_path / "broken").write_bytes(broken)
            found = header_of(str(tmp_path / "broken"))
            assert found is None or (found.width > 0 and found.height > 0 and 1 <= found.orientation <= 8)
    for path in (tmp_path / "none", tmp_path, "a\0b"):
        assert header_of(str(path)) is None


def test_a_header_check_takes_sizes_and_leaves_the_rest(tmp_path):
    (tmp_path / "cat").mkdir()
    saved(tmp_path / "cat/a.jpg", "JPEG", (200, 100))
    data = (tmp_path / "cat/a.jpg").read_bytes()
    (tmp_path / "cat/half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "cat/text.jpg").write_text("text")
    out, task = str(tmp_path / "out"), "image-classification"
    with pytest.raises(UserError, match=r"half.jpg does not open.*one of 2: "):
        convert(str(tmp_path), out, task)
    with pytest.raises(UserError, match=r"text.jpg does not open: it is no image that Pillow knows; mend it"):
        convert(str(tmp_path), out, task, check="headers")
    assert convert(str(tmp_path), out, task, check="headers", on_error="skip")["images"] == 2
    records = list(read_records(out))
    assert [(r.width, r.height, r.format, r.digest) for r in records] == [(200, 100, "jpg", None)] * 2
    with pytest.raises(UserError, match="check: 'header' is no way to check images"):
        convert(str(tmp_path), out, task, check="header")
    words = ["convert", str(tmp_path), out, "--task", task, "--check", "headers", "--on-error", "skip"]
    assert CliRunner().invoke(app, words).exit_code == 0


def test_of_a_file_on_a_store_only_the_beginning_is_read(monkeypatch):
    file = io.BytesIO()
    Image.effect_noise((900, 700), 90).save(file, "png")
    storage.write("memory://headers/large.png", file.getvalue())
    read, read_bytes = [], storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda url, most=None: read.append(most) or read_bytes(url, most))
    assert open_image("memory://headers/large.png", decode=False).shown == (900, 700)
    assert read == [1 << 16] and len(file.getvalue()) > 1 << 17


def test_heic_is_an_image_with_the_extra(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.heic", "HEIF", (64, 48))
    assert is_image(path) and is_image("b.avif")
    assert open_image(path).shown == (64, 48) and open_image(path).format == "heif"
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    with pytest.raises(UserError, match=r"it is HEIC, which takes the extra heif: pip install 'automl-images\[heif\]'"):
        open_image(path)
