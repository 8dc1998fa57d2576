"""Folders of images and masks, and the label maps beside them."""

import json
import re

import numpy as np
import pytest

from automl_images.annotations import Mask, Record, read_records
from automl_images.annotations.checks import Checker
from automl_images.annotations.labelmaps import beside
from automl_images.annotations.masks import indices_of, pixels_of, values_in
from automl_images.errors import UserError
from automl_images.steps.convert import commands, convert, convert_data
from tests.conftest import save_images
from tests.helpers.masks import lay, plain, png, read, write

MASK, INSTANCES = "image-semantic-segmentation", "image-instance-segmentation"


# the images, the masks, the source and what each image's mask is
LAYOUTS = {
    "images and masks": (["images/a.png", "images/b.png"], ["masks/a.png", "masks/b.png"], "", {"a": "masks/a.png"}),
    "below folders": (["images/p/a.png", "images/q/a.png"], ["masks/p/a.png", "masks/q/a.png"], "", {"p/a": "p/a.png"}),
    "imgs and labels": (["imgs/a.jpg"], ["labels/a.png"], "", {"a": "labels/a.png"}),
    "images and annotations": (["data/images/a.jpg"], ["data/annotations/a.png"], "", {"a": "annotations/a.png"}),
    "a suffix in another folder": (["images/a.jpg"], ["masks/a_mask.png"], "", {"a": "masks/a_mask.png"}),
    "images above masks": (["a.png"], ["masks/a.png"], "", {"a": "masks/a.png"}),
    "beside each other": (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"], "", {"b": "b_mask.png"}),
    "a folder and its annot": (["train/a.png"], ["trainannot/a.png"], "train", {"a": "trainannot/a.png"}),
    "a folder and its annot, from above": (["train/a.png"], ["trainannot/a.png"], "", {"a": "trainannot/a.png"}),
    "sagemaker's channels": (["train/a.jpg"], ["train_annotation/a.png"], "train", {"a": "train_annotation/a.png"}),
    "a folder and its masks": (["val/a.jpg"], ["val_masks/a.png"], "val", {"a": "val_masks/a.png"}),
    "sets below images": (["images/training/a.jpg"], ["annotations/training/a.png"], "images/training", {"a": "a.png"}),
    "images alone": (["images/a.jpg"], ["masks/a.png"], "images", {"a": "masks/a.png"}),
}


@pytest.mark.parametrize(("images", "masks", "source", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_matched_by_name(tmp_path, images, masks, source, expected):
    lay(tmp_path / "x", *images, **{mask: plain(1, 2) for mask in masks})
    found = read(tmp_path / "x" / source)
    assert len(found) == len(images)
    pairs = {r.image_url.rpartition(".")[0]: r.label.mask_url for r in found}
    for image, mask in expected.items():
        (url,) = [pairs[key] for key in pairs if key.endswith(f"/{image}")]
        assert url.endswith(f"/{mask}")
    assert len(set(pairs.values())) == len(images)
    out = str(tmp_path / "out")
    assert convert(str(tmp_path / "x" / source), out, MASK)["classes"] == dict.fromkeys("012", len(images))


def test_a_folder_of_masks_and_the_root_of_their_images(tmp_path):
    lay(tmp_path, "pictures/a.png", **{"truth/a.png": plain(1)})
    (found,) = read(tmp_path / "truth", images=str(tmp_path / "pictures"))
    assert found.image_url.endswith("pictures/a.png") and found.label.mask_url.endswith("truth/a.png")


def test_masks_without_an_image_are_said(tmp_path, capsys):
    lay(tmp_path, "images/a.png", **{"masks/a.png": plain(1), "masks/b.png": plain(1)})
    assert len(read(tmp_path)) == 1
    assert "1 masks have no image, such as 'b.png'" in capsys.readouterr().err


def test_several_folders_of_images_are_refused_by_name(tmp_path):
    lay(tmp_path, "train/a.png", "val/b.png", **{"trainannot/a.png": plain(1), "valannot/b.png": plain(2)})
    with pytest.raises(UserError, match="holds the sets train and val; name one of them, such as .*train"):
        read(tmp_path)
    lay(tmp_path / "x", "left/a.png", "right/b.png", **{"leftannot/a.png": plain(1), "rightannot/b.png": plain(2)})
    with pytest.raises(
        UserError, match=r"masks of 2 folders of images \(left, right\); name one of them, such as .*/l"
    ):
        read(tmp_path / "x")


# Label maps.

MAPS = {
    "sagemaker's map: the key is the label": ("label_map.json", '{"map": {"0": 5, "1": 0}}', [("0", 5), ("1", 0)]),
    "as text": ("label_map.json", '{"map": {"0": "5", "1": "0"}}', [("0", 5), ("1", 0)]),
    "ours": ("label_map.json", '{"classes": {"cat": 1, "sky": 0}, "ignore": [11]}', [("cat", 1), ("sky", 0)]),
    "names": ("label_map.json", '{"cat": 1, "sky": "0"}', [("cat", 1), ("sky", 0)]),
    "indices": ("label_map.json", '{"0": "sky", "1": "cat"}', [("sky", 0), ("cat", 1)]),
    "colours": ("label_map.json", '{"cat": "#FF0000", "sky": [0, 1, 255]}', [("cat", "#ff0000"), ("sky", "#0001ff")]),
    "cvat's": (
        "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n",
        [("background", "#000000"), ("cat", "#fa3253")],
    ),
    "roboflow's": ("_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n", [("background", 0), ("cat", 1)]),
    "camvid's": ("class_dict.csv", "name,r,g,b\nSky,128,128,128\n", [("Sky", "#808080")]),
    "a list": ("classes.txt", "sky\ncat\n", [("sky", 0), ("cat", 1)]),
    "codes": ("codes.txt", "sky\ncat\n", [("sky", 0), ("cat", 1)]),
}


@pytest.mark.parametrize(
    ("images", "mask", "source", "place", "found"),
    [
        ("images/a.png", "masks/a.png", "", "", True),
        ("images/a.png", "masks/a.png", "", "masks/", True),
        ("d/images/a.png", "d/masks/a.png", "", "", True),
        ("train/a.png", "trainannot/a.png", "train", "", True),
        ("images/train/a.png", "annotations/train/a.png", "images/train", "", True),
        ("s/a.png", "s/a_mask.png", "s", "s/", True),
        ("s/a.png", "s/a_mask.png", "s", "", False),
    ],
)
def test_a_label_map_lies_with_the_masks_or_above_them_but_not_above_the_source(
    tmp_path, images, mask, source, place, found
):
    lay(tmp_path / "x", images, **{mask: plain(1), f"{place}classes.txt": "sky\ncat\n"})
    (record,) = read(tmp_path / "x" / source)
    assert record.label.classes == ((("sky", 0), ("cat", 1)) if found else ())


@pytest.mark.parametrize(("name", "text", "classes"), MAPS.values(), ids=MAPS)
def test_label_maps(tmp_path, name, text, classes):
    (tmp_path / name).write_text(text)
    found = beside([str(tmp_path / "none"), str(tmp_path)])
    assert list(found.classes) == classes and found.file.endswith(name)
    coloured = isinstance(classes[0][1], str)
    assert found.ignore == ((11,) if "ignore" in text else () if coloured else (255,))


def test_a_scale_tells_the_labels_and_a_list_their_names(tmp_path):
    (tmp_path / "label_map.json").write_text('{"scale": "3"}')
    assert beside([str(tmp_path)]).classes[:3] == (("0", 0), ("1", 3), ("2", 6))
    assert len(beside([str(tmp_path)]).classes) == 85
    (tmp_path / "classes.txt").write_text("sky\ncat\n")
    assert beside([str(tmp_path)]).classes == (("sky", 0), ("cat", 3))
    (tmp_path / "label_map.json").write_text('{"map": {"0": 7, "1": 255}}')
    assert beside([str(tmp_path)])[:2] == ((("sky", 7), ("cat", 255)), ())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("label_map.json", "{", "is not JSON"),
        ("label_map.json", "[1]", "not an object"),
        ("label_map.json", "{}", "has no map and scale"),
        ("label_map.json", '{"map": {"0": 1}, "scale": 2}', "both map and scale"),
        ("label_map.json", '{"scale": 0}', "scale is 0, not a whole number from 1"),
        ("label_map.json", '{"scale": "half"}', "scale is 'half', which is not a number"),
        ("label_map.json", '{"map": {"cat": 1}}', "names stand in"),
        ("label_map.json", '{"map": {"0": 1, "1": 1}}', "the pixel value 1 stands twice"),
        ("label_map.json", '{"map": {"0": 1, "00": 2}}', "map has a label twice"),
        ("label_map.json", '{"map": {"0": -1}}', "-1 is neither a whole number"),
        ("label_map.json", '{"cat": [1, 2]}', "the colour [1, 2] is not red, green and blue"),
        ("label_map.json", '{"cat": 1, "dog": "#000000"}', "has indices and colours"),
        ("label_map.json", '{"classes": ["cat"]}', "has classes, and is not"),
        ("label_map.json", '{"classes": {"cat": 1}, "ignored": []}', "has classes, and is not"),
        ("label_map.json", '{"cat": 1, "cat": 2}', "the key 'cat' stands twice"),
        ("labelmap.txt", "cat 1,2,3\n", "line 1: is not name:red,green,blue:parts:actions"),
        ("labelmap.txt", "a:0,0,0::\ncat:1,2,300::\n", "line 2: the colour [1, 2, 300]"),
        ("labelmap.txt", "a:0,0,0::\nb:0,0,0::\n", 'the pixel value "#000000" stands twice'),
        ("labelmap.txt", "# nothing\n", "names no class"),
        ("_classes.csv", "class\ncat\n", "line 1: the columns are not Pixel Value,Class or name,r,g,b"),
        ("_classes.csv", "Pixel Value, Class\ncat, 1\n", "line 2: the pixel value"),
        ("class_dict.csv", "name,r,g,b\nSky,1,2\n", "line 2: has 3 fields, and the header has 4"),
        ("class_dict.csv", "name,r,g,b\nSky,1,2,x\n", "line 2: the colour"),
        ("classes.txt", "a\n\nb\n", "line 2: is empty"),
        ("codes.txt", "a\na\n", "line 2: the name 'a' stands on line 1 too"),
    ],
)
def test_malformed_label_maps_are_one_line_with_the_file(tmp_path, name, text, said):
    lay(tmp_path, "images/a.png", **{"masks/a.png": plain(1), name: text})
    with pytest.raises(UserError) as error:
        read(tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name)) and str(error.value).count(str(tmp_path)) == 1


