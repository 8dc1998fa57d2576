"""What detectors alone can be set to, those with masks included. Ranges and defaults are Azure's."""

from __future__ import annotations

from automl_images.hyperparameters.hyperparameter import Hyperparameter, Refusal, choice, count, flag, share

_ALL = ("detection", "instances")
_MASKS = ("instances",)
_LISTED: tuple[str, ...] = ()  # of the models alone whose rows list it

ROWS = (
    choice(
        "validation_metric_type",
        "voc",
        "The primary metric's definition: voc (all points of the curve), coco (101 points), coco_voc (voc ranks, "
        "COCO's twelve figures beside it), none (no evaluation: the last epoch is kept; not for a sweep).",
        choices=("none", "coco", "voc", "coco_voc"),
        sweepable=False,
        families=_ALL,
    ),
    Hyperparameter(
        "validation_iou_threshold",
        "float",
        0.5,
        "Overlap (IoU) from which a detection counts as a hit.",
        low=0.1,
        high=1,
        sweepable=False,
        families=_ALL,
    ),
    count(
        "min_size", 600, "The shorter side of an image is scaled to this many pixels.", families=_LISTED, inference=True
    ),
    count(
        "max_size",
        1333,
        "The longer side is at most this many pixels; not below min_size.",
        families=_LISTED,
        inference=True,
    ),
    count(
        "img_size",
        640,
        "Images are scaled and padded to a square of this many pixels, rounded up to a multiple of 32.",
        families=_LISTED,
        inference=True,
        aliases=("image_size",),
    ),
    choice(
        "model_size",
        "medium",
        "Depth and width of the network.",
        choices=("small", "medium", "large", "xlarge"),
        families=_LISTED,
    ),
    flag("multi_scale", 0, "1 varies the size of each training batch by up to 50 %.", families=_LISTED),
    share(
        "box_score_thresh",
        0.3,
        "A predicted box needs a score above this; ranks no trial, since trials are ranked on all boxes.",
        aliases=("box_score_threshold",),
        families=_ALL,
        inference=True,
    ),
    share(
        "nms_iou_thresh",
        0.5,
        "Of two boxes of a class that overlap by more, the lower score goes.",
        aliases=("nms_iou_threshold", "box_nms_thresh", "box_iou_thresh"),
        families=_ALL,
        inference=True,
    ),
    count(
        "box_detections_per_img",
        100,
        "The most boxes that an image may have, best scores first.",
        families=_LISTED,
        inference=True,
        aliases=("box_detections_per_image",),
    ),
    Hyperparameter(
        "tile_grid_size",
        "pair",
        None,
        "Tiles along the width and the height, beside the whole image, in training, evaluations and predictions: small "
        "objects are seen larger, at (columns x rows + 1) times the work. Not set, or 1,1: the whole image alone.",
        families=_ALL,
        inference=True,
    ),
    share(
        "tile_overlap_ratio",
        0.25,
        "The part of a tile's width, and height, that it shares with the next; not 1.",
        needs={"tile_grid_size": None},
        refused=(Refusal(1, "makes every tile the whole image; lower it", {"tile_grid_size": None}),),
        families=_ALL,
        inference=True,
    ),
    share(
        "tile_predictions_nms_thresh",
        0.25,
        "Of two boxes of a class, found on different tiles or the whole image, that overlap by more, the lower score "
        "goes.",
        aliases=("tile_predictions_nms_threshold",),
        needs={"tile_grid_size": None},
        families=_ALL,
        inference=True,
    ),
    share(
        "mask_pixel_score_threshold",
        0.5,
        "A pixel needs a score above this to be inside a predicted mask.",
        families=_MASKS,
        inference=True,
    ),
    count(
        "max_number_of_polygon_points",
        100,
        "Of a predicted polygon: more points are thinned out until it has at most these; 1 and 2 leave three.",
        families=_MASKS,
        inference=True,
        needs={"export_as_image": (0,)},
    ),
    flag(
        "export_as_image",
        0,
        "1 answers with a mask's image, white inside, in place of its polygons.",
        families=(*_MASKS, "segmentation"),
        variants={"segmentation": {"effect": "1 answers with an image of class indices in place of run lengths."}},
        inference=True,
    ),
    choice(
        "image_type",
        "jpg",
        "The file type of a mask's image; jpg is not exact at edges.",
        choices=("jpg", "png", "bmp"),
        families=(*_MASKS, "segmentation"),
        variants={
            "segmentation": {
                "choices": ("png", "bmp"),
                "default": "png",
                "effect": "The file type of the image of class indices; both keep each pixel.",
            }
        },
        inference=True,
        needs={"export_as_image": (1,)},
    ),
)
