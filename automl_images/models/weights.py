"""Pretrained weights: a state_dict from a path or URL, loaded where it fits."""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from automl_images import storage
from automl_images.architectures import Architecture
from automl_images.errors import UserError
from automl_images.models.classifier import import_timm

_POSITIONS = "network.pos_embed"
_PREFIXES = ("model.network.", "network.", "module.")  # a checkpoint's, a model folder's, data parallel's


def read_state_dict(source: str) -> dict[str, Tensor]:
    """Return the tensors of a ``.pt``, ``.pth`` or ``.safetensors`` file, or of a model folder's model.pt.

    Pickled objects other than tensors are never loaded.

    Raises:
        UserError: there is no such file, or it holds something else than a state_dict.
    """
    url = _file(source)
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


def _file(source: str) -> str:
    return storage.join(source, "model.pt") if storage.is_dir(source) else source


def same_classes(source: str, classes: Sequence[str]) -> bool | None:
    """Return whether the labels.json beside a file, or in a model folder, names these classes in this order.

    None: there is no labels.json, so nothing is known.

    Raises:
        UserError: labels.json does not parse.
    """
    labels = storage.join(_file(source).rpartition("/")[0] or ".", "labels.json")
    try:
        return json.loads(storage.read_text(labels)) == list(classes)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"weights.source: {storage.redact(labels)}: does not parse ({error})") from None


def fit(model: nn.Module, row: Architecture, state: Mapping[str, Tensor], origin: str, *, keep_head: bool) -> str:
    """Load tensors into a network where they fit by name and shape; return in words what was loaded and what was not.

    Names may be the library's own, or begin with ``network.`` (a model folder's), ``model.network.`` (a training
    checkpoint's) or ``module.``. A ViT's position embedding for another size is interpolated (bicubic, timm's). Without
    ``keep_head`` the head starts afresh. ``origin`` is where the tensors are from, for the line.

    Raises:
        UserError: nothing fits.
    """
    named = {"network." + _bare(name): tensor for name, tensor in state.items()}
    heads = tuple(f"network.{name}." for name in row.head)
    given = {n: t for n, t in named.items() if keep_head or not n.startswith(heads)}
    resized, own = _resize_positions(model, given), model.state_dict()
    fitting = {n: t for n, t in given.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise UserError(
            "weights.source: no tensor of the file fits the model by name and shape; is it of another model?"
        )
    model.load_state_dict(fitting, strict=False)
    # files of older versions have no count of batches, which nothing reads
    afresh = sorted(n for n in own.keys() - fitting.keys() if not n.endswith("num_batches_tracked"))
    unused = sorted(named.keys() - fitting.keys())
    parts = [f"{len(fitting)} tensors from {origin}", f"{len(afresh)} start afresh{_such_as(afresh)}"]
    if unused:
        parts.append(f"{len(unused)} of the file's are not used{_such_as(unused)}")
    return "; ".join(parts + resized)


def _bare(name: str) -> str:
    return next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), name)


def _such_as(names: Sequence[str]) -> str:
    return f", such as {names[0]}" if names else ""


def _resize_positions(model: Any, state: dict[str, Tensor]) -> list[str]:
    """Interpolate the position embedding of a square image to the model's size; return what to say of it."""
    old, own = state.get(_POSITIONS), model.state_dict().get(_POSITIONS)
    if old is None or own is None or old.ndim != 3 or old.shape == own.shape:
        return []
    import_timm()
    from timm.layers import resample_abs_pos_embed

    side = math.isqrt(old.shape[1] - 1)
    if side**2 != old.shape[1] - 1:  # of an image that was not square: nothing tells its sides
        return []
    new = list(model.network.patch_embed.grid_size)
    state[_POSITIONS] = resample_abs_pos_embed(old, new, num_prefix_tokens=1)
    return [f"the position embedding was interpolated from {side}x{side} to {new[0]}x{new[1]} patches"]
