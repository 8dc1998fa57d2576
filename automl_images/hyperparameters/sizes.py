"""What a model's architecture allows: its input sizes, and how many of its layers can be frozen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from automl_images.architectures import ARCHITECTURES, has_published
from automl_images.errors import UserError

WITHOUT_PUBLISHED_WEIGHTS = tuple(name for name in ARCHITECTURES if not has_published(name))

SIZES_TOGETHER = (  # settings that the checks below compare
    {"image_shape", "resize", "train_crop_size", "valid_crop_size", "valid_resize_size"},
    {"min_size", "max_size"},
)


def check_layers(model_name: str, count: int | None) -> None:
    """Raise UserError if ``count`` is more groups of layers than the model has, its head left out."""
    most = len(ARCHITECTURES[model_name].groups)
    if count is not None and count > most:
        raise UserError(f"layers_to_freeze: {count} is more than {model_name} has; use at most {most}")


def parse_image_shape(text: str) -> tuple[int, int, int]:
    """Return ``"C,H,W"`` as (channels, height, width); raises UserError if it is no such text, or C neither 1 nor 3."""
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
    """Raise UserError, on ``name``, if a model cannot take a size: a side in pixels, or (height, width)."""
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
    """Raise UserError if a size of complete settings does not fit another one, the model or its published weights.

    Sizes are a classifier's crops, or ``image_shape`` ("C,H,W") in their place; a detector's least and greatest side.
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


def check_varied(settings: Mapping[str, Any], varied: Collection[str]) -> None:
    """Raise UserError if trials of complete settings that differ in ``varied`` ones are scored on different pixels."""
    name = next((name for name in ("crop_size", "base_size") if name in varied), None)
    if name and settings["validation_batch_size"] > 1:
        raise UserError(
            f"{name}: with validation_batch_size {settings['validation_batch_size']} trials are scored on crops of it, "
            "and could not be compared if it varied; set validation_batch_size: 1, or give one size in settings"
        )


def no_published_weights(model_name: str) -> str:
    """Return the line for a model without published weights that load safely."""
    return (
        f"weights.pretrained: {model_name} has no published weights that load without pickle; "
        "name a state_dict in weights.source, or set weights.pretrained: false"
    )
