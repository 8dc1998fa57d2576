"""What classifiers alone can be set to, and what segmenters share: Azure's settings, and SageMaker's."""

from __future__ import annotations

from dataclasses import replace

from automl_images.hyperparameters.hyperparameter import Hyperparameter, choice, count, flag

_OWN_SIZES = {"image_shape": (None,)}
_SHAPE: dict[str, None] = {"image_shape": None}
_OF_SAGEMAKER = ("classification", "segmentation")

_ROWS = (
    choice(
        "weighted_loss",
        0,
        "2 weighs each image in the loss by the rarity of its class (1 / the images of the class; multi-label, for "
        "each class: 1 / the images that have or lack it), 1 by its square root, 0 not; the mean over the training "
        "images is 1.",
        choices=(0, 1, 2),
    ),
    count(
        "valid_resize_size",
        256,
        "The shorter side of a validation image before its centre crop; not below valid_crop_size.",
        aliases=("validation_resize_size",),
        needs=_OWN_SIZES,
        inference=True,
    ),
    count(
        "valid_crop_size",
        224,
        "The side of the centre crop that a validation image is scored on; a ViT's is train_crop_size.",
        aliases=("validation_crop_size",),
        needs=_OWN_SIZES,
        inference=True,
    ),
    count(
        "train_crop_size",
        224,
        "The side of the square that a training image is cropped and scaled to.",
        aliases=("training_crop_size",),
        needs=_OWN_SIZES,
    ),
    choice(
        "augmentation_type",
        None,
        "crop: a random crop and horizontal flip; crop_color: and offsets to hue, saturation and lightness; "
        "crop_color_transform: and rotation, shear and aspect ratio. Not set: a random resized crop, flip and colour "
        "jitter, or with image_shape a centre crop alone.",
        choices=("crop", "crop_color", "crop_color_transform"),
    ),
    Hyperparameter(
        "image_shape",
        "shape",
        None,
        "SageMaker's sizes in place of the three above: training crops images to it and refuses smaller ones; "
        "validation and prediction scale them to it without keeping the aspect. One channel makes images grey.",
        defaults={("sagemaker",): "3,224,224"},
        inference=True,
    ),
    count(
        "resize",
        None,
        "The shorter side of a training image before it is cropped to image_shape; above both its sides.",
        needs=_SHAPE,
    ),
    choice(
        "precision_dtype",
        None,
        "The numbers that the network computes with; float16 is bfloat16 on a CPU. Not set: bfloat16 where faster.",
        choices=("float32", "float16"),
        defaults={("sagemaker",): "float32"},
    ),
    Hyperparameter(
        "top_k",
        "int",
        None,
        "Reports the share of images whose class is among the k likeliest; at most the number of classes.",
        low=2,
    ),
    choice(
        "kv_store",
        None,
        "How several machines would share weights; a trial runs on one, whose GPUs always agree at each step.",
        choices=("dist_sync", "dist_async"),
        idle="a trial runs on one machine, whose GPUs agree at each step",
        sweepable=False,
    ),
    count(
        "num_classes",
        None,
        "Checked against the training data, which says how many classes there are; another number is refused.",
        sweepable=False,
        families=_OF_SAGEMAKER,
        variants={"segmentation": {"low": 2, "high": 254}},
    ),
    count(
        "num_training_samples",
        None,
        "Checked against the training data, after the split; another number is refused.",
        sweepable=False,
        families=_OF_SAGEMAKER,
    ),
    choice(
        "num_layers",
        152,
        "The depth of a ResNet: model_name resnet<num_layers>.",
        choices=(18, 34, 50, 101, 152, 200, 20, 32, 44, 56, 110),
        place="model_name",
    ),
    flag(
        "multi_label",
        0,
        "1: an image may have several classes, which is the task image-classification-multilabel.",
        place="task",
    ),
    flag(
        "use_pretrained_model",
        0,
        "1 starts from the library's published weights, with a fresh last layer.",
        place="weights.pretrained",
        families=_OF_SAGEMAKER,
        defaults={("segmentation",): 1},
    ),
    flag(
        "use_weighted_loss",
        0,
        "1 weighs the loss by the classes' rarity, as weighted_loss: 2 does.",
        place="weighted_loss",
    ),
)
ROWS = tuple(replace(row, families=row.families or ("classification",)) for row in _ROWS)
