"""The YOLOv5 evolution guide's hyperparameters, with defaults, ranges, gains and limits; ultralytics' own two."""

COUNT, SHARE, FLAG = "at least 1", "0 to 1", "0 or 1"

YOLO = {
    "img_size": ("int", COUNT, 640),
    "model_size": ("choice", "one of small, medium, large, xlarge", "medium"),
    "multi_scale": ("flag", FLAG, 0),
}
HEAD = "anchor_free"
# the YOLOv5 evolution guide's, for the head with anchors; a pair is by head, that one's first
GENES = {
    "lrf": ("float", SHARE, 0.01),
    "warmup_momentum": ("float", SHARE, 0.8),
    "warmup_bias_lr": ("float", SHARE, 0.1),
    "box": ("float", "at least 0", (0.05, 7.5)),
    "cls": ("float", "at least 0", 0.5),
    "cls_pw": ("float", "above 0", 1.0),
    "obj": ("float", "at least 0", 1.0),
    "obj_pw": ("float", "above 0", 1.0),
    "iou_t": ("float", "0 to below 1", 0.2),
    "anchor_t": ("float", "above 1", 4.0),
    "anchors": ("int", "0 to 10", None),
    "fl_gamma": ("float", "at least 0", 0.0),
    "hsv_h": ("float", SHARE, 0.015),
    "hsv_s": ("float", SHARE, 0.7),
    "hsv_v": ("float", SHARE, 0.4),
    "degrees": ("float", "0 to 180", 0.0),
    "translate": ("float", SHARE, 0.1),
    "scale": ("float", "0 to below 1", 0.5),
    "shear": ("float", "0 to below 90", 0.0),
    "perspective": ("float", "0 to 0.001", 0.0),
    "flipud": ("float", SHARE, 0.0),
    "fliplr": ("float", SHARE, 0.5),
    "mosaic": ("float", SHARE, 1.0),
    "mixup": ("float", SHARE, 0.0),
    "copy_paste": ("float", SHARE, 0.0),
}
GUIDES = {"learning_rate": "lr0", "warmup_cosine_lr_warmup_epochs": "warmup_epochs"}
LIMITS = {  # gain, low, high
    "lr0": (1, 1e-5, 0.1),
    "lrf": (1, 0.01, 1),
    "momentum": (0.3, 0.6, 0.98),
    "weight_decay": (1, 0, 0.001),
    "warmup_epochs": (1, 0, 5),
    "warmup_momentum": (1, 0, 0.95),
    "warmup_bias_lr": (1, 0, 0.2),
    "box": (1, 0.02, 0.2),
    "cls": (1, 0.2, 4),
    "cls_pw": (1, 0.5, 2),
    "obj": (1, 0.2, 4),
    "obj_pw": (1, 0.5, 2),
    "iou_t": (0, 0.1, 0.7),
    "anchor_t": (1, 2, 8),
    "anchors": (2, 2, 10),
    "fl_gamma": (0, 0, 2),
    "hsv_h": (1, 0, 0.1),
    "hsv_s": (1, 0, 0.9),
    "hsv_v": (1, 0, 0.9),
    "degrees": (1, 0, 45),
    "translate": (1, 0, 0.9),
    "scale": (1, 0, 0.9),
    "shear": (1, 0, 10),
    "perspective": (0, 0, 0.001),
    "flipud": (1, 0, 1),
    "fliplr": (0, 0, 1),
    "mosaic": (1, 0, 1),
    "mixup": (1, 0, 1),
    "copy_paste": (1, 0, 1),
}
ULTRALYTICS = {"dfl": ("float", "at least 0", 1.5), "close_mosaic": ("int", "at least 0", (0, 10))}
