"""Freezing the first layers of a network: ``layers_to_freeze``, by each model's list of groups."""

from __future__ import annotations

from torch import nn

from automl_images.architectures import ARCHITECTURES
from automl_images.hyperparameters.sizes import check_layers


class Freezable(nn.Module):
    """A model whose frozen modules stay in evaluation mode when it is set to training: their norms keep statistics."""

    frozen: tuple[str, ...] = ()  # names of modules
    gradient_clip: float | None = None  # the norm to which a gradient is cut
    sums_batches = False  # its losses are the mean over a batch times its images, so that batches are added up

    def train(self, mode: bool = True) -> Freezable:  # noqa: D102
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def freeze(model: Freezable, model_name: str, count: int | None) -> list[str]:
    """Freeze the first ``count`` groups of a network, and return a name for each, such as ``conv1, bn1`` or ``layer1``.

    Their parameters do not learn, and their batch norms keep their statistics, after later calls of ``model.train()``
    too. A backward pass stops above them. None or 0 freezes nothing.

    Raises:
        UserError: the model has fewer groups.
    """
    check_layers(model_name, count)
    chosen = ARCHITECTURES[model_name].groups[: count or 0]
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
