"""Masks made elsewhere, scored on annotations."""

import json

import numpy as np
import pytest

from automl_images.errors import UserError
from automl_images.steps.evaluate_masks import evaluate_masks
from tests.helpers.command import call_step
from tests.helpers.masks import lay, plain, png, write

TASK = "image-semantic-segmentation"
MAP = json.dumps({"classes": {"sky": 0, "road": 5}, "ignore": [11]})


@pytest.fixture
def source(tmp_path):
    """Return a source of two images of 12 x 8 with masks, of which the first pixels are of the class, or ignored."""
    masks = {"masks/a.png": plain(5, 5, 5, 5), "masks/b.png": plain(5, 5, 11, 11), "label_map.json": MAP}
    lay(tmp_path / "x", "images/a.jpg", "images/b.jpg", **masks)
    return tmp_path / "x"


def test_masks_are_scored_by_the_names_of_images(source, tmp_path):
    write(tmp_path / "p", {"a.png": plain(5, 5), "deep/b_mask.png": plain(5, 0, 5, 11), "c.png": plain()})
    found = evaluate_masks(str(tmp_path / "p"), str(source), str(tmp_path / "out"), TASK)
    assert found["confusion_matrix"] == [[2 * 96 - 4 - 4, 0], [3, 3]]
    assert found["per_label_metrics"]["road"]["iou"] == 0.5 and found["masks_left_out"] == 1
    assert found == json.loads((tmp_path / "out/metrics.json").read_text())
    assert "a.jpg: mean IoU" in (tmp_path / "out/report.html").read_text()
    assert found["images"] == 2 and found["annotations"]["images"] == 2


def test_a_label_map_with_the_masks_names_their_values(source, tmp_path):
    colours = np.zeros((8, 12, 3), np.uint8)
    colours[0, :4] = 9, 8, 7
    masks = {"a.png": png(colours), "b.png": png(colours), "labelmap.txt": "sky:0,0,0::\nroad:9,8,7::\n"}
    write(tmp_path / "p", masks)
    found = evaluate_masks(str(tmp_path / "p"), str(source), str(tmp_path / "out"), TASK)
    assert found["mean_iou"] == 1 == found["pixel_accuracy"]


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"a.png": plain()}, r"b.jpg: has no mask of its name in .*p$"),
        ({}, r"a.jpg: has no mask of its name in .*p, nor have 1 others"),
        (
            {"a.png": plain(), "b.png": plain(), "q/b.png": plain()},
            "the image 'b' has two masks: .*b.png and .*q/b.png",
        ),
        ({"a.png": plain(7), "b.png": plain()}, "p/a.png has the pixel value 7, which is of no class"),
        ({"a.png": plain(11), "b.png": plain()}, "p/a.png has pixels of no class where its image has one"),
        ({"a.png": plain(size=(8, 12)), "b.png": plain()}, "has 12 x 8 pixels, and its image 8 x 12"),
    ],
)
def test_what_cannot_be_matched_or_scored_is_refused(source, tmp_path, masks, said):
    (tmp_path / "p").mkdir()
    write(tmp_path / "p", masks)
    with pytest.raises(UserError, match=said):
        evaluate_masks(str(tmp_path / "p"), str(source), str(tmp_path / "out"), TASK)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="x.png: is no folder"):
        evaluate_masks(str(tmp_path / "x.png"), str(source), str(tmp_path / "out"), TASK)


def test_two_images_of_one_name_are_refused(source, tmp_path):
    lay(source, "images/q/a.jpg", **{"masks/q/a.png": plain()})
    write(tmp_path / "p", {"a.png": plain(), "b.png": plain()})
    with pytest.raises(UserError, match=r"two images are called 'a': .*images/a.jpg and .*images/q/a.jpg"):
        evaluate_masks(str(tmp_path / "p"), str(source), str(tmp_path / "out"), TASK)


def test_the_command_scores_masks_and_refuses_what_does_not_apply(source, tmp_path, monkeypatch, capsys):
    write(tmp_path / "p", {"a.png": plain(5, 5, 5, 5), "b.png": plain(5, 5), "c.png": plain()})
    command = ("evaluate", tmp_path / "p", source, tmp_path / "out", "--task", TASK)
    code, out, _ = call_step(monkeypatch, capsys, *command)
    assert code == 0 and "left out: 0 images, 1 masks of none that counts" in out and "road" in out
    for option in (["--iou-threshold", "0.5"], ["--keep-thresholds"]):
        code, _, err = call_step(monkeypatch, capsys, *command, *option)
        assert code == 2 and f"{option[0]}: does not apply to masks" in err