def test_the_map_beside_a_set_is_its_own(tmp_path):
    lay(tmp_path, "train/a.png", **{"train_annotation/a.png": plain(3, 6), "train_label_map.json": '{"scale": 3}'})
    assert read(tmp_path / "train")[0].label.classes[:2] == (("0", 0), ("1", 3))
    assert set(convert(str(tmp_path / "train"), str(tmp_path / "out"), MASK)["classes"]) == {"0", "1", "2"}


def test_sagemakers_channels_are_sets_each_with_its_own_label_map(tmp_path):
    masks = {"train_annotation/a.png": plain(5, 2, 255), "validation_annotation/b.png": plain(0, 9)}
    maps = {
        "label_map/train_label_map.json": '{"map": {"0": 0, "1": 5, "2": 2}}',
        "label_map/validation_label_map.json": '{"map": {"0": 0, "2": "9"}}',
    }
    lay(tmp_path / "x", "train/a.jpg", "validation/b.jpg", **masks, **maps)
    outs = {name: str(tmp_path / f"{name}.jsonl") for name in ("training", "validation", "test")}
    found = convert_data(MASK, {"training": {"source": str(tmp_path / "x")}}, outs)
    assert {name: one["classes"] for name, one in found.items()} == {
        "training": {"0": 1, "1": 1, "2": 1},
        "validation": {"0": 1, "2": 1},
    }
    (record,) = read_records(outs["training"], "mask")
    assert indices_of(record.label, ["0", "1", "2"]).ravel()[:4].tolist() == [1, 2, 255, 0]
    (tmp_path / "x/validation_annotation/b.png").write_bytes(plain(0, 3))
    with pytest.raises(UserError, match=r"^data.validation: .*b.jpg: .*/b.png has the pixel value 3, which is of no"):
        convert_data(MASK, {"training": {"source": str(tmp_path / "x")}}, outs)


