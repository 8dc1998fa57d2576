"""Small data that tests make for themselves."""

import inspect
import json
import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers that each take all cores wait for one another

import numpy as np
import pytest
from PIL import Image, ImageDraw

from automl_images.annotations import Box, Boxes, Record


def _stack(context=0):
    """Return the caller's stack without lines of source: ``inspect.stack``, whose files need not be found."""
    frame, found = sys._getframe(1), []
    while frame:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


inspect.stack = _stack  # kfp asks for it 64 times a compiled pipeline: below pytest that is most of the time
pytest.register_assert_rewrite("tests.effects", "tests.helpers")  # their asserts say what differs

IMAGES = ["a.png", "b.png", "c.png"]
COLOURS = {"blue": (40, 60, 220), "red": (220, 50, 40)}


def draw_squares(folder: Path, count: int, size: int = 64, seed: int = 0) -> list[Record]:
    """Write images of one or two coloured squares and return their records."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i in range(count):
        image = Image.fromarray(rng.integers(90, 160, (size, size, 3), dtype=np.uint8))
        boxes = []
        for place in range(1 + i % 2):
            name = list(COLOURS)[int(rng.integers(2))]
            side = int(rng.integers(size // 4, size // 2 - 2))
            left = int(rng.integers(0, size // 2 - side + 1)) + place * size // 2
            top = int(rng.integers(0, size - side + 1))
            ImageDraw.Draw(image).rectangle([left, top, left + side - 1, top + side - 1], fill=COLOURS[name])
            corners = (v / size for v in (left, top, left + side, top + side))
            boxes.append(Box(name, *corners))
        path = folder / f"{i:03d}.png"
        image.save(path)
        records.append(Record(str(path), Boxes(tuple(boxes)), size, size, "png", f"{path.name}"))
    return records


def write_jsonl(folder: Path, records: list[Record]) -> Path:
    """Write records as annotations.jsonl by hand, so that a test of a reader does not depend on our writer."""
    path = folder / "annotations.jsonl"
    lines = [
        {
            "image_url": r.image_url,
            "image_details": {"format": r.format or "png", "width": r.width, "height": r.height},
            "label": [{"area": None, **b.to_json()} for b in r.label.boxes],
        }
        for r in records
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_coco(folder: Path, records: list[Record]) -> Path:
    """Write records as COCO's instances.json, images by their file names."""
    names = sorted({b.label for r in records for b in r.label.boxes})
    images = [
        {"id": i, "file_name": Path(r.image_url).name, "width": r.width, "height": r.height}
        for i, r in enumerate(records)
    ]
    annotations = [
        {
            "id": n,
            "image_id": i,
            "category_id": names.index(b.label) + 1,
            "iscrowd": 0,
            "bbox": [
                b.topX * r.width,
                b.topY * r.height,
                (b.bottomX - b.topX) * r.width,
                (b.bottomY - b.topY) * r.height,
            ],
        }
        for n, (i, r, b) in enumerate((i, r, b) for i, r in enumerate(records) for b in r.label.boxes)
    ]
    path = folder / "instances.json"
    categories = [{"id": c, "name": name} for c, name in enumerate(names, 1)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_voc(folder: Path, records: list[Record]) -> Path:
    """Write records as a Pascal VOC folder whose images lie in JPEGImages already."""
    annotations = folder / "Annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    for r in records:
        objects = "".join(
            f"<object><name>{b.label}</name><difficult>0</difficult><bndbox><xmin>{round(b.topX * r.width)}</xmin>"
            f"<ymin>{round(b.topY * r.height)}</ymin><xmax>{round(b.bottomX * r.width)}</xmax>"
            f"<ymax>{round(b.bottomY * r.height)}</ymax></bndbox></object>"
            for b in r.label.boxes
        )
        name = Path(r.image_url).name
        (annotations / f"{Path(name).stem}.xml").write_text(
            f"<annotation><filename>{name}</filename><size><width>{r.width}</width><height>{r.height}</height>"
            f"<depth>3</depth></size>{objects}</annotation>"
        )
    return folder


def save_images(folder: Path, names: list[str], size: tuple[int, int] = (12, 8)) -> None:
    """Write images of one colour each, whose folders are made."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i * 37 % 256, i * 91 % 256, 128)).save(path)


def jsonl_lines(*items):
    """Return lines of JSON; text stays as it is."""
    return "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items)


def azure(*labels):
    """Return JSONL in Azure's schema with these labels of the images a, b and c."""
    return jsonl_lines(*({"image_url": image, "label": label} for image, label in zip("abc", labels, strict=False)))


def ref(label, metadata=None, image="a.png", **more):
    """Return a line of an augmented manifest whose class attribute is ``animal``."""
    item = {"source-ref": image, "animal": label, **more}
    return item if metadata is None else {**item, "animal-metadata": metadata}


def lay(folder: Path, files: dict[str, str]) -> None:
    """Write the images a, b and c, with and without a suffix, and files of text beside them."""
    save_images(folder, IMAGES)
    for name in IMAGES:
        (folder / name[0]).write_bytes((folder / name).read_bytes())
    for name, text in files.items():
        (folder / name).write_text(text, newline="")


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Return (training records, validation records): 12 and 4 images of coloured squares, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("squares")
    records = draw_squares(folder, 16)
    return records[:12], records[12:]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the model folder of a small untrained detector, not to be written to."""
    from automl_images.models import folder
    from tests.helpers.detectors import RCNN, TASK, made, settings_of

    path = tmp_path_factory.mktemp("model")
    given = {"max_size": 96, "box_score_thresh": 0.0}
    network, classes = made(RCNN, ["red", "blue"], **given), ["red", "blue"]
    folder.save(path, network, task=TASK, settings=settings_of(RCNN, **given), classes=classes, metrics={"epoch": 1})
    return path
