"""The published tables of Azure's AutoML for images and SageMaker's algorithms, and where our defaults differ."""

from automl_images.architectures import models_of
from automl_images.tasks import TASKS
from tests.helpers.reference_yolov5 import COUNT, FLAG, GENES, HEAD, SHARE, ULTRALYTICS, YOLO

SINGLE, MULTI, BOXES = "image-classification", "image-classification-multilabel", "image-object-detection"
MASKS, PIXELS = "image-instance-segmentation", "image-semantic-segmentation"
VITS = ("vits16r224", "vitb16r224", "vitl16r224")
AZURES = ("mobilenetv2", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnest50", "resnest101")
CLASSIFIERS = {*AZURES, "seresnext", *VITS, *(f"resnet{n}" for n in (200, 20, 32, 44, 56, 110))}
DEPTHS = (18, 34, 50, 101, 152)
DETECTORS = {"yolov5", "retinanet_resnet50_fpn", *(f"fasterrcnn_resnet{depth}_fpn" for depth in DEPTHS)}
MODELS = {t.name: models_of(t.family) for t in TASKS.values() if t.default_model}
TEXT = "any text"
BATCHES = {"vits16r224": 128, "vitb16r224": 48, "vitl16r224": 10, "yolov5": 16, SINGLE: 78, MULTI: 78}

# name: type, range, Azure's default; a mapping is by task or model, the model's going before
EVERYWHERE = {
    "number_of_epochs": ("int", COUNT, {"yolov5": 30, "": 15}),
    "training_batch_size": ("int", COUNT, {**BATCHES, BOXES: 2, MASKS: 2}),
    "validation_batch_size": ("int", COUNT, {**BATCHES, BOXES: 1, MASKS: 1}),
    "grad_accumulation_step": ("int", COUNT, 1),
    "early_stopping": ("flag", FLAG, 1),
    "early_stopping_patience": ("int", COUNT, 5),
    "early_stopping_delay": ("int", COUNT, 5),
    "learning_rate": (
        "float",
        SHARE,
        {
            (SINGLE, "vits16r224"): 0.0125,
            (SINGLE, "vitb16r224"): 0.0125,
            (SINGLE, "vitl16r224"): 0.001,
            (MULTI, "vits16r224"): 0.025,
            (MULTI, "vitb16r224"): 0.025,
            (MULTI, "vitl16r224"): 0.002,
            "yolov5": 0.01,
            SINGLE: 0.01,
            MULTI: 0.035,
            BOXES: 0.005,
            MASKS: 0.005,
        },
    ),
    "lr_scheduler": ("choice", "one of warmup_cosine, step", "warmup_cosine"),
    "step_lr_gamma": ("float", SHARE, 0.5),
    "step_lr_step_size": ("int", COUNT, 5),
    "warmup_cosine_lr_cycles": ("float", SHARE, 0.45),
    "warmup_cosine_lr_warmup_epochs": ("int", COUNT, 2),
    "optimizer": ("choice", "one of sgd, adam, adamw, rmsprop, nag", "sgd"),
    "momentum": ("float", SHARE, 0.9),
    "weight_decay": ("float", SHARE, 0.0001),
    "nesterov": ("flag", FLAG, 1),
    "beta1": ("float", SHARE, 0.9),
    "beta2": ("float", SHARE, 0.999),
    "amsgrad": ("flag", FLAG, 0),
    "evaluation_frequency": ("int", COUNT, 1),
    "split_ratio": ("float", SHARE, 0.2),
    "checkpoint_frequency": ("int", COUNT, None),
    "checkpoint_run_id": ("text", TEXT, None),
    "checkpoint_dataset_id": ("text", TEXT, None),
    "checkpoint_filename": ("text", TEXT, None),
    "layers_to_freeze": ("int", COUNT, None),
}
AZURE_CLASSIFIERS = {
    "weighted_loss": ("choice", "one of 0, 1, 2", 0),
    "valid_resize_size": ("int", COUNT, 256),
    "valid_crop_size": ("int", COUNT, 224),
    "train_crop_size": ("int", COUNT, 224),
}
BOTH_DETECTORS = {
    "validation_metric_type": ("choice", "one of none, coco, voc, coco_voc", "voc"),
    "validation_iou_threshold": ("float", "0.1 to 1", 0.5),
    "box_score_thresh": ("float", SHARE, {"yolov5": 0.1, "": 0.3}),
    "nms_iou_thresh": ("float", SHARE, 0.5),
    "tile_grid_size": ("pair", 'two whole numbers from 1 on, such as "3,2" or "3x2"', None),
    "tile_overlap_ratio": ("float", SHARE, 0.25),
    "tile_predictions_nms_thresh": ("float", SHARE, 0.25),
}
RCNN = {
    "min_size": ("int", COUNT, 600),
    "max_size": ("int", COUNT, 1333),
    "box_detections_per_img": ("int", COUNT, 100),
}
MASKED = {
    "mask_pixel_score_threshold": ("float", SHARE, 0.5),
    "max_number_of_polygon_points": ("int", COUNT, 100),
    "export_as_image": ("flag", FLAG, 0),
    "image_type": ("choice", "one of jpg, png, bmp", "jpg"),
}
LAYERS = "one of 18, 34, 50, 101, 152, 200, 20, 32, 44, 56, 110"
SCHEDULES, OPTIMIZERS = "one of warmup_cosine, step", "one of sgd, adam, adamw, rmsprop, nag"
SHAPE = '"channels,height,width" with 1 or 3 channels, such as "3,224,224"'

# SageMaker's name: our name, type, range, SageMaker's default
SAGEMAKER = {
    "num_classes": ("num_classes", "int", COUNT, None),
    "num_training_samples": ("num_training_samples", "int", COUNT, None),
    "augmentation_type": ("augmentation_type", "choice", "one of crop, crop_color, crop_color_transform", None),
    "beta_1": ("beta1", "float", SHARE, 0.9),
    "beta_2": ("beta2", "float", SHARE, 0.999),
    "checkpoint_frequency": ("checkpoint_frequency", "int", COUNT, None),
    "early_stopping": ("early_stopping", "flag", FLAG, 0),
    "early_stopping_min_epochs": ("early_stopping_min_epochs", "int", COUNT, 10),
    "early_stopping_patience": ("early_stopping_patience", "int", COUNT, 5),
    "early_stopping_tolerance": ("early_stopping_tolerance", "float", SHARE, 0.0),
    "epochs": ("number_of_epochs", "int", COUNT, 30),
    "eps": ("eps", "float", SHARE, 1e-8),
    "gamma": ("gamma", "float", SHARE, 0.9),
    "image_shape": ("image_shape", "shape", SHAPE, "3,224,224"),
    "kv_store": ("kv_store", "choice", "one of dist_sync, dist_async", None),
    "learning_rate": ("learning_rate", "float", SHARE, 0.1),
    "lr_scheduler_factor": ("lr_scheduler_factor", "float", SHARE, 0.1),
    "lr_scheduler_step": ("lr_scheduler_step", "epochs", 'rising epochs from 1 on, such as "10,20"', None),
    "mini_batch_size": ("training_batch_size", "int", COUNT, 32),
    "momentum": ("momentum", "float", SHARE, 0.9),
    "multi_label": ("multi_label", "flag", FLAG, 0),
    "num_layers": ("num_layers", "choice", LAYERS, 152),
    "optimizer": ("optimizer", "choice", "one of sgd, adam, adamw, rmsprop, nag", "sgd"),
    "precision_dtype": ("precision_dtype", "choice", "one of float32, float16", "float32"),
    "resize": ("resize", "int", COUNT, None),
    "top_k": ("top_k", "int", "at least 2", None),
    "use_pretrained_model": ("use_pretrained_model", "flag", FLAG, 0),
    "use_weighted_loss": ("use_weighted_loss", "flag", FLAG, 0),
    "weight_decay": ("weight_decay", "float", SHARE, 0.0001),
}
# The same of its semantic segmentation
SEGMENTATION = {
    "backbone": ("backbone", "choice", "one of resnet-50, resnet-101", "resnet-50"),
    "use_pretrained_model": ("use_pretrained_model", "flag", FLAG, 1),
    "algorithm": ("algorithm", "choice", "one of fcn, psp, deeplab", "fcn"),
    "num_classes": ("num_classes", "int", "2 to 254", None),
    "num_training_samples": ("num_training_samples", "int", COUNT, None),
    "base_size": ("base_size", "int", "at least 17", 520),
    "crop_size": ("crop_size", "int", "at least 17", 240),
    "early_stopping": ("early_stopping", "flag", FLAG, 0),
    "early_stopping_min_epochs": ("early_stopping_min_epochs", "int", COUNT, 5),
    "early_stopping_patience": ("early_stopping_patience", "int", COUNT, 4),
    "early_stopping_tolerance": ("early_stopping_tolerance", "float", SHARE, 0.0),
    "epochs": ("number_of_epochs", "int", COUNT, 10),
    "gamma1": ("gamma", "float", SHARE, 0.9),
    "gamma2": ("gamma2", "float", SHARE, 0.9),
    "learning_rate": ("learning_rate", "float", SHARE, 0.001),  # without 0, in SageMaker
    "lr_scheduler": ("lr_scheduler", "choice", f"{SCHEDULES}, poly, cosine", "poly"),
    "lr_scheduler_factor": ("lr_scheduler_factor", "float", SHARE, 0.1),
    "lr_scheduler_step": ("lr_scheduler_step", "epochs", 'rising epochs from 1 on, such as "10,20"', None),
    "mini_batch_size": ("training_batch_size", "int", COUNT, 16),
    "momentum": ("momentum", "float", SHARE, 0.9),  # without 0, in SageMaker
    "optimizer": ("optimizer", "choice", f"{OPTIMIZERS}, adagrad", "sgd"),
    "syncbn": ("syncbn", "flag", FLAG, 0),
    "validation_mini_batch_size": ("validation_batch_size", "int", COUNT, 16),
    "weight_decay": ("weight_decay", "float", SHARE, 0.0001),  # without 0 and 1, in SageMaker
}

# What only SageMaker has: our default where its own would change what Azure's settings mean, and why
OWN_DEFAULTS = {
    "early_stopping_min_epochs": (1, "Azure stops as soon as delay and patience have passed"),
    "image_shape": (None, "set, it would stand for Azure's three sizes"),
    "precision_dtype": (None, "Azure does not say its precision; the fastest that is not less exact than bfloat16"),
}
# Our defaults of semantic segmentation, which Azure lacks, where a row of Azure's has none for it
OF_PIXELS = {
    "learning_rate": (0.005, "Azure's of the tasks that start from whole published weights, too"),
    "lr_scheduler": ("poly", "SageMaker's, and what these networks were published with"),
    "training_batch_size": (16, "SageMaker's; Azure's are of images of other sizes"),
    "validation_batch_size": (1, "Azure's of detectors; images are scored whole, as they are served"),
}
# What only Azure has: SageMaker's algorithm as those settings put it, and why
AS_SAGEMAKER = {
    "lr_scheduler": ("step", "SageMaker has steps or a constant rate, no cosine"),
    "step_lr_gamma": (1.0, "without lr_scheduler_step SageMaker's rate is constant"),
    "nesterov": (0, "SageMaker's sgd has plain momentum, nag is another optimizer"),
    "early_stopping_delay": (1, "SageMaker counts from the first evaluation, which always improves"),
    "validation_batch_size": (32, "SageMaker has one batch size"),
}
PLACES = {
    "algorithm": "model_name",
    "backbone": "model_name",
    "split_ratio": "data.split_ratio",
    "num_layers": "model_name",
    "multi_label": "task",
    "use_pretrained_model": "weights.pretrained",
    "use_weighted_loss": "weighted_loss",
}
ALL = [(task, model) for task in MODELS for model in MODELS[task]]


def table(task, model):
    """Return name: (type, range, Azure's default) of what the tables have for a model."""
    rows = dict(EVERYWHERE)
    if task in (BOXES, MASKS):
        rows |= BOTH_DETECTORS | (YOLO if model == "yolov5" else RCNN) | (MASKED if task == MASKS else {})
        both = ("early_stopping_min_epochs", "early_stopping_tolerance", "eps", "gamma", "lr_scheduler")
        names = {ours for ours, *_ in SAGEMAKER.values()} & {*both, "lr_scheduler_factor", "lr_scheduler_step"}
    elif task == PIXELS:
        for ours, kind, allowed, default in SEGMENTATION.values():
            azures = rows[ours][2] if ours in rows else OWN_DEFAULTS.get(ours, (default, ""))[0]
            rows[ours] = (kind, allowed, OF_PIXELS.get(ours, (azures, ""))[0])
        if not model.startswith("psp"):
            rows["pretrained_weights"] = ("choice", "one of whole, backbone", "whole")
        rows |= {"export_as_image": MASKED["export_as_image"], "image_type": ("choice", "one of png, bmp", "png")}
        names = {"eps"}
    else:
        rows |= AZURE_CLASSIFIERS
        names = {ours for ours, *_ in SAGEMAKER.values()}
    for ours, kind, allowed, default in SAGEMAKER.values():
        if ours in names - set(rows):
            rows[ours] = (kind, allowed, OWN_DEFAULTS.get(ours, (default, ""))[0])
    if model == "yolov5":
        head = ("choice", "one of anchor, anchor_free", HEAD)
        own = {
            n: (k, a, d[HEAD != "anchor"] if isinstance(d, tuple) else d)
            for n, (k, a, d) in (GENES | ULTRALYTICS).items()
        }
        rows |= {"head": head, **own}
        rows["warmup_cosine_lr_warmup_epochs"] = ("float", "at least 0", 2)
    return {name: (kind, allowed, pick(default, task, model)) for name, (kind, allowed, default) in rows.items()}


def pick(default, task, model):
    if not isinstance(default, dict):
        return default
    return next(default[key] for key in ((task, model), model, task, "") if key in default)