def test_a_value_between_the_steps_of_a_scale_is_refused(tmp_path):
    lay(tmp_path, "images/a.png", **{"masks/a.png": plain(3, 4), "label_map.json": '{"scale": 3}'})
    with pytest.raises(UserError, match="has the pixel value 4, which is of no class"):
        convert(str(tmp_path), str(tmp_path / "out"), MASK)


def test_binary_masks_have_a_background_and_a_foreground(tmp_path, capsys):
    lay(tmp_path, "images/a.png", "images/b.png", **{"masks/a.png": plain(255), "masks/b.png": plain()})
    found = convert(str(tmp_path), str(tmp_path / "out"), MASK)
    assert found["classes"] == {"background": 2, "foreground": 1}
    assert "have 0 and 255 alone, read as background and foreground" in capsys.readouterr().err


def test_colours_are_read_with_a_palette_or_without(tmp_path):
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[0, 0] = 250, 50, 83
    indices = np.zeros((8, 12), np.uint8)
    indices[0, 0] = 1
    masks = {"masks/a.png": png(pixels), "masks/b.png": png(indices, "P", [0, 0, 0, 250, 50, 83])}
    lay(tmp_path, "images/a.png", "images/b.png", **masks, **{"labelmap.txt": "background:0,0,0::\ncat:250,50,83::\n"})
    assert convert(str(tmp_path), str(tmp_path / "out"), MASK)["classes"] == {"background": 2, "cat": 2}
    assert values_in(str(tmp_path / "masks/b.png")) == ([0, 1], (12, 8))
    assert values_in(str(tmp_path / "masks/b.png"), colours=True) == (["#000000", "#fa3253"], (12, 8))
    assert pixels_of(str(tmp_path / "masks/a.png")).shape == (8, 12, 3)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "images/b.png: has no mask of its name"),
        ({"masks/b.png": plain(1), "masks/b_mask.png": plain(1)}, "images/b.png: has two masks: b.png and b_mask.png"),
        ({"masks/b.png": b"PNG"}, "images/b.png: the image .*masks/b.png does not open"),
        ({"masks/b.png": plain(1, size=(8, 12))}, "has 8 x 12 pixels, and its image 12 x 8"),
        ({"masks/b.jpg": png(np.zeros((8, 12)), format="jpeg")}, "is a JPEG, whose pixels are not exact"),
        ({"masks/b.png": png(np.zeros((8, 12, 3)))}, "has the pixel value #000000, which is of no class"),
        ({"masks/b.png": plain(7)}, "masks/b.png has the pixel value 7, which is of no class"),
        ({"masks/b.png": plain(1), "images/b.jpg": plain()}, "has the same mask by its name"),
    ],
)
def test_a_flawed_mask_is_one_line_and_its_image_alone_is_left_out(tmp_path, files, said):
    lay(tmp_path, "images/a.png", "images/b.png", **{"masks/a.png": plain(1), "classes.txt": "sky\ncat\n"})
    write(tmp_path, files)
    with pytest.raises(UserError, match=said) as error:
        convert(str(tmp_path), str(tmp_path / "out"), MASK)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    found = convert(str(tmp_path), str(tmp_path / "out"), MASK, on_error="skip")
    assert found["images"] == found["skipped_images"] == 1


