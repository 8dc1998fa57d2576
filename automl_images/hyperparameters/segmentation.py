"""What segmentation networks alone can be set to: the settings of SageMaker's semantic segmentation."""

from __future__ import annotations

from automl_images.hyperparameters.hyperparameter import Hyperparameter, choice, flag, share

_ALL = ("segmentation",)
_LISTED: tuple[str, ...] = ()  # of the models alone whose rows list it

ROWS = (
    Hyperparameter(
        "base_size",
        "int",
        520,
        "The longer side of an image is scaled to this many pixels, in training times 0.5 to 2; what is found is "
        "scaled back to the image's own size.",
        low=17,
        families=_ALL,
        inference=True,
    ),
    Hyperparameter(
        "crop_size",
        "int",
        240,
        "The side of the square that is cut out of a scaled training image, rounded up to a multiple of 8; what a "
        "smaller image leaves of it is ignored.",
        low=17,
        families=_ALL,
    ),
    share(
        "gamma2",
        0.9,
        "Momentum under rmsprop: the share of the last step that the next one keeps; 0 keeps none.",
        needs={"optimizer": ("rmsprop",)},
        families=_ALL,
    ),
    flag(
        "syncbn",
        0,
        "1 normalises by the statistics of a batch's images on all GPUs of a trial, 0 by those of each GPU's own; with "
        "one GPU they are the same.",
        families=_ALL,
    ),
    choice(
        "pretrained_weights",
        "whole",
        "What weights.pretrained brings: whole, a network trained on COCO with VOC's classes, without its last layers; "
        "backbone, a ResNet trained on ImageNet.",
        choices=("whole", "backbone"),
        defaults={("sagemaker",): "backbone"},
        families=_LISTED,
    ),
    choice(
        "algorithm",
        "fcn",
        "The head on the backbone: model_name <algorithm>_resnet50 or <algorithm>_resnet101.",
        choices=("fcn", "psp", "deeplab"),
        place="model_name",
        families=_ALL,
    ),
    choice(
        "backbone",
        "resnet-50",
        "The ResNet under the head: model_name fcn_resnet50, psp_resnet101 and so on.",
        choices=("resnet-50", "resnet-101"),
        place="model_name",
        families=_ALL,
    ),
)
