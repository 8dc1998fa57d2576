"""What each hyperparameter that detectors alone have observably does: each row of the catalogue names its tests."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from automl_images.annotations import Instance
from automl_images.annotations.shapes import coco_rle, encoded, mask_of
from automl_images.errors import UserError
from automl_images.hyperparameters import resolve, without_effect
from automl_images.models.pasting import pasted
from automl_images.prediction.instances import Predictor
from automl_images.steps.hyperparameters import list_hyperparameters
from tests import test_augment_yolo as augmenting
from tests import test_metrics_detection as metrics
from tests import test_models as models
from tests import test_models_yolov5 as anchor_free
from tests import test_prediction as prediction
from tests import test_prediction_tiles as merging
from tests import test_tiles as tiles
from tests import test_training_loop as loop
from tests import test_training_optimization as warming
from tests import test_warp as warping
from tests import test_yolov5_anchor as anchor
from tests.helpers.augmenting import HSV, MAPS
from tests.helpers.detectors import CLASSES, MASK, MASKS, TASK

SIDE = 64


def ring():
    """Return a mask of a ring."""
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(y - 30, x - 34)
    return (distance < 25) & (distance > 8)


def answer(**given):
    """Return what a model with these settings answers where it finds a ring with a score of 0.9 and one with 0.2."""
    settings = resolve(MASKS, {"model_name": MASK, **given})
    mask = encoded(ring())
    rle = coco_rle(Instance("red", rle=mask), SIDE, SIDE)
    found = {
        "boxes": np.array([[9.0, 5, 59, 55]] * 2),
        "scores": np.array([0.9, 0.2]),
        "labels": np.array([1, 1]),
        "size": (SIDE, SIDE),
        "masks": [rle, rle],
    }
    predictor = Predictor(torch.nn.Identity(), MASKS, settings, CLASSES, torch.device("cpu"))
    predictor.outputs = lambda batches: [found for _ in batches]
    (answered,) = predictor.predict([Image.new("RGB", (SIDE, SIDE))])
    (box,) = answered["boxes"]
    assert (box["label"], box["score"]) == ("red", 0.9)
    return box


def test_a_pixel_is_inside_a_mask_above_the_threshold():
    scores = torch.linspace(0, 1, 28).repeat(28, 1)[None, None]
    sizes = []
    for threshold in (0, 0.25, 0.5, 0.75, 1):
        (found,) = pasted(scores, torch.tensor([[4.0, 4, 60, 60]]), (SIDE, SIDE), threshold)
        sizes.append(int(mask_of(instance(found), SIDE, SIDE).sum()))
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    assert sizes[-1] == 0, "no score is above 1"
    assert sizes[2] == pytest.approx(56 * 56 / 2, rel=0.05)


def instance(rle):
    from automl_images.annotations.labels.polygons import Rle

    return Instance("red", rle=Rle(*rle["size"], rle["counts"].decode()))


@pytest.mark.parametrize("most", [1, 3, 8, 100, 10_000])
def test_a_polygon_has_no_more_points_than_it_may(most):
    polygons = answer(max_number_of_polygon_points=most)["polygon"]
    points = max(len(polygon) // 2 for polygon in polygons)
    assert points <= max(3, most)
    assert most > 3 or points == 3
    assert all(0 <= v <= 1 for polygon in polygons for v in polygon)
    if most == 10_000:
        again = mask_of(Instance("red", tuple(map(tuple, polygons))), SIDE, SIDE)
        assert np.array_equal(again, ring()), "with its hole"


@pytest.mark.parametrize(("kind", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("bmp", "BMP")])
def test_a_mask_is_an_image_of_the_type_that_is_asked_for(kind, format):
    box = answer(export_as_image=1, image_type=kind)
    assert "polygon" not in box and box["mask"]["image_type"] == kind
    image = Image.open(io.BytesIO(base64.b64decode(box["mask"]["image"])))
    assert (image.format, image.size, image.mode) == (format, (SIDE, SIDE), "L")
    assert np.array_equal(np.asarray(image) > 127, ring()) or kind == "jpg"
    assert ((np.asarray(image) > 127) == ring()).mean() > 0.98
    assert "polygon" in answer(export_as_image=0, image_type=kind)


def test_what_an_image_leaves_without_effect_is_said():
    given = {"export_as_image": 1, "max_number_of_polygon_points": 7}
    assert "max_number_of_polygon_points has no effect" in without_effect(resolve(MASKS, given), given)[0]
    given = {"image_type": "png"}
    assert "image_type has no effect with export_as_image: 0" in without_effect(resolve(MASKS, given), given)[0]
    with pytest.raises(UserError, match=r"image_type: 'gif' is out of range"):
        resolve(MASKS, {"image_type": "gif"})


WHERE = {
    "validation_metric_type": [
        metrics.test_each_metric_type_measures_as_it_says,
        loop.test_without_a_metric_the_last_epoch_is_kept,
    ],
    "validation_iou_threshold": [metrics.test_the_iou_threshold_acts],
    "min_size": [models.test_faster_rcnn_scales_the_shorter_side_within_the_longer],
    "max_size": [models.test_faster_rcnn_scales_the_shorter_side_within_the_longer],
    "img_size": [models.test_yolo_scales_and_pads_to_a_square],
    "model_size": [models.test_yolo_grows_with_its_size_and_knows_its_sizes],
    "multi_scale": [models.test_yolo_varies_the_size_of_training_batches_alone],
    "box_score_thresh": [prediction.test_a_response_has_fractions_labels_and_falling_scores_above_the_threshold],
    "nms_iou_thresh": [
        models.test_faster_rcnn_keeps_so_many_boxes_and_no_overlapping_ones,
        models.test_yolo_drops_boxes_that_overlap_more_within_a_class,
    ],
    "box_detections_per_img": [models.test_faster_rcnn_keeps_so_many_boxes_and_no_overlapping_ones],
    "tile_grid_size": [
        tiles.test_an_epoch_has_each_image_and_each_of_its_tiles,
        merging.test_every_detector_predicts_by_its_settings_on_tiles,
    ],
    "tile_overlap_ratio": [tiles.test_neighbours_share_the_part_of_a_tile_that_is_asked_for],
    "tile_predictions_nms_thresh": [merging.test_the_threshold_decides_what_is_one_object],
    "mask_pixel_score_threshold": [test_a_pixel_is_inside_a_mask_above_the_threshold],
    "max_number_of_polygon_points": [test_a_polygon_has_no_more_points_than_it_may],
    "export_as_image": [test_a_mask_is_an_image_of_the_type_that_is_asked_for],
    "image_type": [test_a_mask_is_an_image_of_the_type_that_is_asked_for],
    "head": [anchor.test_it_needs_no_package_of_another_licence, anchor.test_what_the_other_head_alone_has_is_named],
    "lrf": [warming.test_the_rate_ends_at_its_share],
    "warmup_momentum": [warming.test_biases_and_momentum_warm_up_from_where_they_are_told],
    "warmup_bias_lr": [warming.test_biases_and_momentum_warm_up_from_where_they_are_told],
    "box": [anchor.test_a_gain_scales_its_part_alone, anchor_free.test_a_gain_scales_its_part_alone],
    "cls": [anchor.test_a_gain_scales_its_part_alone, anchor_free.test_a_gain_scales_its_part_alone],
    "cls_pw": [anchor.test_a_weight_above_1_pulls_harder_towards_what_is_there],
    "obj": [anchor.test_a_gain_scales_its_part_alone],
    "obj_pw": [anchor.test_a_weight_above_1_pulls_harder_towards_what_is_there],
    "iou_t": [anchor.test_looser_limits_have_more_anchors_learn, anchor.test_an_anchor_fits_by_both_of_its_limits],
    "anchor_t": [anchor.test_looser_limits_have_more_anchors_learn, anchor.test_an_anchor_fits_by_both_of_its_limits],
    "anchors": [anchor.test_so_many_anchors_as_are_asked_for_are_fitted],
    "fl_gamma": [anchor.test_a_focal_loss_leaves_less_of_what_is_right_already],
    "dfl": [anchor_free.test_a_gain_scales_its_part_alone],
    **{key: [augmenting.test_each_part_of_the_colour_varies_within_its_range_alone] for key in HSV},
    **{key: [warping.test_each_part_of_the_map_acts_within_its_range_alone] for key in MAPS},
    "flipud": [augmenting.test_a_flip_exchanges_two_sides_as_often_as_it_says],
    "fliplr": [augmenting.test_a_flip_exchanges_two_sides_as_often_as_it_says],
    "mosaic": [
        augmenting.test_so_many_images_are_mosaics_and_none_of_the_last_epochs,
        augmenting.test_a_mosaic_shows_four_images_and_its_own_among_them,
    ],
    "mixup": [augmenting.test_so_many_images_are_blended_with_another_one],
    "copy_paste": [augmenting.test_objects_are_pasted_mirrored_where_they_cover_little],
    "close_mosaic": [
        augmenting.test_so_many_images_are_mosaics_and_none_of_the_last_epochs,
        augmenting.test_an_augmentation_is_told_the_epoch,
    ],
}


@pytest.mark.parametrize("task", [TASK, MASKS])
def test_each_row_that_classifiers_lack_has_a_test_of_its_effect(task):
    common = {row["name"] for row in list_hyperparameters("image-classification")}
    rows = {row["name"] for row in list_hyperparameters(task)} - common
    assert rows
    assert rows <= WHERE.keys()
    assert all(callable(test) and test.__name__.startswith("test_") for name in rows for test in WHERE[name])
