"""Masks as people see them: drawn on an image, and in the report of an evaluation."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations.labels.polygons import Instance, Polygons
from automl_images.annotations.shapes import coco_rle
from automl_images.reports.detection import _texts
from automl_images.reports.draw import class_colours, draw_boxes
from automl_images.reports.instances import draw_answer
from tests.test_reports import ELSEWHERE, reported

TASK = "image-instance-segmentation"
PARTS = ((0.25, 0.25, 0.5, 0.25, 0.5, 0.75, 0.25, 0.75), (0.75, 0.5, 0.875, 0.5, 0.875, 0.75, 0.75, 0.75))
BOX = dict(zip(("topX", "topY", "bottomX", "bottomY"), (0.25, 0.25, 0.875, 0.75), strict=True))
COLOUR = np.array(class_colours(["crack"])["crack"])


def answer(**outline):
    return {"boxes": [{"box": BOX, "label": "crack", "score": 0.9, **outline}]}


def mask(size=(640, 320)):
    inside = np.zeros(size[::-1], np.uint8)
    inside[80:240, 160:320] = inside[160:240, 480:560] = 255
    return Image.fromarray(inside)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "outline",
    [{"polygon": [list(part) for part in PARTS]}, {"mask": {"image_type": "png", "image": png(mask())}}],
    ids=["polygon", "mask"],
)
def test_an_answers_masks_are_filled_half_seen_through_with_an_outline(outline):
    image = Image.new("RGB", (640, 320), (200, 200, 200))
    pixels = np.asarray(draw_answer(image, answer(**outline), TASK, ["crack"])).astype(int)
    for x, y in ((240, 200), (520, 220)):
        assert abs(pixels[y, x] - (0.4 * COLOUR + 0.6 * 200)).max() <= 1
    for x, y in ((161, 200), (318, 200), (240, 238), (482, 200)):
        assert (pixels[y, x] == COLOUR).all()
    for x, y in ((400, 100), (155, 200), (400, 239), (558, 100), (520, 155)):  # of the box nothing is drawn
        assert (pixels[y, x] == 200).all()
    assert (np.asarray(image) == 200).all()


def test_a_mask_that_reaches_the_edge_has_an_outline_there():
    image = Image.new("RGB", (640, 640))
    whole = draw_boxes(
        image, [(0, 0, 640, 640)], ["crack"], class_colours(["crack"]), masks=[Image.new("L", (8, 8), 255)]
    )
    pixels = np.asarray(whole)
    assert (pixels[300, 0] == COLOUR).all() and (pixels[639, 300] == COLOUR).all()
    assert (pixels[300, 300] < COLOUR).all()


def test_an_empty_mask_and_no_mask_leave_the_label():
    image = Image.new("RGB", (640, 320))
    for outline in ({"polygon": []}, {"polygon": [[0.5, 0.5]]}):
        assert draw_answer(image, answer(**outline), TASK, ["crack"]).getbbox()
    assert draw_answer(image, {"boxes": []}, TASK, ["crack"]).getbbox() is None


def test_strong_lines_are_twice_as_thick_and_an_empty_text_is_not_written():
    image = Image.new("RGB", (1120, 700))
    box = [(200, 200, 800, 600)]

    def drawn(**options):
        return np.asarray(draw_boxes(image, box, ["crack"], class_colours(["crack"]), **options))

    def thickness(strong):
        return int((drawn(strong=strong)[400, 150:260] == COLOUR).all(axis=1).sum())

    assert thickness([True]) == thickness(None) == 4
    assert thickness([False]) == 2
    assert drawn()[:198].any() and not drawn(texts=[""])[:198].any()


def test_what_is_written_at_an_object():
    assert _texts(["cat", "dog"], ["", "false"], [0.9, 0.456]) == ["cat 0.90", "dog 0.46 (false)"]
    assert _texts(["cat", "dog"], ["", "missed"], None) == ["cat", "dog (missed)"]
    assert _texts(["", ""], ["", "missed"], None) == ["", "missed"]  # of a single class
    assert _texts([""], ["false"], [0.5]) == ["0.50 (false)"]
    assert set(_texts(["cat"] * 41, ["missed"] * 41, None)) == {""}


def instance(points, label="crack", crowd=0):
    return Instance(label=label, polygon=(tuple(v / 64 for v in points),), isCrowd=crowd)


def test_masks_and_boxes_stand_side_by_side(tmp_path):
    """The detection's box is that of the object, and its mask overlaps the square by five eighths."""
    square, cut = instance((16, 16, 48, 16, 48, 48, 16, 48)), instance((16, 16, 48, 16, 48, 24, 16, 48))
    found = {
        "boxes": np.array([[16.0, 16, 48, 48]]),
        "scores": np.array([0.9]),
        "labels": np.array([0]),
        "size": (64, 64),
        "masks": [coco_rle(cut, 64, 64)],
    }
    text = reported(tmp_path, Polygons((square,)), found, ["crack", "बिल्ली"], 0.3)
    row = re.search(r"AP at IoU 0.50</td>(.*?)</tr>", text).group(1)
    assert re.findall(r">([\d.-]+)</td>", row) == ["1.0000", "1.0000"]
    row = re.search(r"AP at IoU 0.75</td>(.*?)</tr>", text).group(1)
    assert re.findall(r">([\d.-]+)</td>", row) == ["0.0000", "1.0000"]
    assert "Objects to find" in text and "IoU of masks" in text and "बिल्ली" in text
    assert "x.png: 1 of 1 found, 0 false." in text
    assert not ELSEWHERE.search(text)


def test_crowds_are_named_and_missed_ones_are_not_counted(tmp_path):
    crowd = instance((0, 0, 32, 0, 32, 32, 0, 32), crowd=1)
    found = {
        "boxes": np.zeros((0, 4)),
        "scores": np.zeros(0),
        "labels": np.zeros(0, int),
        "size": (64, 64),
        "masks": [],
    }
    text = reported(tmp_path, Polygons((crowd,)), found, ["crack"])
    assert "x.png: 0 of 0 found, 0 false." in text
    assert "Nothing is to be found, so there is no curve to draw." in text
