"""Boxes of Pascal VOC and YOLO, as another converter reads them."""

import random

import pytest
from globox import AnnotationSet
from PIL import Image

from automl_images.annotations import formats

SIZES = {"a": (640, 480), "b": (333, 500), "c": (31, 17)}


@pytest.fixture
def drawn(tmp_path):
    """Return random boxes by image, as class and corners in pixels, and write the images."""
    draw = random.Random(7)
    boxes = {}
    for name, (width, height) in SIZES.items():
        Image.new("RGB", (width, height)).save(tmp_path / f"{name}.jpg")
        boxes[name] = []
        for _ in range(5):
            (left, right), (top, bottom) = (sorted(draw.sample(range(side + 1), 2)) for side in (width, height))
            boxes[name].append((draw.choice(["cat", "dog"]), left, top, right, bottom))
    return boxes


def ours(folder, format):
    """Return the boxes by image, in pixels."""
    return {
        record.image_url.rpartition("/")[2]: [
            (box.label, *(v * side for v, side in zip(_corners(box), (width, height) * 2, strict=True)))
            for box in record.label.boxes
        ]
        for record in formats.read(str(folder), format, label="boxes")
        for width, height in [SIZES[record.image_url.rpartition("/")[2].partition(".")[0]]]
    }


def _corners(box):
    return box.topX, box.topY, box.bottomX, box.bottomY


def theirs(found, names=None):
    return {
        annotation.image_id: [
            ((names or {}).get(box.label, box.label), box.xmin, box.ymin, box.xmax, box.ymax)
            for box in annotation.boxes
        ]
        for annotation in found
    }


def agree(one, other):
    assert one.keys() == other.keys()
    for image, boxes in one.items():
        assert [name for name, *_ in boxes] == [name for name, *_ in other[image]]
        assert [v for _, *corners in boxes for v in corners] == pytest.approx(
            [v for _, *corners in other[image] for v in corners], abs=1e-6
        )


def test_pascal_voc(tmp_path, drawn):
    for name, boxes in drawn.items():
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
            f"<ymax>{bottom}</ymax></bndbox></object>"
            for label, left, top, right, bottom in boxes
        )
        width, height = SIZES[name]
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
        (tmp_path / f"{name}.xml").write_text(text)
    agree(ours(tmp_path, "voc"), theirs(AnnotationSet.from_pascal_voc(tmp_path)))


def test_yolo(tmp_path, drawn):
    names = ["dog", "cat"]
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    (tmp_path / "labels").mkdir()
    for name, boxes in drawn.items():
        width, height = SIZES[name]
        lines = [
            f"{names.index(label)} {(left + right) / 2 / width} {(top + bottom) / 2 / height} "
            f"{(right - left) / width} {(bottom - top) / height}\n"
            for label, left, top, right, bottom in boxes
        ]
        (tmp_path / "labels" / f"{name}.txt").write_text("".join(lines))
    (tmp_path / "images").mkdir()
    for name in SIZES:
        (tmp_path / f"{name}.jpg").rename(tmp_path / "images" / f"{name}.jpg")
    other = AnnotationSet.from_yolo_v5(tmp_path / "labels", image_folder=tmp_path / "images")
    agree(ours(tmp_path, "yolo"), theirs(other, {"0": "dog", "1": "cat"}))
