"""What is wrong in an export of an annotation tool is said in one line, with its place."""

import pytest

from automl_images.errors import UserError
from tests.helpers.tools import BOX, MASKED, cvat, drawn, labelme, packed, png, read, region, result, studio, via

BAD = {
    "labelme without shapes": ("a.json", labelme(shapes=None), "it needs the list 'shapes'"),
    "labelme is no JSON": ("a.json", labelme(drawn())[:-3], "a.json: is not JSON"),
    "labelme with two points": ("a.json", labelme(drawn(shape_type="polygon")), "shape 1: its polygon has 2 points"),
    "labelme of another shape": ("a.json", labelme(drawn(shape_type="star")), 'shape 1: its shape_type is "star"'),
    "labelme's rectangle of a point": (
        "a.json",
        labelme(drawn(points=[(1, 1)])),
        "shape 1: a rectangle has two points",
    ),
    "labelme without class": ("a.json", labelme(drawn(label=None)), "shape 1: label is missing"),
    "labelme with text as a point": ("a.json", labelme(drawn(points=[("x", 1), (2, 2)])), "shape 1: points is 'x'"),
    "labelme with a shape that is none": ("a.json", labelme(7), "shape 1: is 7, not an object"),
    "labelme's mask of no PNG": ("a.json", labelme(drawn(shape_type="mask", mask="eA==")), "its mask is no PNG"),
    "labelme's mask outside": (
        "a.json",
        labelme(drawn(points=[(50, 1), (52, 3)], shape_type="mask", mask=png([[1]]))),
        "outside its image",
    ),
    "labelme's flags are a list": ("a.json", labelme(drawn(), flags=["x"]), "flags is "),
    "labelme outside its root": ("a.json", labelme(drawn(), imagePath="../../b.png"), "../../b.png"),
    "studio with two annotations": (
        "x.json",
        studio(annotations=[{"result": []}, {"result": []}]),
        "task 3: has 2 annotations, and whose counts is not told",
    ),
    "studio without an image": ("x.json", studio(result(), data={"text": "x"}), "task 3: names no image"),
    "studio with two images": (
        "x.json",
        studio(result(), data={"a": "a.png", "b": "b.png"}),
        "a and b may be its image",
    ),
    "studio with two classes": ("x.json", studio(result(labels=["cat", "dog"])), "result 1: has the classes cat, dog"),
    "studio without a class": ("x.json", studio(result(labels=[])), "result 1: has no rectanglelabels"),
    "studio without numbers": ("x.json", studio(result(x=1, y=None, width=3)), "result 1: y is missing"),
    "studio turned": ("x.json", studio(result() | {"image_rotation": 90}), "result 1: its image was turned"),
    "studio's stroke is cut": ("x.json", studio(result("brushlabels", rle=packed(MASKED)[:9])), "rle ends too early"),
    "studio's stroke of another size": (
        "x.json",
        studio(result("brushlabels", rle=packed(MASKED[1:]))),
        "its rle is of",
    ),
    "studio's stroke is text": ("x.json", studio(result("brushlabels", rle="x")), "its rle is not a list of bytes"),
    "studio with a result that is none": ("x.json", studio(7), "task 3: its annotation has no list of results"),
    "via with two attributes": ("via.json", via(region({"a": "x", "b": "y"})), "its regions have the attributes a, b"),
    "via without its attribute": ("via.json", via(region({"a": "cat"}), region({})), "region 2: its attribute 'a'"),
    "via with another shape": ("via.json", via(region({"a": "x"}, name="star")), 'region 1: its shape is "star"'),
    "via of unequal lists": (
        "via.json",
        via(region({"a": "x"}, name="polygon", all_points_x=[1, 2, 3], all_points_y=[1])),
        "region 1: its all_points_x and all_points_y",
    ),
    "via with several boxes ticked": ("via.json", via(region({"a": {"x": True, "y": True}})), "has 2 classes"),
    "via csv cut": ("via.csv", "filename,region_shape_attributes,region_attributes\na.png,{}\n", "row 2: lacks one"),
    "via csv of no JSON": (
        "via.csv",
        "filename,region_shape_attributes,region_attributes\na.png,{x,{}\n",
        "row 2: is not JSON",
    ),
    "cvat of a video": ("x.xml", "<annotations><track/></annotations>", "export it as 'CVAT for images'"),
    "cvat is cut": ("x.xml", cvat(BOX)[:-9], "x.xml: is not XML"),
    "cvat with entities": (
        "x.xml",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
        "entities or a DTD, which are refused",
    ),
    "cvat without name": ("x.xml", cvat(BOX, 'id="0" width="12" height="8"'), "image 0 .*: has no name"),
    "cvat without corner": ("x.xml", cvat('<box label="cat" xtl="1"/>'), "box at position 1: ytl is missing"),
    "cvat of two points": (
        "x.xml",
        cvat('<polygon label="cat" points="1,2;3,4"/>'),
        "polygon at position 1: points has 2",
    ),
    "cvat's points are text": ("x.xml", cvat('<polygon label="cat" points="a,b;c,d;e,f"/>'), "points is 'a'"),
    "cvat's mask leaves": (
        "x.xml",
        cvat('<mask label="cat" rle="1" left="12" top="0" width="1" height="1"/>'),
        "mask at position 1: its rectangle",
    ),
    "cvat's runs are too few": (
        "x.xml",
        cvat('<mask label="cat" rle="0, 3" left="0" top="0" width="2" height="2"/>'),
        "the runs of its rle do not fill 2 x 2 pixels",
    ),
    "cvat's mask is huge": (
        "x.xml",
        cvat(
            '<mask label="cat" rle="0,1" left="0" top="0" width="1" height="1"/>',
            'name="a.png" width="1000000" height="1000000"',
        ),
        "more pixels than an image may have",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name):
    file, text, said = BAD[name]
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, file, text, "boxes")
    assert file in str(raised.value) and "\n" not in str(raised.value)