def test_colours_without_a_map_are_refused(tmp_path):
    lay(tmp_path, "images/a.png", **{"masks/a.png": png(np.zeros((8, 12, 3)))})
    with pytest.raises(UserError, match="masks are in colours, and nothing names them; write labelmap.txt beside them"):
        read(tmp_path)


def test_a_mask_reached_through_a_link_that_leaves_the_folder_is_refused(tmp_path):
    lay(tmp_path, "x/images/a.png", "x/images/b.png", **{"x/masks/a.png": plain(1), "secret.png": plain(1)})
    (tmp_path / "x/masks/b.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match="leaves the image root .* through a link"):
        read(tmp_path / "x")


def test_a_check_keeps_the_classes_order_and_ignores_what_is_ignored(tmp_path):
    write(tmp_path, {"m.png": plain(1, 2, 255)})
    save_images(tmp_path, ["a.png"])
    checker = Checker(label="mask")
    label = Mask(str(tmp_path / "m.png"), (("dog", 2), ("cat", 1), ("sky", 0)))
    (found,) = checker.check([Record(str(tmp_path / "a.png"), label)])
    assert found.label.present == ("dog", "cat", "sky")
    assert json.loads(json.dumps(found.label.to_json()))["ignore"] == [255]


@pytest.fixture
def with_void(tmp_path):
    """Return a folder of two images whose label map names three values."""
    lay(tmp_path / "x", "images/a.png", "images/b.png", **{f"masks/{n}.png": plain(0, 1, 11) for n in "ab"})
    write(tmp_path, {"x/label_map.json": json.dumps({"classes": {"sky": 0, "road": 1, "void": 11}})})
    return tmp_path / "x"


def test_a_value_that_is_ignored_is_of_no_class(with_void, tmp_path):
    data = {"training": {"source": str(with_void), "ignore": [11]}}
    outs = {n: str(tmp_path / f"{n}.jsonl") for n in ("training", "validation", "test")}
    assert set(convert_data(MASK, data, outs)["training"]["classes"]) == {"sky", "road"}
    (line,) = commands(MASK, data, outs)
    assert line[line.index("--ignore") + 1] == "11"
    labels = [record.label for record in read_records(outs["training"], "mask")]
    assert [label.ignore for label in labels] == [(255, 11)] * 2
    assert np.unique(indices_of(labels[0], ["sky", "road"])).tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("task", "ignore", "said"),
    [
        (MASK, ["#00ff00"], 'ignore: "#00ff00" is no value of these masks, whose classes are indices'),
        (MASK, [0, 1, 11], "ignore: names the value of every class; leave one"),
        (MASK, ["void"], 'the pixel value "void" is neither a whole number from 0 to 65535 nor #rrggbb'),
        (INSTANCES, [1], "ignore: names pixel values of masks of classes; these labels are polygons"),
    ],
)
def test_what_cannot_be_ignored_is_refused(with_void, tmp_path, task, ignore, said):
    with pytest.raises(UserError, match=re.escape(said)):
        convert(str(with_void), str(tmp_path / "x.jsonl"), task, ignore=ignore)
