"""The libraries' published weights: from their caches, else from the network, else one line that says what to do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from automl_images.architectures import ARCHITECTURES
from automl_images.errors import UserError
from automl_images.hyperparameters.sizes import no_published_weights
from automl_images.models.classifier import import_timm

PATIENCE = 5.0  # seconds that a connection may take, and a server between two packets


def published(model_name: str, backbone: bool = False) -> dict[str, Tensor]:
    """Return a model's published weights under our names, or with ``backbone`` those of its backbone alone.

    Raises:
        UserError: they are in no cache and cannot be fetched at once, or there are none for the model.
    """
    row = ARCHITECTURES[model_name]
    if row.weights is None:
        raise UserError(no_published_weights(model_name))
    if backbone and row.backbone_weights:
        state = _LIBRARIES[row.library](row.network, row.backbone_weights)
        return {f"network.backbone.{name}": tensor for name, tensor in state.items()}
    state = _LIBRARIES[row.library](row.network, row.weights)
    return {row.weights_prefix + name: tensor for name, tensor in state.items()}


def _of_torchvision(_: str, entry: str) -> dict[str, Tensor]:
    from torchvision.models import get_weight

    weights = get_weight(entry)
    try:
        with _patience():
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the file is not the published one
        raise UserError(_out_of_reach(weights.url.rsplit("/", 1)[-1], error)) from None


def _of_timm(network: str, tag: str) -> dict[str, Tensor]:
    name = f"{network}.{tag}"
    import_timm()
    import huggingface_hub
    from huggingface_hub import constants
    from safetensors.torch import load_file

    wanted: dict[str, Any] = {"repo_id": f"timm/{name}", "filename": "model.safetensors"}
    constants.HF_HUB_DISABLE_TELEMETRY = True  # for a process that imported it before us
    put = Path(torch.hub.get_dir()) / "checkpoints" / f"{name}.safetensors"
    try:
        if put.exists():
            return load_file(put)
        try:
            return load_file(huggingface_hub.hf_hub_download(**wanted, local_files_only=True))
        except OSError:  # not in the cache; asked once, for the hub library would go on asking for 20 seconds
            _check_reachable(constants.ENDPOINT)
            return load_file(huggingface_hub.hf_hub_download(**wanted))
    except Exception as error:  # the hub's and the file format's errors have no common base
        raise UserError(_out_of_reach(put.name, error)) from None


_LIBRARIES = {"torchvision": _of_torchvision, "timm": _of_timm}


def _check_reachable(url: str) -> None:
    """Raise OSError unless a server answers, whatever it answers, within a few seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise OSError("HF_HUB_OFFLINE is set")
    try:
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()  # noqa: S310, the hub library's own address
    except HTTPError:
        return


@contextmanager
def _patience() -> Iterator[None]:
    """Give up on a silent connection after a few seconds; without it, torch's download would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _out_of_reach(file: str, error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"weights.pretrained: {file} cannot be fetched ({first[:200]}); put it into {torch.hub.get_dir()}/checkpoints, "
        "name a file in weights.source, or set weights.pretrained: false"
    )
