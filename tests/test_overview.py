"""What a set of records comes to in figures, and how its labels are drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import Box, Boxes, Classes, Instance, Mask, OneClass, Polygons, Record
from automl_images.annotations.labels import KINDS
from automl_images.annotations.overview import Overview, pixels_by_class
from automl_images.annotations.shapes import encoded
from automl_images.errors import UserError
from automl_images.reports.annotated import DRAWN, caption, picture
from automl_images.reports.data import PICTURES

RED, BLUE = (255, 0, 0), (0, 0, 255)
COLOURS = {"cat": RED, "dog": BLUE}


def grey(path, size=(120, 80)):
    Image.new("RGB", size, (90, 90, 90)).save(path)
    return str(path)


# Figures


def test_the_figures_of_boxes():
    boxes = (Box("cat", 0, 0, 0.1, 0.1), Box("cat", 0, 0, 0.5, 0.5), Box("dog", 0, 0, 1, 1, isCrowd=True))
    records = [Record("/a.png", Boxes(boxes), 200, 100, "png"), Record("/b.jpg", Boxes(()), 100, 200, "jpg")]
    found = Overview(records).figures()
    assert json.loads(json.dumps(found)) == found
    assert (found["images"], found["counted"], found["objects"], found["without_objects"]) == (2, "boxes", 3, 1)
    assert found["classes"] == {
        "cat": {"images": 1, "objects": 2, "share": 0.666667},
        "dog": {"images": 1, "objects": 1, "share": 0.333333},
    }
    assert found["imbalance"] == 2.0 and found["crowds"] == 1
    assert found["formats"] == {"png": 1, "jpg": 1}
    assert found["sizes"]["width"] == {"least": 100, "median": 150, "mean": 150.0, "greatest": 200}
    assert found["sizes"]["different"] == 2 and sorted(found["sizes"]["most"]) == [[100, 200, 1], [200, 100, 1]]
    assert {name: n for name, n in found["shapes"].items() if n} == {"below 1:2": 1, "5:4 to 2:1": 1}
    assert found["per_image"]["images"] == {"0": 1, "1": 0, "2 to 3": 1}
    assert found["per_image"]["median"] == 1.5
    assert found["object_sizes"] == {"small": 1, "medium": 1, "large": 1}  # 200, 5,000 and 20,000 pixels
    assert found["object_sides"]["median"] == 0.5


def test_the_figures_of_polygons_are_those_of_their_boxes():
    outline = Instance("cat", ((0.0, 0.0, 0.5, 0.0, 0.5, 0.5),))
    pixels = np.zeros((100, 200), bool)
    pixels[:50, :100] = True
    records = [Record("/a.png", Polygons((outline, Instance("cat", rle=encoded(pixels)))), 200, 100, "png")]
    found = Overview(records).figures()
    assert (found["counted"], found["objects"], found["imbalance"]) == ("instances", 2, None)
    assert found["object_sides"] == {"least": 0.5, "median": 0.5, "mean": 0.5, "greatest": 0.5}
    assert found["object_sizes"] == {"small": 0, "medium": 2, "large": 0}


def test_nothing_has_no_figures_but_zeros():
    found = Overview().figures()
    assert found["images"] == found["objects"] == 0 and found["imbalance"] is None and found["classes"] == {}
    assert set(found["sizes"]["width"].values()) == {None}


def test_the_shares_of_pixels_are_those_of_the_masks(tmp_path):
    Image.fromarray(np.array([[0, 0, 1, 1], [2, 2, 2, 255]], np.uint8)).save(tmp_path / "m.png")
    mask = Mask(str(tmp_path / "m.png"), (("sky", 0), ("road", 1), ("car", 2)), (255,), ("sky", "road", "car"))
    assert pixels_by_class(mask) == {"sky": 2, "road": 2, "car": 3, "": 1}
    found = Overview([Record("/a.png", mask, 4, 2, "png")]).figures()
    assert found["pixels"] == {"masks": 1, "classes": {"sky": 0.25, "road": 0.25, "car": 0.375}, "ignored": 0.125}
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0] = (255, 128, 0)
    Image.fromarray(colours).save(tmp_path / "c.png")
    assert pixels_by_class(Mask(str(tmp_path / "c.png"), (("sky", "#ff8000"),))) == {"sky": 1, "": 3}
    assert pixels_by_class(Mask(str(tmp_path / "c.png"), ())) == {"#ff8000": 1, "#000000": 3}
    assert pixels_by_class(Mask(str(tmp_path / "none.png"), ())) == {}


def test_examples_show_each_class_and_are_the_same_each_time():
    rare = [Record(f"/rare{i}.png", Classes(("common", f"rare{i}")), 8, 8) for i in range(5)]
    common = [Record(f"/{i}.png", Classes(("common",)), 8, 8) for i in range(2000)]
    records = [*common[:1500], *rare, *common[1500:]]
    found = Overview(records).examples(8)
    assert {name for r in found for name in r.label.names()} == {"common", *(f"rare{i}" for i in range(5))}
    assert len({r.image_url for r in found}) == 8
    assert found == Overview(records).examples(8)
    assert len(Overview(records).examples(3)) == 3
    assert Overview(rare).examples(PICTURES) == Overview(rare).examples(5)


# Pictures


def test_every_kind_of_label_is_drawn():
    assert set(DRAWN) == set(KINDS.values())


def test_a_box_is_where_it_lies(tmp_path):
    record = Record(grey(tmp_path / "a.png", (640, 320)), Boxes((Box("cat", 0.25, 0.25, 0.75, 0.75),)))
    pixels = np.asarray(picture(record, COLOURS))
    assert pixels.shape == (160, 320, 3)
    assert tuple(pixels[80, 80]) == tuple(pixels[80, 239]) == tuple(pixels[119, 160]) == RED
    assert tuple(pixels[80, 160]) == tuple(pixels[10, 10]) == (90, 90, 90)


@pytest.mark.parametrize("form", ["polygon", "rle"])
def test_an_outline_is_filled(tmp_path, form):
    inside = np.zeros((80, 120), bool)
    inside[20:60, 30:90] = True
    outline = {"polygon": ((0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75),), "rle": None}
    outline = outline if form == "polygon" else {"polygon": (), "rle": encoded(inside)}
    record = Record(grey(tmp_path / "a.png"), Polygons((Instance("cat", **outline),)))
    pixels = np.asarray(picture(record, COLOURS)).astype(int)
    middle, outside = pixels[40, 80], pixels[70, 100]
    assert middle[0] > 150 and middle[1] < 60 and tuple(outside) == (90, 90, 90)
    coloured = (pixels != 90).any(-1)[20:60, 30:90]  # the label's text lies outside or on it
    assert coloured.mean() > 0.99


def test_a_palettes_colours_count_where_classes_are_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 250, 50, 83, 9, 9, 9])
    image.save(tmp_path / "m.png")
    mask = Mask(str(tmp_path / "m.png"), (("sky", "#000000"), ("cat", "#fa3253")), (), ("sky", "cat"))
    assert pixels_by_class(mask) == {"sky": 1, "cat": 2, "": 1}


def test_a_mask_is_coloured_by_its_classes(tmp_path):
    values = np.zeros((80, 120), np.uint8)
    values[:, 40:80], values[:, 80:] = 1, 255
    Image.fromarray(values).save(tmp_path / "m.png")
    mask = Mask(str(tmp_path / "m.png"), (("cat", 0), ("dog", 1)), (255,), ("cat", "dog"))
    pixels = np.asarray(picture(Record(grey(tmp_path / "a.png"), mask), COLOURS, side=60)).astype(int)
    assert pixels.shape == (40, 60, 3)
    assert pixels[20, 10, 0] > 150 > 60 > pixels[20, 10, 2]
    assert pixels[20, 30, 2] > 150 > 60 > pixels[20, 30, 0]
    assert tuple(pixels[20, 50]) == (90, 90, 90), "what is ignored stays as it is"


@pytest.mark.parametrize("label", [OneClass("cat"), Classes(("cat",))])
def test_classes_leave_the_image_as_it_is(tmp_path, label):
    assert (np.asarray(picture(Record(grey(tmp_path / "a.png"), label))) == 90).all()


def test_a_turned_image_is_drawn_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    assert picture(Record(str(tmp_path / "a.jpg"), OneClass("cat"))).size == (160, 320)


def test_an_image_that_is_gone_is_one_line(tmp_path):
    (tmp_path / "half.png").write_bytes(Path(grey(tmp_path / "a.png", (900, 900))).read_bytes()[:300])
    for name in ("none.png", "half.png"):
        with pytest.raises(UserError, match=r"the image .*(is not there|does not open)"):
            picture(Record(str(tmp_path / name), OneClass("cat")))


def test_a_caption_has_what_is_most_first():
    names = ("dog", "cat", "cat")
    assert caption(Boxes(tuple(Box(n, 0, 0, 1, 1) for n in names))) == "2 cat, dog"
    assert caption(Boxes(())) == "nothing"
    a, b = "\u05d0", "\u05d1"  # of right-to-left names a number would be seen at the other
    assert caption(Boxes(tuple(Box(n, 0, 0, 1, 1) for n in (a, b, b)))) == f"2 \u2068{b}\u2069, \u2068{a}\u2069"
