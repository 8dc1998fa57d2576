"""Pretrained weights: the library's published ones, or a state_dict from a path or URL."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from automl_images import storage
from automl_images.errors import UserError


def read_state_dict(source: str) -> dict[str, Tensor]:
    """Return the tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file, or of a model folder's model.pt.

    Pickled objects other than tensors are never loaded.

    Raises:
        UserError: there is no such file, or it holds something else than a state_dict.
    """
    url = storage.join(source, "model.pt") if storage.is_dir(source) else source
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError:
        raise UserError(f"weights.source: {storage.redact(url)}: no such file") from None
    try:
        if PurePosixPath(url).suffix == ".safetensors":
            from safetensors.torch import load

            return load(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, AttributeError):  # their texts say nothing to act on
        raise UserError(f"weights.source: {storage.redact(url)}: is damaged or holds more than tensors") from None
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"weights.source: {storage.redact(url)}: is no state_dict of tensors ({first[:120]})") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"weights.source: {storage.redact(url)}: is no state_dict: a mapping of names to tensors")
    return dict(state)


def load_fitting(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[int, list[str]]:
    """Load what fits by name and shape; return how many tensors were loaded and the model's names left as they were.

    A head for other classes does not fit, and so starts afresh.

    Raises:
        UserError: nothing fits.
    """
    own = model.state_dict()
    fitting = {n: t for n, t in state.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise UserError(
            "weights.source: no tensor of the file fits the model by name and shape; is it of another model?"
        )
    model.load_state_dict(fitting, strict=False)
    return len(fitting), sorted(set(own) - set(fitting))


def published(model_name: str) -> dict[str, Tensor]:
    """Return torchvision's published weights under our names: COCO's for ResNet-50, ImageNet's backbone for ResNet-18.

    Raises:
        UserError: they are not in torch's cache and cannot be fetched, or there are none for the model.
    """
    from torchvision.models import ResNet18_Weights
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    sources: dict[str, tuple[Any, str]] = {
        "fasterrcnn_resnet50_fpn": (FasterRCNN_ResNet50_FPN_Weights.COCO_V1, "network."),
        "fasterrcnn_resnet18_fpn": (ResNet18_Weights.IMAGENET1K_V1, "network.backbone.body."),
    }
    if model_name not in sources:
        raise UserError(no_published_weights(model_name))
    weights, prefix = sources[model_name]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the file is not the published one
        name = weights.url.rsplit("/", 1)[-1]
        raise UserError(
            f"weights.pretrained: {name} cannot be fetched ({error}); put it into {torch.hub.get_dir()}/checkpoints, "
            "name a file in weights.source, or set weights.pretrained: false"
        ) from None
    return {prefix + name: tensor for name, tensor in state.items()}


def no_published_weights(model_name: str) -> str:
    """Return the line for a model without published weights that load safely."""
    return (
        f"weights.pretrained: {model_name} has no published weights that load without pickle; "
        "name a state_dict in weights.source, or set weights.pretrained: false"
    )
