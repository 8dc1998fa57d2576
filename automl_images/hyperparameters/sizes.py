"""What a model's architecture allows: its input sizes, and how many of its layers can be frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_images.architectures import ARCHITECTURES, has_published
from automl_images.errors import UserError

WITHOUT_PUBLISHED_WEIGHTS = tuple(name for name in ARCHITECTURES if not has_published(name))


def most_layers(model_name: str) -> int:
    """Return how many groups of layers ``layers_to_freeze`` can freeze: all of the model's but its head."""
    return len(ARCHITECTURES[model_name].groups)


def check_layers(model_name: str, count: int | None) -> None:
    """Refuse to freeze more groups than the model has.

    Raises:
        UserError: ``count`` is above :func:`most_layers`.
    """
    if count is not None and count > most_layers(model_name):
        raise UserError(
            f"layers_to_freeze: {count} is more than {model_name} has; use at most {most_layers(model_name)}"
        )


def parse_image_shape(text: str) -> tuple[int, int, int]:
    """Return ``"C,H,W"`` as (channels, height, width).

    Raises:
        UserError: it is not three whole numbers above 0, or the channels are neither 1 nor 3.
    """
    parts = [p.strip() for p in text.strip().strip("()[]").split(",")]
    if len(parts) != 3 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UserError(f"image_shape: '{text}' is not channels, height and width; write it as '3,224,224'")
    channels, height, width = map(int, parts)
    if channels not in (1, 3):
        raise UserError(f"image_shape: '{text}' has {channels} channels; use 3 (colour) or 1 (grey)")
    return channels, height, width


def input_shape(settings: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (channels, height, width) of what a classifier is trained on: ``image_shape``, else the training crop."""
    if settings.get("image_shape"):
        return parse_image_shape(settings["image_shape"])
    return 3, settings["train_crop_size"], settings["train_crop_size"]


def check_size(model_name: str, size: int | tuple[int, int], name: str = "train_crop_size") -> None:
    """Refuse an input size that a model cannot take.

    Args:
        model_name: the model.
        size: a side in pixels, or (height, width).
        name: the hyperparameter that the error names.

    Raises:
        UserError: the model cannot take the size.
    """
    smallest, multiple = ARCHITECTURES[model_name].least_side, ARCHITECTURES[model_name].multiple
    for side in (size,) if isinstance(size, int) else size:
        if side < smallest:
            raise UserError(f"{name}: {side} is too small for {model_name}; use at least {smallest}")
        if side % multiple:
            near = sorted({max(smallest, side // multiple * multiple), -(-side // multiple) * multiple})
            raise UserError(
                f"{name}: {model_name} takes multiples of {multiple} pixels, not {side}; "
                f"use {' or '.join(map(str, near))}"
            )


def check_sizes(settings: Mapping[str, Any], *, pretrained: bool = False) -> None:
    """Refuse sizes of complete settings that do not go together or that their model cannot take.

    Args:
        settings: of a classifier ``model_name``, ``image_shape`` (None or "C,H,W", which then stands for all crops),
            ``resize``, ``train_crop_size``, ``valid_crop_size`` and ``valid_resize_size``; of a detector that has
            them ``min_size`` and ``max_size``.
        pretrained: training starts from the published weights.

    Raises:
        UserError: a size does not fit the model or another size.
    """
    if settings.get("image_shape"):
        _check_image_shape(settings, pretrained)
    elif "train_crop_size" in settings:
        _check_crops(settings)
    elif "min_size" in settings and settings["min_size"] > settings["max_size"]:
        raise UserError(
            f"min_size: {settings['min_size']} is above max_size {settings['max_size']}; lower it or raise max_size"
        )


def _check_image_shape(settings: Mapping[str, Any], pretrained: bool) -> None:
    channels, height, width = parse_image_shape(settings["image_shape"])
    check_size(settings["model_name"], (height, width), "image_shape")
    resize = settings.get("resize")
    if resize is not None and resize <= max(height, width):
        raise UserError(f"resize: {resize} must be above both sides of image_shape {settings['image_shape']}")
    if pretrained and (channels, height, width) != (3, 224, 224):
        raise UserError(
            f"image_shape: {settings['image_shape']} does not go with pretrained weights, which take 3,224,224; "
            "use that, or set weights.pretrained: false"
        )


def _check_crops(settings: Mapping[str, Any]) -> None:
    model = settings["model_name"]
    train, valid, resized = (settings[k] for k in ("train_crop_size", "valid_crop_size", "valid_resize_size"))
    check_size(model, train, "train_crop_size")
    check_size(model, valid, "valid_crop_size")
    if ARCHITECTURES[model].one_size and train != valid:
        raise UserError(
            f"valid_crop_size: {valid} differs from train_crop_size {train}, but {model} takes one size only; "
            "make them equal"
        )
    if resized < valid:
        raise UserError(
            f"valid_resize_size: {resized} is below valid_crop_size {valid}; raise it or lower valid_crop_size"
        )


def no_published_weights(model_name: str) -> str:
    """Return the line for a model without published weights that load safely."""
    return (
        f"weights.pretrained: {model_name} has no published weights that load without pickle; "
        "name a state_dict in weights.source, or set weights.pretrained: false"
    )
