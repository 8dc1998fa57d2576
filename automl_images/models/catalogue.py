"""From a model's name and settings to the network, with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from automl_images import storage
from automl_images.architectures import architecture
from automl_images.errors import UserError
from automl_images.hyperparameters import check_model
from automl_images.hyperparameters.sizes import input_shape
from automl_images.models.published import published
from automl_images.models.weights import fit, read_state_dict, same_classes


def build(task: str, settings: Mapping[str, Any], classes: Sequence[str], *, frozen_norms: bool = False) -> nn.Module:
    """Return the network that ``settings["model_name"]`` names, with fresh weights.

    It is a `Classifier`, a `Detector` or a `Segmenter`.

    Raises:
        UserError: the task has no such model, or its package is not installed.
    """
    check_model(task, settings["model_name"])
    row = architecture(settings)
    module, _, builder = row.builder.partition(":")
    norms = {"frozen_norms": frozen_norms} if row.frozen_norms else {}
    return getattr(import_module(module), builder)(classes, settings, **norms)


def initial(
    task: str, settings: Mapping[str, Any], classes: Sequence[str], weights: Mapping[str, Any]
) -> tuple[Any, str]:
    """Return the network as training starts, and a line that says what its weights are.

    The head starts afresh from published weights. From a file it is loaded where it fits, unless the labels.json
    beside the file, as a model folder has it, names other classes or another order.

    ``weights`` is the experiment's: ``source`` (a path or URL) wins over ``pretrained`` (true or false).

    Raises:
        UserError: the weights cannot be read or do not fit.
    """
    source = weights.get("source")
    if not source and not weights.get("pretrained"):
        return build(task, settings, classes), "weights: fresh"
    if not source and settings.get("image_shape") and input_shape(settings)[0] != 3:
        raise UserError(
            f"image_shape: {settings['image_shape']} is grey, but published weights take 3 channels; "
            "use 3 channels or set weights.pretrained: false"
        )
    backbone = settings.get("pretrained_weights") == "backbone"
    # read first: what cannot be had is said before time goes into building
    state = read_state_dict(source) if source else published(settings["model_name"], backbone)
    # weights that were trained with learning norms bring their count of batches, frozen ones do not
    learning_norms = any(name.endswith("num_batches_tracked") for name in state) and bool(source)
    model = build(task, settings, classes, frozen_norms=not learning_norms)
    origin = storage.redact(source) if source else "the library"
    keep_head = bool(source) and same_classes(str(source), classes) is not False
    row = architecture(settings)
    return model, f"weights: {fit(model, row, state, origin, keep_head=keep_head)}"
