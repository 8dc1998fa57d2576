"""Freezing the first layers of a network: ``layers_to_freeze``, by each family's list of groups."""

from __future__ import annotations

from torch import nn

from automl_images.hyperparameters.sizes import check_layers, family, most_layers

_STEM = ("conv1", "bn1")


class Freezable(nn.Module):
    """A model whose frozen modules stay in evaluation mode when it is set to training: their norms keep statistics."""

    frozen: tuple[str, ...] = ()  # names of modules

    def train(self, mode: bool = True) -> Freezable:  # noqa: D102
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def groups(model_name: str) -> list[tuple[str, ...]]:
    """Return the groups that ``layers_to_freeze`` counts, first layers first: names of modules and parameters.

    The lists are Azure's; ``seresnext``'s layer0 is the stem (conv1, bn1), and ResNeSt goes like ResNet.
    """
    kind, last = family(model_name), most_layers(model_name) - 1
    if kind == "mobilenetv2":
        return [(f"network.features.{i}",) for i in range(last + 1)]
    if kind == "yolov5":
        return [(f"network.model.{i}",) for i in range(last + 1)]
    if kind == "vit":
        embedding = ("network.patch_embed", "network.pos_embed", "network.cls_token")
        return [embedding, *((f"network.blocks.{i}",) for i in range(last))]
    root = "network.backbone.body" if kind == "rcnn" else "network"
    return [tuple(f"{root}.{n}" for n in _STEM), *((f"{root}.layer{i}",) for i in range(1, last + 1))]


def freeze(model: Freezable, task_model_name: str, count: int | None) -> list[str]:
    """Freeze the first ``count`` groups of a network: parameters do not learn, batch norms keep their statistics.

    It holds for later calls of ``model.train()`` too. A backward pass stops above the frozen groups.

    Args:
        model: the network, of :func:`automl_images.models.catalogue.build`.
        task_model_name: the settings' ``model_name``.
        count: how many groups; None or 0 freezes nothing.

    Returns:
        A name for each frozen group, such as ``conv1, bn1`` or ``layer1``.

    Raises:
        UserError: the model has fewer groups.
    """
    check_layers(task_model_name, count)
    chosen = groups(task_model_name)[: count or 0]
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    held = []
    for name in (n for group in chosen for n in group):
        if name in modules:
            modules[name].requires_grad_(False).eval()
            held.append(name)
        else:
            parameters[name].requires_grad_(False)
    model.frozen = tuple(held)
    return [", ".join(n.removeprefix("network.").removeprefix("backbone.") for n in group) for group in chosen]
