"""Small images with masks, and what can be seen of a trial on them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image
from torch import nn

from automl_images.annotations import Record
from automl_images.annotations.labels import Mask
from automl_images.hyperparameters import resolve
from automl_images.models import catalogue
from automl_images.models import folder as model_folder
from automl_images.models.freeze import Freezable
from automl_images.training.fit import fit
from automl_images.training.job import Job
from tests.helpers.training_probe import Journal

TASK = "image-semantic-segmentation"
MAP = (("sky", 0), ("red", 10), ("blue", 20))
COLOURS = {10: (220, 50, 40), 20: (40, 60, 220)}
SMALL = {
    "model_name": "fcn_resnet50",
    "base_size": 48,
    "crop_size": 24,
    "training_batch_size": 4,
    "number_of_epochs": 1,
    "early_stopping": 0,
}
STEADY = {"lr_scheduler": "step", "step_lr_gamma": 1, "momentum": 0, "nesterov": 0, "weight_decay": 0}


def settings_of(**given):
    """Return complete settings of the smallest network."""
    return resolve(TASK, {**SMALL, **given}) | {"model_size": "nano"}


def masked(folder, name, image, mask, classes=MAP, ignore=(255,)):
    """Write an image and its mask, and return their record."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}_mask.png"]
    for path, pixels in zip(paths, (image, mask), strict=True):
        Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    size = image.shape[1], image.shape[0]
    return Record(str(paths[0]), Mask(str(paths[1]), classes, ignore), *size, where=f"data, {name}")


def drawn(folder, count, size=(40, 56), seed=0):
    """Return records of a red or blue rectangle on noise each, whose first row is ignored."""
    rng, records = np.random.default_rng(seed), []
    for i in range(count):
        image, mask = rng.integers(90, 160, (*size, 3), dtype=np.uint8), np.zeros(size, np.uint8)
        top, left = (int(rng.integers(1, side - 18)) for side in size)
        mask[top : top + 16, left : left + 18] = value = (10, 20)[i % 2]
        image[mask > 0] = COLOURS[value]
        mask[0] = 255
        records.append(masked(folder, f"{i:02d}", image, mask))
    return records


class Linear(Freezable):
    """A linear classifier of a pixel's colour."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Conv2d(3, classes, 1)

    def logits(self, images):
        return self.layer(images.float() / 50 - 2)

    def losses(self, images, targets):
        return {"loss": nn.functional.cross_entropy(self.logits(images), targets, ignore_index=255)}

    @torch.no_grad()
    def predict(self, images):
        return [self.logits(image[None]).argmax(1)[0].to(torch.uint8) for image in images]


def watched(folder, data, given, network=Linear, weights=None):
    """Fit, and return what was seen.

    ``images``, ``truths``: of each training batch; ``gradients``, ``rates``, ``weights``: of each step, and the weights
    at the end; ``settings``, ``fitted``, ``journal``, ``model``, ``start`` (a state dict), ``module``.
    """
    seen = SimpleNamespace(images=[], truths=[], gradients=[], rates=[], weights=[])
    seen.settings, seen.journal, initial = settings_of(**given), Journal(folder), catalogue.initial

    def begin(*arguments):
        seen.model, said = (network(), "probe") if network else initial(*arguments)
        seen.start = {name: tensor.clone() for name, tensor in seen.model.state_dict().items()}
        return seen.model, said

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            seen.module = module
            seen.images.append(batch[0].clone())
            seen.truths.append(batch[1].clone())

        def on_before_optimizer_step(self, trainer, module, optimizer):
            learning = {n: p for n, p in module.model.named_parameters() if p.requires_grad}
            seen.gradients.append({n: p.grad.detach().double().clone() for n, p in learning.items()})
            seen.weights.append({n: p.detach().double().clone() for n, p in learning.items()})
            seen.rates.append(optimizer.param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(catalogue, "initial", begin)
        if network:  # whose folder nobody loads
            patch.setattr(model_folder, "write_wheel", lambda folder: folder / "none.whl")
        seen.fitted = fit(Job(TASK, seen.settings, *data, weights or {}, 1), seen.journal, [Watch()])
    seen.weights.append({n: p.detach().double().clone() for n, p in seen.model.named_parameters()})
    return seen
