"""JSON lines as people have them: the samples of Azure's own documents, and objects over several lines."""

import json

import pytest

from automl_images.annotations import Box, formats
from automl_images.annotations.checks import Checker
from automl_images.errors import UserError
from tests.conftest import save_images

# as Azure's documents print them: sizes with px, numbers and truth as text, one object for a list, commas that trail
CLASSES = """{
      "image_url": "AmlDatastore://image_data/Image_01.png",
      "image_details":
      {
          "format": "png",
          "width": "2230px",
          "height": "4356px"
      },
      "label": "cat"
  }
  {
      "image_url": "AmlDatastore://image_data/Image_02.jpeg",
      "image_details":
      {
          "format": "jpeg",
          "width": "3456px",
          "height": "3467px"
      },
      "label": "dog"
  }
"""
BOXES = """{
      "image_url": "AmlDatastore://image_data/Image_01.png",
      "image_details":
      {
          "format": "png",
          "width": "2230px",
          "height": "4356px"
      },
      "label":
      {
          "label": "cat",
          "topX": "1",
          "topY": "0",
          "bottomX": "0",
          "bottomY": "1",
          "isCrowd": "true",
      }
  }
  {
      "image_url": "AmlDatastore://image_data/Image_02.png",
      "image_details":
      {
          "format": "jpeg",
          "width": "1230px",
          "height": "2356px"
      },
      "label":
      {
          "label": "dog",
          "topX": "0",
          "topY": "1",
          "bottomX": "0",
          "bottomY": "1",
          "isCrowd": "false",
      }
  }
"""


def records(tmp_path, text, label, broken=None):
    save_images(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "x.jsonl").write_text(text)
    more = {} if broken is None else {"broken": broken}
    return list(
        formats.read(str(tmp_path / "x.jsonl"), images=f"AmlDatastore://image_data/={tmp_path}", label=label, **more)
    )


def test_the_documents_sample_of_classes_is_read(tmp_path):
    found = records(tmp_path, CLASSES, "class")
    assert [(r.label.name, r.width, r.height, r.format) for r in found] == [
        ("cat", 2230, 4356, "png"),
        ("dog", 3456, 3467, "jpeg"),
    ]
    assert [r.where.rpartition(", ")[2] for r in found] == ["line 1", "line 11"]


def test_the_documents_sample_of_boxes_is_read_and_its_flipped_box_is_reported_as_such(tmp_path):
    first, second = records(tmp_path, BOXES, "boxes")
    assert first.label.boxes == (Box("cat", 1, 0, 0, 1, isCrowd=True),)
    assert second.label.boxes == (Box("dog", 0, 1, 0, 1),)
    save_images(tmp_path, ["Image_01.png", "Image_02.png"])
    text = BOXES.replace("2230px", "12px").replace("4356px", "8px").replace("1230px", "12px").replace("2356px", "8px")
    checker = Checker("skip", label="boxes")
    kept = list(checker.check(records(tmp_path, text, "boxes")))
    assert [r.label.boxes for r in kept] == [()] and checker.found["dropped_boxes"] == 1  # the second has no area
    checker = Checker("fail", label="boxes")
    with pytest.raises(UserError, match=r"line 1: box 1 .*ends before it begins"):
        list(checker.check(records(tmp_path, text, "boxes")))
    checker = Checker("fix", label="boxes")
    assert next(iter(checker.check(records(tmp_path, text, "boxes")))).label.boxes == (Box("cat", 0, 0, 1, 1, True),)


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
def test_objects_are_read_however_they_are_broken_into_lines(tmp_path, indent):
    items = [
        {"image_url": f"{i}.png", "label": [{"label": 'a "{" \\', "polygon": [[0, 0, 1, 0, 1, 1]]}]} for i in "abc"
    ]
    text = "\n".join(json.dumps(item, indent=indent) for item in items)
    found = records(tmp_path, text, "polygons")
    assert [r.image_url.rpartition("/")[2] for r in found] == ["a.png", "b.png", "c.png"]
    assert {r.label.names()[0] for r in found} == {'a "{" \\'}


@pytest.mark.parametrize(
    ("cut", "line"),
    [
        ('{"image_url": "a.png", "label": "ca', 1),
        ('{"image_url": "a.png", "label": {"a": 1', 1),
        ('{\n"image_url": "a.png",\n"label": "cat"\n', 1),
        ('{\n"image_url": "a.png",\n"label": [\n', 1),
    ],
)
@pytest.mark.parametrize(
    "rest", ['{"image_url": "b.png", "label": "dog"}', '{\n"image_url": "b.png",\n"label": "dog"\n}']
)
def test_an_object_that_is_not_closed_takes_no_other_with_it(tmp_path, cut, line, rest):
    errors = []
    (found,) = records(tmp_path, f"{cut}\n{rest}\n", "class", errors.append)
    assert found.label.name == "dog"
    assert len(errors) == 1 and f"x.jsonl, line {line}: is not JSON" in str(errors[0])
    assert "\n" not in str(errors[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n", "line 1: is not JSON"),
        ('{"image_url": "a.png", "label": "cat"}}', "line 1: is not JSON"),
        ('"a.png"\n', "line 1: is not a JSON object"),
        ("[1, 2]\n", "line 1: is not a JSON object"),
        ('{"image_url": 7, "label": "cat"}', "line 1: has no image_url"),
        ('{"label": "cat"}', "line 1: has no image_url"),
        ('{"image_url": "a.png"}', "line 1: has no label"),
        ('{"image_url": "../../etc/passwd", "label": "cat"}', "line 1: the path '../../etc/passwd' leaves"),
        (
            '{"image_url": "a.png", "image_details": {"width": "12 cm"}, "label": "cat"}',
            "image_details.width is '12 cm'",
        ),
        ('\n\n{"image_url": "a.png", "label": {"a": 1}}', "line 3: "),
    ],
)
def test_malformed_lines_are_one_line_with_the_place(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        records(tmp_path, text, "class")
    assert said in str(error.value) and "\n" not in str(error.value) and "x.jsonl" in str(error.value)
