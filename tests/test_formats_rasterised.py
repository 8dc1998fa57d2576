"""Masks of what formats of polygons hold: the class of each pixel that their objects cover."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from automl_images.annotations import read_records
from automl_images.annotations.formats import read
from automl_images.annotations.masks import pixels_of
from automl_images.annotations.source import Source
from automl_images.errors import UserError, redact
from automl_images.steps.convert import convert
from automl_images.steps.export import export_records
from automl_images.steps.inspect import guessed_task
from tests.conftest import save_images
from tests.helpers.annotated import coco
from tests.helpers.masks import plain, write

INSIDE = [[2, 2, 4, 2, 4, 4, 2, 4]]
MASK = "image-semantic-segmentation"
CATEGORIES = ((1, "cat"), (2, "dog"), (3, "eel"))
SQUARE, BESIDE = [[1, 1, 5, 1, 5, 5, 1, 5]], [[4, 1, 8, 1, 8, 5, 4, 5]]


def outlines(folder, *found, images=((1, "a.png"),), **more):
    """Write a COCO file of (image, category, segmentation) on images of 12 x 8."""
    save_images(folder, [name for _, name in images])
    path = coco(folder, images, [], CATEGORIES)
    rows = [
        {"id": n, "image_id": i, "category_id": c, "segmentation": s, "bbox": [0, 0, 1, 1], "iscrowd": 0, **more}
        for n, (i, c, s) in enumerate(found, 1)
    ]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": rows}))
    return path


def masks(source, out, **options):
    summary = convert(str(source), str(out), MASK, **options)
    found = {r.image_url.rpartition("/")[2]: r.label for r in read_records(str(out), "mask")}
    return summary, {name: (label, pixels_of(label.mask_url)) for name, label in found.items()}


def test_cocos_polygons_are_classes_of_pixels_and_the_rest_is_background(tmp_path):
    images = ((1, "a.png"), (2, "b.png"))
    source = outlines(tmp_path / "x", (1, 2, SQUARE), (1, 1, [[8, 1, 10, 1, 10, 3, 8, 3]]), images=images)
    summary, found = masks(source, tmp_path / "out.jsonl")
    expected = np.zeros((8, 12), np.uint8)
    expected[1:5, 1:5], expected[1:3, 8:10] = 2, 1
    label, pixels = found["a.png"]
    assert (pixels == expected).all() and pixels.dtype == np.uint8
    assert label.classes == (("background", 0), ("cat", 1), ("dog", 2), ("eel", 3)) and label.ignore == (255,)
    assert label.present == ("background", "cat", "dog")
    label, pixels = found["b.png"]
    assert not pixels.any() and label.present == ("background",)
    assert summary["classes"] == {"background": 2, "cat": 1, "dog": 1}
    assert list(summary["findings"]["a class that is named and never used"]["first"]) == [f"{source}: 'eel'"]


def test_what_several_classes_cover_is_ignored_and_said(tmp_path, capsys):
    source = outlines(tmp_path / "x", (1, 1, SQUARE), (1, 1, BESIDE), (1, 3, INSIDE), (1, 1, SQUARE))
    _, found = masks(source, tmp_path / "out.jsonl")
    expected = np.zeros((8, 12), np.uint8)
    expected[1:5, 1:8] = 1
    expected[2:4, 2:4] = 255
    assert (found["a.png"][1] == expected).all()
    assert "4 pixels of 1 images are in objects of several classes: ignored" in capsys.readouterr().err


def test_run_lengths_and_crowds_count_as_their_class(tmp_path):
    rle = {"size": [8, 12], "counts": [8, 8, 80]}  # the second column
    _, found = masks(outlines(tmp_path / "x", (1, 1, rle), iscrowd=1), tmp_path / "out.jsonl")
    expected = np.zeros((8, 12), np.uint8)
    expected[:, 1] = 1
    assert (found["a.png"][1] == expected).all()


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([[1, 1, 5, 1]], r"image 1 \(a.png\): object 1 \(cat\) has a polygon of 2 points"),
        ([[1, 1, 40, 1, 40, 5]], r"object 1 \(cat\) lies outside its image of 12 x 8 pixels by 28 pixels"),
        ({"size": [4, 4], "counts": [16]}, r"object 1 \(cat\) has a mask of 4 x 4 pixels, and its image 12 x 8"),
        (None, "annotation 1: has no segmentation"),
    ],
)
def test_a_wrong_outline_is_refused_or_its_image_left_out(tmp_path, segmentation, said):
    images = ((1, "a.png"), (2, "b.png"))
    source = outlines(tmp_path / "x", (1, 1, segmentation), images=images)
    with pytest.raises(UserError, match=said):
        convert(str(source), str(tmp_path / "out"), MASK)
    summary, found = masks(source, tmp_path / "out", on_error="skip")
    assert list(found) == ["b.png"] and summary["skipped_images"] == 1


def test_what_is_dropped_of_an_outline_is_said(tmp_path, capsys):
    source = outlines(tmp_path / "x", (1, 1, [*SQUARE, [1, 1, 2, 1, 3, 1]]))
    masks(source, tmp_path / "out")
    assert "1 x a polygon without area (dropped); first " in capsys.readouterr().err


def test_more_classes_than_a_byte_has_are_kept(tmp_path):
    source = outlines(tmp_path / "x", (1, 300, SQUARE))
    names = [{"id": n, "name": f"c{n:03}"} for n in range(1, 301)]
    source.write_text(json.dumps(json.loads(source.read_text()) | {"categories": names}))
    _, found = masks(source, tmp_path / "out")
    label, pixels = found["a.png"]
    assert label.ignore == (65535,) and pixels.max() == 300 and label.present == ("background", "c300")


def test_masks_go_before_polygons_where_both_are_there(tmp_path):
    outlines(tmp_path / "x", (1, 1, SQUARE))
    save_images(tmp_path / "x", ["images/a.png"])
    write(tmp_path / "x", {"masks/a.png": plain(7)})
    (record,) = read(str(tmp_path / "x"), label="mask")
    assert record.label.mask_url.endswith("masks/a.png")
    with pytest.raises(UserError, match="fit image-object-detection, image-instance-segmentation; name one"):
        guessed_task(Source(str(outlines(tmp_path / "y", (1, 1, SQUARE)))))


def test_a_mask_in_a_record_is_copied_read_again_and_exported(tmp_path):
    first = tmp_path / "first.jsonl"
    _, before = masks(outlines(tmp_path / "x", (1, 2, SQUARE)), first, copy_to=str(tmp_path / "store"))
    summary, again = masks(first, tmp_path / "again.jsonl")
    assert [again[name][0] for name in again] == [label for label, _ in before.values()] and summary["images"] == 1
    export_records(str(first), str(tmp_path / "out"), "masks")
    (mask,) = (tmp_path / "out" / "masks").iterdir()
    assert (np.asarray(Image.open(mask)) == next(iter(before.values()))[1]).all()
    with pytest.raises(UserError, match="has its mask in itself, and a manifest names files"):
        export_records(str(first), str(tmp_path / "out.manifest"), "manifest")


def test_a_line_of_an_error_does_not_hold_a_whole_mask(tmp_path):
    file = io.BytesIO()
    Image.new("L", (12, 9), 3).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    save_images(tmp_path, ["a.png"])
    item = {"image_url": "a.png", "label": {"mask_url": url}}
    (tmp_path / "x.jsonl").write_text(json.dumps(item))
    with pytest.raises(UserError, match=r"mask data:image/png;base64,\.\.\. has 12 x 9 pixels, and its image 12 x 8"):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), MASK)
    (tmp_path / "x.jsonl").write_text(json.dumps(item | {"label": {"mask_url": f"data:image/png;base64,{20 * 'a'}"}}))
    with pytest.raises(UserError, match=r"the image data:image/png;base64,\.\.\. does not open"):
        convert(str(tmp_path / "x.jsonl"), str(tmp_path / "out"), MASK)
    assert redact("x data:image/png;base64,AAAABBBBCCCCDDDDEEEE y") == "x data:image/png;base64,... y"
