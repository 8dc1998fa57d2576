"""A mask an object, as the nuclei set has it."""

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import shapes
from automl_images.annotations.masks import instance_of
from automl_images.errors import UserError
from automl_images.steps.convert import convert
from tests.helpers.masks import lay, nuclei, plain, png, read, write

MASK, INSTANCES = "image-semantic-segmentation", "image-instance-segmentation"


def test_a_mask_an_object_is_read_to_the_pixel(tmp_path, capsys):
    nuclei(tmp_path)
    first, second = read(tmp_path, "polygons")
    assert first.label.names() == ["object", "object"] and len(second.label.instances) == 1
    assert [shapes.area_of(one, 12, 8) for one in first.label.instances] == [2, 1]
    assert shapes.decoded(first.label.instances[1].rle)[0].tolist() == [False] * 3 + [True] + [False] * 8
    assert "nothing names the class of its masks; it is 'object'" in capsys.readouterr().err
    assert convert(str(tmp_path), str(tmp_path / "out"), INSTANCES)["instances"] == 3


def test_the_class_of_objects_is_that_of_a_list_or_of_their_folder(tmp_path):
    nuclei(tmp_path, **{"classes.txt": "nucleus\n"})
    assert {name for r in read(tmp_path, "polygons") for name in r.label.names()} == {"nucleus"}
    lay(tmp_path / "y", "images/a.png", "images/b.png")
    write(tmp_path / "y", {"masks/a/cat/1.png": plain(1), "masks/a/dog/1.png": plain(1), "masks/b/cat/1.png": plain(1)})
    assert [r.label.names() for r in read(tmp_path / "y", "polygons")] == [["cat", "dog"], ["cat"]]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"s/1/masks/x.png": plain()}, "x.png shows no object: all of its pixels are 0"),
        ({"s/1/masks/x.png": plain(1, 2)}, "x.png has the values 1 and 2; a mask of one object has one beside 0"),
        ({"s/1/masks/x.png": b""}, "x.png does not open: the file is empty"),
        ({"s/1/masks/x.png": png(np.ones((8, 12)), format="jpeg")}, "x.png is a JPEG"),
        (
            {"s/1/masks/x.png": plain(1, size=(6, 6))},
            r"object 1 \(object\) has a mask of 6 x 6 pixels, and its image 12 x 8",
        ),
    ],
)
def test_a_flawed_mask_of_an_object_is_one_line_with_its_image(tmp_path, files, said):
    nuclei(tmp_path, **files)
    with pytest.raises(UserError, match=f"s/1/images/1.png: .*{said}") as error:
        convert(str(tmp_path), str(tmp_path / "out"), INSTANCES)
    assert "\n" not in str(error.value)
    found = convert(str(tmp_path), str(tmp_path / "out"), INSTANCES, on_error="skip")
    assert (found["images"], found["skipped_images"]) == (1, 1)


def test_masks_of_the_other_kind_are_refused_by_name(tmp_path):
    nuclei(tmp_path / "n")
    with pytest.raises(UserError, match="has a mask an object; use task image-instance-segmentation"):
        read(tmp_path / "n")
    lay(tmp_path / "m", "images/a.png", **{"masks/a.png": plain(1)})
    with pytest.raises(UserError, match="shows no single objects; use task image-semantic-segmentation"):
        read(tmp_path / "m", "polygons")
    write(tmp_path / "n", {"classes.txt": "a\nb\n"})
    with pytest.raises(UserError, match="has 2 names, and nothing tells which a mask has"):
        read(tmp_path / "n", "polygons")


def test_an_image_without_masks_of_objects_is_refused(tmp_path):
    lay(tmp_path, "images/a.png", "images/b.png", **{"masks/a/1.png": plain(1)})
    with pytest.raises(UserError, match="b.png: has no mask; whether nothing is on it, or nobody has looked"):
        read(tmp_path, "polygons")
    with pytest.raises(UserError, match="holds no folder of masks beside one of images"):
        read(tmp_path / "masks/", "mask", format="masks")


def test_the_mask_of_an_object_may_be_of_any_mode(tmp_path):
    write(tmp_path, {"a.png": png(np.full((8, 12, 4), 255)), "b.png": plain(1)})
    image = Image.new("1", (12, 8))
    image.putpixel((3, 2), 1)
    image.save(tmp_path / "c.png")
    assert shapes.decoded(instance_of(str(tmp_path / "a.png"))).all()
    assert np.argwhere(shapes.decoded(instance_of(str(tmp_path / "c.png")))).tolist() == [[2, 3]]
