"""What classifiers alone can be set to: Azure's settings, and those of SageMaker's image classification."""

from __future__ import annotations

from automl_images.hyperparameters.hyperparameter import Hyperparameter

_OURS = ("classification",)
_OWN_SIZES = {"image_shape": (None,)}
_SHAPE: dict[str, None] = {"image_shape": None}

ROWS = (
    Hyperparameter(
        "weighted_loss",
        "choice",
        0,
        "1 weighs each class in the loss by the square root of its rarity, 2 by its rarity (images / (classes * images "
        "of the class), mean 1; multi-label: negatives / positives on the positives), 0 not.",
        choices=(0, 1, 2),
        families=_OURS,
    ),
    Hyperparameter(
        "valid_resize_size",
        "int",
        256,
        "The shorter side of a validation image before its centre crop; not below valid_crop_size.",
        low=1,
        families=_OURS,
        aliases=("validation_resize_size",),
        needs=_OWN_SIZES,
        inference=True,
    ),
    Hyperparameter(
        "valid_crop_size",
        "int",
        224,
        "The side of the centre crop that a validation image is scored on; a ViT's is train_crop_size.",
        low=1,
        families=_OURS,
        aliases=("validation_crop_size",),
        needs=_OWN_SIZES,
        inference=True,
    ),
    Hyperparameter(
        "train_crop_size",
        "int",
        224,
        "The side of the square that a training image is cropped and scaled to.",
        low=1,
        families=_OURS,
        aliases=("training_crop_size",),
        needs=_OWN_SIZES,
    ),
    Hyperparameter(
        "augmentation_type",
        "choice",
        None,
        "crop: a random crop and horizontal flip; crop_color: and offsets to hue, saturation and lightness; "
        "crop_color_transform: and rotation, shear and aspect ratio. Not set: a random resized crop, flip and colour "
        "jitter, or with image_shape a centre crop alone.",
        choices=("crop", "crop_color", "crop_color_transform"),
        families=_OURS,
    ),
    Hyperparameter(
        "image_shape",
        "shape",
        None,
        "SageMaker's sizes in place of the three above: training crops images to it and refuses smaller ones; "
        "validation and prediction scale them to it without keeping the aspect. One channel makes images grey.",
        defaults={("sagemaker",): "3,224,224"},
        families=_OURS,
        inference=True,
    ),
    Hyperparameter(
        "resize",
        "int",
        None,
        "The shorter side of a training image before it is cropped to image_shape; above both its sides.",
        low=1,
        families=_OURS,
        needs=_SHAPE,
    ),
    Hyperparameter(
        "precision_dtype",
        "choice",
        None,
        "The numbers that the network computes with; float16 is bfloat16 on a CPU. Not set: bfloat16 where faster.",
        choices=("float32", "float16"),
        defaults={("sagemaker",): "float32"},
        families=_OURS,
    ),
    Hyperparameter(
        "top_k",
        "int",
        None,
        "Reports the share of images whose class is among the k likeliest; at most the number of classes.",
        low=2,
        families=_OURS,
    ),
    Hyperparameter(
        "kv_store",
        "choice",
        None,
        "How several machines would share weights; a trial runs on one, whose GPUs always agree at each step.",
        choices=("dist_sync", "dist_async"),
        families=_OURS,
        idle="a trial runs on one machine, whose GPUs agree at each step",
        sweepable=False,
    ),
    Hyperparameter(
        "num_classes",
        "int",
        None,
        "Checked against the training data, which says how many classes there are; another number is refused.",
        low=1,
        families=_OURS,
        sweepable=False,
    ),
    Hyperparameter(
        "num_training_samples",
        "int",
        None,
        "Checked against the training data, after the split; another number is refused.",
        low=1,
        families=_OURS,
        sweepable=False,
    ),
    Hyperparameter(
        "num_layers",
        "choice",
        152,
        "The depth of a ResNet: model_name resnet<num_layers>.",
        choices=(18, 34, 50, 101, 152, 200, 20, 32, 44, 56, 110),
        families=_OURS,
        place="model_name",
    ),
    Hyperparameter(
        "multi_label",
        "flag",
        0,
        "1: an image may have several classes, which is the task image-classification-multilabel.",
        families=_OURS,
        place="task",
    ),
    Hyperparameter(
        "use_pretrained_model",
        "flag",
        0,
        "1 starts from the library's published weights, with a fresh last layer.",
        families=_OURS,
        place="weights.pretrained",
    ),
    Hyperparameter(
        "use_weighted_loss",
        "flag",
        0,
        "1 weighs the loss by the classes' rarity, as weighted_loss: 2 does.",
        families=_OURS,
        place="weighted_loss",
    ),
)
